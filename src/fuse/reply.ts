// Replies: structs of the protocol written into memory, from struct statx and what the file system answered. Offsets are
// absolute in the thread's memory; nothing is allocated.

import { encodeDevice, STATFS, STATX } from '../linux/layout.js';
import type { Memory } from '../linux/memory.js';
import { ATTR, ATTR_OUT, DIRENT, ENTRY_OUT, KSTATFS, OPEN_OUT, STATX_OUT } from './protocol.js';

/** The fraction of a time in seconds; storing it in a u32 leaves the whole part. */
function nanoseconds(seconds: number): number {
  return (seconds - Math.floor(seconds)) * 1e9;
}

/** struct fuse_attr at `to` from struct statx at `stat`. */
export function writeAttr(memory: Memory, to: number, stat: number, flags: number): void {
  const { u32, u16 } = memory;
  const at = to >> 2;
  const from = stat >> 2;
  u32[at] = u32[from + (STATX.ino >> 2)]!;
  u32[at + 1] = u32[from + (STATX.ino >> 2) + 1]!;
  u32[at + (ATTR.st_size >> 2)] = u32[from + (STATX.st_size >> 2)]!;
  u32[at + (ATTR.st_size >> 2) + 1] = u32[from + (STATX.st_size >> 2) + 1]!;
  u32[at + (ATTR.blocks >> 2)] = u32[from + (STATX.blocks >> 2)]!;
  u32[at + (ATTR.blocks >> 2) + 1] = u32[from + (STATX.blocks >> 2) + 1]!;
  u32[at + (ATTR.atime >> 2)] = u32[from + (STATX.atime >> 2)]!;
  u32[at + (ATTR.atime >> 2) + 1] = u32[from + (STATX.atime >> 2) + 1]!;
  u32[at + (ATTR.mtime >> 2)] = u32[from + (STATX.mtime >> 2)]!;
  u32[at + (ATTR.mtime >> 2) + 1] = u32[from + (STATX.mtime >> 2) + 1]!;
  u32[at + (ATTR.ctime >> 2)] = u32[from + (STATX.ctime >> 2)]!;
  u32[at + (ATTR.ctime >> 2) + 1] = u32[from + (STATX.ctime >> 2) + 1]!;
  u32[at + (ATTR.atimensec >> 2)] = u32[from + (STATX.atime >> 2) + 2]!;
  u32[at + (ATTR.mtimensec >> 2)] = u32[from + (STATX.mtime >> 2) + 2]!;
  u32[at + (ATTR.ctimensec >> 2)] = u32[from + (STATX.ctime >> 2) + 2]!;
  u32[at + (ATTR.mode >> 2)] = u16[(stat + STATX.mode) >> 1]!;
  u32[at + (ATTR.nlink >> 2)] = u32[from + (STATX.nlink >> 2)]!;
  u32[at + (ATTR.uid >> 2)] = u32[from + (STATX.uid >> 2)]!;
  u32[at + (ATTR.gid >> 2)] = u32[from + (STATX.gid >> 2)]!;
  u32[at + (ATTR.rdev >> 2)] = encodeDevice(u32[from + (STATX.rdev_major >> 2)]!, u32[from + (STATX.rdev_minor >> 2)]!);
  u32[at + (ATTR.blksize >> 2)] = u32[from + (STATX.blksize >> 2)]!;
  u32[at + (ATTR.flags >> 2)] = flags;
}

/** struct fuse_entry_out at `to`. A nodeid of 0 is an absent name that may be kept for `nameSeconds`. */
export function writeEntry(
  memory: Memory,
  to: number,
  nodeidLo: number,
  nodeidHi: number,
  nameSeconds: number,
  attributeSeconds: number,
  stat: number,
  attrFlags: number,
): void {
  const { u32 } = memory;
  const at = to >> 2;
  u32[at] = nodeidLo;
  u32[at + 1] = nodeidHi;
  u32[at + 2] = 0;
  u32[at + 3] = 0;
  u32[at + 4] = nameSeconds;
  u32[at + 5] = 0;
  u32[at + 6] = attributeSeconds;
  u32[at + 7] = 0;
  u32[at + 8] = nanoseconds(nameSeconds);
  u32[at + 9] = nanoseconds(attributeSeconds);
  if (nodeidLo === 0) u32.fill(0, at + 10, at + (ENTRY_OUT.size >> 2));
  else writeAttr(memory, to + ENTRY_OUT.attr, stat, attrFlags);
}

/** struct fuse_attr_out at `to`. */
export function writeAttrOut(memory: Memory, to: number, seconds: number, stat: number, attrFlags: number): void {
  const { u32 } = memory;
  const at = to >> 2;
  u32[at] = seconds;
  u32[at + 1] = 0;
  u32[at + 2] = nanoseconds(seconds);
  u32[at + 3] = 0;
  writeAttr(memory, to + ATTR_OUT.attr, stat, attrFlags);
}

/** struct fuse_statx_out at `to`: struct statx as it is, but for fields the view has no business to show. */
export function writeStatxOut(memory: Memory, to: number, seconds: number, stat: number): void {
  const { u32, u8 } = memory;
  const at = to >> 2;
  u32.fill(0, at, at + (STATX_OUT.stat >> 2));
  u32[at] = seconds;
  u32[(to + STATX_OUT.attr_valid_nsec) >> 2] = nanoseconds(seconds);
  u8.copyWithin(to + STATX_OUT.stat, stat, stat + STATX.mnt_id);
  u32.fill(0, (to + STATX_OUT.stat + STATX.mnt_id) >> 2, (to + STATX_OUT.size) >> 2);
}

/** struct fuse_open_out at `to`. */
export function writeOpenOut(
  memory: Memory,
  to: number,
  handle: number,
  generation: number,
  flags: number,
  backing: number,
): void {
  const at = to >> 2;
  memory.u32[at] = handle;
  memory.u32[at + 1] = generation;
  memory.u32[at + (OPEN_OUT.open_flags >> 2)] = flags;
  memory.u32[at + (OPEN_OUT.backing_id >> 2)] = backing;
}

/** struct fuse_kstatfs at `to` from struct statfs at `statfs`. */
export function writeStatfs(memory: Memory, to: number, statfs: number): void {
  const { u32 } = memory;
  const at = to >> 2;
  const from = statfs >> 2;
  u32.fill(0, at, at + (KSTATFS.size >> 2));
  for (let i = 0; i < 2; i++) {
    u32[at + (KSTATFS.blocks >> 2) + i] = u32[from + (STATFS.f_blocks >> 2) + i]!;
    u32[at + (KSTATFS.bfree >> 2) + i] = u32[from + (STATFS.f_bfree >> 2) + i]!;
    u32[at + (KSTATFS.bavail >> 2) + i] = u32[from + (STATFS.f_bavail >> 2) + i]!;
    u32[at + (KSTATFS.files >> 2) + i] = u32[from + (STATFS.f_files >> 2) + i]!;
    u32[at + (KSTATFS.ffree >> 2) + i] = u32[from + (STATFS.f_ffree >> 2) + i]!;
  }
  u32[at + (KSTATFS.bsize >> 2)] = u32[from + (STATFS.f_bsize >> 2)]!;
  u32[at + (KSTATFS.namelen >> 2)] = u32[from + (STATFS.f_namelen >> 2)]!;
  u32[at + (KSTATFS.frsize >> 2)] = u32[from + (STATFS.f_frsize >> 2)]!;
}

/** struct fuse_dirent at `to`; returns its padded size. The name is `length` bytes at `name`. */
export function writeDirent(
  memory: Memory,
  to: number,
  inoLo: number,
  inoHi: number,
  offLo: number,
  offHi: number,
  type: number,
  name: number,
  length: number,
): number {
  const { u32, u8 } = memory;
  const at = to >> 2;
  u32[at] = inoLo;
  u32[at + 1] = inoHi;
  u32[at + 2] = offLo;
  u32[at + 3] = offHi;
  u32[at + 4] = length;
  u32[at + 5] = type;
  const start = to + DIRENT.size;
  u8.copyWithin(start, name, name + length);
  const size = (DIRENT.size + length + 7) & ~7;
  for (let i = start + length; i < to + size; i++) u8[i] = 0;
  return size;
}
