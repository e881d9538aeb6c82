// INIT: what the two sides agree on, decided from what the kernel offers and nothing else.

import { EPROTO } from '../linux/errno.js';
import type { Memory } from '../linux/memory.js';
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MINOR_VERSION_MIN,
  INIT,
  INIT_IN,
  INIT_OUT,
  INIT2,
} from './protocol.js';

/** Largest write and read that one request carries. */
export const MAX_WRITE = 1 << 20;

/** What the file system would like of the features the kernel may have. */
export interface InitWishes {
  readonly passthrough: boolean;
  /** The view may lie on a stacked file system itself (2), or be stacked upon (1). */
  readonly stackDepth: 1 | 2;
  readonly ioUring: boolean;
  /** Pages, listings and link text may be cached. */
  readonly caching: boolean;
}

export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxWrite: number;
}

const WANTED =
  INIT.ASYNC_READ |
  INIT.POSIX_LOCKS |
  INIT.FLOCK_LOCKS |
  INIT.ATOMIC_O_TRUNC |
  INIT.EXPORT_SUPPORT |
  INIT.BIG_WRITES |
  INIT.DONT_MASK |
  INIT.HAS_IOCTL_DIR |
  INIT.AUTO_INVAL_DATA |
  INIT.DO_READDIRPLUS |
  INIT.READDIRPLUS_AUTO |
  INIT.ASYNC_DIO |
  INIT.PARALLEL_DIROPS |
  INIT.POSIX_ACL |
  INIT.ABORT_ERROR |
  INIT.MAX_PAGES |
  INIT.SUBMOUNTS |
  INIT.HANDLE_KILLPRIV_V2 |
  INIT.SETXATTR_EXT |
  INIT.INIT_EXT;

/** INIT_EXT's own bit. The rest of flags2 is meaningful only with it. */
const WANTED2 = INIT2.CREATE_SUPP_GROUP | INIT2.HAS_EXPIRE_ONLY | INIT2.DIRECT_IO_ALLOW_MMAP | INIT2.HAS_RESEND;

/** The answer to `struct fuse_init_in` of `length` bytes at `argument`, or -EPROTO for a kernel that is too old. */
export function negotiate(memory: Memory, argument: number, length: number, wishes: InitWishes): Negotiated | number {
  const { u32 } = memory;
  const word = argument >> 2;
  const major = u32[word]!;
  const minor = u32[word + 1]!;
  if (major !== FUSE_KERNEL_VERSION || minor < FUSE_MINOR_VERSION_MIN) return -EPROTO;
  const offered = u32[word + (INIT_IN.flags >> 2)]!;
  const offered2 = (offered & INIT.INIT_EXT) !== 0 && length >= INIT_IN.size ? u32[word + (INIT_IN.flags2 >> 2)]! : 0;
  let flags = WANTED;
  let flags2 = WANTED2;
  if (wishes.caching) flags |= INIT.CACHE_SYMLINKS;
  if (wishes.passthrough) flags2 |= INIT2.PASSTHROUGH;
  if (wishes.ioUring) flags2 |= INIT2.OVER_IO_URING;
  return {
    minor: Math.min(minor, FUSE_KERNEL_MINOR_VERSION),
    flags: flags & offered,
    flags2: flags2 & offered2,
    maxWrite: (offered & INIT.MAX_PAGES) !== 0 ? MAX_WRITE : 32 * 4096,
  };
}

/** struct fuse_init_out at `to`. */
export function writeInitOut(
  memory: Memory,
  to: number,
  agreed: Negotiated,
  wishes: InitWishes,
  readahead: number,
): void {
  const { u32, u16 } = memory;
  const at = to >> 2;
  u32.fill(0, at, at + (INIT_OUT.size >> 2));
  u32[at] = FUSE_KERNEL_VERSION;
  u32[at + 1] = agreed.minor;
  u32[at + (INIT_OUT.max_readahead >> 2)] = readahead;
  u32[at + (INIT_OUT.flags >> 2)] = agreed.flags;
  u16[(to + INIT_OUT.max_background) >> 1] = 64;
  u16[(to + INIT_OUT.congestion_threshold) >> 1] = 48;
  u32[at + (INIT_OUT.max_write >> 2)] = agreed.maxWrite;
  u32[at + (INIT_OUT.time_gran >> 2)] = 1;
  u16[(to + INIT_OUT.max_pages) >> 1] = agreed.maxWrite / 4096;
  u32[at + (INIT_OUT.flags2 >> 2)] = agreed.flags2;
  if ((agreed.flags2 & INIT2.PASSTHROUGH) !== 0) u32[at + (INIT_OUT.max_stack_depth >> 2)] = wishes.stackDepth;
}

/** Names of the agreed features, for `status`. */
export function featureNames(agreed: Negotiated): string[] {
  const names: string[] = [];
  for (const [name, bit] of Object.entries(INIT)) if ((agreed.flags & bit) !== 0) names.push(name.toLowerCase());
  for (const [name, bit] of Object.entries(INIT2)) if ((agreed.flags2 & bit) !== 0) names.push(name.toLowerCase());
  return names;
}
