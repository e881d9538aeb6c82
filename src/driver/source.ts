// What every driver does with the source before it mounts: opens it, takes over the flags of the mount it is on, and
// counts the descriptors it may use.

import type { MountOptions } from '../config/mount-options.js';
import { ShiftfsError } from '../errors.js';
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
/** Descriptors left for everything that is not a cached directory or an open file. */
const RESERVED_DESCRIPTORS = 96;

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

/** How many descriptors nodes may hold: half of what RLIMIT_NOFILE leaves, the other half being for open files. */
export function nodeDescriptorBudget(): number {
  const SYS_PRLIMIT64 = process.arch === 'arm64' ? 261 : 302;
  const RLIMIT_NOFILE = 7;
  const memory = new Memory(16);
  const error = call4(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, 0, memory.address);
  const limit = error < 0 ? 1024 : Math.min(memory.u64(0), 1 << 20);
  return Math.max(64, Math.floor((limit - RESERVED_DESCRIPTORS) / 2));
}
