// A request as the addon has it in memory, and the C structs it points at. Names are bytes, times nanoseconds, inode numbers
// and sizes 64 bits here; the addon's own conversions to JavaScript values cut all of them, and give the access time for
// the modification time.

import { STATFS, STATX } from '../../linux/layout.js';
import type { Memory } from '../../linux/memory.js';
import type { NativeFrame } from './addon.js';

/** fuse_thread_locals_t of fuse-native.c, version 2.2.6, on every 64-bit architecture. */
const FRAME = {
  op: 8,
  path: 24,
  dest: 32,
  linkname: 40,
  info: 48,
  buf: 56,
  offset: 64,
  len: 72,
  mode: 80,
  dev: 88,
  uid: 96,
  gid: 100,
  atime: 104,
  mtime: 112,
  name: 128,
  value: 136,
  list: 144,
  size: 152,
  flags: 164,
  stat: 168,
  statvfs: 176,
  filler: 184,
  minSize: 200,
} as const;

/** struct fuse_file_info of libfuse 2.9, fuse_common.h */
export const FILE_INFO = { flags: 0, fh: 24 } as const;

/** struct stat of 64-bit architectures: arch/x86/include/uapi/asm/stat.h, include/uapi/asm-generic/stat.h */
const STAT =
  process.arch === 'arm64'
    ? {
        size: 128,
        ino: 8,
        mode: 16,
        nlink: 20,
        nlinkWords: 1,
        uid: 24,
        gid: 28,
        rdev: 32,
        st_size: 48,
        blksize: 56,
        blocks: 64,
        atime: 72,
        mtime: 88,
        ctime: 104,
      }
    : {
        size: 144,
        ino: 8,
        mode: 24,
        nlink: 16,
        nlinkWords: 2,
        uid: 28,
        gid: 32,
        rdev: 40,
        st_size: 48,
        blksize: 56,
        blocks: 64,
        atime: 72,
        mtime: 88,
        ctime: 104,
      };

export const STAT_SIZE = STAT.size;

/** struct statvfs of 64-bit architectures, bits/statvfs.h */
const STATVFS = {
  size: 112,
  bsize: 0,
  frsize: 8,
  blocks: 16,
  bfree: 24,
  bavail: 32,
  files: 40,
  ffree: 48,
  favail: 56,
  flag: 72,
  namemax: 80,
} as const;

export const STATVFS_SIZE = STATVFS.size;

/** The fields of the request that a libfuse thread waits for. Addresses are numbers; 0 is NULL. */
export class Frame {
  private readonly words: Uint32Array;

  constructor(native: NativeFrame) {
    if (native.length < FRAME.minSize) throw new Error(`fuse-native's requests have ${native.length} bytes`);
    this.words = new Uint32Array(native.buffer, native.byteOffset, native.length >> 2);
  }

  private address(offset: number): number {
    return this.words[(offset >> 2) + 1]! * 4294967296 + this.words[offset >> 2]!;
  }

  private signed(offset: number): number {
    return (this.words[(offset >> 2) + 1]! | 0) * 4294967296 + this.words[offset >> 2]!;
  }

  /** Number of the operation, which must be the one that the addon says. */
  get op(): number {
    return this.words[FRAME.op >> 2]!;
  }

  get path(): number {
    return this.address(FRAME.path);
  }

  get dest(): number {
    return this.address(FRAME.dest);
  }

  get linkname(): number {
    return this.address(FRAME.linkname);
  }

  get info(): number {
    return this.address(FRAME.info);
  }

  get buffer(): number {
    return this.address(FRAME.buf);
  }

  get offset(): number {
    return this.signed(FRAME.offset);
  }

  get length(): number {
    return this.address(FRAME.len);
  }

  get mode(): number {
    return this.words[FRAME.mode >> 2]!;
  }

  get device(): number {
    return this.words[FRAME.dev >> 2]!;
  }

  get uid(): number {
    return this.words[FRAME.uid >> 2]!;
  }

  get gid(): number {
    return this.words[FRAME.gid >> 2]!;
  }

  /** Milliseconds. */
  get atime(): number {
    return this.signed(FRAME.atime);
  }

  get mtime(): number {
    return this.signed(FRAME.mtime);
  }

  get name(): number {
    return this.address(FRAME.name);
  }

  get value(): number {
    return this.address(FRAME.value);
  }

  get list(): number {
    return this.address(FRAME.list);
  }

  get size(): number {
    return this.address(FRAME.size);
  }

  get flags(): number {
    return this.words[FRAME.flags >> 2]!;
  }

  get stat(): number {
    return this.address(FRAME.stat);
  }

  get statvfs(): number {
    return this.address(FRAME.statvfs);
  }

  get filler(): number {
    return this.address(FRAME.filler);
  }
}

/** Writes at `to` the struct stat of the struct statx at `from`; `rdev` is st_rdev. */
export function statFromStatx(memory: Memory, to: number, from: number, rdev: number): void {
  const { u32, u16, u8 } = memory;
  u8.fill(0, to, to + STAT.size);
  const copy = (field: number, source: number, words: number): void => {
    for (let i = 0; i < words; i++) u32[((to + field) >> 2) + i] = u32[((from + source) >> 2) + i]!;
  };
  copy(STAT.ino, STATX.ino, 2);
  u32[(to + STAT.mode) >> 2] = u16[(from + STATX.mode) >> 1]!;
  copy(STAT.nlink, STATX.nlink, 1);
  copy(STAT.uid, STATX.uid, 1);
  copy(STAT.gid, STATX.gid, 1);
  u32[(to + STAT.rdev) >> 2] = rdev;
  copy(STAT.st_size, STATX.st_size, 2);
  copy(STAT.blksize, STATX.blksize, 1);
  copy(STAT.blocks, STATX.blocks, 2);
  // Seconds in 64 bits and nanoseconds in 32, both in struct statx_timestamp and in struct timespec.
  copy(STAT.atime, STATX.atime, 3);
  copy(STAT.mtime, STATX.mtime, 3);
  copy(STAT.ctime, STATX.ctime, 3);
}

export function setStatMode(memory: Memory, stat: number, mode: number): void {
  memory.u32[(stat + STAT.mode) >> 2] = mode;
}

/** What a directory entry tells of its file: number and type. */
export function statOfEntry(memory: Memory, to: number, inoLo: number, inoHi: number, type: number): void {
  memory.u8.fill(0, to, to + STAT.size);
  memory.u32[(to + STAT.ino) >> 2] = inoLo;
  memory.u32[((to + STAT.ino) >> 2) + 1] = inoHi;
  memory.u32[(to + STAT.mode) >> 2] = type;
}

/** Writes at `to` the struct statvfs of the struct statfs at `from`. */
export function statvfsFromStatfs(memory: Memory, to: number, from: number): void {
  const { u32 } = memory;
  memory.u8.fill(0, to, to + STATVFS.size);
  const copy = (field: number, source: number): void => {
    u32[(to + field) >> 2] = u32[(from + source) >> 2]!;
    u32[((to + field) >> 2) + 1] = u32[((from + source) >> 2) + 1]!;
  };
  copy(STATVFS.bsize, STATFS.f_bsize);
  copy(STATVFS.frsize, STATFS.f_frsize);
  copy(STATVFS.blocks, STATFS.f_blocks);
  copy(STATVFS.bfree, STATFS.f_bfree);
  copy(STATVFS.bavail, STATFS.f_bavail);
  copy(STATVFS.files, STATFS.f_files);
  copy(STATVFS.ffree, STATFS.f_ffree);
  copy(STATVFS.favail, STATFS.f_ffree);
  copy(STATVFS.namemax, STATFS.f_namelen);
}
