// What every driver does with the source before it mounts: opens it, takes over the flags of the mount it is on, and
// counts the descriptors it may use.

import type { MountOptions } from '../config/mount-options.js';
import { ShiftfsError } from '../errors.js';
import type { HeldLimits } from '../filesystem/held.js';
import type { NodeTableOptions } from '../filesystem/node-table.js';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from '../linux/abi.js';
import { errnoName } from '../linux/errno.js';
import { Memory } from '../linux/memory.js';
import { mountContaining, readMounts } from '../linux/mountinfo.js';
import { call4, NR, openat } from '../linux/syscalls.js';

/** open_tree(2): a private copy of the mount. */
const OPEN_TREE_CLONE = 1;
/** Descriptors of the process itself (libraries, pipes, the watcher, the status socket). */
const OWN_DESCRIPTORS = 64;
/** What a thread needs: its event loop, its clone of the device, its ring. */
export const DESCRIPTORS_A_THREAD = 8;
/** Descriptors of a moment: at least, and at most, for all requests that are being served. */
const MOMENT_LEAST = 32;
const MOMENT_MOST = 256;
/** Deleted and special files that may keep a descriptor for as long as the kernel knows them. */
const PINNED_MOST = 4096;
/** What a user may hold of the part that is kept for those who hold little. */
const MODEST_MOST = 32;

/**
 * An O_PATH descriptor of the source as it is to be seen: with --xdev of a private copy of its mount, in which nothing is
 * mounted below it. Throws ShiftfsError NO_SOURCE.
 */
export function openSource(options: Pick<MountOptions, 'source' | 'xdev'>): number {
  const memory = new Memory(Buffer.byteLength(options.source) + 1);
  const path = memory.setString(0, options.source);
  const fd = options.xdev
    ? call4(NR.open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC | AT_SYMLINK_NOFOLLOW, 0)
    : openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) throw new ShiftfsError('NO_SOURCE', `cannot open the source ${options.source}: ${errnoName(-fd)}`);
  return fd;
}

/** nosuid and nodev unless asked for; ro, noexec and noatime also from the mount that the source is on (LP1827122). */
export function mountFlags(options: MountOptions): number {
  const source = mountContaining(readMounts(), options.source);
  let flags = 0;
  if (options.readOnly || source?.options.has('ro') || source?.superOptions.has('ro')) flags |= MS_RDONLY;
  if (!options.allowSuid || source?.options.has('nosuid')) flags |= MS_NOSUID;
  if (!options.allowDev || source?.options.has('nodev')) flags |= MS_NODEV;
  if (options.noExec || source?.options.has('noexec')) flags |= MS_NOEXEC;
  if (options.noAtime || source?.options.has('noatime')) flags |= MS_NOATIME;
  return flags;
}

/** How the descriptors that RLIMIT_NOFILE allows are shared out. */
export interface DescriptorShares {
  /** Serving threads there may be: no more than there are descriptors for. */
  readonly threads: number;
  readonly nodes: Pick<NodeTableOptions, 'descriptorBudget' | 'pinnedMax' | 'scarceFrom'>;
  /** Held by users of the view: open files, directories, locks. */
  readonly held: HeldLimits;
}

/** Shares the descriptors out. `threads`: serving threads that were asked for. */
export function shareDescriptors(threads: number): DescriptorShares {
  const SYS_PRLIMIT64 = process.arch === 'arm64' ? 261 : 302;
  const RLIMIT_NOFILE = 7;
  const memory = new Memory(16);
  const error = call4(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, 0, memory.address);
  return sharesOf(error < 0 ? 1024 : Math.min(memory.u64(0), 1 << 20), threads);
}

/** The same for a given limit. Of few, threads get an eighth at most. */
export function sharesOf(limit: number, threads: number): DescriptorShares {
  const allowed = Math.max(2, Math.min(threads, Math.floor(limit / 8 / DESCRIPTORS_A_THREAD)));
  const left = Math.max(64, limit - OWN_DESCRIPTORS - allowed * DESCRIPTORS_A_THREAD);
  const pinned = Math.min(PINNED_MOST, left >> 3);
  const moment = Math.max(MOMENT_LEAST, Math.min(MOMENT_MOST, left >> 4));
  const total = Math.max(16, left - pinned - moment);
  const reserve = total >> 3;
  return {
    threads: allowed,
    nodes: { descriptorBudget: left >> 1, pinnedMax: pinned, scarceFrom: limit - moment },
    held: { total, reserve, modest: Math.max(4, Math.min(MODEST_MOST, reserve >> 2)) },
  };
}
