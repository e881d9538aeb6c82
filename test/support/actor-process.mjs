// The child process behind Actor (actor.ts): makes one system call for each message from its parent and sends back the
// result or the errno name. It promises that what it reports is what the kernel said: it uses the C library directly and
// shares no code with the product, so that a wrong struct layout there cannot cancel itself out here.
//
// Everything runs on the main thread, whose credentials are its own: a call that blocks blocks the actor, and the parent's
// timeout deals with it. Plain JavaScript, because it is started by node as it is.

import { constants as osConstants } from 'node:os';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

/** Numbers of the calls that glibc would apply to all threads, or does not wrap. */
const NR = {
  x64: { setgroups: 116, setresuid: 117, setresgid: 119, setfsuid: 122, setfsgid: 123 },
  arm64: { setgroups: 159, setresuid: 147, setresgid: 149, setfsuid: 151, setfsgid: 152 },
}[process.arch];
if (NR === undefined) throw new Error(`no system call numbers for ${process.arch}`);

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_REMOVEDIR = 0x200;
const SYMLINK_NOFOLLOW = 0x100;

const errnoNames = new Map(Object.entries(osConstants.errno).map(([name, number]) => [number, name]));
for (const [name, number] of Object.entries({ ENOATTR: 61, ESTALE: 116, EUCLEAN: 117, EDQUOT: 122, ENOKEY: 126 }))
  if (!errnoNames.has(number)) errnoNames.set(number, name);
// Two names for one number: the one that man pages use.
errnoNames.set(osConstants.errno.EAGAIN, 'EAGAIN');
errnoNames.set(osConstants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

class SyscallFailure extends Error {
  constructor(syscall, errno) {
    const code = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${syscall}: ${code}`);
    this.code = code;
    this.syscall = syscall;
  }
}

/** Declares a C function that returns -1 (or null) and sets errno when it fails. */
function syscall(declaration) {
  const call = libc.func(declaration);
  const name = /(\w+)\(/.exec(declaration)[1];
  return (...args) => {
    const result = call(...args);
    if (result === -1 || result === -1n) throw new SyscallFailure(name, koffi.errno());
    return result;
  };
}

const c = {
  syscall3: syscall('long syscall(long number, long a, long b, long c)'),
  setgroups: syscall('long syscall(long number, long count, const void *groups)'),
  capset: syscall('int capset(const void *header, const void *data)'),
  prctl: syscall('int prctl(int option, ulong a, ulong b, ulong c, ulong d)'),
  openat: syscall('int openat(int dir, const void *path, int flags, uint mode)'),
  close: syscall('int close(int fd)'),
  dup: syscall('int dup(int fd)'),
  read: syscall('intptr_t read(int fd, uint64_t buffer, size_t length)'),
  pread: syscall('intptr_t pread64(int fd, uint64_t buffer, size_t length, int64_t offset)'),
  write: syscall('intptr_t write(int fd, uint64_t buffer, size_t length)'),
  pwrite: syscall('intptr_t pwrite64(int fd, uint64_t buffer, size_t length, int64_t offset)'),
  lseek: syscall('int64_t lseek64(int fd, int64_t offset, int whence)'),
  truncate: syscall('int truncate64(const void *path, int64_t length)'),
  ftruncate: syscall('int ftruncate64(int fd, int64_t length)'),
  fallocate: syscall('int fallocate64(int fd, int mode, int64_t offset, int64_t length)'),
  copyFileRange: syscall(
    'intptr_t copy_file_range(int fdIn, const void *offsetIn, int fdOut, const void *offsetOut, size_t length, uint flags)',
  ),
  sendfile: syscall('intptr_t sendfile64(int out, int in, const void *offset, size_t length)'),
  statx: syscall('int statx(int dir, const void *path, int flags, uint mask, void *buffer)'),
  statfs: syscall('int statfs(const void *path, void *buffer)'),
  fstatfs: syscall('int fstatfs(int fd, void *buffer)'),
  mkdirat: syscall('int mkdirat(int dir, const void *path, uint mode)'),
  mknodat: syscall('int mknodat(int dir, const void *path, uint mode, uint64_t dev)'),
  unlinkat: syscall('int unlinkat(int dir, const void *path, int flags)'),
  renameat2: syscall('int renameat2(int fromDir, const void *from, int toDir, const void *to, uint flags)'),
  linkat: syscall('int linkat(int fromDir, const void *from, int toDir, const void *to, int flags)'),
  symlinkat: syscall('int symlinkat(const void *target, int dir, const void *path)'),
  readlinkat: syscall('intptr_t readlinkat(int dir, const void *path, void *buffer, size_t length)'),
  fchmodat: syscall('int fchmodat(int dir, const void *path, uint mode, int flags)'),
  fchmod: syscall('int fchmod(int fd, uint mode)'),
  fchownat: syscall('int fchownat(int dir, const void *path, uint uid, uint gid, int flags)'),
  utimensat: syscall('int utimensat(int dir, const void *path, const void *times, int flags)'),
  futimens: syscall('int futimens(int fd, const void *times)'),
  faccessat: syscall('int faccessat(int dir, const void *path, int mode, int flags)'),
  setxattr: syscall('int setxattr(const void *path, const void *name, const void *value, size_t size, int flags)'),
  lsetxattr: syscall('int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)'),
  fsetxattr: syscall('int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)'),
  getxattr: syscall('intptr_t getxattr(const void *path, const void *name, void *value, size_t size)'),
  lgetxattr: syscall('intptr_t lgetxattr(const void *path, const void *name, void *value, size_t size)'),
  fgetxattr: syscall('intptr_t fgetxattr(int fd, const void *name, void *value, size_t size)'),
  listxattr: syscall('intptr_t listxattr(const void *path, void *list, size_t size)'),
  llistxattr: syscall('intptr_t llistxattr(const void *path, void *list, size_t size)'),
  flistxattr: syscall('intptr_t flistxattr(int fd, void *list, size_t size)'),
  removexattr: syscall('int removexattr(const void *path, const void *name)'),
  lremovexattr: syscall('int lremovexattr(const void *path, const void *name)'),
  fremovexattr: syscall('int fremovexattr(int fd, const void *name)'),
  flock: syscall('int flock(int fd, int operation)'),
  fcntl: syscall('int fcntl(int fd, int command, void *argument)'),
  fcntlNumber: syscall('int fcntl(int fd, int command, long argument)'),
  getdents64: syscall('intptr_t getdents64(int fd, void *buffer, size_t length)'),
  fsync: syscall('int fsync(int fd)'),
  fdatasync: syscall('int fdatasync(int fd)'),
  syncfs: syscall('int syncfs(int fd)'),
  mmap: syscall('intptr_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)'),
  munmap: syscall('int munmap(uint64_t address, size_t length)'),
  msync: syscall('int msync(uint64_t address, size_t length, int flags)'),
  ioctl: syscall('int ioctl(int fd, ulong request, void *argument)'),
  chdir: syscall('int chdir(const void *path)'),
  fchdir: syscall('int fchdir(int fd)'),
  getcwd: libc.func('intptr_t getcwd(void *buffer, size_t size)'),
  umask: libc.func('uint umask(uint mask)'),
  mount: syscall('int mount(const void *source, const void *target, const void *type, ulong flags, const void *data)'),
  umount2: syscall('int umount2(const void *target, int flags)'),
  openTree: syscall('int open_tree(int dir, const void *path, uint flags)'),
  mountSetattr: syscall('int mount_setattr(int dir, const void *path, uint flags, void *attributes, size_t size)'),
  moveMount: syscall('int move_mount(int fromDir, const void *from, int toDir, const void *to, uint flags)'),
  socket: syscall('int socket(int domain, int type, int protocol)'),
  bind: syscall('int bind(int fd, const void *address, uint length)'),
  connect: syscall('int connect(int fd, const void *address, uint length)'),
  listen: syscall('int listen(int fd, int backlog)'),
  sigaction: syscall('int sigaction(int signal, const void *action, void *old)'),
  dlsym: libc.func('uint64_t dlsym(uint64_t handle, const char *name)'),
  nameToHandleAt: syscall('int name_to_handle_at(int dir, const void *path, void *handle, void *mountId, int flags)'),
  openByHandleAt: syscall('int open_by_handle_at(int mountFd, void *handle, int flags)'),
};

// ---- arguments ---------------------------------------------------------------------------------------------------

/** A NUL-terminated copy. @param {string | Uint8Array} name */
function cString(name) {
  const bytes = Buffer.from(name);
  if (bytes.includes(0)) throw new Error('a name holds NUL');
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

/** Path arguments are a name, or { dir, name } below an open directory. @returns {[number, Buffer]} */
function at(path) {
  return typeof path === 'string' || path instanceof Uint8Array
    ? [AT_FDCWD, cString(path)]
    : [path.dir, cString(path.name)];
}

/** The *xattr calls and chdir take no directory descriptor. */
function plainPath(path) {
  const [dir, name] = at(path);
  return dir === AT_FDCWD ? name : cString(Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), name.subarray(0, -1)]));
}

const safe = (value) =>
  typeof value === 'bigint' && value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER
    ? Number(value)
    : value;

// One page-aligned buffer for all reads and writes, so that O_DIRECT works without a special call.
const IO_SIZE = 8 << 20;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const ioAddress = BigInt(c.mmap(0, IO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
const ioBuffer = Buffer.from(koffi.view(ioAddress, IO_SIZE));

function checkLength(length) {
  if (length > IO_SIZE) throw new Error(`at most ${IO_SIZE} bytes a call`);
}

/** Copies of what is sent back: the buffers are reused. */
const copied = (length) => Buffer.from(ioBuffer.subarray(0, length));

function put(data) {
  const bytes = Buffer.from(data);
  checkLength(bytes.length);
  bytes.copy(ioBuffer);
  return bytes.length;
}

// ---- structs -----------------------------------------------------------------------------------------------------

const STATX_BASIC_AND_BTIME = 0xfff;
const statxBuffer = Buffer.alloc(256);

/** include/uapi/linux/stat.h */
function statx([dir, name], flags) {
  c.statx(dir, name, flags, STATX_BASIC_AND_BTIME, statxBuffer);
  const time = (offset) =>
    statxBuffer.readBigInt64LE(offset) * 1_000_000_000n + BigInt(statxBuffer.readUInt32LE(offset + 8));
  const mask = statxBuffer.readUInt32LE(0);
  return {
    blksize: statxBuffer.readUInt32LE(4),
    nlink: statxBuffer.readUInt32LE(16),
    uid: statxBuffer.readUInt32LE(20),
    gid: statxBuffer.readUInt32LE(24),
    mode: statxBuffer.readUInt16LE(28),
    ino: statxBuffer.readBigUInt64LE(32),
    size: safe(statxBuffer.readBigInt64LE(40)),
    blocks: safe(statxBuffer.readBigInt64LE(48)),
    atime: time(64),
    btime: (mask & 0x800) !== 0 ? time(80) : null,
    ctime: time(96),
    mtime: time(112),
    rdev: { major: statxBuffer.readUInt32LE(128), minor: statxBuffer.readUInt32LE(132) },
    dev: `${statxBuffer.readUInt32LE(136)}:${statxBuffer.readUInt32LE(140)}`,
  };
}

/** struct statfs of 64-bit Linux: nine longs of eight bytes before the spare ones; f_fsid is the eighth. */
function readStatfs(buffer) {
  const long = (index) => safe(buffer.readBigInt64LE(index * 8));
  return {
    type: long(0),
    bsize: long(1),
    blocks: long(2),
    bfree: long(3),
    bavail: long(4),
    files: long(5),
    ffree: long(6),
    namelen: long(8),
    frsize: long(9),
    flags: long(10),
  };
}

const UTIME_NOW = 0x3fffffffn;
const UTIME_OMIT = 0x3ffffffen;

/** Two struct timespec from nanoseconds since 1970, 'now' or 'omit'. */
function timespecs(times) {
  if (times === null) return null;
  const buffer = Buffer.alloc(32);
  times.forEach((time, index) => {
    let seconds = 0n;
    let nanoseconds = UTIME_NOW;
    if (time === 'omit') nanoseconds = UTIME_OMIT;
    else if (time !== 'now') {
      nanoseconds = ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
      seconds = (time - nanoseconds) / 1_000_000_000n;
    }
    buffer.writeBigInt64LE(seconds, index * 16);
    buffer.writeBigInt64LE(nanoseconds, index * 16 + 8);
  });
  return buffer;
}

/** struct flock: type, whence, start, length, pid. */
function flockStruct({ type, whence = 0, start = 0, length = 0 }) {
  const buffer = Buffer.alloc(32);
  buffer.writeInt16LE(type, 0);
  buffer.writeInt16LE(whence, 2);
  buffer.writeBigInt64LE(BigInt(start), 8);
  buffer.writeBigInt64LE(BigInt(length), 16);
  return buffer;
}

function unixAddress(path) {
  const name = cString(path);
  if (name.length > 108) throw new Error('socket paths hold at most 107 bytes');
  const address = Buffer.alloc(2 + name.length);
  address.writeUInt16LE(1, 0);
  name.copy(address, 2);
  return address;
}

function offsetCell(offset) {
  if (offset === null) return null;
  const cell = Buffer.alloc(8);
  cell.writeBigInt64LE(BigInt(offset));
  return cell;
}

// ---- extended attributes: the l, f and plain variants differ only in how the file is named ------------------------

const XATTR_MAX = 65_536;
const xattrBuffer = Buffer.alloc(XATTR_MAX);

const setter =
  (call, file) =>
  (target, name, value, flags = 0) => {
    const bytes = Buffer.from(value);
    call(file(target), cString(name), bytes.length === 0 ? null : bytes, bytes.length, flags);
  };
/** `size` is the size of the caller's buffer; 0 asks how long the value is, and the answer is that number. */
const getter = (call, file) => (target, name, size) => {
  if (size === 0) return call(file(target), cString(name), null, 0);
  const length = call(file(target), cString(name), xattrBuffer, size ?? XATTR_MAX);
  return Buffer.from(xattrBuffer.subarray(0, length));
};
const lister = (call, file) => (target, size) => {
  if (size === 0) return call(file(target), null, 0);
  const length = call(file(target), xattrBuffer, size ?? XATTR_MAX);
  return xattrBuffer.subarray(0, length).toString('latin1').split('\0').slice(0, -1).sort();
};
const remover = (call, file) => (target, name) => {
  call(file(target), cString(name));
};
const fdOf = (fd) => fd;

// ---- directories -------------------------------------------------------------------------------------------------

const direntBuffer = Buffer.alloc(1 << 20);

/** struct linux_dirent64 */
function getdents(fd, size = 32_768) {
  const length = c.getdents64(fd, direntBuffer, Math.min(size, direntBuffer.length));
  const entries = [];
  for (let offset = 0; offset < length; ) {
    const recordLength = direntBuffer.readUInt16LE(offset + 16);
    const nameStart = offset + 19;
    entries.push({
      ino: direntBuffer.readBigUInt64LE(offset),
      off: direntBuffer.readBigInt64LE(offset + 8),
      type: direntBuffer[offset + 18],
      name: Buffer.from(direntBuffer.subarray(nameStart, direntBuffer.indexOf(0, nameStart))),
    });
    offset += recordLength;
  }
  return entries;
}

function withOpen(path, flags, fn) {
  const fd = c.openat(...at(path), flags | osConstantsOf.O_CLOEXEC, 0);
  try {
    return fn(fd);
  } finally {
    c.close(fd);
  }
}

const osConstantsOf = { O_CLOEXEC: 0o2000000, O_DIRECTORY: process.arch === 'arm64' ? 0o40000 : 0o200000 };

// ---- memory maps -------------------------------------------------------------------------------------------------

/** @type {Map<number, { address: bigint, length: number, bytes: Buffer }>} */
const maps = new Map();
let nextMap = 1;

function mapping(id) {
  const map = maps.get(id);
  if (map === undefined) throw new Error(`no memory map ${id}`);
  return map;
}

// ---- the calls: every one is described in actor.ts ----------------------------------------------------------------

const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;

const calls = {
  become({ uid, gid, groups = [], umask = 0o022, capabilities }) {
    const list = Buffer.alloc(groups.length * 4);
    groups.forEach((group, index) => {
      list.writeUInt32LE(group, index * 4);
    });
    c.setgroups(NR.setgroups, groups.length, list);
    c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    c.syscall3(NR.setresgid, gid, gid, gid);
    // SECBIT_NO_SETUID_FIXUP is not set: leaving uid 0 clears the capabilities. An actor in a user namespace never was uid 0
    // there, so its capabilities are cleared by hand.
    c.syscall3(NR.setresuid, uid, uid, uid);
    const kept = capabilities ?? (uid === 0 ? null : 0n);
    if (kept !== null) {
      const header = Buffer.alloc(8);
      header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
      const data = Buffer.alloc(24);
      for (const field of [0, 4]) {
        data.writeUInt32LE(Number(kept & 0xffffffffn), field);
        data.writeUInt32LE(Number(kept >> 32n), field + 12);
      }
      c.capset(header, data);
    }
    c.umask(umask);
    // Changed credentials make /proc/self unreadable for its own owner.
    c.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    dieWithParent();
  },
  setfsids(uid, gid) {
    // Both return the old id and never fail.
    c.syscall3(NR.setfsgid, gid, 0, 0);
    c.syscall3(NR.setfsuid, uid, 0, 0);
  },
  umask: (mask) => c.umask(mask),
  pid: () => process.pid,

  open: (path, flags, mode = 0o666) => c.openat(...at(path), flags | osConstantsOf.O_CLOEXEC, mode),
  close(fd) {
    c.close(fd);
  },
  dup: (fd) => c.dup(fd),
  read(fd, length) {
    checkLength(length);
    return copied(c.read(fd, ioAddress, length));
  },
  pread(fd, length, offset) {
    checkLength(length);
    return copied(safe(c.pread(fd, ioAddress, length, offset)));
  },
  write: (fd, data) => c.write(fd, ioAddress, put(data)),
  pwrite: (fd, data, offset) => c.pwrite(fd, ioAddress, put(data), offset),
  lseek: (fd, offset, whence) => safe(c.lseek(fd, offset, whence)),
  truncate(path, length) {
    c.truncate(plainPath(path), length);
  },
  ftruncate(fd, length) {
    c.ftruncate(fd, length);
  },
  fallocate(fd, mode, offset, length) {
    c.fallocate(fd, mode, offset, length);
  },
  copyFileRange: (fdIn, offsetIn, fdOut, offsetOut, length) =>
    c.copyFileRange(fdIn, offsetCell(offsetIn), fdOut, offsetCell(offsetOut), length, 0),
  sendfile: (out, input, length) => c.sendfile(out, input, null, length),

  stat: (path) => statx(at(path), 0),
  lstat: (path) => statx(at(path), SYMLINK_NOFOLLOW),
  fstat: (fd) => statx([fd, cString('')], AT_EMPTY_PATH),
  statfs(path) {
    const buffer = Buffer.alloc(120);
    c.statfs(plainPath(path), buffer);
    return readStatfs(buffer);
  },
  fstatfs(fd) {
    const buffer = Buffer.alloc(120);
    c.fstatfs(fd, buffer);
    return readStatfs(buffer);
  },

  mkdir(path, mode = 0o777) {
    c.mkdirat(...at(path), mode);
  },
  mknod(path, mode, dev = 0) {
    c.mknodat(...at(path), mode, dev);
  },
  unlink(path) {
    c.unlinkat(...at(path), 0);
  },
  rmdir(path) {
    c.unlinkat(...at(path), AT_REMOVEDIR);
  },
  rename(from, to, flags = 0) {
    c.renameat2(...at(from), ...at(to), flags);
  },
  link(from, to, flags = 0) {
    c.linkat(...at(from), ...at(to), flags);
  },
  linkFd(fd, to) {
    c.linkat(AT_FDCWD, cString(`/proc/self/fd/${fd}`), ...at(to), 0x400);
  },
  symlink(target, path) {
    c.symlinkat(cString(target), ...at(path));
  },
  readlink(path, size = 4096) {
    return copied(c.readlinkat(...at(path), ioBuffer, size));
  },
  chmod(path, mode) {
    c.fchmodat(...at(path), mode, 0);
  },
  fchmod(fd, mode) {
    c.fchmod(fd, mode);
  },
  chown(path, uid, gid) {
    c.fchownat(...at(path), uid >>> 0, gid >>> 0, 0);
  },
  lchown(path, uid, gid) {
    c.fchownat(...at(path), uid >>> 0, gid >>> 0, SYMLINK_NOFOLLOW);
  },
  fchown(fd, uid, gid) {
    c.fchownat(fd, cString(''), uid >>> 0, gid >>> 0, AT_EMPTY_PATH);
  },
  utimens(path, times, flags = 0) {
    c.utimensat(...at(path), timespecs(times), flags);
  },
  futimens(fd, times) {
    c.futimens(fd, timespecs(times));
  },
  access(path, mode, flags = 0) {
    c.faccessat(...at(path), mode, flags);
  },

  setxattr: setter(c.setxattr, plainPath),
  lsetxattr: setter(c.lsetxattr, plainPath),
  fsetxattr: setter(c.fsetxattr, fdOf),
  getxattr: getter(c.getxattr, plainPath),
  lgetxattr: getter(c.lgetxattr, plainPath),
  fgetxattr: getter(c.fgetxattr, fdOf),
  listxattr: lister(c.listxattr, plainPath),
  llistxattr: lister(c.llistxattr, plainPath),
  flistxattr: lister(c.flistxattr, fdOf),
  removexattr: remover(c.removexattr, plainPath),
  lremovexattr: remover(c.lremovexattr, plainPath),
  fremovexattr: remover(c.fremovexattr, fdOf),

  flock(fd, operation) {
    c.flock(fd, operation);
  },
  lock(fd, command, lock) {
    const buffer = flockStruct(lock);
    c.fcntl(fd, command, buffer);
    return {
      type: buffer.readInt16LE(0),
      whence: buffer.readInt16LE(2),
      start: safe(buffer.readBigInt64LE(8)),
      length: safe(buffer.readBigInt64LE(16)),
      pid: buffer.readInt32LE(24),
    };
  },
  fcntl: (fd, command, argument = 0) => c.fcntlNumber(fd, command, argument),

  getdents,
  readdir: (path) =>
    withOpen(path, osConstantsOf.O_DIRECTORY, (fd) => {
      const names = [];
      for (;;) {
        const entries = getdents(fd, direntBuffer.length);
        if (entries.length === 0) return names.filter((name) => !(name.equals(dot) || name.equals(dotDot)));
        for (const entry of entries) names.push(entry.name);
      }
    }),

  fsync(fd) {
    c.fsync(fd);
  },
  fdatasync(fd) {
    c.fdatasync(fd);
  },
  syncfs(fd) {
    c.syncfs(fd);
  },

  mmap(fd, length, protection, flags, offset = 0) {
    const address = BigInt(c.mmap(0, length, protection, flags, fd, offset));
    const id = nextMap++;
    maps.set(id, { address, length, bytes: Buffer.from(koffi.view(address, length)) });
    return id;
  },
  mapRead: (id, offset, length) => Buffer.from(mapping(id).bytes.subarray(offset, offset + length)),
  mapWrite(id, offset, data) {
    mapping(id).bytes.set(Buffer.from(data), offset);
  },
  msync(id, flags) {
    const map = mapping(id);
    c.msync(map.address, map.length, flags);
  },
  munmap(id) {
    const map = mapping(id);
    maps.delete(id);
    c.munmap(map.address, map.length);
  },

  ioctl(fd, request, argument) {
    const data = argument === undefined ? null : Buffer.from(argument);
    const result = c.ioctl(fd, request, data);
    return { result, data: data ?? Buffer.alloc(0) };
  },

  chdir(path) {
    c.chdir(plainPath(path));
  },
  fchdir(fd) {
    c.fchdir(fd);
  },
  getcwd() {
    if (BigInt(c.getcwd(ioBuffer, 65_536)) === 0n) throw new SyscallFailure('getcwd', koffi.errno());
    return Buffer.from(ioBuffer.subarray(0, ioBuffer.indexOf(0)));
  },

  mount(source, target, type, flags, data = '') {
    c.mount(cString(source), cString(target), cString(type), flags, cString(data));
  },
  umount(target, flags = 0) {
    c.umount2(cString(target), flags);
  },
  openTree: (path, flags) => c.openTree(...at(path), flags),
  mountSetattr(fd, flags, { set = 0n, clear = 0n, usernsFd = 0 }) {
    const attributes = Buffer.alloc(32);
    attributes.writeBigUInt64LE(set, 0);
    attributes.writeBigUInt64LE(clear, 8);
    attributes.writeBigUInt64LE(BigInt(usernsFd), 24);
    c.mountSetattr(fd, cString(''), flags | AT_EMPTY_PATH, attributes, attributes.length);
  },
  moveMount(fd, target) {
    c.moveMount(fd, cString(''), AT_FDCWD, cString(target), 4);
  },

  bindUnix(path) {
    const fd = c.socket(1, 1, 0);
    c.bind(fd, unixAddress(path), unixAddress(path).length);
    c.listen(fd, 8);
    return fd;
  },
  connectUnix(path) {
    const fd = c.socket(1, 1, 0);
    try {
      c.connect(fd, unixAddress(path), unixAddress(path).length);
    } catch (error) {
      c.close(fd);
      throw error;
    }
    return fd;
  },

  catchSignal(signal) {
    // A handler without SA_RESTART, so that a blocked call ends with EINTR. abs(3) is a C function that takes one int
    // and does nothing. struct sigaction of glibc: handler, 128 bytes of mask, flags, restorer.
    const action = Buffer.alloc(152);
    action.writeBigUInt64LE(BigInt(c.dlsym(0, 'abs')), 0);
    c.sigaction(signal, action, null);
  },

  nameToHandle(path) {
    const handle = Buffer.alloc(8 + 128);
    handle.writeUInt32LE(128, 0);
    c.nameToHandleAt(...at(path), handle, Buffer.alloc(4), 0);
    return Buffer.from(handle.subarray(0, 8 + handle.readUInt32LE(0)));
  },
  openByHandle: (mountFd, handle, flags) => c.openByHandleAt(mountFd, Buffer.from(handle), flags),

  readFile: (path) =>
    withOpen(path, 0, (fd) => {
      const parts = [];
      for (;;) {
        const length = c.read(fd, ioAddress, IO_SIZE);
        if (length === 0) return Buffer.concat(parts);
        parts.push(copied(length));
      }
    }),
  writeFile(path, data, mode = 0o666) {
    const fd = c.openat(...at(path), 0o1 | 0o100 | 0o1000 | osConstantsOf.O_CLOEXEC, mode);
    try {
      const bytes = Buffer.from(data);
      for (let done = 0; done < bytes.length; )
        done += c.write(fd, ioAddress, put(bytes.subarray(done, done + IO_SIZE)));
    } finally {
      c.close(fd);
    }
  },
};

const dot = Buffer.from('.');
const dotDot = Buffer.from('..');

/** Several calls in one message; the first failure ends it. */
calls.batch = (list) => list.map(([name, ...args]) => callNamed(name)(...args));

function callNamed(name) {
  const call = Object.hasOwn(calls, name) ? calls[name] : undefined;
  if (call === undefined) throw new Error(`no call named ${name}`);
  return call;
}

process.on('message', ({ id, name, args }) => {
  try {
    process.send({ id, result: callNamed(name)(...args) });
  } catch (error) {
    process.send({ id, error: { message: error.message, code: error.code ?? null, syscall: error.syscall ?? null } });
  }
});
/** Even when blocked in a call. A change of credentials clears it. */
function dieWithParent() {
  c.prctl(PR_SET_PDEATHSIG, osConstants.signals.SIGKILL, 0, 0, 0);
}

dieWithParent();
// The parent is gone: nobody needs this process any more.
process.on('disconnect', () => process.exit(0));
process.send({ ready: true });
