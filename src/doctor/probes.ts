// The attempts behind `doctor`: each asks the kernel by doing the thing itself, on something that nobody else can see and that
// is gone with its last descriptor. A result is a value or -errno.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readlinkSync, writeFileSync } from 'node:fs';
import { IN_HEADER, INIT, INIT_IN, INIT2 } from '../fuse/protocol.js';
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, O_RDONLY } from '../linux/abi.js';
import { EINVAL, EPERM, ESRCH } from '../linux/errno.js';
import { markFileSystem, markInode, openGroup } from '../linux/fanotify.js';
import { FILE_HANDLE } from '../linux/layout.js';
import { Memory } from '../linux/memory.js';
import { call4, call6, close, NR, openat } from '../linux/syscalls.js';
import { UnattachedFuse } from './unattached.js';

const SYS_PRLIMIT64 = process.arch === 'arm64' ? 261 : 302;
const OPEN_TREE_CLONE = 1;
const MOUNT_ATTR_IDMAP = 0x0010_0000;
const RLIMIT_NOFILE = 7;

export interface FuseOffer {
  readonly major: number;
  readonly minor: number;
  readonly passthrough: boolean;
  readonly ioUring: boolean;
  /** Null when it could not be tried. */
  readonly takesBackAbsences: boolean | null;
}

/** What the kernel offers a FUSE server. -errno when /dev/fuse or fsopen(2) refuses. */
export async function offerOfFuse(): Promise<FuseOffer | number> {
  const fuse = UnattachedFuse.create();
  if (typeof fuse === 'number') return fuse;
  try {
    const flags = fuse.word(INIT_IN.flags >> 2);
    const extended = (flags & INIT.INIT_EXT) !== 0 && fuse.length >= IN_HEADER.size + INIT_IN.size;
    const flags2 = extended ? fuse.word(INIT_IN.flags2 >> 2) : 0;
    return {
      major: fuse.word(0),
      minor: fuse.word(1),
      passthrough: (flags2 & INIT2.PASSTHROUGH) !== 0,
      ioUring: (flags2 & INIT2.OVER_IO_URING) !== 0,
      takesBackAbsences: await fuse.takesBackAbsences(),
    };
  } finally {
    fuse.close();
  }
}

/** How changes of the directory can be watched with fanotify, or -errno. The marks end with the group. */
export function fanotifyOn(path: string): 'file system' | 'inodes' | number {
  const group = openGroup();
  if (group < 0) return group;
  const memory = new Memory(Buffer.byteLength(path) + 1);
  const address = memory.setString(0, path);
  const directory = openat(AT_FDCWD, address, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  try {
    if (directory < 0) return directory;
    if (markFileSystem(group, directory) === 0) return 'file system';
    const error = markInode(group, address, true);
    return error === 0 ? 'inodes' : error;
  } finally {
    if (directory >= 0) close(directory);
    close(group);
  }
}

/** Whether a file handle of the directory leads back to it (open_by_handle_at(2)): 0, or -errno. */
export function fileHandlesOn(path: string): number {
  const memory = new Memory(4096 + FILE_HANDLE.f_handle + FILE_HANDLE.maxBytes + 16);
  if (Buffer.byteLength(path) >= 4000) return -EINVAL;
  const handle = 4096;
  memory.u32[handle >> 2] = FILE_HANDLE.maxBytes;
  const name = memory.setString(0, path);
  const mountId = memory.address + handle + FILE_HANDLE.f_handle + FILE_HANDLE.maxBytes;
  const got = call6(NR.name_to_handle_at, AT_FDCWD, name, memory.address + handle, mountId, 0, 0);
  if (got < 0) return got;
  const directory = openat(AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (directory < 0) return directory;
  const back = call4(NR.open_by_handle_at, directory, memory.address + handle, O_PATH | O_CLOEXEC, 0);
  close(directory);
  if (back >= 0) close(back);
  return Math.min(back, 0);
}

/**
 * Whether the mount of the directory can be mapped: on a copy of it that is attached nowhere. 0, or -errno; EPERM without
 * root, EINVAL where the file system cannot (mount_setattr(2)).
 */
export async function idmappedMountOf(path: string): Promise<number> {
  const holder = spawn('unshare', ['--user', 'sh', '-c', 'echo; read -r end'], { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    const started = await Promise.race([
      once(holder.stdout, 'data').then(() => true),
      once(holder, 'exit').then(() => false),
      once(holder, 'error').then(() => false),
    ]);
    if (!started || readlinkSync(`/proc/${holder.pid}/ns/user`) === readlinkSync('/proc/self/ns/user')) return -ESRCH;
    for (const kind of ['uid', 'gid']) writeFileSync(`/proc/${holder.pid}/${kind}_map`, '0 100000 65536\n');
    return mapDetached(path, `/proc/${holder.pid}/ns/user`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).errno ?? -EPERM;
  } finally {
    holder.kill('SIGKILL');
  }
}

function mapDetached(path: string, namespace: string): number {
  const memory = new Memory(Buffer.byteLength(path) + 128);
  const name = memory.setString(64, path);
  const userns = openSync(namespace, 'r');
  const tree = call4(NR.open_tree, AT_FDCWD, name, OPEN_TREE_CLONE | O_CLOEXEC, 0);
  try {
    if (tree < 0) return tree;
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd, 64 bits each (include/uapi/linux/mount.h).
    memory.u32.fill(0, 0, 8);
    memory.u32[0] = MOUNT_ATTR_IDMAP;
    memory.u32[6] = userns;
    const empty = memory.address + 32;
    memory.u32[8] = 0;
    return call6(NR.mount_setattr, tree, empty, AT_EMPTY_PATH, memory.address, 32, 0);
  } finally {
    if (tree >= 0) close(tree);
    closeSync(userns);
  }
}

/** Soft and hard limit of descriptors of this process. */
export function descriptorLimits(): { readonly soft: number; readonly hard: number } {
  const memory = new Memory(16);
  const error = call4(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, 0, memory.address);
  return error < 0 ? { soft: 0, hard: 0 } : { soft: memory.u64(0), hard: memory.u64(8) };
}
