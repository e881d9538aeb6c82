// Random maps and values for the property tests. The seed is printed, so that a failure can be run again:
// IDMAP_SEED=123 npx vitest run --project unit test/unit/idmap

import { MAX_ID } from '../../../src/idmap/ids.js';
import type { IdKindSpec, IdMapSpec, IdRange } from '../../../src/idmap/spec.js';

export type Random = () => number;

/** mulberry32: small, seedable, good enough to pick test values. Gives numbers in [0, 1). */
export function seeded(name: string): Random {
  const seed = Number(process.env['IDMAP_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
  console.log(`${name}: IDMAP_SEED=${seed}`);
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An integer from 0 to `limit` - 1. */
export function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

/** `count` ranges that overlap on neither side, in random order on both; some touch, some reach the largest id. */
export function randomRanges(random: Random, count: number): IdRange[] {
  if (count === 0) return [];
  const sizes = Array.from({ length: count }, () => 1 + below(random, random() < 0.5 ? 4 : 100_000));
  const underlay = place(random, sizes);
  const view = place(random, sizes);
  return sizes.map((size, i) => ({ underlay: underlay[i]!, view: view[i]!, count: size }));
}

/** First ids for pieces of these sizes, laid out in random order, with gaps that are often zero. */
function place(random: Random, sizes: readonly number[]): number[] {
  const order = sizes.map((_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = below(random, i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const room = MAX_ID + 1 - sizes.reduce((sum, size) => sum + size, 0);
  const starts = new Array<number>(sizes.length);
  let next = random() < 0.3 ? 0 : below(random, Math.floor(room / 2));
  let gapsLeft = room - next;
  for (const i of order) {
    starts[i] = next;
    const gap = random() < 0.4 ? 0 : below(random, Math.floor(gapsLeft / sizes.length));
    next += sizes[i]! + gap;
    gapsLeft -= gap;
  }
  if (random() < 0.3) {
    const last = order.at(-1)!;
    starts[last] = MAX_ID + 1 - sizes[last]!;
  }
  return starts;
}

export function kind(ranges: readonly IdRange[], more: Partial<IdKindSpec> = {}): IdKindSpec {
  return { ranges, overflow: 65534, squash: null, ...more };
}

/** A specification with the same ranges for both kinds, or different ones. */
export function spec(uid: readonly IdRange[], gid: readonly IdRange[] = uid): IdMapSpec {
  return { uid: kind(uid), gid: kind(gid) };
}

/** Ids worth trying with these ranges: the edges and their neighbours on one side, and the edges of all ids. */
export function interestingIds(ranges: readonly IdRange[], side: 'underlay' | 'view'): number[] {
  const ids = new Set([0, 1, 65534, 2 ** 31 - 1, 2 ** 31, MAX_ID]);
  for (const range of ranges) {
    const first = range[side];
    for (const id of [first - 1, first, first + 1, first + range.count - 1, first + range.count]) {
      if (id >= 0 && id <= MAX_ID) ids.add(id);
    }
  }
  return [...ids];
}
