// Leases: what a serving thread may let the kernel keep, when changes of the underlay are reported.
//
// The promise (coherence mode `lease`): what the kernel keeps is what the underlay had when it was read, and every later
// change is followed by a notification as soon as its event was handled. It rests on an order that both sides keep:
//
//   serving thread                                   watcher, for each batch of events
//   1. note the event sequence, arm the watch        1. the sequence moves on; note which replies are on their way
//   2. read the underlay                             2. for what changed: clear the lease's note, move the sequence,
//   3. note the lease                                   tell the kernel
//   4. if the sequence moved: grant nothing          3. tell it again when those replies have landed
//   5. when the reply has landed and the sequence
//      moved: note the lease again, unless there
//      is a later note (not where leases last for
//      less than a second anyhow: MODE_CHILDREN)
//
// A thread that read before the change either sees the sequence move (and grants nothing) or is one of the replies that
// are told again (3). A thread that read after it may have its note cleared by 2: if its reply lands before the kernel is
// told, the kernel drops what it was given; if after, the sequence has moved and 5 notes it again.

import type { Context, Leases } from '../filesystem/context.js';
import { DEVICE_UNWATCHABLE, DEVICE_WATCHED } from '../filesystem/devices.js';
import { NODE_ARMING, NODE_ATTR_LEASE, NODE_DATA_LEASE, NODE_WATCHED } from '../filesystem/node-table.js';
import { identify } from '../filesystem/resolve.js';
import { S_IFDIR } from '../linux/abi.js';
import { Doubts } from './doubts.js';
import type { NameRecord, NameTable } from './name-table.js';
import { COHERENCE, MODE_CHILDREN, MODE_FILESYSTEM } from './shared.js';

/** For how long the kernel keeps what is leased, seconds: long, as it is taken back by notification. */
const LEASE_SECONDS = 86_400;
/** The same with a watcher that can miss changes: the bound it states is a second, counted from the look. */
const SHORT_SECONDS = 0.8;
/**
 * The attributes of a file that somebody in the view writes, or has written within so many ms, are not leased: the kernel drops
 * them itself with each write, and the events of those writes, which look like the host's, would take them back at any
 * moment. That is worse than useless: a notification makes the kernel throw away the attributes in a reply that is on its
 * way and go on with the old ones (fs/fuse/inode.c, fuse_change_attributes), so that who was just let in by an ACL is refused.
 */
const WRITTEN_MS = 50;
/**
 * But for an instant, seconds, when it has just been created: without, the very open(2) that created the file asks for them
 * again (fs/namei.c, may_open). It is over by itself, so there is nothing to note.
 */
const UNTIL_OPEN = 0.01;
/** Leases that one reply can grant; a longer listing grants no more. */
const LOG_CAPACITY = 8192;
const LOG_BYTES = 1 << 18;
/** Words of a name in the log. */
const NAME_WORDS = 5;

/** Bytes before the NUL. */
function nameLength(bytes: Uint8Array, offset: number): number {
  let length = 0;
  while (bytes[offset + length] !== 0) length++;
  return length;
}

/** What reports changes, as far as a serving thread has to do with it. */
export interface Watch {
  /** Arms the watch of a file system; false when it cannot be watched. */
  armDevice(device: number): boolean;
  /** Arms the watch of a directory or of one inode; false when it is not armed (yet). `fd` is an O_PATH descriptor or -1. */
  armNode(slot: number, fd: number): boolean;
  /** The kernel forgets the node. */
  disarmNode(slot: number): void;
  /** The watcher sleeps until the next event; there is something else for it to do. */
  wake(): void;
}

export class WatchedLeases implements Leases {
  private readonly control: Int32Array;
  private readonly names: NameTable;
  private readonly watch: Watch;
  private context: Context | undefined;
  private parent = 0;
  private sequence = 0;
  private granting = false;
  private mode = 0;
  /** Nodes whose attributes this reply leases. */
  private readonly nodeLog = new Int32Array(LOG_CAPACITY);
  private nodeCount = 0;
  /** Names this reply leases: hash, node, offset and length in nameBytes, ticket. */
  private readonly nameLog = new Int32Array(LOG_CAPACITY * NAME_WORDS);
  private readonly nameBytes = new Uint8Array(LOG_BYTES);
  private nameCount = 0;
  private nameEnd = 0;
  private readonly doubts: Doubts;
  private readonly record: NameRecord = {
    parent: 0,
    parentGeneration: 0,
    child: 0,
    childGeneration: 0,
    name: new Uint8Array(256),
    length: 0,
  };

  constructor(control: Int32Array, names: NameTable, watch: Watch) {
    this.control = control;
    this.names = names;
    this.watch = watch;
    this.doubts = new Doubts(control);
  }

  /** The context these leases belong to; set once, before the first request. */
  attach(context: Context): void {
    this.context = context;
  }

  begin(parent: number, parentFd: number): void {
    const { control } = this;
    this.parent = parent;
    this.nodeCount = 0;
    this.nameCount = 0;
    this.nameEnd = 0;
    this.mode = Atomics.load(control, COHERENCE.mode);
    this.granting = this.mode !== 0 && (parent === 0 || this.watched(parent, parentFd));
    this.sequence = Atomics.load(control, COHERENCE.sequence);
  }

  name(offset: number, length: number, present: boolean): number {
    if (!this.granting || this.nameCount >= LOG_CAPACITY || this.nameEnd + length > LOG_BYTES) return 0;
    if (!present && Atomics.load(this.control, COHERENCE.negative) === 0) return 0;
    const { nodes, memory, result } = this.context!;
    const { nameBytes, nameLog, nameEnd } = this;
    for (let i = 0; i < length; i++) nameBytes[nameEnd + i] = memory.u8[offset + i]!;
    const hash = this.names.hash(this.parent, nameBytes, nameEnd, length);
    const child = present ? result.node : 0;
    const ticket = this.names.put(nodes, hash, this.parent, child, nameBytes, nameEnd, length);
    if (ticket === 0) {
      if (Atomics.exchange(this.control, COHERENCE.crowded, 1) === 0) this.watch.wake();
      return 0;
    }
    const at = this.nameCount++ * NAME_WORDS;
    nameLog[at] = hash;
    nameLog[at + 1] = child;
    nameLog[at + 2] = nameEnd;
    nameLog[at + 3] = length;
    nameLog[at + 4] = ticket;
    this.nameEnd = nameEnd + length;
    if (!this.unchanged()) return 0;
    return this.mode === MODE_CHILDREN ? SHORT_SECONDS : LEASE_SECONDS;
  }

  attributes(slot: number): number {
    if (!this.granting || this.nodeCount >= LOG_CAPACITY) return 0;
    const { nodes } = this.context!;
    let seconds = LEASE_SECONDS;
    if (this.mode === MODE_CHILDREN) {
      // Only directories are watched, which tells nothing of changes made through another name of a file: those of a
      // second name are not kept, and the rest only for the stated bound.
      if (nodes.type(slot) !== S_IFDIR && this.context!.statLinks() > 1) return 0;
      seconds = SHORT_SECONDS;
    } else if (!this.isWatched(slot)) {
      // A watch armed now is too late for what was read before: the next reply grants.
      this.watched(slot, -1);
      return 0;
    }
    if (nodes.isBeingWritten(slot, WRITTEN_MS)) return 0;
    nodes.setFlags(slot, NODE_ATTR_LEASE);
    this.nodeLog[this.nodeCount++] = slot;
    return this.unchanged() ? seconds : 0;
  }

  beginsToBeWritten(slot: number): number {
    this.context!.nodes.clearFlags(slot, NODE_ATTR_LEASE);
    // It was the last to be granted.
    if (this.nodeCount > 0 && this.nodeLog[this.nodeCount - 1] === slot) this.nodeCount--;
    return this.granting ? UNTIL_OPEN : 0;
  }

  keepData(slot: number): boolean {
    if (this.mode === 0 || this.mode === MODE_CHILDREN || !this.watched(slot, -1)) return false;
    const before = this.context!.nodes.setFlags(slot, NODE_DATA_LEASE);
    return (before & NODE_DATA_LEASE) !== 0 && this.unchanged();
  }

  mayCacheListing(slot: number): boolean {
    return this.granting && this.mode !== MODE_CHILDREN && this.watched(slot, -1);
  }

  changed(parent: number): void {
    this.context!.nodes.bumpVersion(parent);
  }

  changing(parent: number, nameOffset: number): void {
    // What else is watched tells by the pid whose change it was.
    if (this.mode === MODE_CHILDREN) this.unnote(parent, nameOffset);
  }

  renamed(
    parent: number,
    parentFd: number,
    nameOffset: number,
    newParent: number,
    newParentFd: number,
    newNameOffset: number,
    exchange: boolean,
  ): void {
    // What is kept for a second at most needs no note.
    if (this.mode === MODE_CHILDREN) return;
    const moved = this.noted(parent, nameOffset);
    const back = exchange ? this.noted(newParent, newNameOffset) : 0;
    if (!exchange) this.unnote(parent, nameOffset);
    this.move(moved, newParent, newParentFd, newNameOffset);
    if (exchange) this.move(back, parent, parentFd, nameOffset);
  }

  doubt(slot: number, nameOffset: number, length: number): void {
    if (this.mode === MODE_CHILDREN) return;
    const { nodes, memory } = this.context!;
    this.doubts.add(slot, nodes.generation(slot), memory.u8, nameOffset, length);
    this.watch.wake();
  }

  /** The node the kernel was given for a name, or 0. */
  private noted(parent: number, nameOffset: number): number {
    const { nodes, memory } = this.context!;
    const { names, record } = this;
    const length = nameLength(memory.u8, nameOffset);
    const hash = names.hash(parent, memory.u8, nameOffset, length);
    if (!names.get(hash, parent, nodes.generation(parent), memory.u8, nameOffset, length, record)) return 0;
    return nodes.resolve(record.child, record.childGeneration);
  }

  private unnote(parent: number, nameOffset: number): void {
    const { nodes, memory } = this.context!;
    const length = nameLength(memory.u8, nameOffset);
    const hash = this.names.hash(parent, memory.u8, nameOffset, length);
    this.names.remove(hash, parent, nodes.generation(parent), memory.u8, nameOffset, length);
  }

  /**
   * Notes the lease that came to a name with the entry of the node `child` (0: not known). It is good if the directory is
   * watched and the name stands for that node once the note is there: what changed before would show, and the event of
   * what changes later finds the note. Only then is nothing sent, as it would drop the entry under whoever holds it:
   * overlayfs answers EIO when one it has just looked up is gone (fs/overlayfs/util.c).
   */
  private move(child: number, parent: number, parentFd: number, nameOffset: number): void {
    const { nodes, memory } = this.context!;
    const length = nameLength(memory.u8, nameOffset);
    const hash = this.names.hash(parent, memory.u8, nameOffset, length);
    const watched = this.watched(parent, parentFd);
    const believed = child === 0 ? this.standsFor(parentFd, nameOffset) : child;
    const noted = this.names.put(nodes, hash, parent, believed, memory.u8, nameOffset, length) !== 0;
    // Leases that are being taken back all at once are granted no more: the walk may be past this name.
    const sure =
      watched &&
      noted &&
      child !== 0 &&
      child === this.standsFor(parentFd, nameOffset) &&
      Atomics.load(this.control, COHERENCE.mode) !== 0;
    if (!sure) this.doubt(parent, nameOffset, length);
  }

  /** The node a name stands for in the underlay at this moment; 0 for none, or for an inode without one. */
  private standsFor(parentFd: number, nameOffset: number): number {
    const context = this.context!;
    const { nodes } = context;
    if (identify(context, parentFd, context.address(nameOffset)) !== 0) return 0;
    const slot = nodes.find(context.identity);
    if (slot !== 0) nodes.forget(slot, 1);
    return slot;
  }

  forget(slot: number): void {
    if ((this.context!.nodes.flags(slot) & (NODE_WATCHED | NODE_ARMING)) !== 0) this.watch.disarmNode(slot);
  }

  get granted(): boolean {
    return this.nodeCount > 0 || this.nameCount > 0;
  }

  settle(): void {
    if (this.nodeCount === 0 && this.nameCount === 0) return;
    if (!this.unchanged()) {
      const { nodes } = this.context!;
      for (let i = 0; i < this.nodeCount; i++) nodes.setFlags(this.nodeLog[i]!, NODE_ATTR_LEASE);
      const { names, nameLog, nameBytes, parent } = this;
      // Of what is kept for a second at most, a note that `changing` has taken away meanwhile would be made again.
      const again = this.mode === MODE_CHILDREN ? 0 : this.nameCount;
      for (let at = 0; at < again * NAME_WORDS; at += NAME_WORDS) {
        const hash = nameLog[at]!;
        const child = nameLog[at + 1]!;
        const ticket = nameLog[at + 4]!;
        // The reply has landed, so the caller may have gone on, and another thread have noted what came of that: it stays.
        names.put(nodes, hash, parent, child, nameBytes, nameLog[at + 2]!, nameLog[at + 3]!, ticket);
      }
    }
    this.nodeCount = 0;
    this.nameCount = 0;
    this.nameEnd = 0;
  }

  /** Whether changes of names in a directory, and of what is in it, are reported; arms what is not armed yet. */
  private watched(slot: number, fd: number): boolean {
    const { nodes, devices } = this.context!;
    if (this.mode === MODE_FILESYSTEM) {
      const device = nodes.device(slot);
      if (devices.has(device, DEVICE_WATCHED)) return true;
      return !devices.has(device, DEVICE_UNWATCHABLE) && this.watch.armDevice(device);
    }
    return (nodes.flags(slot) & NODE_WATCHED) !== 0 || this.watch.armNode(slot, fd);
  }

  private isWatched(slot: number): boolean {
    const { nodes, devices } = this.context!;
    return this.mode === MODE_FILESYSTEM
      ? devices.has(nodes.device(slot), DEVICE_WATCHED)
      : (nodes.flags(slot) & NODE_WATCHED) !== 0;
  }

  private unchanged(): boolean {
    return Atomics.load(this.control, COHERENCE.sequence) === this.sequence;
  }
}
