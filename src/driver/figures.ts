// What is counted of a running view: service times and errors, in words of shared memory that serving threads write and
// whoever is asked for the status reads. One writer for each block of FIGURES_WORDS, so counting needs no atomics.

import { performance } from 'node:perf_hooks';
import { OP_LIMIT, opName } from '../fuse/protocol.js';
import { errnoName } from '../linux/errno.js';
import type { RequestFigures } from './driver.js';

/** Service times: powers of two of a microsecond, by opcode. */
const HISTOGRAM_BUCKETS = 24;
/** Errors are counted by number. */
const ERRORS = 256;
const ERRORS_AT = OP_LIMIT * HISTOGRAM_BUCKETS;
/** Time spent on each opcode, microseconds, in two words. */
const TIMES_AT = ERRORS_AT + ERRORS;
/** Words of one thread's figures. */
export const FIGURES_WORDS = TIMES_AT + OP_LIMIT * 2;

/** Counts one request: `result` is -errno or not negative, `started` what performance.now() was. What it is now. */
export function countRequest(figures: Int32Array, opcode: number, result: number, started: number): number {
  const ended = performance.now();
  const micros = (ended - started) * 1000;
  const bucket = Math.min(HISTOGRAM_BUCKETS - 1, micros < 1 ? 0 : 32 - Math.clz32(micros));
  const known = opcode < OP_LIMIT ? opcode : 0;
  figures[known * HISTOGRAM_BUCKETS + bucket]!++;
  const time = TIMES_AT + known * 2;
  const low = (figures[time]! >>> 0) + Math.round(micros);
  figures[time] = low;
  if (low > 0xffffffff) figures[time + 1]!++;
  if (result < 0 && result > -ERRORS) figures[ERRORS_AT - result]!++;
  return ended;
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
    const time = TIMES_AT + opcode * 2;
    requests[opName(opcode)] = {
      count,
      p50: percentile(buckets, count, 0.5),
      p99: percentile(buckets, count, 0.99),
      total: sum(time) + sum(time + 1) * 2 ** 32,
      histogram: buckets,
    };
  }
  const errors: Record<string, number> = {};
  for (let errno = 1; errno < ERRORS; errno++) {
    const count = sum(ERRORS_AT + errno);
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
