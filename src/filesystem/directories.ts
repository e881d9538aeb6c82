// Listings: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.
//
// The underlay's own offsets (d_off) are handed to the kernel as they are, so a listing that goes on after a change goes
// on where the underlay would: every name that stays is seen exactly once. Nothing is buffered between requests: each
// getdents64 asks for no more than the reply can hold.

import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY, S_IFDIR } from '../linux/abi.js';
import { EINVAL, ENFILE, ENOTDIR } from '../linux/errno.js';
import { DIRENT64 } from '../linux/layout.js';
import { call2, call4, close, NR, seekTo } from '../linux/syscalls.js';
import { gone } from './attributes.js';
import { AT_DIRENTS, type Context, DIRENTS_BYTES } from './context.js';
import { HANDLE_CACHEABLE, HANDLE_DIRECTORY } from './handle-table.js';
import { NODE_DATA_CHANGED } from './node-table.js';
import { acquire, openSparing } from './resolve.js';

/** What an open directory takes: its own descriptor and that of its node. */
const DESCRIPTORS = 2;

/** Opens a directory. Fills result.handle, cacheListing (the kernel may cache it) and keepCache (and keep what it has). */
export function openDirectory(context: Context, slot: number): number {
  const { nodes, handles, result, held, holder } = context;
  if (nodes.type(slot) !== S_IFDIR) return -ENOTDIR;
  if (!held.take(holder, DESCRIPTORS)) return -ENFILE;
  const fd = acquire(context, slot);
  if (fd < 0) {
    held.give(holder, DESCRIPTORS);
    return gone(fd);
  }
  context.leases.begin(slot, fd);
  const version = nodes.version(slot);
  const cacheable = context.leases.mayCacheListing(slot);
  // A listing that changed while the kernel was caching it must not be kept, whoever has cached it.
  const stale = (nodes.clearFlags(slot, NODE_DATA_CHANGED) & NODE_DATA_CHANGED) !== 0;
  const keep = cacheable && context.leases.keepData(slot) && !stale;
  const opened = openSparing(context, AT_FDCWD, context.fdName(fd), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  const state = cacheable ? HANDLE_CACHEABLE : 0;
  const handle = opened < 0 ? 0 : handles.add(HANDLE_DIRECTORY, slot, opened, 0, state, holder);
  if (handle === 0) {
    if (opened >= 0) close(opened);
    nodes.unpin(slot);
    held.give(holder, DESCRIPTORS);
    return opened < 0 ? opened : -ENFILE;
  }
  // The pin stays with the open directory.
  handles.setVersion(handle, version);
  result.handle = handle;
  result.cacheListing = cacheable;
  result.keepCache = keep;
  return 0;
}

export function releaseDirectory(context: Context, handle: number): void {
  if (context.handles.startClosing(handle)) closeDirectory(context, handle);
}

/** The same, after the last hold of a handle that was released meanwhile. */
export function closeDirectory(context: Context, handle: number): void {
  const { handles, nodes } = context;
  const slot = handles.node(handle);
  const fd = handles.fd(handle);
  const holder = handles.holder(handle);
  if ((handles.state(handle) & HANDLE_CACHEABLE) !== 0 && handles.version(handle) !== nodes.version(slot)) {
    nodes.setFlags(slot, NODE_DATA_CHANGED);
  }
  handles.remove(handle);
  close(fd);
  nodes.unpin(slot);
  context.held.give(holder, DESCRIPTORS);
}

export function fsyncDirectory(context: Context, handle: number, dataOnly: boolean): number {
  return call2(dataOnly ? NR.fdatasync : NR.fsync, context.handles.fd(handle), 0);
}

/** Moves an open directory to where the listing is to go on. 0 or -errno. */
export function seekDirectory(context: Context, handle: number, cookieLo: number, cookieHi: number): number {
  if (context.handles.cookieIs(handle, cookieLo, cookieHi)) return 0;
  return seekTo(context.handles.fd(handle), cookieLo, cookieHi);
}

/**
 * Reads the next entries, of at most `bytes` bytes of struct linux_dirent64, to AT_DIRENTS. Bytes read, 0 at the end, or
 * -errno; ENOENT for a directory that was removed. EINVAL when not even one entry fits.
 */
export function readEntries(context: Context, handle: number, bytes: number): number {
  const room = Math.min(bytes, DIRENTS_BYTES);
  if (room < DIRENT64.minSize) return -EINVAL;
  return call4(NR.getdents64, context.handles.fd(handle), context.memory.address + AT_DIRENTS, room, 0);
}
