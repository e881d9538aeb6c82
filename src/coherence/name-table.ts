// The names the kernel may have cached: for each directory it knows, the names (and absences) it was given a lease on,
// and which node each stood for. In shared memory: serving threads add, the watcher takes back.
//
// It exists for three promises: an event for a name that was never given sends nothing (one notification a grant); a
// name that still stands for the same node is left alone (what a container has mounted below it stays); and when events
// were lost, every name can be looked at again. It is bounded: when it is full no more names are leased, until the
// watcher has swept out those whose directory or node the kernel has forgotten.

import { lock, unlock } from '../filesystem/mutex.js';
import type { NodeTable } from '../filesystem/node-table.js';

/** Words of a record; the name's bytes follow. */
const NEXT = 0;
const PARENT = 1;
const PARENT_GENERATION = 2;
const CHILD = 3;
const CHILD_GENERATION = 4;
/** Length of the name, and above it the words the record takes. */
const LENGTH = 5;
/** How late it was noted. */
const TICKET = 6;
const NAME = 7;

const STRIPES = 64;
const H_LOCK = 0;
const H_BUMP = 1;
const H_USED = 2;
const H_LIVE = 3;
const H_TICKET = 4;
const H_WORDS = 16;
/** Records come in sizes of a multiple of this many words, each size with its own list of free ones. */
const GRAIN = 4;
const SIZES = 24;

export interface NameTableShared {
  readonly buckets: number;
  readonly header: SharedArrayBuffer;
  readonly table: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
}

/** `capacity` is in bytes of records; untouched ones cost nothing. `buckets` is a power of 2. */
export function createNameTable(capacity: number, buckets = 1 << 18): NameTableShared {
  return {
    buckets,
    header: new SharedArrayBuffer((H_WORDS + SIZES + STRIPES) * 4),
    table: new SharedArrayBuffer(buckets * 4),
    records: new SharedArrayBuffer(capacity),
  };
}

/** One record as the watcher sees it; reused for each. */
export interface NameRecord {
  parent: number;
  parentGeneration: number;
  /** Node the name stood for; 0 for an absence. */
  child: number;
  childGeneration: number;
  readonly name: Uint8Array;
  length: number;
}

export class NameTable {
  private readonly header: Int32Array;
  private readonly table: Int32Array;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly mask: number;
  private readonly capacity: number;

  constructor(shared: NameTableShared) {
    this.header = new Int32Array(shared.header);
    this.table = new Int32Array(shared.table);
    this.words = new Int32Array(shared.records);
    this.bytes = new Uint8Array(shared.records);
    this.mask = shared.buckets - 1;
    this.capacity = this.words.length;
    // Offset 0 means "none".
    Atomics.compareExchange(this.header, H_BUMP, 0, GRAIN);
  }

  get live(): number {
    return Atomics.load(this.header, H_LIVE);
  }

  /** True when the records are so many that they should be swept. */
  get crowded(): boolean {
    return Atomics.load(this.header, H_USED) > this.capacity * 0.75;
  }

  /** Hash of a name in a directory; every other call takes it. */
  hash(parent: number, bytes: Uint8Array, offset: number, length: number): number {
    let hash = Math.imul(parent, 0x9e3779b1) | 0;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ bytes[offset + i]!, 0x01000193);
    return hash ^ (hash >>> 15);
  }

  /**
   * Notes that the kernel may have the name, as `child` (0: as absent), before the reply that says so is on its way. The
   * ticket of the note, which tells where it stands in the order of all notes; 0 when there is no room: grant nothing. With
   * the `ticket` of a note that may have been taken away since, makes that one again, unless there is a later one.
   */
  put(
    nodes: NodeTable,
    hash: number,
    parent: number,
    child: number,
    from: Uint8Array,
    offset: number,
    length: number,
    ticket = 0,
  ): number {
    const bucket = hash & this.mask;
    const stripe = this.stripe(bucket);
    const childGeneration = child === 0 ? 0 : nodes.generation(child);
    lock(this.header, stripe);
    let at = this.search(bucket, parent, nodes.generation(parent), from, offset, length);
    if (at === 0) {
      at = this.allocate((NAME * 4 + length + 3) >> 2);
      if (at === 0) {
        unlock(this.header, stripe);
        return 0;
      }
      this.words[at + PARENT] = parent;
      this.words[at + PARENT_GENERATION] = nodes.generation(parent);
      this.words[at + LENGTH] = (this.words[at + LENGTH]! & ~0xffff) | length;
      const to = (at + NAME) * 4;
      for (let i = 0; i < length; i++) this.bytes[to + i] = from[offset + i]!;
      this.words[at + NEXT] = this.table[bucket]!;
      this.table[bucket] = at;
      this.words[at + TICKET] = ticket;
    }
    const own = ticket === 0 ? this.nextTicket() : ticket;
    // Only a note made lately can be later than one that is made again (the order wraps); a new one is the last there is.
    if (ticket === 0 || ((own - this.words[at + TICKET]!) | 0) >= 0) {
      this.words[at + CHILD] = child;
      this.words[at + CHILD_GENERATION] = childGeneration;
      this.words[at + TICKET] = own;
    }
    unlock(this.header, stripe);
    return own;
  }

  /** Never 0. */
  private nextTicket(): number {
    const ticket = Atomics.add(this.header, H_TICKET, 1);
    return ticket === 0 ? Atomics.add(this.header, H_TICKET, 1) : ticket;
  }

  /** Finds what the kernel was given for a name and copies it to `record`. False when it was given nothing. */
  get(
    hash: number,
    parent: number,
    parentGeneration: number,
    from: Uint8Array,
    offset: number,
    length: number,
    record: NameRecord,
  ): boolean {
    const bucket = hash & this.mask;
    const stripe = this.stripe(bucket);
    lock(this.header, stripe);
    const at = this.search(bucket, parent, parentGeneration, from, offset, length);
    if (at !== 0) this.copy(at, record);
    unlock(this.header, stripe);
    return at !== 0;
  }

  /** Forgets a name: the kernel has been told to drop it. */
  remove(
    hash: number,
    parent: number,
    parentGeneration: number,
    from: Uint8Array,
    offset: number,
    length: number,
  ): void {
    const bucket = hash & this.mask;
    const stripe = this.stripe(bucket);
    lock(this.header, stripe);
    const at = this.search(bucket, parent, parentGeneration, from, offset, length);
    if (at !== 0) this.unlinkRecord(bucket, at);
    unlock(this.header, stripe);
  }

  /**
   * Calls `visit` for a copy of every record, without holding a lock; records that come meanwhile may be missed, so
   * nothing may be granted at the time. `visit` answers whether to forget the record.
   */
  forEach(record: NameRecord, visit: (record: NameRecord) => boolean): void {
    const offsets: number[] = [];
    for (let bucket = 0; bucket <= this.mask; bucket++) {
      if (this.table[bucket] === 0) continue;
      const stripe = this.stripe(bucket);
      offsets.length = 0;
      lock(this.header, stripe);
      for (let at = this.table[bucket]!; at !== 0; at = this.words[at + NEXT]!) offsets.push(at);
      unlock(this.header, stripe);
      for (const at of offsets) {
        lock(this.header, stripe);
        const there = this.contains(bucket, at);
        if (there) this.copy(at, record);
        unlock(this.header, stripe);
        if (!there || !visit(record)) continue;
        lock(this.header, stripe);
        if (this.contains(bucket, at)) this.unlinkRecord(bucket, at);
        unlock(this.header, stripe);
      }
    }
  }

  private stripe(bucket: number): number {
    return H_WORDS + SIZES + (bucket & (STRIPES - 1));
  }

  private contains(bucket: number, wanted: number): boolean {
    for (let at = this.table[bucket]!; at !== 0; at = this.words[at + NEXT]!) if (at === wanted) return true;
    return false;
  }

  private copy(at: number, record: NameRecord): void {
    record.parent = this.words[at + PARENT]!;
    record.parentGeneration = this.words[at + PARENT_GENERATION]! >>> 0;
    record.child = this.words[at + CHILD]!;
    record.childGeneration = this.words[at + CHILD_GENERATION]! >>> 0;
    record.length = this.words[at + LENGTH]! & 0xffff;
    const from = (at + NAME) * 4;
    for (let i = 0; i < record.length; i++) record.name[i] = this.bytes[from + i]!;
  }

  private search(
    bucket: number,
    parent: number,
    parentGeneration: number,
    from: Uint8Array,
    offset: number,
    length: number,
  ): number {
    for (let at = this.table[bucket]!; at !== 0; at = this.words[at + NEXT]!) {
      if (
        this.words[at + PARENT] !== parent ||
        this.words[at + PARENT_GENERATION] !== (parentGeneration | 0) ||
        (this.words[at + LENGTH]! & 0xffff) !== length
      ) {
        continue;
      }
      const name = (at + NAME) * 4;
      let same = true;
      for (let i = 0; i < length && same; i++) same = this.bytes[name + i] === from[offset + i];
      if (same) return at;
    }
    return 0;
  }

  private unlinkRecord(bucket: number, wanted: number): void {
    let before = 0;
    for (let at = this.table[bucket]!; at !== 0 && at !== wanted; at = this.words[at + NEXT]!) before = at;
    if (before === 0) this.table[bucket] = this.words[wanted + NEXT]!;
    else this.words[before + NEXT] = this.words[wanted + NEXT]!;
    const size = this.words[wanted + LENGTH]! >>> 16;
    lock(this.header, H_LOCK);
    this.words[wanted + NEXT] = this.header[H_WORDS + size / GRAIN]!;
    this.header[H_WORDS + size / GRAIN] = wanted;
    this.header[H_USED]! -= size;
    this.header[H_LIVE]!--;
    unlock(this.header, H_LOCK);
  }

  /** A record of at least `wanted` words with its size noted, or 0. */
  private allocate(wanted: number): number {
    const size = Math.ceil(wanted / GRAIN) * GRAIN;
    lock(this.header, H_LOCK);
    let at = this.header[H_WORDS + size / GRAIN]!;
    if (at !== 0) this.header[H_WORDS + size / GRAIN] = this.words[at + NEXT]!;
    else if (this.header[H_BUMP]! + size <= this.capacity) {
      at = this.header[H_BUMP]!;
      this.header[H_BUMP] = at + size;
    }
    if (at !== 0) {
      this.header[H_USED]! += size;
      this.header[H_LIVE]!++;
      this.words[at + LENGTH] = size << 16;
    }
    unlock(this.header, H_LOCK);
    return at;
  }
}
