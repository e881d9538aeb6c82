// What a process can ask the kernel about itself: capabilities, groups, limits, exec, descriptors, datagrams to a local
// socket, unmounting. Credentials belong to the *calling thread* here (capabilities(7), credentials(7)): these are raw
// system calls, not glibc's wrappers that change every thread. A fork or an exec from this thread then carries them on.

import { readdirSync } from 'node:fs';
import { ShiftfsError } from '../errors.js';
import { CLONE_NEWNET, MNT_DETACH, O_CLOEXEC } from './abi.js';
import { EPERM, errnoName } from './errno.js';
import { Memory } from './memory.js';
import { call2, call4, call6, close, exitGroup, NR } from './syscalls.js';

const arm64 = process.arch === 'arm64';

/** Numbers that syscalls.ts does not need: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
const SYS_SOCKET = arm64 ? 198 : 41;
const SYS_SENDTO = arm64 ? 206 : 44;
const SYS_EXECVE = arm64 ? 221 : 59;
const SYS_DUP3 = arm64 ? 24 : 292;
const SYS_PRLIMIT64 = arm64 ? 261 : 302;
const SYS_PPOLL = arm64 ? 73 : 271;

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const PR_SET_DUMPABLE = 4;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_SECUREBITS = 28;
/** include/uapi/linux/securebits.h */
const SECBIT_NO_SETUID_FIXUP = 1 << 2;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;

const RLIMIT_FSIZE = 1;
const RLIMIT_CORE = 4;
const RLIMIT_NOFILE = 7;
/** RLIM_INFINITY (include/uapi/asm-generic/resource.h): all 64 bits. */
const INFINITY = 0xffffffff;

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** sizeof(sun_path), unix(7). */
export const SUN_PATH_MAX = 108;
const UMOUNT_NOFOLLOW = 8;

/** include/uapi/linux/capability.h */
export const CAP = {
  CHOWN: 0,
  DAC_OVERRIDE: 1,
  DAC_READ_SEARCH: 2,
  FOWNER: 3,
  FSETID: 4,
  SETGID: 6,
  SETUID: 7,
  SETPCAP: 8,
  SYS_ADMIN: 21,
  MKNOD: 27,
  SETFCAP: 31,
} as const;

function check(result: number, call: string): number {
  if (result < 0) throw new ShiftfsError('INTERNAL', `${call}: ${errnoName(-result)}`);
  return result;
}

/** The effective capabilities of this thread, as a set of numbers. */
export function effectiveCapabilities(): ReadonlySet<number> {
  const memory = new Memory(64);
  const { effective } = readCapabilities(memory);
  const set = new Set<number>();
  for (let capability = 0; capability < 64; capability++) {
    if ((effective[capability >> 5]! >>> (capability & 31)) & 1) set.add(capability);
  }
  return set;
}

/** struct __user_cap_header_struct at 0, two struct __user_cap_data_struct at 8 (capget(2)). */
function readCapabilities(memory: Memory): { effective: readonly number[] } {
  memory.u32[0] = CAPABILITY_VERSION_3;
  memory.u32[1] = 0;
  check(call2(NR.capget, memory.address, memory.address + 8), 'capget');
  return { effective: [memory.u32[2]!, memory.u32[5]!] };
}

/**
 * Gives up, for this thread and whatever it forks or execs: supplementary groups, new privileges by exec (no_new_privs),
 * and every capability outside `keep`, from all five sets. Capabilities of `keep` that are not there are not missed here.
 * Throws ShiftfsError INTERNAL where the kernel refuses.
 */
export function dropPrivileges(keep: readonly number[]): void {
  const memory = new Memory(64);
  const groups = call2(NR.setgroups, 0, 0);
  // In a user namespace with setgroups denied there is nothing we could drop (user_namespaces(7)).
  if (groups < 0 && !(groups === -EPERM && (process.getgroups?.() ?? []).length === 0)) check(groups, 'setgroups');

  // Serving threads take their callers' fsuid; without this bit each change would take their capabilities away. It needs
  // CAP_SETPCAP, survives exec and is inherited by threads, so it is set here, where that capability still is.
  if (effectiveCapabilities().has(CAP.SETPCAP)) {
    check(call6(NR.prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0), 'prctl(PR_SET_SECUREBITS)');
  }
  const wanted = [0, 0];
  for (const capability of keep) wanted[capability >> 5]! |= 1 << (capability & 31);
  const mayDropBounding = effectiveCapabilities().has(CAP.SETPCAP);
  for (let capability = 0; capability < 64; capability++) {
    if (keep.includes(capability)) continue;
    const present = call6(NR.prctl, PR_CAPBSET_READ, capability, 0, 0, 0, 0);
    if (present < 0) break; // EINVAL: beyond the last capability of this kernel.
    if (present === 1 && mayDropBounding) check(call6(NR.prctl, PR_CAPBSET_DROP, capability, 0, 0, 0, 0), 'prctl');
  }
  call6(NR.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0);
  check(call6(NR.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0), 'prctl(PR_SET_NO_NEW_PRIVS)');

  readCapabilities(memory);
  for (const [word, base] of [2, 5].entries()) {
    const kept = memory.u32[base + 1]! & wanted[word]!;
    memory.u32[base] = kept;
    memory.u32[base + 1] = kept;
    memory.u32[base + 2] = 0;
  }
  check(call2(NR.capset, memory.address, memory.address + 8), 'capset');
}

/**
 * Limits for a process that holds a descriptor a node and writes files of any size: descriptors up to the hard limit, no
 * limit on file size where that can be had, and no core file, which would hold pieces of everybody's files.
 */
export function setServingLimits(): void {
  const memory = new Memory(32);
  const old = memory.address + 16;
  const set = (resource: number): number => call4(SYS_PRLIMIT64, 0, resource, memory.address, 0);

  if (call4(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, 0, old) === 0) {
    for (const half of [0, 1]) memory.u32[half] = memory.u32[half + 2] = memory.u32[half + 6]!;
    set(RLIMIT_NOFILE);
  }
  memory.u32.fill(INFINITY, 0, 4);
  if (set(RLIMIT_FSIZE) < 0 && call4(SYS_PRLIMIT64, 0, RLIMIT_FSIZE, 0, old) === 0) {
    for (const half of [0, 1]) memory.u32[half] = memory.u32[half + 2] = memory.u32[half + 6]!;
    set(RLIMIT_FSIZE);
  }
  memory.u32.fill(0, 0, 4);
  set(RLIMIT_CORE);
}

/**
 * Leaves the network for an empty one of its own, for this thread and whatever it forks or execs (unshare(2)). Sockets with
 * a path are reached all the same. False where that is not permitted.
 */
export function leaveNetwork(): boolean {
  return call2(NR.unshare, CLONE_NEWNET, 0) === 0;
}

/** No ptrace and no reading of /proc/PID/mem by others, whatever their uid (PR_SET_DUMPABLE, prctl(2)). */
export function setNotDumpable(): void {
  check(call6(NR.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0), 'prctl(PR_SET_DUMPABLE)');
}

/** Lets the kernel kill this process when `parent`, whose main thread started it, ends (PR_SET_PDEATHSIG, prctl(2)). */
export function dieWithParent(parent: number): void {
  check(call6(NR.prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0), 'prctl(PR_SET_PDEATHSIG)');
  // It may have ended before.
  if (process.ppid !== parent) exitGroup(1);
}

/** Becomes another program under the same pid (execve(2)). Returns only by throwing ShiftfsError INTERNAL. */
export function exec(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): never {
  const variables = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}=${value}`,
  );
  const strings = [program, ...args, ...variables].map((text) => Buffer.from(`${text}\0`));
  const pointers = (args.length + 1 + variables.length + 2) * 8;
  const memory = new Memory(pointers + strings.reduce((sum, bytes) => sum + bytes.length, 0) + 64);
  let end = pointers;
  const addresses = strings.map((bytes) => {
    memory.u8.set(bytes, end);
    end += bytes.length;
    return memory.address + end - bytes.length;
  });
  let slot = 0;
  const put = (address: number) => memory.setU64(8 * slot++, address);
  addresses.slice(0, args.length + 1).forEach(put);
  put(0);
  const environmentAddress = memory.address + 8 * slot;
  addresses.slice(args.length + 1).forEach(put);
  put(0);
  const result = call4(SYS_EXECVE, addresses[0]!, memory.address, environmentAddress, 0);
  throw new ShiftfsError('INTERNAL', `cannot execute ${program}: ${errnoName(-result)}`);
}

/** A pipe that reaches no child that is not given an end of it. */
export function pipe(): { readonly read: number; readonly write: number } {
  const memory = new Memory(8);
  check(call2(NR.pipe2, memory.address, O_CLOEXEC), 'pipe2');
  return { read: memory.i32[0]!, write: memory.i32[1]! };
}

/**
 * Lets stdin, stdout, stderr and the descriptors of `keep` through the next exec, and no others. Node itself marks some,
 * stdin to stderr among them, at its start (uv_disable_stdio_inheritance()); what it inherited beyond stays open.
 */
export function closeOnExec(keep: readonly number[]): void {
  const F_SETFD = 2;
  const FD_CLOEXEC = 1;
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    // EBADF is the descriptor of the listing itself.
    call4(NR.fcntl, fd, F_SETFD, fd <= 2 || keep.includes(fd) ? 0 : FD_CLOEXEC, 0);
  }
}

const pollMemory = new Memory(24);

/**
 * Whether a write of up to PIPE_BUF (4096) bytes to `fd` would be taken at once (poll(2)). Unlike O_NONBLOCK this changes
 * nothing for others who have the same open file description, such as the shell behind stderr.
 */
export function isWritable(fd: number): boolean {
  const POLLOUT = 4;
  // struct pollfd at 0; a timeout of zero at 8.
  pollMemory.i32[0] = fd;
  pollMemory.u16[2] = POLLOUT;
  pollMemory.u16[3] = 0;
  pollMemory.u32.fill(0, 2);
  const ready = call6(SYS_PPOLL, pollMemory.address, 1, pollMemory.address + 8, 0, 0, 0);
  return ready === 1 && (pollMemory.u16[3]! & POLLOUT) !== 0;
}

/** Makes `target` another name of `fd`, closing what it was (dup3(2)). */
export function duplicateOnto(fd: number, target: number): void {
  check(call4(SYS_DUP3, fd, target, 0, 0), 'dup3');
}

/**
 * Takes away the mount on top of `path`, which is not followed if it is a symlink. Returns 0 or -errno (umount(2)); with
 * `lazy` the mount disappears at once and dies with its last user.
 */
export function unmount(path: string, lazy: boolean): number {
  const memory = new Memory(Buffer.byteLength(path) + 1);
  return call2(NR.umount2, memory.setString(0, path), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
}

/** A local datagram socket that never blocks and never raises SIGPIPE: syslog and sd_notify are both spoken over one. */
export class DatagramSocket {
  readonly #fd: number;
  readonly #address: Memory;
  readonly #addressLength: number;

  /** `path` as in sd_notify(3): absolute, or with a leading `@` for the abstract namespace. */
  constructor(path: string) {
    const name = Buffer.from(path);
    if (name.length >= SUN_PATH_MAX) throw new ShiftfsError('INTERNAL', `socket path too long: ${path}`);
    if (name[0] === 0x40) name[0] = 0;
    this.#address = new Memory(2 + SUN_PATH_MAX);
    this.#address.u16[0] = AF_UNIX;
    this.#address.u8.set(name, 2);
    // An abstract name ends where the length says, a path at its NUL.
    this.#addressLength = 2 + name.length + (name[0] === 0 ? 0 : 1);
    this.#fd = check(call4(SYS_SOCKET, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0), 'socket');
  }

  /** False when nobody takes it (no such socket, receiver's queue full): the text is lost. */
  send(text: string): boolean {
    const bytes = Buffer.from(text);
    const memory = new Memory(bytes.length);
    memory.u8.set(bytes);
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    return (
      call6(SYS_SENDTO, this.#fd, memory.address, bytes.length, flags, this.#address.address, this.#addressLength) >= 0
    );
  }

  close(): void {
    close(this.#fd);
  }
}
