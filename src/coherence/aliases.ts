// Directories that the host moved, and that the kernel still has where they were.
//
// The kernel keeps one entry for a directory. A lookup that finds it elsewhere has to move that entry, for which it tries the
// lock of renames and that of the old parent, and answers ESTALE when it does not get them (fs/dcache.c, __d_unalias). A
// rename(2) between two directories holds the first lock itself while it looks up its names, so it would be told ESTALE
// every time it meets such a directory, however often it tries. So the old entry is dropped before the lookup is answered,
// by a thread of its own, as the notification waits for the old parent's lock (notifier.ts), which may be held by whoever
// waits for the answer: after PATIENCE the lookup is answered all the same, and the kernel's second try waits again.
//
// What is in use where it was (a working directory, an open file, something mounted there) stays, and such a rename is told
// ESTALE until somebody looks the name up without one.

import { Doubts } from './doubts.js';
import { COHERENCE } from './shared.js';

/** Words of the block, in front of the list of doubts: requests made, and requests served (both wrap). */
const ASKED = 0;
const SERVED = 1;
/** ms that a lookup waits for the old entry to go. */
const PATIENCE = 30;

export function createAliases(): SharedArrayBuffer {
  return new SharedArrayBuffer(COHERENCE.words * 4);
}

export class Aliases {
  private readonly words: Int32Array;
  private readonly list: Doubts;

  constructor(shared: SharedArrayBuffer) {
    this.words = new Int32Array(shared);
    this.list = new Doubts(this.words);
  }

  /** Has the entry of a name in a directory dropped, soon; `wait`: before this returns true, or not yet when false. */
  drop(parent: number, generation: number, name: Uint8Array, length: number, wait: boolean): boolean {
    const { words } = this;
    this.list.add(parent, generation, name, 0, length);
    const ticket = (Atomics.add(words, ASKED, 1) + 1) | 0;
    Atomics.notify(words, ASKED);
    if (!wait) return false;
    const end = performance.now() + PATIENCE;
    for (;;) {
      const served = Atomics.load(words, SERVED);
      const left = end - performance.now();
      if (((served - ticket) | 0) >= 0) return true;
      if (left <= 0) return false;
      Atomics.wait(words, SERVED, served, left);
    }
  }

  /** Serves requests, for ever: `use` is called for each. When there were too many at once they are forgotten. */
  serve(use: (parent: number, generation: number, name: Uint8Array) => void): never {
    const { words } = this;
    for (;;) {
      const asked = Atomics.load(words, ASKED);
      for (const { slot, generation, name } of this.list.take() ?? []) use(slot, generation, name!);
      Atomics.store(words, SERVED, asked);
      Atomics.notify(words, SERVED);
      Atomics.wait(words, ASKED, asked);
    }
  }
}
