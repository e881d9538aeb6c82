// Turns what the host did to the underlay into jobs for the helper, in order. It runs on the watcher's thread, after the
// leases that an event breaks are broken, and never waits for the helper: what does not fit is dropped and counted.
//
// Only what somebody in a container can be watching is forwarded: changes in directories, and of objects, that the kernel
// holds in its cache. What a container did through the view itself is not: the daemon's own changes carry its pid, and
// those of a file that is open for writing with passthrough, which carry the writer's, are told by the open file.
//
// A change that waits already is not queued again: a watcher that is told later reads what is there then.

import type { NameRecord, NameTable } from '../coherence/name-table.js';
import { type Counter, count } from '../coherence/shared.js';
import type { Context } from '../filesystem/context.js';
import { ROOT_SLOT } from '../filesystem/node-table.js';
import { acquire, identify, statFd } from '../filesystem/resolve.js';
import { S_IFDIR, S_IFMT, S_IFREG } from '../linux/abi.js';
import { EAGAIN, EINTR } from '../linux/errno.js';
import {
  type EventHandle,
  FAN_ATTRIB,
  FAN_CLOSE_WRITE,
  FAN_CREATE,
  FAN_DELETE,
  FAN_MODIFY,
  FAN_ONDIR,
  FAN_RENAME,
  type FanotifyEvent,
} from '../linux/fanotify.js';
import { Memory } from '../linux/memory.js';
import { read, write } from '../linux/syscalls.js';
import {
  ACK_AGAIN,
  ACK_BYTES,
  ACK_DONE,
  ACK_FAILED,
  ACK_GONE,
  ACK_HELLO,
  type ForwardShared,
  HELPER_GONE,
  JOB,
  KIND,
  RECORDS,
  WINDOW,
} from './jobs.js';

/** Jobs that may wait. */
const QUEUE_MAX = 100_000;
/** Times a job is sent again because names were cached in its way. */
const TRIES = 4;
/**
 * How long after the last writer in the view has closed a file a change of it may still be that writer's, ms: its events are
 * read a little later, and the kernel closes the underlay's file after it has told us.
 */
const WRITER_MARGIN_MS = 100;
/** Records in one write(2): no more than PIPE_BUF, which makes it all or nothing. */
const BATCH = 6;
const ACKS_MAX = 64;
const DOT = 46;

/** What the forwarder is given beside the file system. */
export interface ForwardWiring {
  /** The end of a pipe, not blocking, that jobs are written to, and of another that answers are read from. */
  readonly jobs: number;
  readonly answers: number;
  readonly shared: ForwardShared;
}

/** What the watcher does for the forwarder. */
export interface Watching {
  /** Indices of the devices a handle can be of. */
  devicesOf(handle: EventHandle): readonly number[];
  /** The node, with one lookup counted, or 0. Leaves its identity in the context. */
  find(handle: EventHandle, device: number): number;
  /** Makes the kernel ask again for a name, unless it is a directory that it knows to be there. */
  recheckName(parent: number, generation: number, name: Uint8Array): void;
  /** There is something for a helper to do; called once. */
  wantHelper(): void;
}

interface Job {
  readonly kind: number;
  readonly parent: number;
  readonly parentGeneration: number;
  readonly type: number;
  readonly device: number;
  readonly identity: Int32Array;
  readonly victim: number;
  readonly victimGeneration: number;
  readonly name: Uint8Array;
  readonly newName: Uint8Array;
  /** Under which changes that wait are merged. */
  readonly key: string;
  sequence: number;
  tries: number;
}

const NO_NAME = new Uint8Array(0);

export class Forwarder {
  private readonly context: Context;
  private readonly names: NameTable;
  private readonly control: Int32Array;
  private readonly wiring: ForwardWiring;
  private readonly watching: Watching;
  private readonly helper: Int32Array;
  private readonly records: Int32Array;
  private readonly recordBytes: Uint8Array;
  private readonly memory = new Memory(BATCH * JOB.bytes + ACKS_MAX * ACK_BYTES);
  private readonly found: NameRecord = {
    parent: 0,
    parentGeneration: 0,
    child: 0,
    childGeneration: 0,
    name: new Uint8Array(256),
    length: 0,
  };
  private queue: Job[] = [];
  private head = 0;
  /** Kinds of change (bits) that wait, by object. */
  private readonly waiting = new Map<string, number>();
  /** What the helper has, oldest first, and how much of it is in the pipe. */
  private sent: Job[] = [];
  private written = 0;
  private nextSequence = 1;
  /** A helper has said that it is there, and its SYNC is in the pipe. */
  private ready = false;
  private syncPending = false;
  /** Changes of this event may have been made at any time after this (Date.now()). */
  private since = 0;
  private identified = false;
  /** A helper was asked for: where nobody changes anything on the host, there is none. */
  private asked = false;
  /** The pipe was full. */
  wantsRoom = false;

  constructor(context: Context, names: NameTable, control: Int32Array, wiring: ForwardWiring, watching: Watching) {
    this.context = context;
    this.names = names;
    this.control = control;
    this.wiring = wiring;
    this.watching = watching;
    this.helper = new Int32Array(wiring.shared.helper);
    this.records = new Int32Array(wiring.shared.records);
    this.recordBytes = new Uint8Array(wiring.shared.records);
  }

  /** True for events of the helper itself, which has no business in the underlay. */
  isHelper(pid: number): boolean {
    return pid === Atomics.load(this.helper, 0);
  }

  /** The queue of events was empty until now. */
  eventsBegin(): void {
    this.since = Date.now() - WRITER_MARGIN_MS;
  }

  /** Queues what an event asks for. To be called before the leases it breaks are broken: they tell what was replaced. */
  collect(event: FanotifyEvent): void {
    if (Atomics.load(this.helper, 0) === HELPER_GONE) {
      this.dropAll();
      return;
    }
    const { mask } = event;
    if ((mask & FAN_RENAME) !== 0) {
      this.collectRename(event);
      return;
    }
    const { memory } = this.context;
    const isSelf = event.nameLength === 1 && memory.u8[event.name] === DOT;
    const directory = event.nameLength > 0 ? this.known(event.directory) : 0;
    const object = this.known(event.object);
    const identity = this.identity();
    if (isSelf || directory === 0) {
      this.collectUnnamed(isSelf ? directory : object, mask);
      return;
    }
    const name = memory.u8.slice(event.name, event.name + event.nameLength);
    const made = (mask & FAN_CREATE) !== 0;
    const removed = (mask & FAN_DELETE) !== 0;
    const mode = made || (mask & FAN_CLOSE_WRITE) !== 0 ? this.look(directory, event.name, identity) : 0;
    const told = (mask & FAN_ONDIR) !== 0 ? S_IFDIR : this.typeOf(object);
    const queue = (kind: number, type: number): void => this.push(kind, directory, name, type, identity);
    // Merged events do not say what came first, but are all of one inode: it is there again, or was and is not.
    const again = made && removed && mode !== 0;
    if (again) queue(KIND.DELETE, told);
    if (made) queue(KIND.CREATE, mode !== 0 ? mode & S_IFMT : told);
    if (!this.mayBeOwn(object, identity)) {
      if ((mask & FAN_MODIFY) !== 0) queue(KIND.MODIFY, told);
      if ((mask & FAN_ATTRIB) !== 0) queue(KIND.ATTRIB, told);
      if ((mask & FAN_CLOSE_WRITE) !== 0 && this.mayOpenForWriting(object, mode)) queue(KIND.CLOSE_WRITE, told);
    }
    if (removed && !again) queue(KIND.DELETE, told);
  }

  /** Sends what the helper may have. */
  pump(): void {
    if (!this.ready) return;
    const { nodes } = this.context;
    while (this.sent.length < WINDOW && this.head < this.queue.length) {
      const last = this.sent[this.sent.length - 1];
      // Whether a rename was one shows only when it is done.
      if (last !== undefined && last.kind === KIND.RENAME) break;
      const job = this.queue[this.head++]!;
      this.stopWaiting(job);
      // A directory that the kernel has forgotten has no watcher.
      if (nodes.resolve(job.parent, job.parentGeneration) === 0) continue;
      this.sent.push(job);
      this.number(job);
    }
    if (this.head === this.queue.length) {
      this.queue = [];
      this.head = 0;
    } else if (this.head >= 4096) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    this.flush();
  }

  /** Reads what the helper says. */
  receive(): void {
    const { memory } = this;
    const at = BATCH * JOB.bytes;
    const length = read(this.wiring.answers, memory.address + at, ACKS_MAX * ACK_BYTES);
    for (let ack = at >> 2; ack < (at + length) >> 2; ack += ACK_BYTES / 4) {
      const kind = memory.u32[ack]!;
      const sequence = memory.u32[ack + 1]!;
      const pid = memory.i32[ack + 3]!;
      if (!this.isHelper(pid)) continue;
      if (kind === ACK_HELLO) {
        this.ready = true;
        // What the one before has done of what it had is known from the requests it made.
        for (const job of this.sent) this.settle(job);
        this.sent = this.sent.filter((job) => !this.wasServed(job));
        this.sendAgain();
      } else this.answered(kind, sequence);
    }
    this.pump();
  }

  private answered(kind: number, sequence: number): void {
    while (this.sent.length > 0) {
      const job = this.sent[0]!;
      if (((sequence - job.sequence) | 0) < 0) return;
      const own = job.sequence === sequence;
      // With both names for one inode in the kernel's cache, rename(2) does nothing.
      const idle = job.kind === KIND.RENAME && kind === ACK_DONE && !this.wasServed(job);
      if (own && (kind === ACK_AGAIN || idle)) {
        this.tryAgain(job);
        return;
      }
      this.settle(job);
      this.sent.shift();
      this.written--;
      this.count(own && kind === ACK_FAILED ? 'forward_failed' : 'forwarded', own && kind === ACK_GONE ? 0 : 1);
    }
  }

  /**
   * A rename moves what the kernel has cached for the old name to the new one. Somebody who was just asking whether that was
   * still good (d_revalidate, which takes no lock) may have been told so, about the old name, for a long time.
   */
  private settle(job: Job): void {
    if (job.kind !== KIND.RENAME || !this.wasServed(job)) return;
    if (this.context.nodes.resolve(job.parent, job.parentGeneration) === 0) return;
    this.watching.recheckName(job.parent, job.parentGeneration, job.newName);
  }

  /** The kernel has cached what the host has made of the names since: that is right, but in the way. */
  private tryAgain(job: Job): void {
    this.count('forward_again', 1);
    if (++job.tries >= TRIES) {
      this.sent.shift();
      this.count('forward_failed', 1);
    }
    this.sendAgain();
  }

  private sendAgain(): void {
    for (const job of this.sent) this.number(job);
    this.written = 0;
    this.syncPending = true;
    this.flush();
  }

  /**
   * A rename within a directory is repeated as one. One between directories is told as mv(1) between file systems would
   * be, deleted there and written here: repeated, it would hold the lock of all renames of the view for as long as the
   * daemon answers, and whoever looks up a directory that has moved does not wait for that lock, but is told ESTALE
   * (fs/dcache.c, __d_unalias).
   */
  private collectRename(event: FanotifyEvent): void {
    const { memory } = this.context;
    const from = this.known(event.directory);
    const to = this.known(event.newDirectory);
    if (from === 0 && to === 0) return;
    const object = this.known(event.object);
    const identity = this.identity();
    const type = (event.mask & FAN_ONDIR) !== 0 ? S_IFDIR : this.typeOf(object);
    let name = memory.u8.slice(event.name, event.name + event.nameLength);
    let newName = memory.u8.slice(event.newName, event.newName + event.newNameLength);
    if (name.length === 0) name = newName;
    if (newName.length === 0) newName = name;
    const victim = to === 0 ? 0 : this.victimOf(to, newName, type);
    if (from === to) {
      this.waiting.delete(this.keyOf(to, newName));
      this.push(KIND.RENAME, from, name, type, identity, newName, victim);
      return;
    }
    // Without its identity: the inode itself must not be taken for deleted.
    if (from !== 0) this.push(KIND.DELETE, from, name, type, null);
    if (to === 0) return;
    if (victim !== 0) this.push(KIND.DELETE, to, newName, type, this.identityOf(victim));
    const mode = this.look(to, event.newName, identity);
    this.push(KIND.CREATE, to, newName, mode !== 0 ? mode & S_IFMT : type, identity);
    if (this.mayOpenForWriting(object, mode)) this.push(KIND.CLOSE_WRITE, to, newName, type, identity);
  }

  /** What a rename has replaced, if the kernel has it and it has no other name. */
  private victimOf(directory: number, name: Uint8Array, type: number): number {
    const { context, names, found } = this;
    const { nodes } = context;
    const hash = names.hash(directory, name, 0, name.length);
    if (!names.get(hash, directory, nodes.generation(directory), name, 0, name.length, found)) return 0;
    const victim = nodes.resolve(found.child, found.childGeneration);
    if (victim === 0 || (nodes.type(victim) === S_IFDIR) !== (type === S_IFDIR)) return 0;
    return this.links(victim) === 0 ? victim : 0;
  }

  /** A change that was told without a name we know: of a directory itself, or of a file by another name. */
  private collectUnnamed(slot: number, mask: number): void {
    if (slot === 0 || (mask & (FAN_MODIFY | FAN_ATTRIB)) === 0) return;
    const { nodes } = this.context;
    if (nodes.mayBeWritten(slot, this.since)) return;
    // The last name's removal is told as a change of attributes, too, and forwarded as what it is.
    if (this.links(slot) === 0) return;
    if ((mask & FAN_MODIFY) !== 0) this.push(KIND.MODIFY, slot, NO_NAME, nodes.type(slot), null);
    if ((mask & FAN_ATTRIB) !== 0) this.push(KIND.ATTRIB, slot, NO_NAME, nodes.type(slot), null);
  }

  private push(
    kind: number,
    parent: number,
    name: Uint8Array,
    type: number,
    identity: Int32Array | null,
    newName = NO_NAME,
    victim = 0,
  ): void {
    const { nodes } = this.context;
    const key = this.keyOf(parent, name);
    if (kind === KIND.MODIFY || kind === KIND.ATTRIB || kind === KIND.CLOSE_WRITE) {
      const bits = this.waiting.get(key) ?? 0;
      if ((bits & (1 << kind)) !== 0) {
        this.count('forward_merged', 1);
        return;
      }
      const kept = kind === KIND.MODIFY ? bits & ~(1 << KIND.CLOSE_WRITE) : bits;
      this.waiting.set(key, kept | (1 << kind));
    } else this.waiting.delete(key);
    this.add({
      kind,
      parent,
      parentGeneration: nodes.generation(parent),
      type,
      device: identity === null ? -1 : nodes.device(ROOT_SLOT),
      identity: identity ?? new Int32Array(8),
      victim,
      victimGeneration: victim === 0 ? 0 : nodes.generation(victim),
      name,
      newName,
      key,
      sequence: 0,
      tries: 0,
    });
  }

  private add(job: Job): void {
    if (this.queue.length - this.head >= QUEUE_MAX) {
      this.count('forward_dropped', 1);
      this.stopWaiting(job);
      return;
    }
    this.queue.push(job);
    if (this.asked) return;
    this.asked = true;
    this.watching.wantHelper();
  }

  /** There will be no helper any more. */
  private dropAll(): void {
    this.count('forward_dropped', this.queue.length - this.head + this.sent.length);
    this.queue = [];
    this.head = 0;
    this.sent = [];
    this.written = 0;
    this.waiting.clear();
    this.wantsRoom = false;
  }

  private stopWaiting(job: Job): void {
    const bits = this.waiting.get(job.key);
    if (bits === undefined) return;
    const left = bits & ~(1 << job.kind);
    if (left === 0) this.waiting.delete(job.key);
    else this.waiting.set(job.key, left);
  }

  private keyOf(parent: number, name: Uint8Array): string {
    return `${parent}:${Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1')}`;
  }

  /** Whether data was changed by who has the file open in the view, or had, and the kernel has forgotten the file since. */
  private mayBeOwn(object: number, identity: Int32Array | null): boolean {
    const { nodes } = this.context;
    if (object !== 0) return nodes.mayBeWritten(object, this.since);
    return identity !== null && nodes.wasWritten(nodes.device(ROOT_SLOT), identity, this.since);
  }

  /** The node of a handle if the kernel has it, without a lookup of ours. */
  private known(handle: EventHandle): number {
    const { nodes } = this.context;
    // Below a file system mounted in the source, inodes belong to a superblock of their own, which the helper has no
    // mount of.
    const device = nodes.device(ROOT_SLOT);
    this.identified = this.watching.devicesOf(handle).includes(device);
    if (!this.identified) return 0;
    const slot = this.watching.find(handle, device);
    if (slot !== 0) nodes.forget(slot, 1);
    return slot;
  }

  /** The identity of what `known` was asked for last. */
  private identity(): Int32Array | null {
    return this.identified ? Int32Array.from(this.context.identity.words) : null;
  }

  private identityOf(slot: number): Int32Array {
    return Int32Array.from({ length: 8 }, (_, index) => this.context.nodes.identityWord(slot, index));
  }

  private typeOf(slot: number): number {
    return slot === 0 ? S_IFREG : this.context.nodes.type(slot);
  }

  /** The mode of what a name stands for if that is the inode given, or 0. */
  private look(directory: number, name: number, wanted: Int32Array | null): number {
    const { context } = this;
    const fd = acquire(context, directory);
    if (fd < 0) return 0;
    const error = identify(context, fd, context.address(name));
    context.nodes.unpin(directory);
    if (error < 0) return 0;
    const { words } = context.identity;
    for (let i = 0; wanted !== null && i < words.length; i++) if (words[i] !== wanted[i]! >>> 0) return 0;
    return context.statMode();
  }

  /** Names that a node has left. */
  private links(slot: number): number {
    return this.stat(slot) ? this.context.statLinks() : 0;
  }

  private modeOf(slot: number): number {
    return this.stat(slot) ? this.context.statMode() : 0;
  }

  private stat(slot: number): boolean {
    const { context } = this;
    const fd = acquire(context, slot);
    if (fd < 0) return false;
    const error = statFd(context, fd);
    context.nodes.unpin(slot);
    return error === 0;
  }

  /**
   * Whether the helper may open a file for writing, for IN_CLOSE_WRITE. Not a program: who executes it at that moment would
   * be told ETXTBSY. Not a file that is open in the view: with passthrough all opens of an inode must have the underlay's
   * file behind them (fs/fuse/iomode.c).
   */
  private mayOpenForWriting(object: number, found: number): boolean {
    if (object !== 0 && this.context.nodes.opens(object) > 0) return false;
    // It has been renamed or deleted since.
    const mode = found !== 0 || object === 0 ? found : this.modeOf(object);
    if (mode === 0) return object === 0 || this.context.nodes.type(object) === S_IFREG;
    return (mode & S_IFMT) === S_IFREG && (mode & 0o111) === 0;
  }

  /** Gives a job its number and lays down its record, for those who answer the helper. */
  private number(job: Job): void {
    const { records, recordBytes } = this;
    job.sequence = this.nextSequence;
    this.nextSequence = this.nextSequence === 0xffffffff ? 1 : this.nextSequence + 1;
    const index = job.sequence & (RECORDS - 1);
    const word = index * JOB.words;
    const byte = index * JOB.bytes;
    records[word + JOB.kind] = job.kind;
    records[word + JOB.parent] = job.parent;
    records[word + JOB.parentGeneration] = job.parentGeneration;
    records[word + JOB.type] = job.type;
    records[word + JOB.device] = job.device;
    records.set(job.identity, word + JOB.identity);
    records[word + JOB.looked] = 0;
    records[word + JOB.served] = 0;
    records[word + JOB.victim] = job.victim;
    records[word + JOB.victimGeneration] = job.victimGeneration;
    records[word + JOB.nameLength] = job.name.length;
    records[word + JOB.newNameLength] = job.newName.length;
    records[word + JOB.again] = job.tries;
    recordBytes.set(job.name, byte + JOB.name);
    recordBytes[byte + JOB.name + job.name.length] = 0;
    recordBytes.set(job.newName, byte + JOB.newName);
    recordBytes[byte + JOB.newName + job.newName.length] = 0;
    Atomics.store(records, word + JOB.sequence, job.sequence);
  }

  private wasServed(job: Job): boolean {
    const word = (job.sequence & (RECORDS - 1)) * JOB.words;
    return Atomics.load(this.records, word + JOB.served) > 0;
  }

  /** Writes what is not in the pipe yet. */
  private flush(): void {
    this.wantsRoom = false;
    if (this.syncPending) {
      const { memory } = this;
      memory.u32.fill(0, 0, JOB.words);
      memory.u32[JOB.kind] = KIND.SYNC;
      memory.u32[JOB.sequence] = this.sent[0]?.sequence ?? this.nextSequence;
      memory.i32[JOB.parent] = Atomics.load(this.helper, 0);
      if (!this.send(1)) return;
      this.syncPending = false;
    }
    while (this.written < this.sent.length) {
      const batch = Math.min(BATCH, this.sent.length - this.written);
      for (let i = 0; i < batch; i++) {
        const from = (this.sent[this.written + i]!.sequence & (RECORDS - 1)) * JOB.bytes;
        this.memory.u8.set(this.recordBytes.subarray(from, from + JOB.bytes), i * JOB.bytes);
      }
      if (!this.send(batch)) return;
      this.written += batch;
    }
  }

  private send(records: number): boolean {
    let sent: number;
    do sent = write(this.wiring.jobs, this.memory.address, records * JOB.bytes);
    while (sent === -EINTR);
    this.wantsRoom = sent === -EAGAIN;
    return sent > 0;
  }

  private count(counter: Counter, by: number): void {
    count(this.control, counter, by);
  }
}
