// Tells the kernel to drop what it has cached: FUSE notifications written to the device.
//
// INVAL_ENTRY takes the lock of the directory, so it waits for lookups and creates there that are on their way: that is
// what makes it safe, and why it is never sent by a thread that serves. ENOENT is the normal answer of a kernel that had
// nothing cached; ENOTDIR, EINVAL, EBUSY and ENOTEMPTY come from races with the container's own changes.

import { FUSE_EXPIRE_ONLY, NOTIFY, OUT_HEADER } from '../fuse/protocol.js';
import { EINTR, ENOENT } from '../linux/errno.js';
import type { Memory } from '../linux/memory.js';
import { write } from '../linux/syscalls.js';
import { count } from './shared.js';

/** Room a notifier needs in memory. */
export const NOTIFIER_BYTES = 512;

export class Notifier {
  private readonly memory: Memory;
  private readonly at: number;
  private readonly device: number;
  private readonly control: Int32Array;

  constructor(memory: Memory, at: number, device: number, control: Int32Array) {
    this.memory = memory;
    this.at = at;
    this.device = device;
    this.control = control;
  }

  /** Drops a name (or its absence) of a directory. 0, or -errno of the kernel. */
  invalEntry(parentLo: number, parentHi: number, name: Uint8Array, offset: number, length: number): number {
    const error = this.entry(parentLo, parentHi, name, offset, length, 0);
    count(this.control, error === -ENOENT ? 'inval_entry_absent' : 'inval_entry');
    return error;
  }

  /** Makes the kernel ask again for a name at its next use; nothing is detached (Linux 6.2; an older one drops it). */
  expireEntry(parentLo: number, parentHi: number, name: Uint8Array, offset: number, length: number): number {
    return this.entry(parentLo, parentHi, name, offset, length, FUSE_EXPIRE_ONLY);
  }

  private entry(
    parentLo: number,
    parentHi: number,
    name: Uint8Array,
    offset: number,
    length: number,
    flags: number,
  ): number {
    const { memory, at } = this;
    const { u32, u8 } = memory;
    const word = at >> 2;
    const size = OUT_HEADER.size + 16 + length + 1;
    this.header(size, NOTIFY.INVAL_ENTRY);
    u32[word + 4] = parentLo;
    u32[word + 5] = parentHi;
    u32[word + 6] = length;
    u32[word + 7] = flags;
    for (let i = 0; i < length; i++) u8[at + 32 + i] = name[offset + i]!;
    u8[at + 32 + length] = 0;
    return this.send(size);
  }

  /** Drops the attributes of an inode, and with `data` its pages or its listing too. */
  invalInode(nodeidLo: number, nodeidHi: number, data: boolean): number {
    const { u32 } = this.memory;
    const word = this.at >> 2;
    this.header(OUT_HEADER.size + 24, NOTIFY.INVAL_INODE);
    u32[word + 4] = nodeidLo;
    u32[word + 5] = nodeidHi;
    // A negative offset leaves pages alone (fs/fuse/inode.c, fuse_reverse_inval_inode); offset and length 0 is all.
    u32[word + 6] = data ? 0 : 0xffffffff;
    u32[word + 7] = data ? 0 : 0xffffffff;
    u32[word + 8] = 0;
    u32[word + 9] = 0;
    const error = this.send(OUT_HEADER.size + 24);
    count(this.control, error === -ENOENT ? 'inval_inode_absent' : 'inval_inode');
    return error;
  }

  private header(length: number, code: number): void {
    const { u32 } = this.memory;
    const word = this.at >> 2;
    u32[word] = length;
    u32[word + 1] = code;
    u32[word + 2] = 0;
    u32[word + 3] = 0;
  }

  private send(length: number): number {
    let written: number;
    do written = write(this.device, this.memory.address + this.at, length);
    while (written === -EINTR);
    if (written >= 0) return 0;
    if (written !== -ENOENT) count(this.control, 'notify_errors');
    return written;
  }
}
