// The nodes: every underlay inode that the kernel knows, in one block of shared memory that all threads see.
//
// Promises: a nodeid names one inode for ever. It is made of a slot and the slot's generation, which moves on when the
// slot is freed, so a nodeid is never used again and never re-pointed (a late FORGET or notification cannot hit another
// file). Two names of one inode (hard links) give one nodeid. A freed inode number that the underlay uses again gives a
// new nodeid, because identity includes the file handle (which holds the generation) or, without one, the birth time.
//
// A node holds no descriptor unless it must: directories keep one while the budget allows (an O_PATH descriptor, taken
// back by a clock hand), files for a second or so after their last use, so that what was looked up can be opened even if
// the host replaces it meanwhile, and whatever is open, deleted or special keeps one as long as it is (a *pin*). Everything else
// is found again by its handle, or, where the underlay has no handles, by its parent and name, and checked.

import { S_IFDIR } from '../linux/abi.js';
import { lock, unlock } from './mutex.js';

/** Words (u32) of a node, by index from its base. */
const WORDS = 25;
const NEXT = 0;
const GENERATION = 1;
const INO_LO = 2;
const INO_HI = 3;
const KIND = 4;
const LOOKUPS = 5;
const FD = 6;
const PINS = 7;
const FLAGS = 8;
const IDENTITY = 9;
const IDENTITY_WORDS = 8;
const VERSION = 17;
const OPENS = 18;
/** Id of the registered backing file (regular files): lives as long as the descriptor. */
const BACKING = 19;
/** Place in the ring of descriptors, when NODE_IN_RING. */
const PLACE = 20;
/** Open files whose writes the kernel passes through, and when the last of them was closed (ms, wraps). */
const WRITERS = 21;
const WRITTEN = 22;
/** For whom the descriptor of an open file is counted (held.ts). */
const HOLDER = 23;
/** Where its place is remembered (see `names`); 0 nowhere. */
const NAMED = 24;

/** Nodes that were written and are gone, of which is remembered when that was: a power of two. */
const WRITTEN_PLACES = 1024;

/** Longest handle kept in a node: ext4, tmpfs, xfs, btrfs, f2fs and overlay-less ZFS all fit. */
export const HANDLE_BYTES_MAX = (IDENTITY_WORDS - 1) * 4;

/** Lookups are counted up to here, which is also what the root has. */
const LOOKUPS_MAX = 0x7fffffff;

/** Set in PINS while a descriptor is being taken away; nobody may start to use it. */
const CLOSING = 0x40000000;

export const ROOT_SLOT = 1;

/** What FLAGS holds. */
export const NODE_ATTR_LEASE = 1;
/** The kernel may hold file pages (not passed through) or a listing. */
export const NODE_DATA_LEASE = 2;
/** A watch that reports changes in this directory (or of this inode) is armed. */
export const NODE_WATCHED = 4;
/** One pin is held for as long as the node lives: deleted while known, or special. */
export const NODE_PINNED = 8;
/** The descriptor is in the ring of descriptors that may be taken back. */
export const NODE_IN_RING = 16;
/** The root of a file system mounted below the source, or of a btrfs subvolume. */
export const NODE_SUBMOUNT = 32;
/** Host changed it since the kernel cached its pages: do not keep them at the next open. */
export const NODE_DATA_CHANGED = 64;

/** A watch of this directory was asked for. */
export const NODE_ARMING = 128;
/** Somebody took a record lock on it: from here on every close(2) has to be told (FLUSH). */
export const NODE_RECORD_LOCKS = 256;
/** The descriptor in the ring was new, or looked up, since the ring was last swept of files. */
export const NODE_RECENT = 512;
/** Forgotten while somebody used its descriptor; the last user frees it. */
const NODE_DEAD = 1024;

/** Counters in the header block, by index. */
const H_LOCK = 0;
const H_FREE = 1;
const H_USED = 2;
const H_LIVE = 3;
const H_HAND = 4;
const H_RING_COUNT = 5;
const H_RING_LOCK = 6;
const H_PINNED = 7;
/** Descriptors in the ring that are not of directories. */
const H_RING_FILES = 8;
/** Places given back, and how many were ever taken. */
const H_NAME_FREE = 9;
const H_NAMES = 10;
const H_WORDS = 16;

const STRIPES = 64;
/** Cached descriptors given back at once when few are left, and how many are looked at for that. */
const SCARCE_EVICT = 16;
const SCARCE_STEPS = 256;
const NAME_STRIDE = 68; // words: parent slot, parent generation, length, 256 bytes of name, the next free one
const NAME_NEXT = 67;
const NAMES_MAX = 1 << 21;

export interface NodeTableShared {
  readonly capacity: number;
  readonly buckets: number;
  readonly ringSize: number;
  readonly pinnedMax: number;
  readonly scarceFrom: number;
  readonly header: SharedArrayBuffer;
  readonly nodes: SharedArrayBuffer;
  readonly table: SharedArrayBuffer;
  readonly ring: SharedArrayBuffer;
  readonly names: SharedArrayBuffer;
  readonly written: SharedArrayBuffer;
}

export interface NodeTableOptions {
  /** Nodes there may be at once; lookups beyond answer ENFILE. */
  readonly capacity: number;
  /** Directory descriptors kept. */
  readonly descriptorBudget: number;
  /** Descriptors kept for as long as a node lives, all together. */
  readonly pinnedMax: number;
  /** A descriptor of this number, or above, tells that few are left: cached ones are then given back before it is kept. */
  readonly scarceFrom: number;
}

/**
 * An inode, for `intern` and `find`. The key is the device and `words`: word 0 tells what the others are, the file handle
 * or the birth time and number. `ino` and `type` are what goes with it; `find` does not need them.
 */
export class Identity {
  inoLo = 0;
  inoHi = 0;
  /** Index of the device in the device table. */
  device = 0;
  /** S_IFMT bits of the mode. */
  type = 0;
  readonly words = new Uint32Array(8);
}

/** A name in a directory that the kernel may have forgotten since. */
export interface Place {
  parent: number;
  generation: number;
  readonly name: Uint8Array;
  length: number;
}

export function createNodeTable(options: NodeTableOptions): NodeTableShared {
  // Untouched pages of a zeroed shared buffer cost nothing: capacity is address space, not memory.
  let buckets = 1 << 8;
  while (buckets < options.capacity / 4) buckets *= 2;
  const ringSize = Math.max(16, options.descriptorBudget);
  return {
    capacity: options.capacity,
    buckets,
    ringSize,
    pinnedMax: options.pinnedMax,
    scarceFrom: options.scarceFrom,
    header: new SharedArrayBuffer((H_WORDS + STRIPES) * 4),
    nodes: new SharedArrayBuffer((options.capacity + 1) * WORDS * 4),
    table: new SharedArrayBuffer(buckets * 4),
    ring: new SharedArrayBuffer(ringSize * 4),
    names: new SharedArrayBuffer((Math.min(options.capacity, NAMES_MAX) + 1) * NAME_STRIDE * 4),
    written: new SharedArrayBuffer(WRITTEN_PLACES * 8),
  };
}

function hashOf(first: number, second: number, third: number, device: number): number {
  let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b) ^ Math.imul(third, 0xc2b2ae35) ^ device;
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return hash ^ (hash >>> 13);
}

export class NodeTable {
  private readonly capacity: number;
  private readonly ringSize: number;
  private readonly pinnedMax: number;
  private readonly scarceFrom: number;
  private readonly header: Int32Array;
  private readonly words: Int32Array;
  private readonly unsigned: Uint32Array;
  private readonly table: Int32Array;
  private readonly ring: Int32Array;
  private readonly names: Uint32Array;
  private readonly nameBytes: Uint8Array;
  private readonly written: Int32Array;
  private readonly mask: number;
  private readonly closeDescriptor: (fd: number) => void;
  private readonly closeBacking: (id: number) => void;
  /** Told of each node that this thread frees, just before. Set by the thread's `Context`. */
  onFree: (slot: number) => void = () => {};

  /** `closeDescriptor` is given each descriptor the table lets go, `closeBacking` each registered backing file. */
  constructor(
    shared: NodeTableShared,
    closeDescriptor: (fd: number) => void,
    closeBacking: (id: number) => void = () => {},
  ) {
    this.capacity = shared.capacity;
    this.ringSize = shared.ringSize;
    this.pinnedMax = shared.pinnedMax;
    this.scarceFrom = shared.scarceFrom;
    this.header = new Int32Array(shared.header);
    this.words = new Int32Array(shared.nodes);
    this.unsigned = new Uint32Array(shared.nodes);
    this.table = new Int32Array(shared.table);
    this.ring = new Int32Array(shared.ring);
    this.names = new Uint32Array(shared.names);
    this.nameBytes = new Uint8Array(shared.names);
    this.written = new Int32Array(shared.written);
    this.mask = shared.buckets - 1;
    this.closeDescriptor = closeDescriptor;
    this.closeBacking = closeBacking;
  }

  /** Makes the root node, once, before any thread serves. Its nodeid is 1 (FUSE_ROOT_ID) and it is never forgotten. */
  initializeRoot(identity: Identity, fd: number): void {
    const base = ROOT_SLOT * WORDS;
    this.header[H_USED] = ROOT_SLOT;
    this.header[H_LIVE] = 1;
    this.fill(base, identity);
    this.words[base + LOOKUPS] = LOOKUPS_MAX;
    this.words[base + FD] = fd + 1;
    this.words[base + PINS] = 1;
    this.words[base + FLAGS] = NODE_PINNED;
    const bucket = this.bucketOf(identity);
    this.table[bucket] = ROOT_SLOT;
  }

  /** The slot a nodeid names, or 0 when it names nothing (any more). */
  resolve(nodeidLo: number, nodeidHi: number): number {
    if (nodeidLo === 0 || nodeidLo > this.capacity) return 0;
    const base = nodeidLo * WORDS;
    if (this.unsigned[base + GENERATION] !== nodeidHi || this.words[base + LOOKUPS] === 0) return 0;
    return nodeidLo;
  }

  generation(slot: number): number {
    return this.unsigned[slot * WORDS + GENERATION]!;
  }

  inoLo(slot: number): number {
    return this.unsigned[slot * WORDS + INO_LO]!;
  }

  inoHi(slot: number): number {
    return this.unsigned[slot * WORDS + INO_HI]!;
  }

  device(slot: number): number {
    return this.unsigned[slot * WORDS + KIND]! & 0xffff;
  }

  /** S_IFMT bits. */
  type(slot: number): number {
    return (this.unsigned[slot * WORDS + KIND]! >>> 16) << 12;
  }

  identityWord(slot: number, index: number): number {
    return this.unsigned[slot * WORDS + IDENTITY + index]!;
  }

  flags(slot: number): number {
    return Atomics.load(this.words, slot * WORDS + FLAGS);
  }

  setFlags(slot: number, bits: number): number {
    return Atomics.or(this.words, slot * WORDS + FLAGS, bits);
  }

  /** Clears bits; returns what was there before. */
  clearFlags(slot: number, bits: number): number {
    return Atomics.and(this.words, slot * WORDS + FLAGS, ~bits);
  }

  /** A number that moves on with every change of the directory's names (wraps). */
  version(slot: number): number {
    return Atomics.load(this.words, slot * WORDS + VERSION);
  }

  bumpVersion(slot: number): void {
    Atomics.add(this.words, slot * WORDS + VERSION, 1);
  }

  get liveNodes(): number {
    return Atomics.load(this.header, H_LIVE);
  }

  get cachedDescriptors(): number {
    return Atomics.load(this.header, H_RING_COUNT);
  }

  get pinnedDescriptors(): number {
    return Atomics.load(this.header, H_PINNED);
  }

  /** Highest slot ever used: the end of a walk over the table. */
  get highestSlot(): number {
    return Atomics.load(this.header, H_USED);
  }

  isLive(slot: number): boolean {
    return Atomics.load(this.words, slot * WORDS + LOOKUPS) !== 0;
  }

  /**
   * Finds or makes the node of an inode and counts one lookup. Returns its slot, or 0 when the table is full.
   */
  intern(identity: Identity): number {
    const bucket = this.bucketOf(identity);
    const stripe = H_WORDS + (bucket & (STRIPES - 1));
    lock(this.header, stripe);
    const found = this.findIn(bucket, identity);
    if (found !== 0) {
      this.countLookup(found);
      unlock(this.header, stripe);
      return found;
    }
    const slot = this.takeSlot();
    if (slot !== 0) {
      const base = slot * WORDS;
      this.fill(base, identity);
      this.words[base + FD] = 0;
      this.words[base + FLAGS] = 0;
      this.words[base + OPENS] = 0;
      this.words[base + BACKING] = 0;
      this.words[base + WRITERS] = 0;
      this.words[base + WRITTEN] = 0;
      this.words[base + NEXT] = this.table[bucket]!;
      Atomics.store(this.words, base + LOOKUPS, 1);
      this.table[bucket] = slot;
    }
    unlock(this.header, stripe);
    return slot;
  }

  /** The live node of an inode with one more lookup counted (give it back with `forget`), or 0. */
  find(identity: Identity): number {
    const bucket = this.bucketOf(identity);
    const stripe = H_WORDS + (bucket & (STRIPES - 1));
    lock(this.header, stripe);
    const found = this.findIn(bucket, identity);
    if (found !== 0) this.countLookup(found);
    unlock(this.header, stripe);
    return found;
  }

  /**
   * Counts one more lookup of the node a nodeid names (give it back with `forget`), for whoever was not asked by the
   * kernel: it may forget the node at any moment. The slot, or 0 when the nodeid names nothing any more.
   */
  hold(nodeidLo: number, nodeidHi: number): number {
    if (nodeidLo === 0 || nodeidLo > this.capacity) return 0;
    const base = nodeidLo * WORDS;
    const bucket = this.bucketOfNode(base);
    const stripe = H_WORDS + (bucket & (STRIPES - 1));
    lock(this.header, stripe);
    // The bucket of a slot that was freed and taken again meanwhile is another, and so is its generation.
    const slot = this.resolve(nodeidLo, nodeidHi);
    if (slot !== 0) this.countLookup(slot);
    unlock(this.header, stripe);
    return slot;
  }

  /** Stays at the highest count: a name that is revalidated all the time gets there in days, and FORGET brings it all back. */
  private countLookup(slot: number): void {
    if (this.words[slot * WORDS + LOOKUPS] !== LOOKUPS_MAX) this.words[slot * WORDS + LOOKUPS]!++;
  }

  /** Takes back `count` lookups (FORGET). The last one frees the node; `onFree` sees it just before. */
  forget(slot: number, count: number): void {
    if (slot === ROOT_SLOT) return;
    const base = slot * WORDS;
    const bucket = this.bucketOfNode(base);
    const stripe = H_WORDS + (bucket & (STRIPES - 1));
    lock(this.header, stripe);
    const left = this.words[base + LOOKUPS]! - count;
    if (left > 0) {
      this.words[base + LOOKUPS] = left;
      unlock(this.header, stripe);
      return;
    }
    if (this.words[base + LOOKUPS] === 0) {
      unlock(this.header, stripe);
      return;
    }
    this.onFree(slot);
    Atomics.store(this.words, base + LOOKUPS, 0);
    let at = this.table[bucket]!;
    if (at === slot) this.table[bucket] = this.words[base + NEXT]!;
    else {
      while (at !== 0 && this.words[at * WORDS + NEXT] !== slot) at = this.words[at * WORDS + NEXT]!;
      if (at !== 0) this.words[at * WORDS + NEXT] = this.words[base + NEXT]!;
    }
    unlock(this.header, stripe);
    // Whoever is using the descriptor at this moment (the watcher, a request whose caller was let go) frees the slot when
    // done; else the unpin below does.
    this.addPin(slot);
    if ((Atomics.and(this.words, base + FLAGS, ~NODE_PINNED) & NODE_PINNED) !== 0) {
      Atomics.sub(this.header, H_PINNED, 1);
      Atomics.sub(this.words, base + PINS, 1);
    }
    Atomics.or(this.words, base + FLAGS, NODE_DEAD);
    this.unpin(slot);
  }

  /**
   * Starts to use the node's descriptor: returns it, or -1 when it has none. With one, it stays open until `unpin`.
   * Without one nothing was pinned.
   */
  pin(slot: number): number {
    this.addPin(slot);
    const fd = Atomics.load(this.words, slot * WORDS + FD) - 1;
    // Not a bare subtraction: who attached a descriptor meanwhile may have left it to the last user, who is us then.
    if (fd < 0) this.unpin(slot);
    return fd;
  }

  /** Ends a use; a descriptor that is not in the ring is closed with its last user. */
  unpin(slot: number): void {
    const base = slot * WORDS;
    if (Atomics.sub(this.words, base + PINS, 1) !== 1) return;
    if ((Atomics.load(this.words, base + FLAGS) & (NODE_IN_RING | NODE_DEAD)) === NODE_IN_RING) return;
    if (Atomics.compareExchange(this.words, base + PINS, 0, CLOSING) !== 0) return;
    // No pin can come now, and forgetting takes one: a node that is not dead here does not die before the next unpin.
    const dead = (Atomics.load(this.words, base + FLAGS) & NODE_DEAD) !== 0;
    if (dead) this.leaveRing(slot);
    const backing = Atomics.exchange(this.words, base + BACKING, 0);
    const fd = Atomics.exchange(this.words, base + FD, 0) - 1;
    if (dead) Atomics.store(this.words, base + FLAGS, 0);
    Atomics.sub(this.words, base + PINS, CLOSING);
    if (backing > 0) this.closeBacking(backing);
    if (fd >= 0) this.closeDescriptor(fd);
    if (dead) this.freeSlot(slot);
  }

  /** True while somebody uses the descriptor of the node. */
  isPinned(slot: number): boolean {
    return Atomics.load(this.words, slot * WORDS + PINS) !== 0;
  }

  /**
   * Gives the node a descriptor and pins it. When another thread was quicker, `fd` is closed and theirs is returned.
   * `cached` descriptors stay after the last unpin until the clock hand takes them; others leave with it.
   */
  attach(slot: number, fd: number, cached: boolean): number {
    const base = slot * WORDS;
    // Pinned before the descriptor is looked at, and not while one is on its way out: what is found then stays open.
    this.addPin(slot);
    const before = Atomics.compareExchange(this.words, base + FD, 0, fd + 1);
    if (before !== 0) {
      this.closeDescriptor(fd);
      return before - 1;
    }
    if (!cached) return fd;
    if (fd >= this.scarceFrom) this.evict(SCARCE_EVICT, SCARCE_STEPS);
    this.enterRing(slot);
    return fd;
  }

  /**
   * Turns the pin just taken into one that lasts as long as the node (deleted while known, or special). When there are too
   * many of those it is only taken back: the inode is lost with its last name.
   */
  keepPinned(slot: number): void {
    const full = this.pinnedDescriptors >= this.pinnedMax;
    if (full || (Atomics.or(this.words, slot * WORDS + FLAGS, NODE_PINNED) & NODE_PINNED) !== 0) this.unpin(slot);
    else Atomics.add(this.header, H_PINNED, 1);
  }

  /** Counts an open of the inode; returns how many there were before. Under `lockNode`. */
  addOpen(slot: number, delta: 1 | -1): number {
    return Atomics.add(this.words, slot * WORDS + OPENS, delta);
  }

  opens(slot: number): number {
    return Atomics.load(this.words, slot * WORDS + OPENS);
  }

  /** For whom the descriptor that opens of the inode need is counted (held.ts). Under `lockNode`. */
  holder(slot: number): number {
    return this.words[slot * WORDS + HOLDER]!;
  }

  setHolder(slot: number, holder: number): void {
    this.words[slot * WORDS + HOLDER] = holder;
  }

  /** Counts an open file that writes by itself, past us: its changes of the underlay carry its caller's pid. */
  addWriter(slot: number, delta: 1 | -1): void {
    if (delta === -1) Atomics.store(this.words, slot * WORDS + WRITTEN, Date.now() | 1);
    Atomics.add(this.words, slot * WORDS + WRITERS, delta);
  }

  /** Whether a change that was made after `since` (Date.now()) may be such a writer's. */
  mayBeWritten(slot: number, since: number): boolean {
    if (Atomics.load(this.words, slot * WORDS + WRITERS) !== 0) return true;
    const written = Atomics.load(this.words, slot * WORDS + WRITTEN);
    return written !== 0 && ((written - since) | 0) >= 0;
  }

  /** Whether the file is open for writing with passthrough, or was within the last `margin` ms. */
  isBeingWritten(slot: number, margin: number): boolean {
    const base = slot * WORDS;
    if (Atomics.load(this.words, base + WRITERS) !== 0) return true;
    const written = Atomics.load(this.words, base + WRITTEN);
    return written !== 0 && ((Date.now() - written) | 0) <= margin;
  }

  /** `mayBeWritten` of an inode that has no node (any more): `words` is its identity. */
  wasWritten(device: number, words: Int32Array | Uint32Array, since: number): boolean {
    const hash = hashOf(words[1]!, words[2]!, words[3]!, device);
    const at = (hash & (WRITTEN_PLACES - 1)) * 2;
    const written = Atomics.load(this.written, at + 1);
    return written !== 0 && this.written[at] === hash && ((written - since) | 0) >= 0;
  }

  /** Remembers of a node that goes when it was last written. Another that falls on the same place takes it. */
  private rememberWritten(base: number): void {
    const time = this.words[base + WRITTEN]!;
    if (time === 0) return;
    const key = base + IDENTITY;
    const { words, written } = this;
    const hash = hashOf(words[key + 1]!, words[key + 2]!, words[key + 3]!, words[base + KIND]! & 0xffff);
    const at = (hash & (WRITTEN_PLACES - 1)) * 2;
    written[at] = hash;
    Atomics.store(written, at + 1, time);
  }

  /**
   * Id of the registered backing file; 0 none, -1 decided against (see filesystem/files.ts). Under `lockNode`, by who has the
   * node pinned. It stays registered when the file is closed, until the node's descriptor goes.
   */
  backing(slot: number): number {
    return this.words[slot * WORDS + BACKING]!;
  }

  setBacking(slot: number, id: number): void {
    this.words[slot * WORDS + BACKING] = id;
  }

  /** The stripe lock of a node: for the few decisions that several opens of one inode must take together. */
  lockNode(slot: number): void {
    lock(this.header, H_WORDS + (this.bucketOfNode(slot * WORDS) & (STRIPES - 1)));
  }

  unlockNode(slot: number): void {
    unlock(this.header, H_WORDS + (this.bucketOfNode(slot * WORDS) & (STRIPES - 1)));
  }

  /**
   * Remembers where a node was found: one without a handle, which is found again by it, or a directory. False when places
   * cannot be remembered for so many.
   */
  setName(slot: number, parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    if (length > 255) return false;
    this.lockNode(slot);
    const base = this.takeName(slot);
    if (base !== 0) this.writeName(base, parent, bytes, offset, length);
    this.unlockNode(slot);
    return base !== 0;
  }

  /**
   * Remembers where a directory was found now. True, and `former` says where the kernel may still have it, when that was in
   * another directory: then it is still that which is remembered, until `setName` says that the kernel has dropped it.
   */
  relocate(slot: number, parent: number, bytes: Uint8Array, offset: number, length: number, former: Place): boolean {
    this.lockNode(slot);
    const known = this.words[slot * WORDS + NAMED] !== 0;
    const base = this.takeName(slot);
    let moved = false;
    if (base !== 0 && !(known && this.isNamed(base, parent, bytes, offset, length))) {
      if (known) {
        former.parent = this.names[base]!;
        former.generation = this.names[base + 1]!;
        former.length = this.names[base + 2]!;
        former.name.set(this.nameBytes.subarray((base + 3) * 4, (base + 3) * 4 + former.length));
        moved = former.parent !== parent && this.resolve(former.parent, former.generation) !== 0;
      }
      if (!moved) this.writeName(base, parent, bytes, offset, length);
    }
    this.unlockNode(slot);
    return moved;
  }

  /** The parent under which a node without a handle was found, or 0 when it is gone. */
  parentOf(slot: number): number {
    const base = this.words[slot * WORDS + NAMED]! * NAME_STRIDE;
    return base === 0 ? 0 : this.resolve(this.names[base]!, this.names[base + 1]!);
  }

  /** Whether that is the remembered place of a node. */
  isAt(slot: number, parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    const base = this.words[slot * WORDS + NAMED]! * NAME_STRIDE;
    return base !== 0 && this.isNamed(base, parent, bytes, offset, length);
  }

  /** Copies the remembered name and its NUL to `to`; returns its length. */
  copyName(slot: number, to: Uint8Array, offset: number): number {
    const base = this.words[slot * WORDS + NAMED]! * NAME_STRIDE;
    const length = this.names[base + 2]!;
    const from = (base + 3) * 4;
    for (let i = 0; i <= length; i++) to[offset + i] = this.nameBytes[from + i]!;
    return length;
  }

  private isNamed(base: number, parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    const { names, nameBytes } = this;
    if (names[base] !== parent || names[base + 1] !== this.generation(parent) || names[base + 2] !== length)
      return false;
    const at = (base + 3) * 4;
    for (let i = 0; i < length; i++) if (nameBytes[at + i] !== bytes[offset + i]) return false;
    return true;
  }

  private writeName(base: number, parent: number, bytes: Uint8Array, offset: number, length: number): void {
    this.names[base] = parent;
    this.names[base + 1] = this.generation(parent);
    this.names[base + 2] = length;
    const to = (base + 3) * 4;
    for (let i = 0; i < length; i++) this.nameBytes[to + i] = bytes[offset + i]!;
    this.nameBytes[to + length] = 0;
  }

  /** Where the place of a node is remembered, by index into `names`; 0 when there is no room. Under `lockNode`. */
  private takeName(slot: number): number {
    const at = slot * WORDS + NAMED;
    if (this.words[at] === 0) {
      lock(this.header, H_LOCK);
      let index = this.header[H_NAME_FREE]!;
      if (index !== 0) this.header[H_NAME_FREE] = this.names[index * NAME_STRIDE + NAME_NEXT]!;
      else if ((this.header[H_NAMES]! + 2) * NAME_STRIDE <= this.names.length) index = ++this.header[H_NAMES]!;
      unlock(this.header, H_LOCK);
      this.words[at] = index;
    }
    return this.words[at]! * NAME_STRIDE;
  }

  /** Descriptors of files in the ring: `sweepFiles` wants to be called now and then while there are any. */
  get cachedFiles(): number {
    return Atomics.load(this.header, H_RING_FILES);
  }

  /**
   * Gives back the cached descriptors of files that were not used since the sweep before: a descriptor would keep the
   * blocks of a file that the host has deleted. Those of directories stay.
   */
  sweepFiles(): void {
    lock(this.header, H_RING_LOCK);
    const size = this.ringSize;
    for (let place = 0; place < size && this.header[H_RING_FILES]! > 0; place++) {
      const slot = this.ring[place]!;
      if (slot === 0 || this.type(slot) === S_IFDIR) continue;
      const recent = (Atomics.and(this.words, slot * WORDS + FLAGS, ~NODE_RECENT) & NODE_RECENT) !== 0;
      if (!recent && this.evictSlot(slot)) this.ring[place] = 0;
    }
    unlock(this.header, H_RING_LOCK);
  }

  /** Gives back up to `count` cached descriptors that nobody uses, looking at `steps` at most; how many it could. */
  evict(count: number, steps = this.ringSize): number {
    let evicted = 0;
    lock(this.header, H_RING_LOCK);
    const size = this.ringSize;
    for (let step = 0; step < Math.min(size, steps) && evicted < count; step++) {
      const hand = this.header[H_HAND]!;
      this.header[H_HAND] = hand + 1 === size ? 0 : hand + 1;
      const slot = this.ring[hand]!;
      if (slot !== 0 && this.evictSlot(slot)) {
        this.ring[hand] = 0;
        evicted++;
      }
    }
    unlock(this.header, H_RING_LOCK);
    return evicted;
  }

  private takeSlot(): number {
    lock(this.header, H_LOCK);
    let slot = this.header[H_FREE]!;
    if (slot !== 0) this.header[H_FREE] = this.words[slot * WORDS + NEXT]!;
    else if (this.header[H_USED]! < this.capacity) slot = ++this.header[H_USED]!;
    if (slot !== 0) this.header[H_LIVE]!++;
    unlock(this.header, H_LOCK);
    return slot;
  }

  private fill(base: number, identity: Identity): void {
    this.words[base + INO_LO] = identity.inoLo;
    this.words[base + INO_HI] = identity.inoHi;
    this.words[base + KIND] = identity.device | ((identity.type >>> 12) << 16);
    for (let i = 0; i < IDENTITY_WORDS; i++) this.words[base + IDENTITY + i] = identity.words[i]!;
  }

  private bucketOf({ words, device }: Identity): number {
    return this.bucketOfKey(words[1]!, words[2]!, words[3]!, device);
  }

  private bucketOfNode(base: number): number {
    const at = base + IDENTITY;
    const { words } = this;
    return this.bucketOfKey(words[at + 1]!, words[at + 2]!, words[at + 3]!, words[base + KIND]! & 0xffff);
  }

  private bucketOfKey(first: number, second: number, third: number, device: number): number {
    return hashOf(first, second, third, device) & this.mask;
  }

  private findIn(bucket: number, identity: Identity): number {
    for (let slot = this.table[bucket]!; slot !== 0; slot = this.words[slot * WORDS + NEXT]!) {
      const base = slot * WORDS;
      if ((this.words[base + KIND]! & 0xffff) !== identity.device) continue;
      let same = true;
      for (let i = 0; i < IDENTITY_WORDS && same; i++) {
        same = this.words[base + IDENTITY + i] === (identity.words[i]! | 0);
      }
      if (same) return slot;
    }
    return 0;
  }

  /** Counts a user; not while the descriptor is on its way out. */
  private addPin(slot: number): void {
    const at = slot * WORDS + PINS;
    while ((Atomics.add(this.words, at, 1) & CLOSING) !== 0) {
      Atomics.sub(this.words, at, 1);
      while ((Atomics.load(this.words, at) & CLOSING) !== 0);
    }
  }

  private leaveRing(slot: number): void {
    lock(this.header, H_RING_LOCK);
    const place = this.words[slot * WORDS + PLACE]!;
    if ((Atomics.load(this.words, slot * WORDS + FLAGS) & NODE_IN_RING) !== 0 && this.ring[place] === slot) {
      this.ring[place] = 0;
      this.header[H_RING_COUNT]!--;
      if (this.type(slot) !== S_IFDIR) Atomics.sub(this.header, H_RING_FILES, 1);
    }
    unlock(this.header, H_RING_LOCK);
  }

  /** The generation moves on before the slot can be taken again: the old nodeid resolves to nothing from here. */
  private freeSlot(slot: number): void {
    const base = slot * WORDS;
    this.rememberWritten(base);
    Atomics.add(this.words, base + GENERATION, 1);
    lock(this.header, H_LOCK);
    const named = this.words[base + NAMED]!;
    if (named !== 0) {
      this.words[base + NAMED] = 0;
      this.names[named * NAME_STRIDE + NAME_NEXT] = this.header[H_NAME_FREE]!;
      this.header[H_NAME_FREE] = named;
    }
    this.words[base + NEXT] = this.header[H_FREE]!;
    this.header[H_FREE] = slot;
    this.header[H_LIVE]!--;
    unlock(this.header, H_LOCK);
  }

  private enterRing(slot: number): void {
    lock(this.header, H_RING_LOCK);
    const size = this.ringSize;
    // The clock hand moves until it finds an empty place, emptying those that nobody uses. When every descriptor is in
    // use the newcomer stays outside the ring and is closed by its last user.
    for (let step = 0; step < size; step++) {
      const hand = this.header[H_HAND]!;
      this.header[H_HAND] = hand + 1 === size ? 0 : hand + 1;
      const occupant = this.ring[hand]!;
      if (occupant === slot) break;
      if (occupant === 0 || this.evictSlot(occupant)) {
        this.ring[hand] = slot;
        this.words[slot * WORDS + PLACE] = hand;
        this.header[H_RING_COUNT]!++;
        if (this.type(slot) !== S_IFDIR) Atomics.add(this.header, H_RING_FILES, 1);
        Atomics.or(this.words, slot * WORDS + FLAGS, NODE_IN_RING | NODE_RECENT);
        break;
      }
    }
    unlock(this.header, H_RING_LOCK);
  }

  /** Closes a cached descriptor unless it is in use. The caller holds the ring lock and clears the place. */
  private evictSlot(slot: number): boolean {
    const base = slot * WORDS;
    if (Atomics.compareExchange(this.words, base + PINS, 0, CLOSING) !== 0) return false;
    const backing = Atomics.exchange(this.words, base + BACKING, 0);
    const fd = Atomics.exchange(this.words, base + FD, 0) - 1;
    Atomics.and(this.words, base + FLAGS, ~NODE_IN_RING);
    Atomics.sub(this.words, base + PINS, CLOSING);
    if (backing > 0) this.closeBacking(backing);
    if (fd >= 0) this.closeDescriptor(fd);
    this.header[H_RING_COUNT]!--;
    if (this.type(slot) !== S_IFDIR) Atomics.sub(this.header, H_RING_FILES, 1);
    return true;
  }
}
