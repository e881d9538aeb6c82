// The open files and directories: what an fh of the protocol names, in shared memory for all threads.
//
// Promises: an fh that does not name an open handle of the right kind is refused (EBADF), whatever number the other side
// makes up; an fh is never used again for another open (slot and generation, like a nodeid).

import { lock, unlock } from './mutex.js';

const WORDS = 12;
const NEXT = 0;
const GENERATION = 1;
const KIND = 2;
const FD = 3;
const NODE = 4;
const OPEN_FLAGS = 5;
const COOKIE_LO = 6;
const COOKIE_HI = 7;
const STATE = 8;
const VERSION = 9;
/** Requests that go on after their caller was let go, and CLOSING once the handle was released meanwhile. */
const HELD = 10;
/** For whom its own descriptor is counted (held.ts). */
const HOLDER = 11;
const CLOSING = 1 << 30;

const H_LOCK = 0;
const H_FREE = 1;
const H_USED = 2;
const H_FILES = 3;
const H_DIRECTORIES = 4;
const H_WORDS = 8;

export const HANDLE_FILE = 1;
export const HANDLE_DIRECTORY = 2;

/** STATE of a file: its data is passed through; the handle has no descriptor of its own until one is needed. */
export const HANDLE_PASSTHROUGH = 1;
/** STATE of a file: the kernel sends no FLUSH for it. */
export const HANDLE_NOFLUSH = 2;
/** STATE of a directory: its listing may be cached by the kernel. */
export const HANDLE_CACHEABLE = 4;

export interface HandleTableShared {
  readonly capacity: number;
  readonly header: SharedArrayBuffer;
  readonly handles: SharedArrayBuffer;
}

export function createHandleTable(capacity: number): HandleTableShared {
  return {
    capacity,
    header: new SharedArrayBuffer(H_WORDS * 4),
    handles: new SharedArrayBuffer((capacity + 1) * WORDS * 4),
  };
}

export class HandleTable {
  private readonly capacity: number;
  private readonly header: Int32Array;
  private readonly words: Int32Array;
  private readonly unsigned: Uint32Array;

  constructor(shared: HandleTableShared) {
    this.capacity = shared.capacity;
    this.header = new Int32Array(shared.header);
    this.words = new Int32Array(shared.handles);
    this.unsigned = new Uint32Array(shared.handles);
  }

  get openFiles(): number {
    return Atomics.load(this.header, H_FILES);
  }

  get openDirectories(): number {
    return Atomics.load(this.header, H_DIRECTORIES);
  }

  /** The highest slot that was ever used; slots start at 1. */
  get highestSlot(): number {
    return Atomics.load(this.header, H_USED);
  }

  /** A new handle's slot, or 0 when there are too many. `fd` is -1 for a handle without a descriptor. */
  add(kind: number, node: number, fd: number, openFlags: number, state: number, holder: number): number {
    lock(this.header, H_LOCK);
    let slot = this.header[H_FREE]!;
    if (slot !== 0) this.header[H_FREE] = this.words[slot * WORDS + NEXT]!;
    else if (this.header[H_USED]! < this.capacity) slot = ++this.header[H_USED]!;
    if (slot !== 0) this.header[kind === HANDLE_FILE ? H_FILES : H_DIRECTORIES]!++;
    unlock(this.header, H_LOCK);
    if (slot === 0) return 0;
    const base = slot * WORDS;
    this.words[base + FD] = fd + 1;
    this.words[base + NODE] = node;
    this.words[base + OPEN_FLAGS] = openFlags;
    this.words[base + COOKIE_LO] = 0;
    this.words[base + COOKIE_HI] = 0;
    this.words[base + STATE] = state;
    this.words[base + VERSION] = 0;
    this.words[base + HELD] = 0;
    this.words[base + HOLDER] = holder;
    Atomics.store(this.words, base + KIND, kind);
    return slot;
  }

  /** The slot an fh names when it is an open handle of `kind`, or 0. */
  resolve(fhLo: number, fhHi: number, kind: number): number {
    if (fhLo === 0 || fhLo > this.capacity) return 0;
    const base = fhLo * WORDS;
    if (Atomics.load(this.words, base + KIND) !== kind || this.unsigned[base + GENERATION] !== fhHi) return 0;
    return fhLo;
  }

  /** The slot of an open handle of any kind, held until `letGo`; 0 when the fh names none. */
  hold(fhLo: number, fhHi: number): number {
    if (fhLo === 0 || fhLo > this.capacity) return 0;
    const base = fhLo * WORDS;
    if (Atomics.load(this.words, base + KIND) === 0 || this.unsigned[base + GENERATION] !== fhHi) return 0;
    Atomics.add(this.words, base + HELD, 1);
    return fhLo;
  }

  /** Ends a hold. The kind of the handle when it was released meanwhile and is now the caller's to free, or 0. */
  letGo(slot: number): number {
    const base = slot * WORDS;
    return Atomics.sub(this.words, base + HELD, 1) === (CLOSING | 1) ? this.words[base + KIND]! : 0;
  }

  /** The kernel has let go of the handle. False when somebody holds it still, who will free it. */
  startClosing(slot: number): boolean {
    return Atomics.or(this.words, slot * WORDS + HELD, CLOSING) === 0;
  }

  /** Frees the handle; its descriptor is the caller's to close. */
  remove(slot: number): void {
    const base = slot * WORDS;
    const kind = this.words[base + KIND]!;
    Atomics.store(this.words, base + KIND, 0);
    this.words[base + GENERATION]!++;
    lock(this.header, H_LOCK);
    this.words[base + NEXT] = this.header[H_FREE]!;
    this.header[H_FREE] = slot;
    this.header[kind === HANDLE_FILE ? H_FILES : H_DIRECTORIES]!--;
    unlock(this.header, H_LOCK);
  }

  generation(slot: number): number {
    return this.unsigned[slot * WORDS + GENERATION]!;
  }

  /** The handle's own descriptor, or -1. */
  fd(slot: number): number {
    return Atomics.load(this.words, slot * WORDS + FD) - 1;
  }

  /** Gives a handle without a descriptor one; returns the one it has (another thread's, if that was quicker). */
  giveFd(slot: number, fd: number): number {
    const before = Atomics.compareExchange(this.words, slot * WORDS + FD, 0, fd + 1);
    return before === 0 ? fd : before - 1;
  }

  node(slot: number): number {
    return this.words[slot * WORDS + NODE]!;
  }

  holder(slot: number): number {
    return this.words[slot * WORDS + HOLDER]!;
  }

  openFlags(slot: number): number {
    return this.words[slot * WORDS + OPEN_FLAGS]!;
  }

  state(slot: number): number {
    return this.words[slot * WORDS + STATE]!;
  }

  /** Where the next getdents64 of this directory goes on. */
  cookieIs(slot: number, lo: number, hi: number): boolean {
    const base = slot * WORDS;
    return this.unsigned[base + COOKIE_LO] === lo && this.unsigned[base + COOKIE_HI] === hi;
  }

  setCookie(slot: number, lo: number, hi: number): void {
    const base = slot * WORDS;
    this.words[base + COOKIE_LO] = lo;
    this.words[base + COOKIE_HI] = hi;
  }

  version(slot: number): number {
    return this.words[slot * WORDS + VERSION]!;
  }

  setVersion(slot: number, version: number): void {
    this.words[slot * WORDS + VERSION] = version;
  }
}
