// What is counted of a running view: service times and errors, in words of shared memory that serving threads write and
// whoever is asked for the status reads. One writer for each block of FIGURES_WORDS, so counting needs no atomics.

import { OP_LIMIT, opName } from '../fuse/protocol.js';
import { errnoName } from '../linux/errno.js';
import type { RequestFigures } from './driver.js';

/** Service times: powers of two of a microsecond, by opcode. */
const HISTOGRAM_BUCKETS = 24;
/** Errors are counted by number. */
const ERRORS = 256;
/** Words of one thread's figures. */
export const FIGURES_WORDS = OP_LIMIT * HISTOGRAM_BUCKETS + ERRORS;

/** Counts one request: `result` is -errno or not negative, `started` what performance.now() was. */
export function countRequest(figures: Int32Array, opcode: number, result: number, started: number): void {
  const micros = (performance.now() - started) * 1000;
  const bucket = Math.min(HISTOGRAM_BUCKETS - 1, micros < 1 ? 0 : 32 - Math.clz32(micros));
  figures[(opcode < OP_LIMIT ? opcode : 0) * HISTOGRAM_BUCKETS + bucket]!++;
  if (result < 0 && result > -ERRORS) figures[OP_LIMIT * HISTOGRAM_BUCKETS - result]!++;
}

/** Adds up the blocks of `threads` threads. */
export function summarizeFigures(
  figures: Int32Array,
  threads: number,
): { readonly requests: Record<string, RequestFigures>; readonly errors: Record<string, number> } {
  const sum = (word: number): number => {
    let total = 0;
    for (let thread = 0; thread < threads; thread++) total += figures[thread * FIGURES_WORDS + word]! >>> 0;
    return total;
  };
  const requests: Record<string, RequestFigures> = {};
  for (let opcode = 0; opcode < OP_LIMIT; opcode++) {
    const buckets = Array.from({ length: HISTOGRAM_BUCKETS }, (_, bucket) => sum(opcode * HISTOGRAM_BUCKETS + bucket));
    const count = buckets.reduce((total, n) => total + n, 0);
    if (count === 0) continue;
    requests[opName(opcode)] = { count, p50: percentile(buckets, count, 0.5), p99: percentile(buckets, count, 0.99) };
  }
  const errors: Record<string, number> = {};
  for (let errno = 1; errno < ERRORS; errno++) {
    const count = sum(OP_LIMIT * HISTOGRAM_BUCKETS + errno);
    if (count > 0) errors[errnoName(errno)] = count;
  }
  return { requests, errors };
}

/** Upper edge, in microseconds, of the bucket in which the given part of all requests lies. */
function percentile(buckets: readonly number[], count: number, part: number): number {
  let seen = 0;
  for (let i = 0; i < buckets.length; i++) {
    seen += buckets[i]!;
    if (seen >= count * part) return 2 ** i;
  }
  return 2 ** buckets.length;
}
