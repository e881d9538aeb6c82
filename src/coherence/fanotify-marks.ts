// Arming fanotify, on the thread that is about to read: one call, and every later change of what it marks is reported.

import { AT_STAT, type Context } from '../filesystem/context.js';
import { DEVICE_HANDLES, DEVICE_UNWATCHABLE, DEVICE_WATCHED } from '../filesystem/devices.js';
import { NODE_WATCHED } from '../filesystem/node-table.js';
import { acquire } from '../filesystem/resolve.js';
import { S_IFDIR } from '../linux/abi.js';
import { markFileSystem, markInode, unmarkInode } from '../linux/fanotify.js';
import { STATX } from '../linux/layout.js';

/** Marks a whole file system. False, from then on without trying, where that cannot be done. */
export function armDevice(context: Context, group: number, device: number): boolean {
  const { devices } = context;
  const fd = devices.fd(device);
  if (fd >= 0 && devices.has(device, DEVICE_HANDLES) && markFileSystem(group, fd) === 0) {
    devices.set(device, DEVICE_WATCHED);
    return true;
  }
  devices.set(device, DEVICE_UNWATCHABLE);
  return false;
}

/** Marks the inode of a node, and for a directory what is in it. False when it cannot be (the limit of marks). */
export function armInode(context: Context, group: number, slot: number): boolean {
  const { nodes, memory } = context;
  // The reply being made has its attributes there, with view ids already.
  const stat = memory.u8.slice(AT_STAT, AT_STAT + STATX.size);
  const fd = acquire(context, slot);
  memory.u8.set(stat, AT_STAT);
  if (fd < 0) return false;
  const error = markInode(group, context.fdName(fd), nodes.type(slot) === S_IFDIR);
  nodes.unpin(slot);
  if (error < 0) return false;
  nodes.setFlags(slot, NODE_WATCHED);
  return true;
}

export function disarmInode(context: Context, group: number, slot: number): void {
  const { nodes } = context;
  nodes.clearFlags(slot, NODE_WATCHED);
  const fd = acquire(context, slot);
  // An inode that is gone has taken its mark with it.
  if (fd < 0) return;
  unmarkInode(group, context.fdName(fd), nodes.type(slot) === S_IFDIR);
  nodes.unpin(slot);
}
