// What leases promise, as a test can ask for it: right within a bound, and never wrong after it.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';

/** Passes with the first right answer; fails when a look that began more than `bound` ms after the call was wrong. */
export async function soonWithin<T>(bound: number, ask: () => Promise<T>, wanted: T): Promise<void> {
  const start = performance.now();
  for (;;) {
    const late = performance.now() - start > bound;
    const answer = await ask();
    if (JSON.stringify(answer) === JSON.stringify(wanted) || late) return expect(answer).toEqual(wanted);
    await sleep(5);
  }
}
