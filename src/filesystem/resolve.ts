// From a name to a node, and from a node back to a descriptor.
//
// Promises: a name is looked up in a directory held by descriptor, one component, never through a symlink; a node's
// descriptor is checked to be the very inode the node was made for (device, number, type, generation or birth time)
// before it is used, so whatever is swapped in the underlay meanwhile, an operation acts on what its caller meant or
// fails. ESTALE from here means "look the name up again"; callers that reach a user turn it into ENOENT.

import {
  AT_EMPTY_PATH,
  AT_NO_AUTOMOUNT,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  STATX_BASIC_STATS,
  STATX_BTIME,
} from '../linux/abi.js';
import { EMFILE, ENFILE, ENOENT, ENOMEM, ESTALE } from '../linux/errno.js';
import { FILE_HANDLE, STATX } from '../linux/layout.js';
import { call6, close, NR, openat, statx } from '../linux/syscalls.js';
import { AT_HANDLE, AT_NAME, AT_STAT, AT_STATFS, type Context } from './context.js';
import { DEVICE_HANDLES, DEVICE_UNWATCHABLE, reopenDirectory } from './devices.js';
import { HANDLE_BYTES_MAX, type Identity, NODE_SUBMOUNT, ROOT_SLOT } from './node-table.js';

/** include/uapi/linux/stat.h (Linux 5.8): tells mounts of one file system apart. */
const STATX_MNT_ID = 0x1000;
const STAT_MASK = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
/** First identity word of a node that is known by its birth time instead of a handle. */
const BY_BIRTH = 0xffff0000;
/** Descriptors given back at once when the limit is reached. */
const EVICT_BATCH = 64;

/**
 * openat(2), with cached descriptors given back when there are too many. -ENFILE when that did not help: the limit is not
 * the caller's own, which EMFILE would say.
 */
export function openSparing(context: Context, dirfd: number, name: number, flags: number, mode: number): number {
  const fd = openat(dirfd, name, flags, mode);
  if (fd !== -EMFILE) return fd;
  context.nodes.evict(EVICT_BATCH);
  const again = openat(dirfd, name, flags, mode);
  return again === -EMFILE ? -ENFILE : again;
}

/** statx(2) of a name in a directory, or of the directory itself with an empty name, into AT_STAT. 0 or -errno. */
export function statAt(context: Context, dirfd: number, name: number): number {
  return statx(
    dirfd,
    name,
    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
    STAT_MASK,
    context.memory.address + AT_STAT,
  );
}

/** Like `statAt`, for a descriptor. */
export function statFd(context: Context, fd: number): number {
  return statx(fd, context.empty, AT_EMPTY_PATH, STAT_MASK, context.memory.address + AT_STAT);
}

/**
 * Reads what a name is: attributes into AT_STAT, identity into `context.identity`, both of the same inode. Attributes
 * and handle are read one after the other; where the handle does not show that they belong together (it holds the inode
 * number on the file systems known here), both are read anew through a descriptor. 0 or -errno.
 */
export function identify(context: Context, dirfd: number, name: number): number {
  const error = statAt(context, dirfd, name);
  if (error < 0) return error;
  const known = identifyStatted(context, dirfd, name);
  if (known <= 0 || name === context.empty) return Math.min(known, 0);
  const fd = openSparing(context, dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return fd;
  let again = statFd(context, fd);
  if (again === 0) again = identifyStatted(context, fd, context.empty);
  close(fd);
  return Math.min(again, 0);
}

/** 0, 1 when attributes and handle may be of different inodes, or -errno. */
function identifyStatted(context: Context, dirfd: number, name: number): number {
  const { memory, identity, devices } = context;
  const stat = AT_STAT >> 2;
  const type = context.statMode() & S_IFMT;
  const mount = memory.i32[stat + (STATX.mnt_id >> 2)]!;
  const major = memory.i32[stat + (STATX.dev_major >> 2)]!;
  const minor = memory.i32[stat + (STATX.dev_minor >> 2)]!;
  let device = devices.find(mount, major, minor);
  if (device < 0) {
    device = meetDevice(context, dirfd, name, type, mount, major, minor);
    if (device < 0) return device;
  }
  identity.inoLo = memory.u32[stat + (STATX.ino >> 2)]!;
  identity.inoHi = memory.u32[stat + (STATX.ino >> 2) + 1]!;
  identity.device = device;
  identity.type = type;
  const { words } = identity;
  words.fill(0);
  if (devices.has(device, DEVICE_HANDLES) && readHandle(context, dirfd, name)) return handleFitsInode(identity) ? 0 : 1;
  words[0] = BY_BIRTH;
  words[1] = memory.u32[stat + (STATX.btime >> 2)]!;
  words[2] = memory.u32[stat + (STATX.btime >> 2) + 1]!;
  words[3] = memory.u32[stat + (STATX.btime >> 2) + 2]!;
  words[4] = identity.inoLo;
  words[5] = identity.inoHi;
  words[6] = type;
  return 0;
}

/** Handle types (include/linux/exportfs.h) that hold the inode number, and where. */
function handleFitsInode({ words, inoLo, inoHi }: Identity): boolean {
  switch (words[0]) {
    case 0x0001_0008: // FILEID_INO32_GEN: ext4, f2fs and most others
      return words[1] === inoLo;
    case 0x0001_000c: // tmpfs (mm/shmem.c, shmem_encode_fh): generation, then the inode number
      return words[2] === inoLo && words[3] === inoHi;
    case 0x0081_000c: // FILEID_INO64_GEN: xfs
    case 0x004d_0014: // FILEID_BTRFS_WITHOUT_PARENT
      return words[1] === inoLo && words[2] === inoHi;
    default:
      return false;
  }
}

/** name_to_handle_at(2) into `context.identity.words`; false when this inode has none that fits. */
function readHandle(context: Context, dirfd: number, name: number): boolean {
  const { memory, identity } = context;
  const word = AT_HANDLE >> 2;
  memory.u32[word] = HANDLE_BYTES_MAX;
  const mountId = memory.address + AT_HANDLE + FILE_HANDLE.f_handle + FILE_HANDLE.maxBytes;
  const error = call6(NR.name_to_handle_at, dirfd, name, memory.address + AT_HANDLE, mountId, AT_EMPTY_PATH, 0);
  if (error < 0) return false;
  const bytes = memory.u32[word]!;
  const type = memory.u32[word + 1]!;
  if (type > 0xffff) return false;
  identity.words[0] = (type << 16) | bytes;
  const last = bytes & 3;
  const count = (bytes + 3) >> 2;
  for (let i = 0; i < count; i++) identity.words[1 + i] = memory.u32[word + 2 + i]!;
  if (last !== 0) identity.words[count] = identity.words[count]! & ((1 << (last * 8)) - 1);
  return true;
}

/** Registers a file system seen for the first time. Its index, or -errno. */
function meetDevice(
  context: Context,
  dirfd: number,
  name: number,
  type: number,
  mount: number,
  major: number,
  minor: number,
): number {
  // A file system, or subvolume, begins with a directory. Other files of overlayfs show device numbers of their layers.
  if (context.options.xdev && type === S_IFDIR && context.devices.count > 0) return -ENOENT;
  let fd = -1;
  let flags = 0;
  if (type === S_IFDIR) {
    const path = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC, 0);
    if (path < 0) {
      // An O_PATH descriptor of the directory itself, given with an empty name.
      fd = reopenDirectory(context.fdName(dirfd));
    } else {
      fd = reopenDirectory(context.fdName(path));
      close(path);
    }
    if (fd >= 0 && isRemote(context, fd)) flags = DEVICE_UNWATCHABLE;
    else if (fd >= 0 && handlesWork(context, fd)) flags = DEVICE_HANDLES;
    if (fd >= 0 && (flags & DEVICE_HANDLES) === 0) {
      close(fd);
      fd = -1;
    }
  }
  const index = context.devices.add(mount, major, minor, fd, flags);
  return index < 0 ? -ENFILE : index;
}

/**
 * File systems (include/uapi/linux/magic.h) that change without this kernel being told: nothing on them can be leased.
 * Their handles are not used either: FUSE forgets them when its cache does (fs/fuse/inode.c, fuse_get_dentry), those of
 * NFS do not fit.
 */
const REMOTE: ReadonlySet<number> = new Set([
  0x65735546, // FUSE
  0x6969, // NFS
  0xff534d42, // CIFS
  0xfe534d42, // SMB2
  0x517b, // SMB
  0x01021997, // 9P
  0x00c36400, // Ceph
  0x5346414f, // AFS
  0x6b414653, // kAFS
  0x73757245, // Coda
  0x01161970, // GFS2
  0x7461636f, // OCFS2
  0x0bd00bd0, // Lustre
]);

function isRemote(context: Context, fd: number): boolean {
  const { memory } = context;
  if (call6(NR.fstatfs, fd, memory.address + AT_STATFS, 0, 0, 0, 0) !== 0) return true;
  return REMOTE.has(memory.u32[AT_STATFS >> 2]!);
}

/** Tries a handle there and back: some file systems encode what they cannot decode. */
function handlesWork(context: Context, fd: number): boolean {
  if (!readHandle(context, fd, context.empty)) return false;
  const back = openHandle(context, fd);
  if (back < 0) return false;
  close(back);
  return true;
}

/**
 * open_by_handle_at(2) of `context.identity`-shaped words already laid out at AT_HANDLE. ENOMEM is also what the kernel
 * answers while the inode number is being given to a new inode (iget_locked finds it I_CREATING and returns nothing, which
 * ext4_iget takes for that): the one that was meant is gone.
 */
function openHandle(context: Context, mountFd: number): number {
  const at = context.memory.address + AT_HANDLE;
  const fd = call6(NR.open_by_handle_at, mountFd, at, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
  return fd === -ENOMEM ? -ESTALE : fd;
}

/**
 * A descriptor (O_PATH, or better) of a node, pinned: give it back with `context.nodes.unpin(slot)`. -errno on failure
 * and then nothing is pinned. ESTALE: the inode is gone, or its name now means another.
 */
export function acquire(context: Context, slot: number): number {
  const fd = context.nodes.pin(slot);
  return fd >= 0 ? fd : reacquire(context, slot);
}

function reacquire(context: Context, slot: number): number {
  let fd = openNode(context, slot);
  if (fd === -EMFILE) {
    context.nodes.evict(EVICT_BATCH);
    fd = openNode(context, slot);
  }
  if (fd < 0) return fd === -EMFILE ? -ENFILE : fd;
  const error = checkIdentity(context, slot, fd);
  if (error < 0) {
    close(fd);
    return error;
  }
  const type = context.nodes.type(slot);
  const cached = type === S_IFDIR || type === S_IFREG || type === S_IFLNK;
  return context.nodes.attach(slot, fd, cached);
}

function openNode(context: Context, slot: number): number {
  const { nodes, memory } = context;
  const kind = nodes.identityWord(slot, 0);
  if (kind >>> 16 !== BY_BIRTH >>> 16) {
    const word = AT_HANDLE >> 2;
    const bytes = kind & 0xffff;
    memory.u32[word] = bytes;
    memory.u32[word + 1] = kind >>> 16;
    for (let i = 0; i < (bytes + 3) >> 2; i++) memory.u32[word + 2 + i] = nodes.identityWord(slot, 1 + i);
    return openHandle(context, context.devices.fd(nodes.device(slot)));
  }
  const parent = nodes.parentOf(slot);
  if (parent === 0) return -ESTALE;
  const parentFd = acquire(context, parent);
  if (parentFd < 0) return parentFd;
  nodes.copyName(slot, memory.u8, AT_NAME);
  const fd = openat(parentFd, memory.address + AT_NAME, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  nodes.unpin(parent);
  return fd === -ENOENT ? -ESTALE : fd;
}

/** Compares a descriptor with the node it is to stand for. Leaves its attributes in AT_STAT. 0 or -errno. */
function checkIdentity(context: Context, slot: number, fd: number): number {
  const error = statFd(context, fd);
  if (error < 0) return error;
  const { nodes, memory } = context;
  const stat = AT_STAT >> 2;
  if (
    memory.u32[stat + (STATX.ino >> 2)] !== nodes.inoLo(slot) ||
    memory.u32[stat + (STATX.ino >> 2) + 1] !== nodes.inoHi(slot) ||
    (context.statMode() & S_IFMT) !== nodes.type(slot)
  ) {
    return -ESTALE;
  }
  if (nodes.identityWord(slot, 0) !== BY_BIRTH) return 0;
  const birth = stat + (STATX.btime >> 2);
  const same =
    memory.u32[birth] === nodes.identityWord(slot, 1) &&
    memory.u32[birth + 1] === nodes.identityWord(slot, 2) &&
    memory.u32[birth + 2] === nodes.identityWord(slot, 3);
  return same ? 0 : -ESTALE;
}

/**
 * Makes (or finds) the node of what was just identified, found as `name` in `parent`. Counts one lookup. Fills
 * result.moved and `former`. The slot, or -errno.
 */
export function internIdentified(context: Context, parent: number, nameOffset: number, nameLength: number): number {
  const { nodes, identity, result } = context;
  const slot = nodes.intern(identity);
  if (slot === 0) return -ENFILE;
  const { u8 } = context.memory;
  let placed = true;
  result.moved = false;
  if (identity.type === S_IFDIR)
    result.moved = nodes.relocate(slot, parent, u8, nameOffset, nameLength, context.former);
  if (identity.words[0] === BY_BIRTH) placed = nodes.setName(slot, parent, u8, nameOffset, nameLength);
  if (!placed || (identity.words[0] === BY_BIRTH && nodes.parentOf(slot) === 0)) {
    nodes.forget(slot, 1);
    return -ENFILE;
  }
  if (identity.device !== nodes.device(parent)) nodes.setFlags(slot, NODE_SUBMOUNT);
  // FIFOs, sockets and devices are used by the kernel without an OPEN, so their inode must stay reachable after the
  // last name is gone (LP1860041): they hold a descriptor. They are few, and hold no blocks of the underlay.
  if (identity.type !== S_IFREG && identity.type !== S_IFDIR && identity.type !== S_IFLNK) pinForLife(context, slot);
  return slot;
}

/** Beyond what the table allows, a deleted special file answers ENOENT. */
function pinForLife(context: Context, slot: number): void {
  const stat = context.memory.u8.slice(AT_STAT, AT_STAT + STATX.size);
  if (acquire(context, slot) >= 0) context.nodes.keepPinned(slot);
  context.memory.u8.set(stat, AT_STAT);
}

/** Makes the node of the source: opens it, meets its file system, and is called once, before anybody serves. */
export function initializeRoot(context: Context, rootFd: number): number {
  const error = identify(context, rootFd, context.empty);
  if (error < 0) return error;
  context.nodes.initializeRoot(context.identity, rootFd);
  return ROOT_SLOT;
}
