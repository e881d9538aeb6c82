// One process of the randomized coherence check: works on one small tree at random, from the host or through the view,
// and logs everything it did and saw with the times between which it happened. Random numbers come from a seed; the
// interleaving of several workers is what the machine makes of it.
//
// Promises: the times of a record enclose the system calls it speaks of (CLOCK_MONOTONIC, nanoseconds, the same clock in
// every process), so that what took effect did so between them. It judges nothing but errors that no interleaving
// explains (`bad`). Plain JavaScript, because it is started by node as it is. The records are described in records.ts.
//
// Identity. Names can be moved while we look and inode numbers are used again, so every file and directory carries a
// name of its own for life: the attribute user.id. Every write fills whole blocks with a word of eight characters that is
// used once. What is read therefore tells who wrote it, when, and into which inode.

import * as fs from 'node:fs';
import koffi from 'koffi';

const BLOCK = 512;
const PAGE_BLOCKS = 8;
const MAX_BLOCKS = 16;
const WORD = 8;

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY } = fs.constants;

const libc = koffi.load('libc.so.6');
const renameat2 = libc.func('int renameat2(int a, const char *from, int b, const char *to, uint flags)');
const fsetxattr = libc.func('int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)');
const fgetxattr = libc.func('long fgetxattr(int fd, const char *name, void *value, size_t size)');
const lseek = libc.func('int64_t lseek64(int fd, int64_t offset, int whence)');
const mmap = libc.func(
  'intptr_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const msync = libc.func('int msync(uint64_t address, size_t length, int flags)');
const AT_FDCWD = -100;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const XATTR_CREATE = 1;
const SEEK_CUR = 1;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MS_SYNC = 4;

/** @type {import('./records.js').WorkerConfig} */
const config = JSON.parse(process.argv[2]);
// The view is used as the container's root: a shifted uid. After the modules are loaded, so that they need not be
// readable for it.
if (config.uid !== null) {
  process.setgroups([]);
  process.setgid(config.uid);
  process.setuid(config.uid);
}
process.umask(0);
Error.stackTraceLimit = 0;

const errnoName = (number) =>
  ({
    1: 'EPERM',
    2: 'ENOENT',
    5: 'EIO',
    13: 'EACCES',
    17: 'EEXIST',
    20: 'ENOTDIR',
    21: 'EISDIR',
    22: 'EINVAL',
    39: 'ENOTEMPTY',
    61: 'ENODATA',
    95: 'EOPNOTSUPP',
    107: 'ENOTCONN',
    116: 'ESTALE',
  })[number] ?? `errno ${number}`;

/** Calls through koffi fail the way node's do. */
function failIf(result, syscall) {
  if (result !== -1 && result !== -1n) return result;
  const error = new Error(syscall);
  error.code = errnoName(koffi.errno());
  throw error;
}

// ---- random numbers: mulberry32 ------------------------------------------------------------------------------------

let state = config.seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const chance = (p) => random() < p;

// ---- log -----------------------------------------------------------------------------------------------------------

const now = () => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e9 + nanoseconds;
};
const records = [];
const log = (o, s, e, fields) => {
  records.push({ o, s, e, ...fields });
};

let serial = 0;
/** Eight characters that are used once in a run. */
const fresh = () => config.tag + (serial++).toString(36).padStart(WORD - config.tag.length, '0');

// ---- names: the root R has files, one that is only ever mapped or overwritten (m0), one of any kind (x0) and directories;
// those have files and one directory more. A directory is always reached by a descriptor whose identity was read, so that
// a mutation is known to have happened in it whatever it was called meanwhile.

const FILES = ['f0', 'f1', 'f2', 'f0~'];
const names = {
  root: { files: [...FILES, 'm0'], dirs: ['d0', 'd1'] },
  sub: { files: ['f0', 'f1', 'm0'], dirs: ['s0'] },
};

const tree = `${config.root}/tree`;
const stage = `${config.root}/stage`;
const isMapped = (name) => name.startsWith('m');

/** @returns {string[]} */
function randomDirectoryPath() {
  const r = random();
  if (r < 0.6) return [];
  if (r < 0.9) return [pick(names.root.dirs)];
  return [pick(names.root.dirs), pick(names.sub.dirs)];
}

function randomFilePath() {
  const directory = randomDirectoryPath();
  return [
    ...directory,
    pick(directory.length === 0 ? names.root.files : names.sub.files.slice(0, directory.length === 1 ? 3 : 1)),
  ];
}

const full = (path) => [tree, ...path].join('/');

/** Errors that mean: someone else was there first. */
const raced = new Set(['ENOENT', 'EEXIST', 'ENOTEMPTY']);

/** An error that the caller did not expect: ESTALE, EIO and whatever else no interleaving explains. */
function unexpected(error, s, what, path, path2) {
  if (error.code === undefined) throw error;
  const code = error.code.startsWith('Unknown') ? errnoName(-error.errno) : error.code;
  log('bad', s, now(), { what, path, code, ...(path2 === undefined ? {} : { path2 }) });
}

const idBuffer = Buffer.alloc(WORD);
/** Who this inode is; null when its creator has not come to say so yet. */
function identity(fd) {
  const length = fgetxattr(fd, 'user.id', idBuffer, WORD);
  if (length === WORD) return idBuffer.toString('latin1');
  const code = errnoName(koffi.errno());
  if (code === 'ENODATA') return null;
  const error = new Error('fgetxattr');
  error.code = code;
  throw error;
}

/** Gives the inode its name, unless someone was faster. @returns {{ id: string, mine: boolean }} */
function claim(fd) {
  const id = fresh();
  if (fsetxattr(fd, 'user.id', Buffer.from(id, 'latin1'), WORD, XATTR_CREATE) === 0) return { id, mine: true };
  if (errnoName(koffi.errno()) !== 'EEXIST') failIf(-1, 'fsetxattr');
  return { id: identity(fd), mine: false };
}

/**
 * Opens a directory of the tree for a mutation in it.
 * @returns {{ fd: number, id: string, at: (name: string) => string, path: string[] } | null}
 */
function openDirectory(path) {
  // The root of the tree is never moved and never changes.
  if (path.length === 0) return { fd: -1, id: 'R', at: (name) => `${tree}/${name}`, path };
  const s = now();
  let fd;
  try {
    fd = fs.openSync(full(path), O_RDONLY | O_DIRECTORY);
  } catch (error) {
    if (error.code === 'ENOENT') log('gone', s, now(), { path });
    else unexpected(error, s, 'open directory', path);
    return null;
  }
  const e = now();
  try {
    const id = identity(fd);
    if (id !== null) {
      log('dir', s, e, { path, id });
      return { fd, id, at: (name) => `/proc/self/fd/${fd}/${name}`, path };
    }
  } catch (error) {
    unexpected(error, s, 'identity of directory', path);
  }
  fs.closeSync(fd);
  return null;
}

function inDirectory(path, use) {
  const directory = openDirectory(path);
  if (directory === null) return;
  try {
    use(directory);
  } finally {
    if (directory.fd !== -1) fs.closeSync(directory.fd);
  }
}

// ---- content -------------------------------------------------------------------------------------------------------

const fill = (word, blocks) => Buffer.alloc(blocks * BLOCK, word, 'latin1');

const ioBuffer = Buffer.from(new ArrayBuffer((MAX_BLOCKS + 1) * BLOCK));
const ioWords = new BigUint64Array(ioBuffer.buffer);

const mapLength = MAX_BLOCKS * BLOCK;
// One address for all mappings: MAP_FIXED replaces what is there, and the view of it stays good.
const mapAddress = BigInt(failIf(mmap(0, mapLength, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'mmap'));
const mapWords = new BigUint64Array(koffi.view(mapAddress, mapLength));

/** The different words of each block, in order of appearance; zeros as an empty string. */
function wordsOf(words, bytes) {
  const blocks = [];
  for (let block = 0; block * BLOCK < bytes; block++) {
    const seen = [];
    let last = -1n;
    const end = Math.min((block + 1) * BLOCK, bytes) / WORD;
    for (let i = (block * BLOCK) / WORD; i < end; i++) {
      const word = words[i];
      if (word === last) continue;
      last = word;
      seen.push(word === 0n ? '' : wordText(word));
    }
    blocks.push(seen.length === 1 ? seen[0] : [...new Set(seen)]);
  }
  return blocks;
}

const textBuffer = Buffer.alloc(WORD);
function wordText(word) {
  textBuffer.writeBigUInt64LE(word);
  return textBuffer.toString('latin1');
}

const attributes = (st) => ({
  kind: st.isFile() ? 'file' : st.isDirectory() ? 'dir' : st.isSymbolicLink() ? 'link' : 'other',
  ino: String(st.ino),
  mode: Number(st.mode & 0o7777n),
  size: Number(st.size),
  mtime: Number(st.mtimeNs / 1000n),
  uid: Number(st.uid),
});

function readAll(fd) {
  let length = 0;
  for (;;) {
    const n = fs.readSync(fd, ioBuffer, length, ioBuffer.length - length, length);
    if (n === 0) return length;
    length += n;
    if (length === ioBuffer.length) return length;
  }
}

// ---- what is looked at ---------------------------------------------------------------------------------------------

/** Descriptors kept open while others move, replace and delete the file. */
const held = [];

const looks = {
  read() {
    const path = randomFilePath();
    const s = now();
    let fd = -1;
    try {
      fd = fs.openSync(full(path), O_RDONLY);
      const st = fs.fstatSync(fd, { bigint: true });
      const length = readAll(fd);
      const e = now();
      const words = wordsOf(ioWords, length);
      log('read', s, e, { path, ...attributes(st), length, words });
      if (held.length < 3 && chance(0.02)) {
        const id = identity(fd);
        if (id !== null) {
          held.push({ fd, id, until: now() + random() * 100e6 });
          fd = -1;
        }
      }
    } catch (error) {
      if (error.code === 'ENOENT') log('gone', s, now(), { path });
      else unexpected(error, s, 'read', path);
    } finally {
      if (fd !== -1) fs.closeSync(fd);
    }
  },

  map() {
    const directory = chance(0.5) ? [] : [pick(names.root.dirs)];
    const path = [...directory, 'm0'];
    const s = now();
    let fd = -1;
    try {
      fd = fs.openSync(full(path), O_RDONLY);
      // A mapping of a file that is still being born would be cut short: those files get their size before their name.
      failIf(mmap(mapAddress, mapLength, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), 'mmap');
      const words = wordsOf(mapWords, mapLength);
      const e = now();
      log('read', s, e, { path, kind: 'file', length: mapLength, words });
    } catch (error) {
      if (error.code === 'ENOENT') log('gone', s, now(), { path });
      else unexpected(error, s, 'map', path);
    } finally {
      mmap(mapAddress, mapLength, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      if (fd !== -1) fs.closeSync(fd);
    }
  },

  held() {
    if (held.length === 0) return looks.stat();
    const index = below(held.length);
    const { fd, id, until } = held[index];
    const s = now();
    let again = -1;
    try {
      if (chance(0.3)) again = fs.openSync(`/proc/self/fd/${fd}`, O_RDONLY);
      const used = again === -1 ? fd : again;
      const st = fs.fstatSync(used, { bigint: true });
      const length = readAll(used);
      log('open', s, now(), { id, again: again !== -1, ...attributes(st), length, words: wordsOf(ioWords, length) });
    } catch (error) {
      unexpected(error, s, again === -1 ? 'read of an open file' : 'reopen of an open file', [id]);
    } finally {
      if (again !== -1) fs.closeSync(again);
    }
    if (now() > until) {
      fs.closeSync(fd);
      held.splice(index, 1);
    }
  },

  stat() {
    const r = random();
    const path =
      r < 0.7 ? randomFilePath() : r < 0.85 ? ['x0'] : [...randomDirectoryPath().slice(0, 1), 's0'].slice(-2);
    const s = now();
    try {
      const st = fs.lstatSync(full(path), { bigint: true, throwIfNoEntry: false });
      if (st === undefined) log('gone', s, now(), { path });
      else log('stat', s, now(), { path, ...attributes(st) });
    } catch (error) {
      unexpected(error, s, 'stat', path);
    }
  },

  readlink() {
    const s = now();
    try {
      const target = fs.readlinkSync(full(['x0']));
      log('link', s, now(), { path: ['x0'], id: target });
    } catch (error) {
      if (error.code === 'ENOENT') log('gone', s, now(), { path: ['x0'] });
      // It is a file or a directory at the moment.
      else if (error.code !== 'EINVAL') unexpected(error, s, 'readlink', ['x0']);
    }
  },

  list() {
    const path = randomDirectoryPath();
    const s = now();
    try {
      const entries = fs.readdirSync(full(path), { withFileTypes: true });
      const e = now();
      log('list', s, e, {
        path,
        entries: entries.map((entry) => [
          entry.name,
          entry.isFile() ? 'file' : entry.isDirectory() ? 'dir' : entry.isSymbolicLink() ? 'link' : 'other',
        ]),
      });
    } catch (error) {
      if (error.code === 'ENOENT') log('gone', s, now(), { path });
      else unexpected(error, s, 'readdir', path);
    }
  },
};

// ---- what is done --------------------------------------------------------------------------------------------------

const MODES = [0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o700, 0o755];

/** A complete file in the staging directory. */
function staged(mapped) {
  const blocks = mapped ? MAX_BLOCKS : 1 + below(MAX_BLOCKS);
  const mode = pick(MODES);
  const path = `${stage}/${config.tag}`;
  const s = now();
  const fd = fs.openSync(path, O_RDWR | O_CREAT | O_EXCL, mode);
  try {
    const { id } = claim(fd);
    fs.writeSync(fd, fill(id, blocks), 0, blocks * BLOCK, 0);
    const ino = String(fs.fstatSync(fd, { bigint: true }).ino);
    log('birth', s, now(), { id, ino, mode, blocks });
    return { path, id };
  } finally {
    fs.closeSync(fd);
  }
}

function discard(path) {
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

/** An error of a mutation: what it says about the name, if that is certain. Only the root is known to be alive. */
function refused(error, s, what, directory, name, path2) {
  const e = now();
  if (!raced.has(error.code) && !(name === 'x0' && (error.code === 'EISDIR' || error.code === 'ENOTDIR'))) {
    unexpected(error, s, what, [...directory.path, name], path2);
    return;
  }
  if (path2 !== undefined) log('tried', s, e, {});
  if (directory.id !== 'R') return;
  if (error.code === 'EEXIST' && what !== 'rename') log('name', s, e, { dir: 'R', name, present: true });
  if (error.code === 'ENOENT' && (what === 'unlink' || what === 'rmdir'))
    log('name', s, e, { dir: 'R', name, present: false });
}

const fileName = (directory) => pick(directory.path.length === 0 ? names.root.files : names.sub.files);

/** Opens a file for writing and hands on who it is. */
function withFile(flags, choose, use) {
  const path = choose();
  const s = now();
  let fd = -1;
  try {
    fd = fs.openSync(full(path), flags);
    const e = now();
    const id = identity(fd);
    if (id === null) return;
    log('file', s, e, { path, id });
    use(fd, id, s, e);
  } catch (error) {
    if (error.code === 'ENOENT' && fd === -1) log('gone', s, now(), { path });
    else unexpected(error, s, 'change', path);
  } finally {
    if (fd !== -1) fs.closeSync(fd);
  }
}

const unmappedFile = () => {
  for (;;) {
    const path = randomFilePath();
    if (!isMapped(path.at(-1))) return path;
  }
};

/** Writes never cross a page, so that the size never stops half way. */
function writeBlocks(fd, id) {
  const page = below(MAX_BLOCKS / PAGE_BLOCKS) * PAGE_BLOCKS;
  const first = below(PAGE_BLOCKS);
  const count = 1 + below(PAGE_BLOCKS - first);
  const word = fresh();
  const s = now();
  fs.writeSync(fd, fill(word, count), 0, count * BLOCK, (page + first) * BLOCK);
  log('write', s, now(), { id, from: page + first, count, word });
}

const doings = {
  /** What careful programs do: a new file, complete, renamed over the name. */
  replace() {
    inDirectory(randomDirectoryPath(), (directory) => {
      const name = fileName(directory);
      const s0 = now();
      try {
        const file = staged(isMapped(name));
        const s = now();
        try {
          fs.renameSync(file.path, directory.at(name));
          log('set', s, now(), { dir: directory.id, name, to: { k: 'file', id: file.id } });
        } catch (error) {
          refused(error, s, 'rename', directory, name, [...directory.path, name]);
          discard(file.path);
        }
      } catch (error) {
        unexpected(error, s0, 'stage', [name]);
      }
    });
  },

  /** The same, but only where there is nothing: link(2) of a complete file. */
  publish() {
    inDirectory(randomDirectoryPath(), (directory) => {
      const name = fileName(directory);
      const s0 = now();
      try {
        const file = staged(isMapped(name));
        const s = now();
        try {
          fs.linkSync(file.path, directory.at(name));
          log('set', s, now(), { dir: directory.id, name, to: { k: 'file', id: file.id } });
        } catch (error) {
          refused(error, s, 'link', directory, name);
        }
        discard(file.path);
      } catch (error) {
        unexpected(error, s0, 'stage', [name]);
      }
    });
  },

  /** open(O_CREAT|O_EXCL) and write: others see it empty for a moment. */
  create() {
    inDirectory(randomDirectoryPath(), (directory) => {
      const name = pick(directory.path.length === 0 ? (chance(0.2) ? ['x0'] : FILES) : ['f0', 'f1']);
      createFile(directory, name, O_EXCL);
    });
  },

  /** What `>` does: truncate what is there, or create. */
  overwrite() {
    inDirectory(randomDirectoryPath(), (directory) => {
      createFile(directory, pick(directory.path.length === 0 ? FILES : ['f0', 'f1']), O_TRUNC);
    });
  },

  /** The first save of an emacs session: the old file keeps its inode under the backup name, the name gets a new one. */
  backup() {
    inDirectory([], (directory) => {
      const s = now();
      try {
        fs.renameSync(directory.at('f0'), directory.at('f0~'));
        log('move', s, now(), { dir: 'R', name: 'f0', dir2: 'R', name2: 'f0~', how: 'rename' });
      } catch (error) {
        refused(error, s, 'rename', directory, 'f0');
        return;
      }
      createFile(directory, 'f0', O_TRUNC);
    });
  },

  unlink() {
    inDirectory(randomDirectoryPath(), (directory) => {
      const name = directory.path.length === 0 && chance(0.15) ? 'x0' : fileName(directory);
      const s = now();
      try {
        fs.unlinkSync(directory.at(name));
        log('set', s, now(), { dir: directory.id, name, to: { k: 'none' } });
      } catch (error) {
        refused(error, s, 'unlink', directory, name);
      }
    });
  },

  move() {
    inDirectory(randomDirectoryPath(), (from) => {
      inDirectory(chance(0.5) ? from.path : randomDirectoryPath(), (to) => {
        const mapped = chance(0.2);
        const choose = (directory) => (mapped ? 'm0' : pick(directory.path.length === 0 ? FILES : ['f0', 'f1']));
        moveName(from, choose(from), to, choose(to));
      });
    });
  },

  moveDirectory() {
    if (chance(0.6)) {
      inDirectory([], (root) => {
        const [a, b] = chance(0.5) ? ['d0', 'd1'] : ['d1', 'd0'];
        moveName(root, a, root, b);
      });
    } else
      inDirectory([pick(names.root.dirs)], (from) => {
        inDirectory([pick(names.root.dirs)], (to) => {
          moveName(from, 's0', to, 's0');
        });
      });
  },

  link() {
    inDirectory(randomDirectoryPath(), (from) => {
      inDirectory(randomDirectoryPath(), (to) => {
        const choose = (directory) => pick(directory.path.length === 0 ? FILES : ['f0', 'f1']);
        const [name, name2] = [choose(from), choose(to)];
        const s = now();
        try {
          fs.linkSync(from.at(name), to.at(name2));
          log('move', s, now(), { dir: from.id, name, dir2: to.id, name2, how: 'link' });
        } catch (error) {
          if (!raced.has(error.code)) unexpected(error, s, 'link', [...to.path, name2]);
        }
      });
    });
  },

  makeDirectory() {
    const path = chance(0.7) ? [] : [pick(names.root.dirs)];
    inDirectory(path, (directory) => {
      const name = pick(path.length === 0 ? [...names.root.dirs, 'x0'] : names.sub.dirs);
      const id = fresh();
      if (name === 'x0') {
        // Nobody goes into this one: it needs no identity.
        const s = now();
        try {
          fs.mkdirSync(directory.at(name), 0o777);
          log('set', s, now(), { dir: directory.id, name, to: { k: 'dir', id } });
        } catch (error) {
          refused(error, s, 'mkdir', directory, name);
        }
        return;
      }
      // A directory gets its identity before its name, so that nobody meets it without.
      const staging = `${stage}/${config.tag}`;
      const s0 = now();
      try {
        fs.mkdirSync(staging, 0o777);
        const fd = fs.openSync(staging, O_RDONLY | O_DIRECTORY);
        try {
          failIf(fsetxattr(fd, 'user.id', Buffer.from(id, 'latin1'), WORD, XATTR_CREATE), 'fsetxattr');
        } finally {
          fs.closeSync(fd);
        }
        const s = now();
        try {
          failIf(renameat2(AT_FDCWD, staging, AT_FDCWD, directory.at(name), RENAME_NOREPLACE), 'renameat2');
          log('set', s, now(), { dir: directory.id, name, to: { k: 'dir', id } });
        } catch (error) {
          refused(error, s, 'mkdir', directory, name, [...directory.path, name]);
          fs.rmdirSync(staging);
        }
      } catch (error) {
        unexpected(error, s0, 'stage a directory', [name]);
      }
    });
  },

  removeDirectory() {
    const path = chance(0.7) ? [] : [pick(names.root.dirs)];
    inDirectory(path, (directory) => {
      const name = pick(path.length === 0 ? [...names.root.dirs, 'x0', 'x0'] : names.sub.dirs);
      const s = now();
      try {
        fs.rmdirSync(directory.at(name));
        log('set', s, now(), { dir: directory.id, name, to: { k: 'none' } });
      } catch (error) {
        refused(error, s, 'rmdir', directory, name);
      }
    });
  },

  symlink() {
    inDirectory([], (directory) => {
      const id = fresh();
      const s = now();
      try {
        fs.symlinkSync(id, directory.at('x0'));
        log('set', s, now(), { dir: 'R', name: 'x0', to: { k: 'link', id } });
      } catch (error) {
        refused(error, s, 'symlink', directory, 'x0');
      }
    });
  },

  write() {
    withFile(O_WRONLY, randomFilePath, (fd, id) => {
      for (let n = 1 + below(2); n > 0; n--) writeBlocks(fd, id);
    });
  },

  append() {
    withFile(O_WRONLY | O_APPEND, unmappedFile, (fd, id) => {
      if (fs.fstatSync(fd).size >= (MAX_BLOCKS - 4) * BLOCK) return;
      const word = fresh();
      const s = now();
      fs.writeSync(fd, fill(word, 1));
      // Where it landed: certain on the host; through the view the kernel only knows where it believed the end to be.
      const end = config.side === 'host' ? Number(lseek(fd, 0, SEEK_CUR)) / BLOCK : null;
      log('append', s, now(), { id, end, word });
    });
  },

  truncate() {
    withFile(O_WRONLY, unmappedFile, (fd, id) => {
      const blocks = below(MAX_BLOCKS);
      const s = now();
      fs.ftruncateSync(fd, blocks * BLOCK);
      log('truncate', s, now(), { id, blocks });
    });
  },

  chmod() {
    withFile(O_RDONLY, randomFilePath, (fd, id) => {
      const mode = pick(MODES);
      const s = now();
      fs.fchmodSync(fd, mode);
      log('chmod', s, now(), { id, mode });
    });
  },

  /** Stores through a shared mapping. On the view they are brought home by msync before the record ends. */
  store() {
    if (!config.mmapStores) return;
    const choose = () => [...(chance(0.5) ? [] : [pick(names.root.dirs)]), 'm0'];
    withFile(O_RDWR, choose, (fd, id) => {
      failIf(mmap(mapAddress, mapLength, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), 'mmap');
      try {
        for (let n = 1 + below(3); n > 0; n--) {
          const from = below(MAX_BLOCKS);
          const word = fresh();
          const s = now();
          const perBlock = BLOCK / WORD;
          mapWords.fill(Buffer.from(word, 'latin1').readBigUInt64LE(), from * perBlock, (from + 1) * perBlock);
          if (config.side === 'view') failIf(msync(mapAddress, mapLength, MS_SYNC), 'msync');
          log('write', s, now(), { id, from, count: 1, word, mapped: true });
        }
      } finally {
        mmap(mapAddress, mapLength, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      }
    });
  },
};

function createFile(directory, name, flag) {
  const mode = pick(MODES);
  const s = now();
  let fd = -1;
  try {
    fd = fs.openSync(directory.at(name), O_RDWR | O_CREAT | flag, mode);
    const e = now();
    const ino = String(fs.fstatSync(fd, { bigint: true }).ino);
    const { id, mine } = claim(fd);
    if (mine) log('birth', s, e, { id, ino, mode, blocks: 0 });
    // Someone else named it first: if it was ours, this was its mode at the start.
    else log('chmod', 0, e, { id, mode, maybe: true });
    // Through a view that may cache, an open that created nothing may have met a file that the name no longer leads to.
    const certain = flag === O_EXCL || mine || config.side === 'host';
    log('set', s, e, { dir: directory.id, name, to: { k: 'file', id }, ...(certain ? {} : { maybe: true }) });
    if (flag === O_TRUNC) log('truncate', s, e, { id, blocks: 0, ...(mine ? { maybe: true } : {}) });
    writeBlocks(fd, id);
  } catch (error) {
    if (fd === -1) refused(error, s, 'create', directory, name);
    else unexpected(error, s, 'create', [...directory.path, name]);
  } finally {
    if (fd !== -1) fs.closeSync(fd);
  }
}

function moveName(from, name, to, name2) {
  // Nothing happens, and whether it is even looked for depends on who believes what.
  if (from.id === to.id && name === name2) return;
  const how = pick(['rename', 'rename', 'exchange', 'noreplace']);
  const flags = { rename: 0, exchange: RENAME_EXCHANGE, noreplace: RENAME_NOREPLACE }[how];
  const s = now();
  try {
    failIf(renameat2(AT_FDCWD, from.at(name), AT_FDCWD, to.at(name2), flags), 'renameat2');
    log('move', s, now(), { dir: from.id, name, dir2: to.id, name2, how });
  } catch (error) {
    refused(error, s, 'rename', from, name, from.id === to.id ? undefined : [...to.path, name2]);
  }
}

// ---- the run -------------------------------------------------------------------------------------------------------

function weighted(table, weights) {
  const list = [];
  for (const [name, weight] of Object.entries(weights)) for (let i = 0; i < weight; i++) list.push(table[name]);
  return list;
}

const look = weighted(looks, { read: 8, map: 2, held: 2, stat: 8, readlink: 1, list: 3 });
const act = weighted(doings, {
  replace: 5,
  publish: 3,
  create: 4,
  overwrite: 3,
  backup: 2,
  unlink: 4,
  move: 4,
  moveDirectory: 2,
  link: 2,
  makeDirectory: 5,
  removeDirectory: 1,
  symlink: 1,
  write: 6,
  append: 2,
  truncate: 2,
  chmod: 2,
  store: 3,
});

const pauseCell = new Int32Array(new SharedArrayBuffer(4));
const pause = (milliseconds) => Atomics.wait(pauseCell, 0, 0, milliseconds);

function work() {
  const end = now() + config.seconds * 1e9;
  while (now() < end) {
    for (let burst = 1 + below(12); burst > 0; burst--) (chance(config.mutations) ? pick(act) : pick(look))();
    // Rest, so that what was cached has time to be wrong.
    const r = random();
    if (config.rest && r < 0.5) pause(r < 0.05 ? 1 + below(60) : 1 + below(8));
  }
  for (const { fd } of held) fs.closeSync(fd);
  // Several writes: one string of a long run would be too long.
  const out = fs.openSync(config.log, 'w');
  for (let i = 0; i < records.length; i += 1000)
    fs.writeSync(
      out,
      `${records
        .slice(i, i + 1000)
        .map((record) => JSON.stringify(record))
        .join('\n')}\n`,
    );
  fs.closeSync(out);
}

process.once('message', () => {
  work();
  process.disconnect();
});
process.on('disconnect', () => process.exit(0));
process.send('ready');
