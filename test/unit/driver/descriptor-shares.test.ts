// How descriptors are shared out, and that users who hold little get theirs when somebody has taken all he can get.

import { expect, test } from 'vitest';
import { DESCRIPTORS_A_THREAD, sharesOf } from '../../../src/driver/source.js';
import { createHeld, Held } from '../../../src/filesystem/held.js';

test.each([256, 512, 1024, 4096, 20_000, 1 << 20])('of %i descriptors some are always left', (limit) => {
  for (const asked of [1, 4, 64, 1024]) {
    const { threads, nodes, held } = sharesOf(limit, asked);
    // 64 are the process's own; 32 and more are for the moment.
    const kept = held.total + nodes.pinnedMax + threads * DESCRIPTORS_A_THREAD + 64;
    expect(limit - kept).toBeGreaterThanOrEqual(32);
    expect(nodes.scarceFrom).toBeLessThan(limit);
    expect(threads).toBeLessThanOrEqual(Math.max(2, asked));
    expect(held.total).toBeGreaterThan(limit / 2 - 64);
    expect(held.reserve).toBeGreaterThanOrEqual(held.modest);
  }
});

test('Held gives the last part to those who hold little, and everything again when it comes back', () => {
  const held = new Held(createHeld({ total: 100, reserve: 20, modest: 5 }));
  const greedy = held.holder(1000);
  const other = held.holder(0);
  let taken = 0;
  while (held.take(greedy, 1)) taken++;
  expect(taken).toBe(80);
  expect(held.hasRoom(greedy, 1)).toBe(false);
  expect(held.take(other, 5)).toBe(true);
  expect(held.take(other, 1)).toBe(false);
  // Many who hold little together never get more than there is.
  for (let uid = 2000; uid < 2100; uid++) held.take(held.holder(uid), 4);
  expect(held.total).toBeLessThanOrEqual(100);
  held.give(greedy, taken);
  expect(held.take(other, 1)).toBe(true);
});
