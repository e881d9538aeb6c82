// A sleeping lock in shared memory, for sections of a few hundred nanoseconds that several serving threads enter. Three
// states, as in Drepper's "Futexes Are Tricky": free, held, held with sleepers. Not recursive.

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;
/** Tries before sleeping: about the length of one section. */
const SPINS = 100;

export function lock(words: Int32Array, index: number): void {
  if (Atomics.compareExchange(words, index, FREE, HELD) === FREE) return;
  for (let i = 0; i < SPINS; i++) {
    if (Atomics.load(words, index) === FREE && Atomics.compareExchange(words, index, FREE, HELD) === FREE) return;
  }
  while (Atomics.exchange(words, index, CONTENDED) !== FREE) Atomics.wait(words, index, CONTENDED);
}

export function unlock(words: Int32Array, index: number): void {
  if (Atomics.exchange(words, index, FREE) === CONTENDED) Atomics.notify(words, index, 1);
}
