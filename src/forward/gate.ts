// Keeps the helper out of the way of a lookup that finds a directory in another place than the kernel has it in. The
// kernel then moves its entry, and takes the old parent's lock only if it is free: else the lookup fails with ESTALE
// (coherence/aliases.ts). The helper holds such locks for as long as the daemon takes to answer it; so it begins nothing that
// needs one until the kernel has had time to act on the answer.
//
// One word that the daemon and the helper share.

/** Until when; Date.now(), wraps. */
const UNTIL = 0;
/** How long the kernel may take, ms. */
const HOLD_MS = 10;

const nap = new Int32Array(new SharedArrayBuffer(4));

export function keepHelperOut(words: Int32Array): void {
  Atomics.store(words, UNTIL, (Date.now() + HOLD_MS) | 0);
}

/** The helper's side. */
export function waitToEnter(words: Int32Array): void {
  for (;;) {
    const left = (Atomics.load(words, UNTIL) - Date.now()) | 0;
    // Not for longer than was asked for, whatever becomes of the clock.
    if (left <= 0 || left > HOLD_MS) return;
    Atomics.wait(nap, 0, 0, left);
  }
}
