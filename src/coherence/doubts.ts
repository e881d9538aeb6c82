// Doubts: names and inodes of which a serving thread cannot tell what the kernel believes, handed to the watcher's thread,
// which may notify (a serving thread must not: notifier.ts). A short list in shared memory; when it is full, everything
// is looked at.

import { lock, unlock } from '../filesystem/mutex.js';
import { COHERENCE, DOUBTS } from './shared.js';

const SLOT = 0;
const GENERATION = 1;
const LENGTH = 2;
const NAME = 3;

/** `name` is in the directory `slot`; null for the inode of `slot` itself. */
export interface Doubt {
  readonly slot: number;
  readonly generation: number;
  readonly name: Uint8Array | null;
}

export class Doubts {
  private readonly control: Int32Array;
  private readonly bytes: Uint8Array;

  constructor(control: Int32Array) {
    this.control = control;
    this.bytes = new Uint8Array(control.buffer);
  }

  /** `length` 0: the inode of `slot` itself. */
  add(slot: number, generation: number, from: Uint8Array, offset: number, length: number): void {
    const { control, bytes } = this;
    lock(control, COHERENCE.doubtLock);
    const index = control[COHERENCE.doubtCount]!;
    if (index === DOUBTS.capacity) control[COHERENCE.doubtsLost] = 1;
    else {
      const at = DOUBTS.at + index * DOUBTS.words;
      control[at + SLOT] = slot;
      control[at + GENERATION] = generation;
      control[at + LENGTH] = length;
      for (let i = 0; i < length; i++) bytes[(at + NAME) * 4 + i] = from[offset + i]!;
      Atomics.store(control, COHERENCE.doubtCount, index + 1);
    }
    unlock(control, COHERENCE.doubtLock);
  }

  /** Empties the list. Null when it did not hold them all. */
  take(): readonly Doubt[] | null {
    const { control, bytes } = this;
    if (Atomics.load(control, COHERENCE.doubtCount) === 0) return [];
    lock(control, COHERENCE.doubtLock);
    const taken: Doubt[] = [];
    for (let index = 0; index < control[COHERENCE.doubtCount]!; index++) {
      const at = DOUBTS.at + index * DOUBTS.words;
      const name = (at + NAME) * 4;
      const length = control[at + LENGTH]!;
      taken.push({
        slot: control[at + SLOT]!,
        generation: control[at + GENERATION]! >>> 0,
        name: length === 0 ? null : bytes.slice(name, name + length),
      });
    }
    const lost = control[COHERENCE.doubtsLost] === 1;
    control[COHERENCE.doubtsLost] = 0;
    Atomics.store(control, COHERENCE.doubtCount, 0);
    unlock(control, COHERENCE.doubtLock);
    return lost ? null : taken;
  }
}
