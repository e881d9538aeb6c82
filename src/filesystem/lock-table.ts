// Who holds file locks: one open file description of the underlay for each lock owner of each inode, in shared memory.
//
// POSIX record locks of the view become open-file-description locks there and flock(2) locks become flock(2) locks, so
// the view's owners exclude each other and the host's processes exactly as local ones do, and closing the description
// drops everything its owner held. A description is closed when its owner is released and nobody is using it.

import type { Held } from './held.js';
import { lock, unlock } from './mutex.js';

const WORDS = 12;
const NEXT = 0;
const NODE = 1;
const KIND = 2;
const OWNER_LO = 3;
const OWNER_HI = 4;
const FD = 5;
const USERS = 6;
const DEAD = 7;
/**
 * The open file the last record lock was asked for through. When that is closed for good, so have all its users, and with
 * it an open file description lock ends, of which no FLUSH tells.
 */
const HANDLE = 8;
/** The process to watch because no FLUSH will tell of its close(2); 0 for none. */
const WATCHED_PID = 9;
/** The process that asked last, for GETLK. */
const PID = 10;
/** For whom the description is counted (held.ts). */
const HOLDER = 11;

const H_LOCK = 0;
const H_FREE = 1;
const H_USED = 2;
const H_LIVE = 3;
const H_WATCHED = 4;
const H_WORDS = 8;
const BUCKETS = 4096;
const CAPACITY = 1 << 18;

export const LOCK_POSIX = 1;
export const LOCK_FLOCK = 2;

export type LockTableShared = SharedArrayBuffer;

export function createLockTable(): LockTableShared {
  return new SharedArrayBuffer((H_WORDS + BUCKETS + (CAPACITY + 1) * WORDS) * 4);
}

export class LockTable {
  private readonly words: Int32Array;
  private readonly held: Held;
  private readonly closeDescriptor: (fd: number) => void;

  constructor(shared: LockTableShared, held: Held, closeDescriptor: (fd: number) => void) {
    this.words = new Int32Array(shared);
    this.held = held;
    this.closeDescriptor = closeDescriptor;
  }

  /** True when nobody holds or ever asked for a lock: the quick answer for every FLUSH and RELEASE. */
  get empty(): boolean {
    return Atomics.load(this.words, H_LIVE) === 0;
  }

  get owners(): number {
    return Atomics.load(this.words, H_LIVE);
  }

  /** Finds an owner's entry and counts a user of it (`done`); 0 when there is none. */
  find(node: number, kind: number, ownerLo: number, ownerHi: number): number {
    lock(this.words, H_LOCK);
    const entry = this.search(node, kind, ownerLo, ownerHi);
    if (entry !== 0) this.words[entry + USERS]!++;
    unlock(this.words, H_LOCK);
    return entry;
  }

  /**
   * Adds an owner with the description `fd`, counted for `holder`, or finds the one another thread added first. 0 when there
   * are too many. What is not added is closed, and not counted any more.
   */
  add(node: number, kind: number, ownerLo: number, ownerHi: number, fd: number, holder: number): number {
    lock(this.words, H_LOCK);
    let entry = this.search(node, kind, ownerLo, ownerHi);
    if (entry !== 0) {
      this.words[entry + USERS]!++;
      unlock(this.words, H_LOCK);
      this.discard(fd, holder);
      return entry;
    }
    entry = this.words[H_FREE]!;
    if (entry !== 0) this.words[H_FREE] = this.words[entry + NEXT]!;
    else if (this.words[H_USED]! < CAPACITY) entry = H_WORDS + BUCKETS + ++this.words[H_USED]! * WORDS;
    if (entry !== 0) {
      const bucket = this.bucket(node);
      this.words[entry + NEXT] = this.words[bucket]!;
      this.words[entry + NODE] = node;
      this.words[entry + KIND] = kind;
      this.words[entry + OWNER_LO] = ownerLo;
      this.words[entry + OWNER_HI] = ownerHi;
      this.words[entry + FD] = fd;
      this.words[entry + USERS] = 1;
      this.words[entry + DEAD] = 0;
      this.words[entry + HANDLE] = 0;
      this.words[entry + WATCHED_PID] = 0;
      this.words[entry + PID] = 0;
      this.words[entry + HOLDER] = holder;
      this.words[bucket] = entry;
      this.words[H_LIVE]!++;
    }
    unlock(this.words, H_LOCK);
    if (entry === 0) this.discard(fd, holder);
    return entry;
  }

  fd(entry: number): number {
    return this.words[entry + FD]!;
  }

  /** Ends a use counted by `find` or `add`. */
  done(entry: number): void {
    lock(this.words, H_LOCK);
    const last = --this.words[entry + USERS]! === 0 && this.words[entry + DEAD] === 1;
    const fd = last ? this.free(entry) : -1;
    unlock(this.words, H_LOCK);
    if (fd >= 0) this.closeDescriptor(fd);
  }

  /** Releases an owner: everything it held goes, at once or when its last user is done. True if there was one. */
  remove(node: number, kind: number, ownerLo: number, ownerHi: number): boolean {
    lock(this.words, H_LOCK);
    const entry = this.search(node, kind, ownerLo, ownerHi);
    const fd = entry === 0 ? -1 : this.unlink(entry);
    unlock(this.words, H_LOCK);
    if (fd >= 0) this.closeDescriptor(fd);
    return entry !== 0;
  }

  /**
   * Notes who asks for a record lock, and through which open file. `watch`: its close(2) is not told, so the locks end with
   * process `pid`, which is looked for now and then, if not with the last close.
   */
  note(entry: number, pid: number, handle: number, watch: boolean): void {
    lock(this.words, H_LOCK);
    if (this.words[entry + DEAD] === 0) {
      this.words[entry + HANDLE] = handle;
      // 0 when it is not known: who only tests a lock.
      if (pid !== 0) {
        this.words[entry + PID] = pid;
        if (watch) {
          if (this.words[entry + WATCHED_PID] === 0) this.words[H_WATCHED]!++;
          this.words[entry + WATCHED_PID] = pid;
        }
      }
    }
    unlock(this.words, H_LOCK);
  }

  /** Releases the owners of record locks on a node that asked last through `handle`. True if there was one. */
  removeThrough(node: number, handle: number): boolean {
    const descriptors: number[] = [];
    let found = false;
    lock(this.words, H_LOCK);
    for (let entry = this.words[this.bucket(node)]!; entry !== 0; ) {
      const next = this.words[entry + NEXT]!;
      if (this.words[entry + NODE] === node && this.words[entry + HANDLE] === handle) {
        found = true;
        const fd = this.unlink(entry);
        if (fd >= 0) descriptors.push(fd);
      }
      entry = next;
    }
    unlock(this.words, H_LOCK);
    for (const fd of descriptors) this.closeDescriptor(fd);
    return found;
  }

  /** The process of the first other owner on the node for which `holds` says yes; 0 when there is none. */
  pidOfHolder(node: number, except: number, holds: (fd: number) => boolean): number {
    lock(this.words, H_LOCK);
    let pid = 0;
    for (let entry = this.words[this.bucket(node)]!; entry !== 0 && pid === 0; entry = this.words[entry + NEXT]!) {
      const other = this.words[entry + NODE] === node && this.words[entry + KIND] === LOCK_POSIX && entry !== except;
      if (other && holds(this.words[entry + FD]!)) pid = this.words[entry + PID]!;
    }
    unlock(this.words, H_LOCK);
    return pid;
  }

  get watched(): number {
    return Atomics.load(this.words, H_WATCHED);
  }

  /** Releases the owners whose watched process is gone. */
  reap(isAlive: (pid: number) => boolean): number {
    let reaped = 0;
    const descriptors: number[] = [];
    lock(this.words, H_LOCK);
    for (let index = 1; index <= this.words[H_USED]!; index++) {
      const entry = H_WORDS + BUCKETS + index * WORDS;
      const pid = this.words[entry + WATCHED_PID]!;
      if (pid === 0 || this.words[entry + NODE] === 0 || this.words[entry + DEAD] === 1 || isAlive(pid)) continue;
      const fd = this.unlink(entry);
      if (fd >= 0) descriptors.push(fd);
      reaped++;
    }
    unlock(this.words, H_LOCK);
    for (const fd of descriptors) this.closeDescriptor(fd);
    return reaped;
  }

  private bucket(node: number): number {
    return H_WORDS + (node & (BUCKETS - 1));
  }

  private search(node: number, kind: number, ownerLo: number, ownerHi: number): number {
    for (let entry = this.words[this.bucket(node)]!; entry !== 0; entry = this.words[entry + NEXT]!) {
      if (
        this.words[entry + NODE] === node &&
        this.words[entry + KIND] === kind &&
        this.words[entry + OWNER_LO] === (ownerLo | 0) &&
        this.words[entry + OWNER_HI] === (ownerHi | 0)
      ) {
        return entry;
      }
    }
    return 0;
  }

  /** Takes an entry out of its bucket; its descriptor when it is to be closed now, or -1. */
  private unlink(entry: number): number {
    let at = this.bucket(this.words[entry + NODE]!);
    while (this.words[at] !== entry && this.words[at] !== 0) {
      at = this.words[at]! + NEXT;
    }
    if (this.words[at] === entry) this.words[at] = this.words[entry + NEXT]!;
    this.words[entry + DEAD] = 1;
    this.words[entry + HANDLE] = 0;
    if (this.words[entry + WATCHED_PID] !== 0) {
      this.words[entry + WATCHED_PID] = 0;
      this.words[H_WATCHED]!--;
    }
    return this.words[entry + USERS] === 0 ? this.free(entry) : -1;
  }

  private discard(fd: number, holder: number): void {
    this.closeDescriptor(fd);
    this.held.give(holder, 1);
  }

  /** Frees an entry; its descriptor is the caller's to close, and not counted any more. */
  private free(entry: number): number {
    this.held.give(this.words[entry + HOLDER]!, 1);
    this.words[entry + NODE] = 0;
    this.words[entry + NEXT] = this.words[H_FREE]!;
    this.words[H_FREE] = entry;
    this.words[H_LIVE]!--;
    return this.words[entry + FD]!;
  }
}
