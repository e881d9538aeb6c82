// Names to nodes and nodes to attributes: LOOKUP, FORGET, GETATTR, SETATTR, STATX, STATFS.
//
// Every operation leaves the inode's attributes in memory at AT_STAT (struct statx) with view ids in place of underlay
// ids, and answers 0 or -errno.

import { underlayGid, underlayUid, viewGid, viewUid } from '../idmap/ids.js';
import { UNMAPPED } from '../idmap/map.js';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  UTIME_NOW,
  UTIME_OMIT,
} from '../linux/abi.js';
import { EBADF, EFBIG, EINVAL, EMFILE, ENODATA, ENOENT, EOVERFLOW, EPERM, ESTALE } from '../linux/errno.js';
import { STATX } from '../linux/layout.js';
import { call2, call4, call6, close, NR, openat } from '../linux/syscalls.js';
import { AT_STAT, AT_STATFS, AT_TIMES, type Context } from './context.js';
import { handleDescriptor } from './files.js';
import { NODE_RECENT, NODE_SUBMOUNT } from './node-table.js';
import { acquire, identify, internIdentified, statFd } from './resolve.js';

/**
 * An operation on a directory whose inode is gone: there is nothing in it. (For a file ESTALE is left as it is: the
 * kernel looks the name up again before it tells anybody, and may find what has replaced it; fs/namei.c, retry_estale.)
 */
export function gone(error: number): number {
  return error === -ESTALE ? -ENOENT : error;
}

/** `gone` for a directory, ESTALE for anything else. */
export function goneOrReplaced(context: Context, slot: number, error: number): number {
  return context.nodes.type(slot) === S_IFDIR ? gone(error) : error;
}

/** Turns the ids at AT_STAT into view ids, and the inode number of a file mounted over another into one of its own. */
export function shiftStat(context: Context, slot: number): void {
  const { memory, ids, nodes } = context;
  const word = AT_STAT >> 2;
  const uid = word + (STATX.uid >> 2);
  const gid = word + (STATX.gid >> 2);
  memory.u32[uid] = ids.uidToView(underlayUid(memory.u32[uid]!));
  memory.u32[gid] = ids.gidToView(underlayGid(memory.u32[gid]!));
  if ((nodes.flags(slot) & NODE_SUBMOUNT) !== 0 && nodes.type(slot) !== S_IFDIR) {
    // A directory becomes the root of a superblock of its own (FUSE_ATTR_SUBMOUNT); a single file cannot.
    const ino = word + (STATX.ino >> 2) + 1;
    memory.u32[ino] = (memory.u32[ino]! ^ (nodes.device(slot) << 16)) >>> 0;
  }
}

/**
 * Looks `name` up in `parent`. Fills result.node (0: there is no such name, which can be kept for nameSeconds),
 * nameSeconds, attributeSeconds and AT_STAT.
 */
export function lookup(context: Context, parent: number, nameOffset: number, nameLength: number): number {
  const { result, leases, nodes } = context;
  const parentFd = acquire(context, parent);
  if (parentFd < 0) return gone(parentFd);
  leases.begin(parent, parentFd);
  const fd = openat(parentFd, context.address(nameOffset), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  let error = fd;
  if (fd >= 0) {
    error = identify(context, fd, context.empty);
    if (error === 0) error = found(context, parent, nameOffset, nameLength);
    if (error === 0) keepDescriptor(context, result.node, fd);
    else close(fd);
  } else if (fd === -ENOENT) {
    result.node = 0;
    result.moved = false;
    result.nameSeconds = leases.name(nameOffset, nameLength, false, false);
    error = 0;
  } else if (fd === -EMFILE) {
    nodes.evict(64);
    error = lookupIn(context, parent, parentFd, nameOffset, nameLength);
  }
  nodes.unpin(parent);
  return gone(error);
}

/**
 * What was looked up is about to be used: its node keeps the descriptor for a while, so that it is found even if the host
 * replaces or deletes it in between.
 */
function keepDescriptor(context: Context, slot: number, fd: number): void {
  const { nodes } = context;
  if (nodes.pin(slot) >= 0) {
    close(fd);
    nodes.setFlags(slot, NODE_RECENT);
  } else nodes.attach(slot, fd, true);
  nodes.unpin(slot);
}

/** `lookup` in a directory whose descriptor is at hand, after `leases.begin`. */
export function lookupIn(
  context: Context,
  parent: number,
  parentFd: number,
  nameOffset: number,
  nameLength: number,
): number {
  const { result, leases } = context;
  const error = identify(context, parentFd, context.address(nameOffset));
  if (error < 0) {
    if (error !== -ENOENT) return gone(error);
    result.node = 0;
    result.moved = false;
    result.nameSeconds = leases.name(nameOffset, nameLength, false, false);
    return 0;
  }
  return found(context, parent, nameOffset, nameLength);
}

/**
 * For how long the attributes at AT_STAT may be kept. Not at all for a program with set-id bits: a write takes them away
 * in the underlay (HANDLE_KILLPRIV_V2), the kernel does not look again of itself, and execve(2) would still honour them.
 */
function attributeSeconds(context: Context, slot: number): number {
  const mode = context.statMode();
  if ((mode & S_IFMT) === S_IFREG && (mode & (S_ISUID | S_ISGID)) !== 0) return 0;
  return context.leases.attributes(slot);
}

/** Turns what was just identified into a node, its attributes and its leases. */
export function found(context: Context, parent: number, nameOffset: number, nameLength: number): number {
  const { result, leases } = context;
  const directory = context.identity.type === S_IFDIR;
  const slot = internIdentified(context, parent, nameOffset, nameLength);
  if (slot < 0) return slot;
  shiftStat(context, slot);
  result.node = slot;
  result.nameSeconds = leases.name(nameOffset, nameLength, true, directory);
  result.attributeSeconds = attributeSeconds(context, slot);
  return 0;
}

/** The parent of a directory (EXPORT_SUPPORT: the view itself is exported, or opened by handle). */
export function lookupParent(context: Context, slot: number): number {
  if (slot === 1) return lookupSelf(context, slot);
  const fd = acquire(context, slot);
  if (fd < 0) return fd;
  const error = identify(context, fd, context.dotdot);
  context.nodes.unpin(slot);
  if (error < 0) return error;
  // Never above the source: its parent is not in the table, and nothing makes it.
  const parent = context.nodes.find(context.identity);
  if (parent === 0) return -ESTALE;
  shiftStat(context, parent);
  context.result.node = parent;
  context.result.nameSeconds = 0;
  context.result.attributeSeconds = 0;
  return 0;
}

/** A node by itself (LOOKUP of "."). Counts one lookup. */
export function lookupSelf(context: Context, slot: number): number {
  const fd = acquire(context, slot);
  if (fd < 0) return fd;
  let error = identify(context, fd, context.empty);
  if (error === 0) {
    const same = context.nodes.find(context.identity);
    if (same === slot) shiftStat(context, slot);
    else {
      if (same !== 0) context.nodes.forget(same, 1);
      error = -ESTALE;
    }
  }
  context.nodes.unpin(slot);
  context.result.node = slot;
  context.result.nameSeconds = 0;
  context.result.attributeSeconds = 0;
  return error;
}

/** Attributes of a node; `handle` is an open file of it, or 0. Fills attributeSeconds. */
export function getAttributes(context: Context, slot: number, handle: number): number {
  context.leases.begin(0, -1);
  const own = handle === 0 ? -1 : context.handles.fd(handle);
  if (own >= 0) {
    const error = statFd(context, own);
    if (error < 0) return error;
  } else {
    const fd = acquire(context, slot);
    if (fd < 0) return goneOrReplaced(context, slot, fd);
    const error = statFd(context, fd);
    context.nodes.unpin(slot);
    if (error < 0) return error;
  }
  shiftStat(context, slot);
  context.result.attributeSeconds = attributeSeconds(context, slot);
  return 0;
}

/** What SETATTR may set; the bits of `valid` are FATTR_* of include/uapi/linux/fuse.h. */
export interface AttributeChange {
  valid: number;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  atime: number;
  atimeNanoseconds: number;
  mtime: number;
  mtimeNanoseconds: number;
}

export const FATTR_MODE = 1 << 0;
export const FATTR_UID = 1 << 1;
export const FATTR_GID = 1 << 2;
export const FATTR_SIZE = 1 << 3;
export const FATTR_ATIME = 1 << 4;
export const FATTR_MTIME = 1 << 5;
export const FATTR_ATIME_NOW = 1 << 7;
export const FATTR_MTIME_NOW = 1 << 8;
export const FATTR_KILL_SUIDGID = 1 << 11;

/** chown(2): this one stays. */
const KEEP_OWNER = -1;

/**
 * What a chown to `view` makes the owner in the underlay: `mapped`, or KEEP_OWNER where every file shows the one it was asked
 * for, or -EOVERFLOW.
 */
function newOwner(mapped: number, view: number, squashed: number | null): number {
  if (squashed !== null) return view === squashed ? KEEP_OWNER : -EOVERFLOW;
  return mapped === UNMAPPED ? -EOVERFLOW : mapped;
}

/**
 * Changes attributes and leaves the new ones at AT_STAT. Ids are checked before anything is touched, so that nothing is
 * half done: EOVERFLOW for one that does not map.
 */
export function setAttributes(context: Context, slot: number, handle: number, change: AttributeChange): number {
  const { nodes, credentials, ids, options } = context;
  let uid = KEEP_OWNER;
  let gid = KEEP_OWNER;
  if ((change.valid & FATTR_UID) !== 0) {
    uid = newOwner(ids.uidToUnderlay(viewUid(change.uid)), change.uid, ids.squashedUid);
    if (uid < KEEP_OWNER && !options.chownIgnore) return uid;
    uid = Math.max(KEEP_OWNER, uid);
  }
  if ((change.valid & FATTR_GID) !== 0) {
    gid = newOwner(ids.gidToUnderlay(viewGid(change.gid)), change.gid, ids.squashedGid);
    if (gid < KEEP_OWNER && !options.chownIgnore) return gid;
    gid = Math.max(KEEP_OWNER, gid);
  }
  const fd = acquire(context, slot);
  if (fd < 0) return goneOrReplaced(context, slot, fd);
  credentials.serve();
  let error = 0;
  if ((change.valid & FATTR_SIZE) !== 0) {
    error = statFd(context, fd);
    if (error === 0) error = disarm(context, fd);
    credentials.setFsetid((change.valid & FATTR_KILL_SUIDGID) === 0);
    if (error === 0) error = truncate(context, fd, handle, change.size);
    credentials.setFsetid(false);
  }
  if (error === 0 && (uid !== KEEP_OWNER || gid !== KEEP_OWNER)) {
    error = call6(NR.fchownat, fd, context.empty, uid, gid, AT_EMPTY_PATH, 0);
  }
  if (error === 0 && (change.valid & FATTR_MODE) !== 0) error = changeMode(context, slot, fd, change.mode & 0o7777);
  if (error === 0 && (change.valid & (FATTR_ATIME | FATTR_MTIME)) !== 0) error = changeTimes(context, fd, change);
  if (error === 0) {
    context.leases.begin(0, -1);
    error = statFd(context, fd);
  }
  nodes.unpin(slot);
  if (error < 0) return error;
  shiftStat(context, slot);
  context.result.attributeSeconds = attributeSeconds(context, slot);
  return 0;
}

function truncate(context: Context, fd: number, handle: number, size: number): number {
  // Sizes are exact up to 2^53; the largest file of ext4 has 2^44 bytes.
  if (size > Number.MAX_SAFE_INTEGER) return -EFBIG;
  const own = handle === 0 ? -1 : handleDescriptor(context, handle);
  if (own >= 0) {
    const error = call2(NR.ftruncate, own, size);
    // EINVAL: the handle is open for reading only, and the kernel allowed truncate(2) by path.
    if (error !== -EINVAL && error !== -EBADF) return error;
  }
  return call2(NR.truncate, context.fdName(fd), size);
}

function changeMode(context: Context, slot: number, fd: number, wanted: number): number {
  const { credentials, nodes } = context;
  const type = nodes.type(slot);
  if (type === S_IFLNK) return call4(NR.fchmodat, AT_FDCWD, context.fdName(fd), wanted, 0);
  if ((wanted & (S_ISUID | S_ISGID)) !== 0 && type !== S_IFDIR && !context.options.allowSuid) {
    return changeSetId(context, type, fd, wanted);
  }
  // The kernel has checked the caller against the view's group and stripped the bit where it must; with CAP_FSETID the
  // underlay does not strip it once more for *our* group.
  credentials.setFsetid((wanted & S_ISGID) !== 0);
  const error = call4(NR.fchmodat, AT_FDCWD, context.fdName(fd), wanted, 0);
  credentials.setFsetid(false);
  return error;
}

function changeSetId(context: Context, type: number, fd: number, wanted: number): number {
  return asOwnerOf(context, fd, (uid, gid) =>
    call4(NR.fchmodat, AT_FDCWD, context.fdName(fd), safeMode(context, type, wanted, uid, gid), 0),
  );
}

/** Tries for a file that changes hands all the time. */
const OWNER_TRIES = 100;
/** In place of root's group, of which nothing here is ever done. */
const NO_GROUP = 65534;

/**
 * Changes something of a file with set-id bits as the owner and group for which the bits are safe: should another view or
 * the host give the file to root meanwhile, the underlay refuses (setuid) or drops the bit (setgid), and we look again.
 */
export function asOwnerOf(context: Context, fd: number, change: (uid: number, gid: number) => number): number {
  let error = -EPERM;
  for (let tries = 0; tries < OWNER_TRIES && error === -EPERM; tries++) {
    error = statFd(context, fd);
    if (error < 0) return error;
    const uid = context.memory.u32[(AT_STAT + STATX.uid) >> 2]!;
    const gid = context.memory.u32[(AT_STAT + STATX.gid) >> 2]!;
    error = context.credentials.asOwner(uid, gid === 0 ? NO_GROUP : gid, () => change(uid, gid));
  }
  return error;
}

/**
 * Takes the bits and capabilities that the host would honour off a file that is about to be opened for writing, or cut: a
 * store through mmap(2) would leave them standing, and a program of root with the container's content. After `statFd`.
 */
export function disarm(context: Context, fd: number): number {
  if (context.options.allowSuid) return 0;
  const mode = context.statMode();
  const name = context.capabilityName;
  // Looked for first: removing begins a transaction, even where there is nothing.
  if (call4(NR.getxattr, context.fdName(fd), name, 0, 0) > 0) {
    const error = call2(NR.removexattr, context.fdName(fd), name);
    if (error < 0 && error !== -ENODATA) return error;
  }
  if ((mode & (S_ISUID | S_ISGID)) === 0) return 0;
  const { u32 } = context.memory;
  const uid = u32[(AT_STAT + STATX.uid) >> 2]!;
  const gid = u32[(AT_STAT + STATX.gid) >> 2]!;
  const safe = safeMode(context, mode & S_IFMT, mode & 0o7777, uid, gid);
  return safe === (mode & 0o7777) ? 0 : call4(NR.fchmodat, AT_FDCWD, context.fdName(fd), safe, 0);
}

/**
 * The mode a file may have in the underlay. A set-id bit on a file that underlay root owns (or its group) would let
 * container root leave a program on the host that makes anybody root there; it is stripped unless --allow-suid.
 */
export function safeMode(context: Context, type: number, mode: number, uid: number, gid: number): number {
  if (context.options.allowSuid || (type & S_IFMT) === S_IFDIR) return mode;
  let safe = mode;
  if (uid === 0) safe &= ~S_ISUID;
  if (gid === 0) safe &= ~S_ISGID;
  return safe;
}

function changeTimes(context: Context, fd: number, change: AttributeChange): number {
  const { memory } = context;
  setTime(
    memory.u32,
    AT_TIMES >> 2,
    (change.valid & FATTR_ATIME) !== 0,
    (change.valid & FATTR_ATIME_NOW) !== 0,
    change.atime,
    change.atimeNanoseconds,
  );
  setTime(
    memory.u32,
    (AT_TIMES + 16) >> 2,
    (change.valid & FATTR_MTIME) !== 0,
    (change.valid & FATTR_MTIME_NOW) !== 0,
    change.mtime,
    change.mtimeNanoseconds,
  );
  return call4(NR.utimensat, AT_FDCWD, context.fdName(fd), memory.address + AT_TIMES, 0);
}

/** One struct timespec; `seconds` is signed (before 1970). */
function setTime(u32: Uint32Array, at: number, set: boolean, now: boolean, seconds: number, nanoseconds: number): void {
  u32[at] = seconds >>> 0;
  u32[at + 1] = Math.floor(seconds / 4294967296) >>> 0;
  u32[at + 2] = set ? (now ? UTIME_NOW : nanoseconds) : UTIME_OMIT;
  u32[at + 3] = 0;
}

/** statfs(2) of the file system a node is on, into AT_STATFS (struct statfs). */
export function statFileSystem(context: Context, slot: number): number {
  const fd = acquire(context, slot);
  if (fd < 0) return gone(fd);
  const error = call2(NR.fstatfs, fd, context.memory.address + AT_STATFS);
  context.nodes.unpin(slot);
  return error;
}

/** Takes back lookups. */
export function forget(context: Context, slot: number, count: number): void {
  context.nodes.forget(slot, count);
}
