// Breaks leases: given what changed in the underlay, tells the kernel to drop exactly what it was given and must not keep.
// Both watchers end here. It runs on the watcher's thread, which serves nothing.

import type { Context } from '../filesystem/context.js';
import { NODE_ATTR_LEASE, NODE_DATA_LEASE, ROOT_SLOT } from '../filesystem/node-table.js';
import { acquire, identify } from '../filesystem/resolve.js';
import { S_IFDIR } from '../linux/abi.js';
import { ENOENT, ENOTDIR } from '../linux/errno.js';
import { Doubts } from './doubts.js';
import type { NameRecord, NameTable } from './name-table.js';
import type { Notifier } from './notifier.js';
import { judgeName, type Reason, type Standing } from './revalidate.js';
import { COHERENCE, count } from './shared.js';

/** Something that was taken back while replies were on their way, and must be looked at once more. */
interface Recheck {
  readonly slot: number;
  readonly generation: number;
  /** Null: the attributes of the node; else a name in it. */
  readonly name: Uint8Array | null;
}

/** Tells which replies are on their way. */
export interface InFlight {
  /** A snapshot, or null when nothing is on its way. */
  snapshot(): Int32Array | null;
  /** Whether every reply of the snapshot has landed. */
  landed(snapshot: Int32Array): boolean;
}

/** Place in the context's memory for a name that is looked at. */
const NAME_BYTES = 256;
/** So often a name is looked at while the container changes it. */
const LOOKS = 4;

export class Breaker {
  private readonly context: Context;
  private readonly names: NameTable;
  private readonly notifier: Notifier;
  private readonly control: Int32Array;
  private readonly inFlight: InFlight;
  private readonly nameAt: number;
  private readonly doubts: Doubts;
  private readonly record: NameRecord = {
    parent: 0,
    parentGeneration: 0,
    child: 0,
    childGeneration: 0,
    name: new Uint8Array(NAME_BYTES),
    length: 0,
  };
  private batch: Recheck[] = [];
  /** Nothing is to be kept, valid or not: no event will come any more. */
  private recalling = false;
  private flying: Int32Array | null = null;
  private readonly waiting: { readonly items: Recheck[]; readonly snapshot: Int32Array }[] = [];

  /** `nameAt` is room for 256 bytes in the context's memory. */
  constructor(
    context: Context,
    names: NameTable,
    notifier: Notifier,
    control: Int32Array,
    inFlight: InFlight,
    nameAt: number,
  ) {
    this.context = context;
    this.names = names;
    this.notifier = notifier;
    this.control = control;
    this.inFlight = inFlight;
    this.nameAt = nameAt;
    this.doubts = new Doubts(control);
  }

  /** Before the events of a batch are handled: whoever is granting now will see that something may have changed. */
  begin(): void {
    Atomics.add(this.control, COHERENCE.sequence, 1);
    // What is on its way now may carry what was true before; what begins later reads what is true now.
    this.flying = this.inFlight.snapshot();
    this.batch = [];
  }

  /** After a batch: what was broken while replies were on their way is kept for a second look. */
  end(): void {
    if (this.flying !== null && this.batch.length > 0) {
      this.waiting.push({ items: this.batch, snapshot: this.flying });
    }
    this.flying = null;
    this.batch = [];
  }

  get pending(): boolean {
    return this.waiting.length > 0;
  }

  /** Takes the second look where the replies have landed. */
  recheck(): void {
    for (let i = 0; i < this.waiting.length; ) {
      const { items, snapshot } = this.waiting[i]!;
      if (!this.inFlight.landed(snapshot)) {
        i++;
        continue;
      }
      this.waiting.splice(i, 1);
      const { nodes } = this.context;
      for (const { slot, generation, name } of items) {
        count(this.control, 'rechecks');
        if (nodes.resolve(slot, generation) === 0) continue;
        // Told again whatever is noted: the note was taken away with the first notification, which came too early.
        if (name === null) this.dropNode(slot, generation, true);
        else this.recheckName(slot, generation, name);
      }
    }
  }

  /** Drops what serving threads are in doubt of. False when they could not tell it all: then everything is to be looked at. */
  settleDoubts(): boolean {
    const doubts = this.doubts.take();
    if (doubts === null) return false;
    for (const { slot, generation, name } of doubts) {
      count(this.control, 'doubts');
      if (this.context.nodes.resolve(slot, generation) === 0) continue;
      if (name === null) this.dropNode(slot, generation, true);
      else this.recheckName(slot, generation, name);
    }
    return true;
  }

  /** Drops a name of which it is not known what the kernel believes, unless it is a directory that it knows to be there. */
  recheckName(parent: number, generation: number, name: Uint8Array): void {
    const { names, record } = this;
    const hash = names.hash(parent, name, 0, name.length);
    const noted = names.get(hash, parent, generation, name, 0, name.length, record);
    if (noted && this.isDirectory(record) && judgeName(record.child, this.look(record), false).valid) {
      if (!this.recalling) return;
      Atomics.add(this.control, COHERENCE.sequence, 1);
      this.notifier.expireEntry(parent, generation, name, 0, name.length);
      return;
    }
    names.remove(hash, parent, generation, name, 0, name.length);
    Atomics.add(this.control, COHERENCE.sequence, 1);
    this.notifier.invalEntry(parent, generation, name, 0, name.length);
  }

  /** The inode of a node changed: its attributes go, and its pages or its listing. */
  breakNode(slot: number): void {
    const { nodes } = this.context;
    const flags = nodes.clearFlags(slot, NODE_ATTR_LEASE | NODE_DATA_LEASE);
    // Pages of a file that is open without passthrough are read again after every change, leased or not.
    const open = nodes.type(slot) !== S_IFDIR && nodes.opens(slot) > 0 && nodes.backing(slot) < 0;
    if ((flags & (NODE_ATTR_LEASE | NODE_DATA_LEASE)) === 0 && !open) return;
    count(this.control, 'broken_event');
    const generation = nodes.generation(slot);
    this.dropNode(slot, generation, open || (flags & NODE_DATA_LEASE) !== 0);
    this.batch.push({ slot, generation, name: null });
  }

  /** After the lease's note is gone and before the kernel is told: a grant that lands in between notes itself again. */
  private dropNode(slot: number, generation: number, data: boolean): void {
    Atomics.add(this.control, COHERENCE.sequence, 1);
    this.notifier.invalInode(slot, generation, data);
  }

  /**
   * A name in a directory changed. `now` is what it stands for as far as the event tells (`other`: not known); it is
   * looked at in the underlay only where that decides whether a directory the kernel has is left alone, since dropping
   * its entry would detach what containers have mounted below it.
   */
  breakName(parent: number, bytes: Uint8Array, offset: number, length: number, now: Standing, moved: boolean): void {
    const { nodes } = this.context;
    const { names, record } = this;
    const generation = nodes.generation(parent);
    const hash = names.hash(parent, bytes, offset, length);
    if (!names.get(hash, parent, generation, bytes, offset, length, record)) return;
    if (this.dropUnlessValid(hash, record, this.isDirectory(record) ? 'look' : now, moved)) return;
    // A reply on its way may have read what was there before, and its note have been replaced by the one that is right.
    if (this.flying !== null) this.batch.push({ slot: parent, generation, name: bytes.slice(offset, offset + length) });
  }

  /**
   * Looks at every name the kernel may have, and breaks what is not valid; takes back all attributes. For when events were
   * lost, or will not come any more. Nothing may be granted meanwhile.
   */
  revalidateEverything(): void {
    const { nodes } = this.context;
    this.begin();
    this.names.forEach(this.record, (record) => {
      if (nodes.resolve(record.parent, record.parentGeneration) === 0) return true;
      const hash = this.names.hash(record.parent, record.name, 0, record.length);
      this.dropUnlessValid(hash, record, 'look', false);
      return false;
    });
    const last = nodes.highestSlot;
    for (let slot = ROOT_SLOT; slot <= last; slot++) if (nodes.isLive(slot)) this.breakNode(slot);
    this.end();
  }

  /**
   * Takes back every name and all attributes, for when no event will tell of a change any more. What is a directory still
   * expires only, as dropping its entry would detach what containers have mounted below it.
   */
  recallEverything(): void {
    const { nodes } = this.context;
    this.recalling = true;
    this.begin();
    this.names.forEach(this.record, ({ parent, parentGeneration, name, length }) => {
      if (nodes.resolve(parent, parentGeneration) === 0) return true;
      const bytes = name.slice(0, length);
      this.recheckName(parent, parentGeneration, bytes);
      this.batch.push({ slot: parent, generation: parentGeneration, name: bytes });
      return false;
    });
    const last = nodes.highestSlot;
    for (let slot = ROOT_SLOT; slot <= last; slot++) if (nodes.isLive(slot)) this.breakNode(slot);
    this.end();
  }

  /** Revalidates one name by looking, and takes back the attributes and pages of what it stood for and stands for. */
  revalidateName(parent: number, name: Uint8Array): void {
    const { nodes } = this.context;
    const { names, record } = this;
    const hash = names.hash(parent, name, 0, name.length);
    const generation = nodes.generation(parent);
    let before = 0;
    if (names.get(hash, parent, generation, name, 0, name.length, record)) {
      before = nodes.resolve(record.child, record.childGeneration);
      this.dropUnlessValid(hash, record, 'look', false);
      if (before !== 0) this.breakNode(before);
    }
    // Without a lease of the name, too: a file that is open has pages.
    record.parent = parent;
    record.parentGeneration = generation;
    record.name.set(name);
    record.length = name.length;
    const now = this.look(record);
    if (typeof now === 'number' && now !== 0 && now !== before) this.breakNode(now);
  }

  /** Revalidates the names of one directory, by looking: for a watcher that cannot say which of them changed. */
  revalidateDirectory(parent: number): void {
    this.names.forEach(this.record, (record) => {
      if (record.parent === parent && this.context.nodes.resolve(parent, record.parentGeneration) !== 0) {
        const hash = this.names.hash(parent, record.name, 0, record.length);
        const { child, childGeneration } = record;
        this.dropUnlessValid(hash, record, 'look', false);
        if (child !== 0 && this.context.nodes.resolve(child, childGeneration) !== 0) this.breakNode(child);
      }
      return false;
    });
  }

  /**
   * Makes room in the table of names: those whose directory or node the kernel has forgotten go; if that is not enough,
   * absences are taken back, which the kernel may have forgotten without a word.
   */
  sweep(): void {
    const { nodes } = this.context;
    count(this.control, 'sweeps');
    this.begin();
    for (const absences of [false, true]) {
      if (absences && !this.names.crowded) break;
      this.names.forEach(this.record, (record) => {
        if (nodes.resolve(record.parent, record.parentGeneration) === 0) return true;
        if (record.child !== 0) return nodes.resolve(record.child, record.childGeneration) === 0;
        if (!absences) return false;
        this.notifier.invalEntry(record.parent, record.parentGeneration, record.name, 0, record.length);
        return true;
      });
    }
    Atomics.store(this.control, COHERENCE.crowded, 0);
    this.end();
  }

  private isDirectory(record: NameRecord): boolean {
    const { nodes } = this.context;
    return (
      record.child !== 0 &&
      nodes.resolve(record.child, record.childGeneration) !== 0 &&
      nodes.type(record.child) === S_IFDIR
    );
  }

  /** Whether it was dropped. */
  private dropUnlessValid(hash: number, record: NameRecord, known: Standing | 'look', moved: boolean): boolean {
    const { nodes } = this.context;
    for (let looks = 1; ; looks++) {
      const { parent, parentGeneration, name, length, child, childGeneration } = record;
      const now = known === 'look' ? this.look(record) : known;
      // A slot that names another node by now is not what the kernel was given.
      const alive = child === 0 || nodes.resolve(child, childGeneration) !== 0;
      const verdict = judgeName(child, alive || now === 0 || now === 'dead' ? now : 'other', moved);
      if (verdict.valid) {
        count(this.control, 'kept_valid');
        return false;
      }
      if (known === 'look' && looks < LOOKS) {
        // The container itself may have changed the name between its note and the look: then there is another note, or
        // none. What it has just made must not be taken from it, as it may be in use (see `move` in leases.ts).
        if (!this.names.get(hash, parent, parentGeneration, name, 0, length, record)) return false;
        if (record.child !== child || record.childGeneration !== childGeneration) continue;
      }
      this.drop(hash, record, verdict.reason);
      return true;
    }
  }

  private drop(hash: number, record: NameRecord, reason: Reason): void {
    const { parent, parentGeneration, name, length } = record;
    count(this.control, `broken_${reason}`);
    this.names.remove(hash, parent, parentGeneration, name, 0, length);
    Atomics.add(this.control, COHERENCE.sequence, 1);
    this.notifier.invalEntry(parent, parentGeneration, name, 0, length);
    this.batch.push({ slot: parent, generation: parentGeneration, name: name.slice(0, length) });
  }

  /** What a name stands for in the underlay at this moment. */
  private look(record: NameRecord): Standing | 'dead' {
    const { context, nameAt } = this;
    const { nodes, memory } = context;
    // Nobody asked for it: the kernel may forget the directory at any moment.
    const parent = nodes.hold(record.parent, record.parentGeneration);
    if (parent === 0) return 'dead';
    const fd = acquire(context, parent);
    if (fd < 0) {
      nodes.forget(parent, 1);
      return 'dead';
    }
    for (let i = 0; i < record.length; i++) memory.u8[nameAt + i] = record.name[i]!;
    memory.u8[nameAt + record.length] = 0;
    const error = identify(context, fd, context.address(nameAt));
    nodes.unpin(parent);
    nodes.forget(parent, 1);
    if (error === -ENOENT || error === -ENOTDIR) return 0;
    if (error < 0) return 'other';
    const slot = nodes.find(context.identity);
    if (slot === 0) return 'other';
    nodes.forget(slot, 1);
    return slot;
  }
}
