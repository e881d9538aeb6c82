// Memory and functions that a C library hands us as bare addresses, and memory that two processes share. Nothing here
// checks an address: whoever calls vouches for it.

import koffi from 'koffi';
import { ShiftfsError } from '../errors.js';
import { errnoName } from './errno.js';
import { Memory } from './memory.js';
import { call2, call6, NR } from './syscalls.js';

const libc = koffi.load(null);

/** memcpy(3), between addresses. */
export const copyMemory: (to: number, from: number, bytes: number) => void = libc.func(
  'void memcpy(long to, long from, long bytes)',
);

/** strnlen(3): bytes before the NUL, at most `max`. */
export const stringLength: (address: number, max: number) => number = libc.func('long strnlen(long address, long max)');

const filler = koffi.proto('int fuse_fill_dir(long buffer, long name, long stat, long offset)');

/** Calls a fuse_fill_dir_t (libfuse 2, fuse.h) at an address. Not 0: there is no room for the entry. */
export function callFiller(address: number, buffer: number, name: number, stat: number): number {
  return koffi.call(BigInt(address) as never, filler, buffer, name, stat, 0) as number;
}

/** Loads a shared library, for a module that needs it and does not say where it is; false when that fails. */
export function loadLibrary(path: string): boolean {
  try {
    koffi.load(path);
    return true;
  } catch {
    return false;
  }
}

const SYS_MEMFD_CREATE = process.arch === 'arm64' ? 279 : 319;
const MFD_CLOEXEC = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

/** A descriptor of `bytes` zero bytes of memory that a child can be handed. Throws ShiftfsError INTERNAL. */
export function createSharedBlock(name: string, bytes: number): number {
  const memory = new Memory(Buffer.byteLength(name) + 1);
  const fd = call2(SYS_MEMFD_CREATE, memory.setString(0, name), MFD_CLOEXEC);
  const error = fd < 0 ? fd : call2(NR.ftruncate, fd, bytes);
  if (error < 0) throw new ShiftfsError('INTERNAL', `cannot make shared memory: ${errnoName(-error)}`);
  return fd;
}

/** The words of a shared block; mapped for as long as the process lives. Throws ShiftfsError INTERNAL. */
export function mapSharedBlock(fd: number, bytes: number): Int32Array {
  const address = call6(NR.mmap, 0, bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0);
  if (address < 0) throw new ShiftfsError('INTERNAL', `cannot map shared memory: ${errnoName(-address)}`);
  return new Int32Array(koffi.view(BigInt(address) as never, bytes));
}
