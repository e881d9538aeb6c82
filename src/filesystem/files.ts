// Open files: OPEN, CREATE, TMPFILE, READ, WRITE, FLUSH, RELEASE, FSYNC, FALLOCATE, LSEEK, COPY_FILE_RANGE, IOCTL.
//
// Where the kernel can pass data through, an open file has no descriptor of its own here: the node keeps one (O_PATH)
// pinned for as long as the file is open, the kernel reads and writes the underlay's pages, and the few operations that
// still come to us open the file then. All opens of one inode at a time are of one kind (the kernel refuses a mixture,
// fs/fuse/iomode.c): the first decides, the last release undoes.

import {
  AT_FDCWD,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  S_ISGID,
  S_ISUID,
} from '../linux/abi.js';
import {
  EEXIST,
  EFBIG,
  EINVAL,
  EISDIR,
  ELOOP,
  ENFILE,
  ENOTTY,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  ESTALE,
} from '../linux/errno.js';
import { STATX } from '../linux/layout.js';
import { call2, call4, call6, close, ioctl, lseek, NR, pread, pwrite } from '../linux/syscalls.js';
import { disarm, found, gone } from './attributes.js';
import { AT_STAT, type Context } from './context.js';
import { DEVICE_NO_PASSTHROUGH } from './devices.js';
import { HANDLE_FILE, HANDLE_NOFLUSH, HANDLE_PASSTHROUGH } from './handle-table.js';
import { beginCreate, creationMode } from './namespace.js';
import { NODE_RECORD_LOCKS } from './node-table.js';
import { acquire, identify, openSparing, statFd } from './resolve.js';

/** A node whose files are, for now, not passed through (some open of it is served by us). */
const NOT_PASSED = -1;

/** statx(2): the inode cannot be written, or only appended to (chattr +i, +a). */
const STATX_ATTR_IMMUTABLE = 0x10;
const STATX_ATTR_APPEND = 0x20;

/**
 * Opens a node's file. Fills result.handle, backing, direct, keepCache, noFlush. `kill`: the caller may not keep set-id
 * bits when O_TRUNC cuts the file. ESTALE makes the kernel look the name up again before it reports anything.
 */
export function open(context: Context, slot: number, flags: number, kill: boolean): number {
  const type = context.nodes.type(slot);
  if (type !== S_IFREG) return type === S_IFDIR ? -EISDIR : type === S_IFLNK ? -ELOOP : -EPERM;
  const fd = acquire(context, slot);
  if (fd < 0) return fd;
  // What is refused must not have been cut before.
  let error = mayHold(context) ? 0 : -ENFILE;
  if (error === 0 && (flags & O_ACCMODE) !== O_RDONLY) error = checkWritable(context, fd, flags);
  if (error === 0 && (flags & O_TRUNC) !== 0) error = cut(context, fd, kill);
  if (error === 0) error = openHandle(context, slot, fd, flags);
  // On success the pin stays with the open file.
  if (error < 0) context.nodes.unpin(slot);
  return error;
}

/** Whether the caller may have one more open file, for which two descriptors are needed at most. */
function mayHold(context: Context): boolean {
  return context.held.hasRoom(context.holder, 2);
}

/** A backing file is opened by the kernel without the checks of open(2), so these are ours (fs/namei.c, may_open). */
function checkWritable(context: Context, fd: number, flags: number): number {
  const error = statFd(context, fd);
  if (error < 0) return error;
  const attributes = context.memory.u32[(AT_STAT + STATX.attributes) >> 2]!;
  if ((attributes & STATX_ATTR_IMMUTABLE) !== 0) return -EPERM;
  if ((attributes & STATX_ATTR_APPEND) !== 0 && ((flags & O_APPEND) === 0 || (flags & O_TRUNC) !== 0)) return -EPERM;
  return disarm(context, fd);
}

/** O_TRUNC, which comes with the open (ATOMIC_O_TRUNC). */
function cut(context: Context, fd: number, kill: boolean): number {
  context.credentials.serve();
  context.credentials.setFsetid(!kill);
  const opened = openSparing(context, AT_FDCWD, context.fdName(fd), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0);
  context.credentials.setFsetid(false);
  if (opened < 0) return opened;
  close(opened);
  return 0;
}

/** Makes the handle of an open whose node is pinned; the pin is the handle's when this returns 0. */
function openHandle(context: Context, slot: number, fd: number, flags: number): number {
  const { nodes, handles, result, options, backing, devices, held, holder } = context;
  const device = nodes.device(slot);
  result.backing = 0;
  nodes.lockNode(slot);
  const before = nodes.addOpen(slot, 1);
  let id = nodes.backing(slot);
  if (before === 0) {
    if (!held.take(holder, 1)) {
      nodes.addOpen(slot, -1);
      nodes.unlockNode(slot);
      return -ENFILE;
    }
    nodes.setHolder(slot, holder);
    // One that is left from the last open will do: the kernel opens it anew, as it is asked to, for each open of the view.
    if (id <= 0) id = NOT_PASSED;
    if (id === NOT_PASSED && backing !== null && !devices.has(device, DEVICE_NO_PASSTHROUGH)) {
      context.credentials.serve();
      id = backing.open(fd);
      if (id <= 0) {
        // ELOOP is "stacked too deep": it will not get better for other files of this file system. ENOMEM may.
        if (id === -EPERM || id === -EOPNOTSUPP || id === -ELOOP || id === -EINVAL) {
          devices.set(device, DEVICE_NO_PASSTHROUGH);
        }
        id = NOT_PASSED;
      }
    }
    nodes.setBacking(slot, id);
  }
  nodes.unlockNode(slot);
  let own = -1;
  if (id === NOT_PASSED) {
    own = openOwn(context, holder, fd, flags);
    if (own < 0) {
      closeNode(context, slot);
      return own;
    }
  }
  // Only a descriptor that can both read and write is used for record locks as a rule; without FLUSH their release at
  // close(2) would be missed. See locks.ts for the ones taken through other descriptors.
  const noFlush = (flags & O_ACCMODE) !== O_RDWR && (nodes.flags(slot) & NODE_RECORD_LOCKS) === 0;
  const state = (id === NOT_PASSED ? 0 : HANDLE_PASSTHROUGH) | (noFlush ? HANDLE_NOFLUSH : 0);
  const handle = handles.add(HANDLE_FILE, slot, own, flags, state, holder);
  if (handle === 0) {
    if (own >= 0) closeOwn(context, holder, own);
    closeNode(context, slot);
    return -ENFILE;
  }
  if (id !== NOT_PASSED && (flags & O_ACCMODE) !== O_RDONLY) nodes.addWriter(slot, 1);
  result.handle = handle;
  result.backing = id === NOT_PASSED ? 0 : id;
  result.direct = id === NOT_PASSED && options.uncached;
  result.keepCache = id === NOT_PASSED && !options.uncached && context.leases.keepData(slot);
  result.noFlush = noFlush;
  return 0;
}

/** Counts one open of a node less, without its pin. */
function closeNode(context: Context, slot: number): void {
  const { nodes, held } = context;
  nodes.lockNode(slot);
  if (nodes.addOpen(slot, -1) === 1) {
    held.give(nodes.holder(slot), 1);
    if (nodes.backing(slot) < 0) nodes.setBacking(slot, 0);
  }
  nodes.unlockNode(slot);
}

/**
 * Opens the underlay's file for ourselves. O_DIRECT is left out, as our buffers are not aligned for the underlay, and
 * O_NOFOLLOW, as the way there is a magic link.
 */
function openOwn(context: Context, holder: number, fd: number, flags: number): number {
  if (!context.held.take(holder, 1)) return -ENFILE;
  const own =
    (flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_DIRECT | O_PATH | O_NOFOLLOW)) | O_CLOEXEC | O_NONBLOCK;
  const opened = openSparing(context, AT_FDCWD, context.fdName(fd), own, 0);
  if (opened < 0) context.held.give(holder, 1);
  return opened;
}

function closeOwn(context: Context, holder: number, fd: number): void {
  close(fd);
  context.held.give(holder, 1);
}

/** How often, and every how many ms, a create is tried while something has the name. */
const CREATE_TRIES = 30;
const CREATE_PAUSE = 0.5;
const pauseCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Creates a file and opens it. Fills `result` as `lookup` and `open` do. A name that exists by now is never opened here,
 * as nobody has checked whether the caller may: ESTALE makes the kernel look again and do that (O_EXCL: EEXIST). The kernel
 * does so once (fs/namei.c, do_filp_open), and the caller would be told ESTALE if a name that comes and goes were there at
 * the wrong moment twice: so it has to stay for fifteen milliseconds first.
 */
export function create(
  context: Context,
  parent: number,
  nameOffset: number,
  nameLength: number,
  flags: number,
  mode: number,
): number {
  if (!mayHold(context)) return -ENFILE;
  const parentFd = beginCreate(context, parent, nameOffset);
  if (parentFd < 0) return parentFd;
  const name = context.address(nameOffset);
  const safe = creationMode(context, parentFd, S_IFREG, mode & 0o7777);
  let fd = openSparing(context, parentFd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, safe);
  for (let tries = 1; fd === -EEXIST && (flags & O_EXCL) === 0 && tries < CREATE_TRIES; tries++) {
    Atomics.wait(pauseCell, 0, 0, CREATE_PAUSE);
    fd = openSparing(context, parentFd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, safe);
  }
  if (fd < 0) {
    context.nodes.unpin(parent);
    return fd === -EEXIST && (flags & O_EXCL) === 0 ? -ESTALE : fd;
  }
  context.leases.changed(parent);
  const error = openCreated(context, parent, nameOffset, nameLength, fd, flags);
  context.nodes.unpin(parent);
  return error;
}

/** An unnamed file in the directory `parent` (O_TMPFILE); linkat(2) can give it a name. */
export function createUnnamed(context: Context, parent: number, flags: number, mode: number): number {
  if (!mayHold(context)) return -ENFILE;
  const parentFd = beginCreate(context, parent, -1);
  if (parentFd < 0) return parentFd;
  const safe = creationMode(context, parentFd, S_IFREG, mode & 0o7777);
  const own = O_TMPFILE | O_RDWR | O_CLOEXEC | (flags & O_EXCL);
  const fd = openSparing(context, AT_FDCWD, context.fdName(parentFd), own, safe);
  if (fd < 0) {
    context.nodes.unpin(parent);
    return fd;
  }
  const error = openCreated(context, parent, 0, 0, fd, flags);
  context.nodes.unpin(parent);
  return error;
}

/** From the descriptor of a file just made to its node and its handle; `fd` is closed. */
function openCreated(
  context: Context,
  parent: number,
  nameOffset: number,
  nameLength: number,
  fd: number,
  flags: number,
): number {
  const { nodes, result } = context;
  let error = identify(context, fd, context.empty);
  if (error === 0) error = found(context, parent, nameOffset, nameLength);
  if (error < 0) {
    close(fd);
    return error;
  }
  const slot = result.node;
  // The node keeps an O_PATH descriptor: one open for writing would make the file "text busy" for as long.
  let pinned = nodes.pin(slot);
  if (pinned < 0) {
    const path = openSparing(context, AT_FDCWD, context.fdName(fd), O_PATH | O_CLOEXEC, 0);
    pinned = path < 0 ? path : nodes.attach(slot, path, false);
  }
  close(fd);
  if (pinned >= 0) {
    error = openHandle(context, slot, pinned, flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_TMPFILE));
    if (error < 0) nodes.unpin(slot);
    else if ((flags & O_ACCMODE) !== O_RDONLY && result.backing > 0) {
      const seconds = context.leases.beginsToBeWritten(slot, result.attributeSeconds);
      if ((context.statMode() & (S_ISUID | S_ISGID)) === 0) result.attributeSeconds = seconds;
    }
  } else error = pinned;
  if (error < 0) nodes.forget(slot, 1);
  return error;
}

/** The descriptor of an open file, opened now if data is passed through; -errno. */
export function handleDescriptor(context: Context, handle: number): number {
  const { handles, nodes } = context;
  const fd = handles.fd(handle);
  if (fd >= 0) return fd;
  const slot = handles.node(handle);
  const nodeFd = acquire(context, slot);
  if (nodeFd < 0) return gone(nodeFd);
  const holder = handles.holder(handle);
  const opened = openOwn(context, holder, nodeFd, handles.openFlags(handle));
  nodes.unpin(slot);
  if (opened < 0) return opened;
  const given = handles.giveFd(handle, opened);
  if (given !== opened) closeOwn(context, holder, opened);
  return given;
}

/** Offsets are not exact numbers beyond this: what is not passed through is refused there (8 PiB). */
const FAR = Number.MAX_SAFE_INTEGER;

/** Reads into memory at `offset`. Bytes read (0 at the end), or -errno. */
export function read(context: Context, handle: number, position: number, offset: number, size: number): number {
  if (position > FAR) return -EOVERFLOW;
  const fd = handleDescriptor(context, handle);
  if (fd < 0) return fd;
  let done = 0;
  // A short read means the end of the file to the kernel, so only the end may be short (CVE-2021-3492's lesson).
  while (done < size) {
    const got = pread(fd, context.address(offset + done), size - done, position + done);
    if (got < 0) return done > 0 ? done : got;
    if (got === 0) break;
    done += got;
  }
  return done;
}

/**
 * Writes from memory. Bytes written, or -errno. `kill`: set-id bits go, as for any writer without CAP_FSETID; otherwise
 * they stay.
 */
export function write(
  context: Context,
  handle: number,
  position: number,
  offset: number,
  size: number,
  kill: boolean,
): number {
  if (position > FAR) return -EFBIG;
  const fd = handleDescriptor(context, handle);
  if (fd < 0) return fd;
  context.credentials.serve();
  context.credentials.setFsetid(!kill);
  let done = 0;
  let error = 0;
  while (done < size) {
    const put = pwrite(fd, context.address(offset + done), size - done, position + done);
    if (put <= 0) {
      error = put;
      break;
    }
    done += put;
  }
  context.credentials.setFsetid(false);
  return done > 0 ? done : error;
}

/** Closes an open file. */
export function release(context: Context, handle: number): void {
  if (context.handles.startClosing(handle)) closeFile(context, handle);
}

/** The same, after the last hold of a handle that was released meanwhile. */
export function closeFile(context: Context, handle: number): void {
  const { handles, nodes } = context;
  const slot = handles.node(handle);
  const fd = handles.fd(handle);
  const holder = handles.holder(handle);
  const writer =
    (handles.state(handle) & HANDLE_PASSTHROUGH) !== 0 && (handles.openFlags(handle) & O_ACCMODE) !== O_RDONLY;
  handles.remove(handle);
  if (writer) nodes.addWriter(slot, -1);
  if (fd >= 0) closeOwn(context, holder, fd);
  closeNode(context, slot);
  nodes.unpin(slot);
}

export function fsync(context: Context, handle: number, dataOnly: boolean): number {
  const fd = handleDescriptor(context, handle);
  if (fd < 0) return fd;
  return call2(dataOnly ? NR.fdatasync : NR.fsync, fd, 0);
}

export function fallocate(context: Context, handle: number, mode: number, offset: number, length: number): number {
  if (offset + length > FAR) return -EFBIG;
  const fd = handleDescriptor(context, handle);
  if (fd < 0) return fd;
  context.credentials.serve();
  return call4(NR.fallocate, fd, mode, offset, length);
}

/** SEEK_DATA and SEEK_HOLE. The offset found, or -errno. */
export function seek(context: Context, handle: number, offset: number, whence: number): number {
  const fd = handleDescriptor(context, handle);
  if (fd < 0) return fd;
  return lseek(fd, offset, whence);
}

/** copy_file_range(2) between two open files. Bytes copied, or -errno. `positions` holds two loff_t in memory. */
export function copyRange(context: Context, source: number, target: number, positions: number, length: number): number {
  const from = handleDescriptor(context, source);
  if (from < 0) return from;
  const to = handleDescriptor(context, target);
  if (to < 0) return to;
  context.credentials.serve();
  const { memory } = context;
  return call6(
    NR.copy_file_range,
    from,
    memory.address + positions,
    to,
    memory.address + positions + 8,
    Math.min(length, 0x7ffff000),
    0,
  );
}

// ioctl numbers of include/uapi/linux/fs.h; the same on every 64-bit architecture.
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
/** Flags only a host administrator may change (CAP_LINUX_IMMUTABLE): FS_IMMUTABLE_FL, FS_APPEND_FL. */
const PRIVILEGED_FLAGS = 0x30;
/** The same in struct fsxattr: FS_XFLAG_IMMUTABLE, FS_XFLAG_APPEND. */
const PRIVILEGED_XFLAGS = 0x18;

/**
 * The inode flag ioctls, on `handle`'s node or, for a directory handle, on `directoryFd`; argument in memory at
 * `argument` (int for the flags, struct fsxattr of 28 bytes), result in the same place. Everything else is ENOTTY: an
 * ioctl carries what nobody here understands, and it may carry ids and pointers.
 */
export function inodeIoctl(context: Context, fd: number, command: number, argument: number): number {
  const { memory } = context;
  const address = memory.address + argument;
  switch (command) {
    case FS_IOC_GETFLAGS:
    case FS_IOC_FSGETXATTR:
      return ioctl(fd, command, address);
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSSETXATTR: {
      const wanted = memory.u32[argument >> 2]!;
      const saved = memory.u8.slice(argument, argument + 32);
      const read = command === FS_IOC_SETFLAGS ? FS_IOC_GETFLAGS : FS_IOC_FSGETXATTR;
      const error = ioctl(fd, read, address);
      if (error < 0) return error;
      const privileged = command === FS_IOC_SETFLAGS ? PRIVILEGED_FLAGS : PRIVILEGED_XFLAGS;
      const changed = (wanted ^ memory.u32[argument >> 2]!) & privileged;
      memory.u8.set(saved, argument);
      if (changed !== 0) return -EPERM;
      context.credentials.serve();
      return ioctl(fd, command, address);
    }
    default:
      return -ENOTTY;
  }
}
