// Changing names: MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME, and READLINK.
//
// What is created belongs to its caller from the first moment: the thread takes the caller's mapped fsuid and fsgid, its
// umask and the one supplementary group the kernel vouches for before the call, and the underlay applies default ACLs
// and setgid directories as it would for a local caller. A caller whose id does not map gets EOVERFLOW and nothing is
// created.

import { viewGid, viewUid } from '../idmap/ids.js';
import { UNMAPPED } from '../idmap/map.js';
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFMT,
  S_ISGID,
  S_ISUID,
} from '../linux/abi.js';
import { EINVAL, ENOENT, EOVERFLOW, EPERM } from '../linux/errno.js';
import { STATX } from '../linux/layout.js';
import { call2, call4, call6, close, NR } from '../linux/syscalls.js';
import { found, gone, goneOrReplaced, safeMode } from './attributes.js';
import { AT_STAT, AT_XATTR, type Context } from './context.js';
import { DEVICE_HANDLES } from './devices.js';
import { acquire, identify, openSparing, statFd } from './resolve.js';

/** Longest target of a symlink (PATH_MAX with its NUL). */
const TARGET_MAX = 4096;

/** Takes the caller's identity for a create. 0, or -EOVERFLOW when it has none in the underlay. */
export function becomeCaller(context: Context): number {
  const { caller, ids, credentials } = context;
  const uid = ids.uidToUnderlay(viewUid(caller.uid));
  const gid = ids.gidToUnderlay(viewGid(caller.gid));
  if (uid === UNMAPPED || gid === UNMAPPED) return -EOVERFLOW;
  let group = -1;
  if (caller.group !== -1) {
    const mapped = ids.gidToUnderlay(viewGid(caller.group));
    if (mapped !== UNMAPPED) group = mapped;
  }
  credentials.become(uid, gid, group, caller.umask);
  return 0;
}

/**
 * The mode to create with in the directory `parentFd`: a set-id bit on what underlay root will own is left out (see
 * `safeMode`). A setgid directory gives its group to what is made in it.
 */
export function creationMode(context: Context, parentFd: number, type: number, mode: number): number {
  const { caller, ids, memory } = context;
  if ((mode & (S_ISUID | S_ISGID)) === 0) return mode;
  let gid: number = ids.gidToUnderlay(viewGid(caller.gid));
  if (statFd(context, parentFd) === 0 && (context.statMode() & S_ISGID) !== 0) {
    gid = memory.u32[(AT_STAT + STATX.gid) >> 2]!;
  }
  return safeMode(context, type, mode, ids.uidToUnderlay(viewUid(caller.uid)), gid);
}

export function makeDirectory(
  context: Context,
  parent: number,
  nameOffset: number,
  nameLength: number,
  mode: number,
): number {
  const parentFd = beginCreate(context, parent, nameOffset);
  if (parentFd < 0) return parentFd;
  const error = call4(NR.mkdirat, parentFd, context.address(nameOffset), mode & 0o7777, 0);
  return finishCreate(context, parent, parentFd, nameOffset, nameLength, error);
}

/** Files, FIFOs, sockets; of device nodes only 0:0, overlayfs's whiteout. */
export function makeNode(
  context: Context,
  parent: number,
  nameOffset: number,
  nameLength: number,
  mode: number,
  device: number,
): number {
  const type = mode & S_IFMT;
  if (type === S_IFBLK || (type === S_IFCHR && device !== 0)) return -EPERM;
  const parentFd = beginCreate(context, parent, nameOffset);
  if (parentFd < 0) return parentFd;
  const safe = type | creationMode(context, parentFd, type, mode & 0o7777);
  const error = call4(NR.mknodat, parentFd, context.address(nameOffset), safe, device);
  return finishCreate(context, parent, parentFd, nameOffset, nameLength, error);
}

/** `targetOffset` is a NUL-terminated string in memory, stored as it is. */
export function makeSymlink(
  context: Context,
  parent: number,
  nameOffset: number,
  nameLength: number,
  targetOffset: number,
): number {
  const parentFd = beginCreate(context, parent, nameOffset);
  if (parentFd < 0) return parentFd;
  const error = call4(NR.symlinkat, context.address(targetOffset), parentFd, context.address(nameOffset), 0);
  return finishCreate(context, parent, parentFd, nameOffset, nameLength, error);
}

/** A second name for `slot`; the same node comes back, with its new link count. */
export function makeLink(
  context: Context,
  slot: number,
  parent: number,
  nameOffset: number,
  nameLength: number,
): number {
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  const parentFd = beginCreate(context, parent, nameOffset);
  if (parentFd < 0) {
    context.nodes.unpin(slot);
    return parentFd;
  }
  const linked = call6(NR.linkat, fd, context.empty, parentFd, context.address(nameOffset), AT_EMPTY_PATH, 0);
  const error = finishCreate(context, parent, parentFd, nameOffset, nameLength, linked);
  context.nodes.unpin(slot);
  return error;
}

/** Holds the directory and takes the caller's identity; `nameOffset` -1: what is made gets no name. The directory's descriptor, or -errno and nothing is held. */
export function beginCreate(context: Context, parent: number, nameOffset: number): number {
  const parentFd = acquire(context, parent);
  if (parentFd < 0) return gone(parentFd);
  context.leases.begin(parent, parentFd);
  if (nameOffset >= 0) context.leases.changing(parent, nameOffset);
  const error = becomeCaller(context);
  if (error === 0) return parentFd;
  context.nodes.unpin(parent);
  return error;
}

/** After the create returned `error`: finds the node of what was made, and lets the directory go. */
function finishCreate(
  context: Context,
  parent: number,
  parentFd: number,
  nameOffset: number,
  nameLength: number,
  created: number,
): number {
  let error = created;
  if (error === 0) {
    context.leases.changed(parent);
    error = identify(context, parentFd, context.address(nameOffset));
    if (error === 0) error = found(context, parent, nameOffset, nameLength);
  }
  context.nodes.unpin(parent);
  return error;
}

export function unlink(context: Context, parent: number, nameOffset: number): number {
  return remove(context, parent, nameOffset, 0);
}

export function removeDirectory(context: Context, parent: number, nameOffset: number): number {
  return remove(context, parent, nameOffset, AT_REMOVEDIR);
}

function remove(context: Context, parent: number, nameOffset: number, flags: number): number {
  const parentFd = acquire(context, parent);
  if (parentFd < 0) return gone(parentFd);
  const name = context.address(nameOffset);
  context.leases.begin(parent, parentFd);
  context.leases.changing(parent, nameOffset);
  const victim = holdVictim(context, parentFd, name);
  const error = call4(NR.unlinkat, parentFd, name, flags, 0);
  releaseVictim(context, victim, error === 0);
  if (error === 0) context.leases.changed(parent);
  context.nodes.unpin(parent);
  return error;
}

/**
 * What a name stands for may be in use without an open file that we know of (an O_PATH descriptor, a FIFO, a working
 * directory): when its last name goes, its node keeps a descriptor until the kernel forgets it (LP1872757, LP1860041).
 * The slot with one lookup and one pin counted, or 0.
 */
function holdVictim(context: Context, parentFd: number, name: number): number {
  const { nodes } = context;
  const fd = openSparing(context, parentFd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  const slot = identify(context, fd, context.empty) < 0 ? 0 : nodes.find(context.identity);
  const links = context.memory.u32[(AT_STAT + STATX.nlink) >> 2]!;
  if (slot === 0 || (links > 1 && context.identity.type !== S_IFDIR)) {
    close(fd);
    if (slot !== 0) nodes.forget(slot, 1);
    return 0;
  }
  if (nodes.pin(slot) >= 0) close(fd);
  else nodes.attach(slot, fd, false);
  return slot;
}

function releaseVictim(context: Context, slot: number, gone: boolean): void {
  if (slot === 0) return;
  if (gone) context.nodes.keepPinned(slot);
  else context.nodes.unpin(slot);
  context.nodes.forget(slot, 1);
}

/** renameat2(2) with all its flags, of two names of the same mount. */
export function rename(
  context: Context,
  parent: number,
  nameOffset: number,
  newParent: number,
  newNameOffset: number,
  flags: number,
): number {
  if ((flags & ~7) !== 0) return -EINVAL;
  const fd = acquire(context, parent);
  if (fd < 0) return gone(fd);
  const newFd = acquire(context, newParent);
  if (newFd < 0) {
    context.nodes.unpin(parent);
    return gone(newFd);
  }
  const name = context.address(nameOffset);
  const newName = context.address(newNameOffset);
  let error = 0;
  // The whiteout that is left behind belongs to its caller.
  if ((flags & RENAME_WHITEOUT) !== 0) error = becomeCaller(context);
  if (error === 0) {
    if (newParent !== parent) context.leases.begin(parent, fd);
    context.leases.begin(newParent, newFd);
    context.leases.changing(parent, nameOffset);
    context.leases.changing(newParent, newNameOffset);
    const victim = (flags & RENAME_EXCHANGE) === 0 ? holdVictim(context, newFd, newName) : 0;
    error = call6(NR.renameat2, fd, name, newFd, newName, flags, 0);
    releaseVictim(context, victim, error === 0);
  }
  if (error === 0) {
    context.leases.changed(parent);
    if (newParent !== parent) context.leases.changed(newParent);
    context.leases.renamed(parent, fd, nameOffset, newParent, newFd, newNameOffset, (flags & RENAME_EXCHANGE) !== 0);
    renamed(context, newParent, newFd, newNameOffset);
    if ((flags & RENAME_EXCHANGE) !== 0) renamed(context, parent, fd, nameOffset);
  }
  context.nodes.unpin(newParent);
  context.nodes.unpin(parent);
  return error;
}

/** A directory, or a node that is found by its name (no handles), has a new one. */
function renamed(context: Context, parent: number, parentFd: number, nameOffset: number): void {
  if (identify(context, parentFd, context.address(nameOffset)) < 0) return;
  const { identity, devices } = context;
  if (identity.type !== S_IFDIR && devices.has(identity.device, DEVICE_HANDLES)) return;
  const slot = context.nodes.find(identity);
  if (slot === 0) return;
  let length = 0;
  while (context.memory.u8[nameOffset + length] !== 0) length++;
  context.nodes.setName(slot, parent, context.memory.u8, nameOffset, length);
  context.nodes.forget(slot, 1);
}

/** The target of a symlink, as it is stored: result.offset and result.length. */
export function readLink(context: Context, slot: number): number {
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  const length = call4(NR.readlinkat, fd, context.empty, context.address(AT_XATTR), TARGET_MAX);
  context.nodes.unpin(slot);
  if (length < 0) return length === -ENOENT ? -EINVAL : length;
  context.result.offset = AT_XATTR;
  context.result.length = length;
  return 0;
}

/** syncfs(2) of the file system a node is on. */
export function syncFileSystem(context: Context, slot: number): number {
  const device = context.devices.fd(context.nodes.device(slot));
  return device >= 0 ? call2(NR.syncfs, device, 0) : 0;
}
