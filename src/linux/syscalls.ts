// System calls, as they are: numbers in, a number out, errors as negative errno (the kernel's own convention), so that
// nothing on the road of a request allocates or throws. Pointers are addresses (memory.ts). The wrapper of libc is
// `syscall(2)` itself: glibc's setuid family changes every thread, and not every call has a wrapper in every libc.

import koffi from 'koffi';
import { EOVERFLOW } from './errno.js';

const libc = koffi.load(null);
const syscall6: (nr: number, a: number, b: number, c: number, d: number, e: number, f: number) => number = libc.func(
  'long syscall(long nr, long a, long b, long c, long d, long e, long f)',
);
const syscall4: (nr: number, a: number, b: number, c: number, d: number) => number = libc.func(
  'long syscall(long nr, long a, long b, long c, long d)',
);
const syscall2: (nr: number, a: number, b: number) => number = libc.func('long syscall(long nr, long a, long b)');
/** For the one argument that can exceed 2^53: directory offsets are 63-bit hashes on ext4. */
const syscallBig: (nr: number, a: number, b: bigint, c: number) => number | bigint = libc.func(
  'long syscall(long nr, long a, int64_t b, long c)',
);

// errno of this thread, read in place: this module is instantiated once a thread.
const errnoLocation = libc.func('void *__errno_location()') as () => unknown;
const errnoView = new Int32Array(koffi.view(errnoLocation() as never, 4));

/** x86-64 numbers from arch/x86/entry/syscalls/syscall_64.tbl, arm64 from include/uapi/asm-generic/unistd.h. */
const x64 = {
  read: 0,
  write: 1,
  close: 3,
  lseek: 8,
  mmap: 9,
  ioctl: 16,
  pread64: 17,
  pwrite64: 18,
  getpid: 39,
  fcntl: 72,
  flock: 73,
  fsync: 74,
  fdatasync: 75,
  truncate: 76,
  ftruncate: 77,
  getdents64: 217,
  chdir: 80,
  fchdir: 81,
  umask: 95,
  setgroups: 116,
  setfsuid: 122,
  setfsgid: 123,
  capget: 125,
  capset: 126,
  fstatfs: 138,
  prctl: 157,
  pivot_root: 155,
  mount: 165,
  umount2: 166,
  gettid: 186,
  setxattr: 188,
  getxattr: 191,
  listxattr: 194,
  removexattr: 197,
  exit_group: 231,
  openat: 257,
  mkdirat: 258,
  mknodat: 259,
  fchownat: 260,
  unlinkat: 263,
  linkat: 265,
  symlinkat: 266,
  readlinkat: 267,
  fchmodat: 268,
  ppoll: 271,
  unshare: 272,
  splice: 275,
  utimensat: 280,
  fallocate: 285,
  eventfd2: 290,
  pipe2: 293,
  fanotify_init: 300,
  fanotify_mark: 301,
  name_to_handle_at: 303,
  open_by_handle_at: 304,
  syncfs: 306,
  renameat2: 316,
  copy_file_range: 326,
  statx: 332,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  pidfd_open: 434,
  mount_setattr: 442,
  sched_setaffinity: 203,
  sched_setattr: 314,
  getcpu: 309,
  tgkill: 234,
} as const;

const arm64: Readonly<Record<keyof typeof x64, number>> = {
  read: 63,
  write: 64,
  close: 57,
  lseek: 62,
  mmap: 222,
  ioctl: 29,
  pread64: 67,
  pwrite64: 68,
  getpid: 172,
  fcntl: 25,
  flock: 32,
  fsync: 82,
  fdatasync: 83,
  truncate: 45,
  ftruncate: 46,
  getdents64: 61,
  chdir: 49,
  fchdir: 50,
  umask: 166,
  setgroups: 159,
  setfsuid: 151,
  setfsgid: 152,
  capget: 90,
  capset: 91,
  fstatfs: 44,
  prctl: 167,
  pivot_root: 41,
  mount: 40,
  umount2: 39,
  gettid: 178,
  setxattr: 5,
  getxattr: 8,
  listxattr: 11,
  removexattr: 14,
  exit_group: 94,
  openat: 56,
  mkdirat: 34,
  mknodat: 33,
  fchownat: 54,
  unlinkat: 35,
  linkat: 37,
  symlinkat: 36,
  readlinkat: 78,
  fchmodat: 53,
  ppoll: 73,
  unshare: 97,
  splice: 76,
  utimensat: 88,
  fallocate: 47,
  eventfd2: 19,
  pipe2: 59,
  fanotify_init: 262,
  fanotify_mark: 263,
  name_to_handle_at: 264,
  open_by_handle_at: 265,
  syncfs: 267,
  renameat2: 276,
  copy_file_range: 285,
  statx: 291,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  pidfd_open: 434,
  mount_setattr: 442,
  sched_setaffinity: 122,
  sched_setattr: 274,
  getcpu: 168,
  tgkill: 131,
};

if (process.arch !== 'x64' && process.arch !== 'arm64') throw new Error(`unsupported architecture: ${process.arch}`);

/** System call numbers of this architecture. */
export const NR: Readonly<Record<keyof typeof x64, number>> = process.arch === 'arm64' ? arm64 : x64;

/** Up to two arguments; -errno on failure. */
export function call2(nr: number, a: number, b: number): number {
  const result = syscall2(nr, a, b);
  return result === -1 ? -errnoView[0]! : result;
}

/** Up to four arguments; -errno on failure. */
export function call4(nr: number, a: number, b: number, c: number, d: number): number {
  const result = syscall4(nr, a, b, c, d);
  return result === -1 ? -errnoView[0]! : result;
}

/** Up to six arguments; -errno on failure. */
export function call6(nr: number, a: number, b: number, c: number, d: number, e: number, f: number): number {
  const result = syscall6(nr, a, b, c, d, e, f);
  return result === -1 ? -errnoView[0]! : result;
}

export function read(fd: number, address: number, length: number): number {
  return call4(NR.read, fd, address, length, 0);
}

export function write(fd: number, address: number, length: number): number {
  return call4(NR.write, fd, address, length, 0);
}

export function pread(fd: number, address: number, length: number, offset: number): number {
  return call4(NR.pread64, fd, address, length, offset);
}

export function pwrite(fd: number, address: number, length: number, offset: number): number {
  return call4(NR.pwrite64, fd, address, length, offset);
}

export function close(fd: number): number {
  return call2(NR.close, fd, 0);
}

export function openat(dirfd: number, path: number, flags: number, mode: number): number {
  return call4(NR.openat, dirfd, path, flags, mode);
}

export function statx(dirfd: number, path: number, flags: number, mask: number, buffer: number): number {
  return call6(NR.statx, dirfd, path, flags, mask, buffer, 0);
}

/** lseek(2) to an offset given as two halves; 0, or -errno. */
export function seekTo(fd: number, low: number, high: number): number {
  if (high < 0x200000) {
    const result = call4(NR.lseek, fd, high * 4294967296 + low, 0, 0);
    return Math.min(result, 0);
  }
  const result = syscallBig(NR.lseek, fd, (BigInt(high) << 32n) | BigInt(low), 0);
  return result === -1 ? -errnoView[0]! : 0;
}

/** lseek(2) for SEEK_DATA and SEEK_HOLE; the offset, or -errno. EOVERFLOW beyond 2^53, where koffi returns a bigint. */
export function lseek(fd: number, offset: number, whence: number): number {
  const result = call4(NR.lseek, fd, offset, whence, 0);
  return Number.isSafeInteger(result) ? result : -EOVERFLOW;
}

export function ioctl(fd: number, request: number, argument: number): number {
  return call4(NR.ioctl, fd, request, argument, 0);
}

export function fcntl(fd: number, command: number, argument: number): number {
  return call4(NR.fcntl, fd, command, argument, 0);
}

/**
 * Leaves the process at once, with every thread. `process.exit()` would wait for workers that sit in read(2) on the
 * device, for ever.
 */
export function exitGroup(code: number): never {
  call2(NR.exit_group, code, 0);
  throw new Error('exit_group returned');
}
