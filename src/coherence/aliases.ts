// Directories that the host moved, and that the kernel still has where they were.
//
// The kernel keeps one entry for a directory. A lookup that finds it elsewhere has to move that entry, for which it tries the
// lock of renames and that of the old parent, and answers ESTALE when it does not get them (fs/dcache.c, __d_unalias). A
// rename(2) between two directories holds the first lock itself while it looks up its names, so it would be told ESTALE
// every time it meets such a directory, however often it tries. So the old entry is dropped before the lookup is answered,
// by a thread of its own, as the notification waits for the old parent's lock (notifier.ts).
//
// Every lookup holds the lock of its own directory until it is answered. So the thread never waits for the lock of a
// directory in which a lookup waits for a later turn: that one comes first, or, where they wait for each other in a circle,
// one is answered at once: nobody waits to change its old parent then, and the kernel moves the entry. What a rename(2)
// holds beside the directory of its lookup is not known here: after PATIENCE a lookup is answered all the same, its
// entry is dropped when the lock is free, and the kernel's second try waits again.
//
// What is in use where it was (a working directory, an open file, something mounted there) stays, and such a rename is told
// ESTALE until somebody looks the name up without one.

import { Doubts } from './doubts.js';
import { COHERENCE } from './shared.js';

/** Words of the block, in front of the list of doubts: requests made (wraps), and the directory whose lock is waited for. */
const ASKED = 0;
export const CURRENT = 1;
/**
 * A lookup that waits, one for each serving thread. Words: its state, below a number that tells it from the thread's next;
 * the directory it looks in; the entry that is to go.
 */
const TURN = {
  at: COHERENCE.words,
  words: 70,
  state: 0,
  held: 1,
  parent: 2,
  generation: 3,
  length: 4,
  name: 5,
} as const;
const NONE = 0;
const WAITING = 1;
const DROPPED = 2;
const GIVEN_UP = 3;
const STATE_BITS = 2;
const STATE_MASK = (1 << STATE_BITS) - 1;
/** ms that a lookup waits for the old entry to go, unless said otherwise. */
const PATIENCE = 30;

export function createAliases(maxWorkers: number): SharedArrayBuffer {
  return new SharedArrayBuffer((TURN.at + TURN.words * maxWorkers) * 4);
}

/** The entry of a name in a directory. */
interface Entry {
  readonly parent: number;
  readonly generation: number;
  readonly name: Uint8Array;
  /** Where its lookup waits, and what the state is while it does; 0 when nobody does. */
  readonly turn: number;
  readonly waiting: number;
}

const isSame = (one: Entry, other: Entry): boolean =>
  one.parent === other.parent && one.generation === other.generation && Buffer.compare(one.name, other.name) === 0;

export class Aliases {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly list: Doubts;
  private readonly turns: number;
  private readonly patience: number;
  /** Entries that nobody waits for. */
  private later: Entry[] = [];

  constructor(shared: SharedArrayBuffer, patience = PATIENCE) {
    this.patience = patience;
    this.words = new Int32Array(shared);
    this.bytes = new Uint8Array(shared);
    this.list = new Doubts(this.words);
    this.turns = (this.words.length - TURN.at) / TURN.words;
  }

  /** Has the entry of a name in a directory dropped, some time. When there were too many at once they are forgotten. */
  drop(parent: number, generation: number, name: Uint8Array, length: number): void {
    this.list.add(parent, generation, name, 0, length);
    this.ask();
  }

  /**
   * Has it dropped before a lookup in the directory `held` is answered by the serving thread `worker`. False: it was not
   * yet; it will be.
   */
  dropBefore(
    worker: number,
    held: number,
    parent: number,
    generation: number,
    name: Uint8Array,
    length: number,
  ): boolean {
    const { words, bytes } = this;
    const at = TURN.at + worker * TURN.words;
    words[at + TURN.held] = held;
    words[at + TURN.parent] = parent;
    words[at + TURN.generation] = generation;
    words[at + TURN.length] = length;
    bytes.set(name.subarray(0, length), (at + TURN.name) * 4);
    const number = (words[at + TURN.state]! & ~STATE_MASK) + STATE_MASK + 1;
    const waiting = number | WAITING;
    Atomics.store(words, at + TURN.state, waiting);
    this.ask();
    const { patience } = this;
    const end = performance.now() + patience;
    // The other side of `enter`: either it sees this turn, or this sees what it is about to wait for.
    for (let left = patience; left > 0 && Atomics.load(words, CURRENT) !== held; left = end - performance.now()) {
      if (Atomics.wait(words, at + TURN.state, waiting, left) !== 'timed-out') break;
    }
    const state = Atomics.exchange(words, at + TURN.state, number | NONE) & STATE_MASK;
    if (state === DROPPED) return true;
    this.drop(parent, generation, name, length);
    return false;
  }

  /** Serves requests, for ever: `use` is called for each. */
  serve(use: (parent: number, generation: number, name: Uint8Array) => void): never {
    const { words } = this;
    for (;;) {
      const asked = Atomics.load(words, ASKED);
      for (const { slot, generation, name } of this.list.take() ?? [])
        this.later.push({ parent: slot, generation, name: name!, turn: 0, waiting: 0 });
      const entry = this.enter();
      if (entry === null) Atomics.wait(words, ASKED, asked);
      else {
        use(entry.parent, entry.generation, entry.name);
        Atomics.store(words, CURRENT, 0);
        for (const waiting of this.waiting()) if (isSame(waiting, entry)) this.finish(waiting, DROPPED);
      }
    }
  }

  private ask(): void {
    Atomics.add(this.words, ASKED, 1);
    Atomics.notify(this.words, ASKED);
  }

  /** Tells a lookup how it went, if it still waits. */
  private finish({ turn, waiting }: Entry, state: typeof DROPPED | typeof GIVEN_UP): void {
    const { words } = this;
    const done = (waiting & ~STATE_MASK) | state;
    if (Atomics.compareExchange(words, turn + TURN.state, waiting, done) !== waiting) return;
    Atomics.notify(words, turn + TURN.state);
  }

  /** What is to be dropped next; its directory's lock may be waited for. Null: nothing is to be. */
  private enter(): Entry | null {
    for (;;) {
      const waiting = this.waiting();
      const free = ({ parent }: Entry): boolean => !waiting.some(({ turn }) => this.words[turn + TURN.held] === parent);
      const entry = waiting.find(free) ?? this.later.find(free);
      if (entry === undefined) {
        const [first] = waiting;
        if (first === undefined) return null;
        this.finish(first, GIVEN_UP);
        continue;
      }
      Atomics.store(this.words, CURRENT, entry.parent);
      // Who began to wait before that could not see it.
      if (this.waiting().every(({ turn }) => this.words[turn + TURN.held] !== entry.parent)) {
        this.later = this.later.filter((another) => !isSame(another, entry));
        return entry;
      }
      Atomics.store(this.words, CURRENT, 0);
    }
  }

  /** The lookups that wait. */
  private waiting(): Entry[] {
    const { words, bytes } = this;
    const found: Entry[] = [];
    for (let turn = TURN.at; turn < TURN.at + this.turns * TURN.words; turn += TURN.words) {
      const state = Atomics.load(words, turn + TURN.state);
      if ((state & STATE_MASK) !== WAITING) continue;
      const name = (turn + TURN.name) * 4;
      found.push({
        parent: words[turn + TURN.parent]!,
        generation: words[turn + TURN.generation]! >>> 0,
        name: bytes.slice(name, name + words[turn + TURN.length]!),
        turn,
        waiting: state,
      });
    }
    return found;
  }
}
