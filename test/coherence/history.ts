// What could have been true when: the values that one thing (a name, a block of a file, a size, a mode) may have had
// during a span of time, from a log of writes whose moments are only known to lie between two times.
//
// A write took effect at some moment between its start and its end; writes that overlap took effect in either order. So
// the value of a write W can have been current from W's start until the end of the first write that began after W had
// ended and put something else there: at that end, at the latest, the value was gone. A read that says "v" is right if
// some write of v can have been current at some time during the read. If not, its *lag* is how long before the read's
// start v was gone at the latest: 0 is right, a small number a read that came late, Infinity a value that never was.

import type { Mutation, Sided } from './records.js';

/** One change of the thing. Times in nanoseconds. */
export interface Write<V> {
  readonly s: number;
  readonly e: number;
  /** What it may have put there. Several where the log cannot tell which. */
  readonly values: Iterable<V>;
  /** That `value` cannot survive it. */
  readonly kills: (value: V) => boolean;
  /** That it kills every value but those it puts there. */
  readonly total: boolean;
  /** Added to the lag of a read that overlooked this write, so that some writes can be demanded to show at once. */
  readonly penalty: number;
  /** When its value is gone by itself at the latest, whatever is written; for ever when left out. */
  readonly expires?: number;
  /** What the log says about it; null for how things were at the start. */
  readonly record: Sided<Mutation> | null;
}

/** The answer to "could it have been v": how late, in nanoseconds, and which write was overlooked. */
export interface Verdict {
  readonly lag: number;
  readonly overlooked: Sided<Mutation> | null;
}

export const right: Verdict = { lag: 0, overlooked: null };
export const never: Verdict = { lag: Number.POSITIVE_INFINITY, overlooked: null };

/** The greater of two lags: both things had to be so. */
export const both = (a: Verdict, b: Verdict): Verdict => (b.lag > a.lag ? b : a);
/** The smaller of two lags: one of the two explanations is enough. */
export const either = (a: Verdict, b: Verdict): Verdict => (b.lag < a.lag ? b : a);

export class Register<V extends string | number> {
  /** By start. */
  readonly writes: Write<V>[] = [];
  /** Longest that a write took: how far back one may begin that had not ended at a given time. */
  #longest = 0;
  #greatestPenalty = 0;

  add(write: Write<V>): void {
    this.writes.push(write);
    // How things were at the start has no beginning.
    if (write.s > 0) this.#longest = Math.max(this.#longest, write.e - write.s);
    this.#greatestPenalty = Math.max(this.#greatestPenalty, write.penalty);
  }

  /** To be called once after the last add. */
  sort(): void {
    this.writes.sort((a, b) => a.s - b.s);
  }

  /** Index of the first write that starts at `time` or later. */
  #from(time: number): number {
    let low = 0;
    let high = this.writes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.writes[middle]!.s < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How late a read from `start` is, if what it saw is `value` as `source` put it there; or any lag above `enough`. */
  #verdict(source: Write<V>, value: V, start: number, enough: number): Verdict {
    let lag = Math.max(0, start - (source.expires ?? Number.POSITIVE_INFINITY));
    let overlooked = lag > 0 ? source.record : null;
    for (let i = this.#from(source.e); i < this.writes.length && lag <= enough; i++) {
      const other = this.writes[i]!;
      // None from here on has ended before the read, or early enough to make it later than it is.
      if (other.s >= start || start - other.s + this.#greatestPenalty <= lag) break;
      if (other === source || other.e >= start || !other.kills(value)) continue;
      const late = start - other.e + other.penalty;
      if (late > lag) {
        lag = late;
        overlooked = other.record;
      }
    }
    return { lag, overlooked };
  }

  /** Calls `use` for the writes that a read from `start` to `end` can have seen, latest first, while it returns true. */
  #sources(start: number, end: number, use: (source: Write<V>, leastLag: number) => boolean): void {
    // A write that ended before the read and leaves nothing of what was there before puts a floor under the lag of every
    // write that had ended when it began; those are certain from `longest` before its start.
    const floors: { readonly before: number; readonly lag: number }[] = [];
    let floor = 0;
    for (let i = this.#from(end + 1) - 1; i >= 0; i--) {
      const source = this.writes[i]!;
      while (floors.length > 0 && source.s < floors[0]!.before) floor = Math.max(floor, floors.shift()!.lag);
      if (!use(source, floor)) return;
      if (source.total && source.e < start) floors.push({ before: source.s - this.#longest, lag: start - source.e });
    }
  }

  /**
   * Every value that a read from `start` to `end` can have seen with at most `maxLag`, with its smallest lag. `except`: not
   * as what this record put there.
   */
  candidates(start: number, end: number, maxLag: number, except: Sided<Mutation> | null = null): Map<V, Verdict> {
    const found = new Map<V, Verdict>();
    this.#sources(start, end, (source, leastLag) => {
      if (leastLag > maxLag) return false;
      if (except !== null && source.record === except) return true;
      for (const value of source.values) {
        const known = found.get(value);
        if (known !== undefined && known.lag <= leastLag) continue;
        const verdict = this.#verdict(source, value, start, maxLag);
        if (verdict.lag <= maxLag && (known === undefined || verdict.lag < known.lag)) found.set(value, verdict);
      }
      return true;
    });
    return found;
  }

  /** The smallest lag with which a read from `start` to `end` can have seen a value that `matches`. */
  lag(matches: (value: V) => boolean, start: number, end: number): Verdict {
    let best = never;
    this.#sources(start, end, (source, leastLag) => {
      if (best.lag <= leastLag) return false;
      for (const value of source.values)
        if (matches(value)) {
          best = either(best, this.#verdict(source, value, start, best.lag));
          if (best.lag === 0) return false;
        }
      return true;
    });
    return best;
  }

  /** The last write that had certainly ended when a read from `start` began. */
  lastBefore(start: number): Write<V> | null {
    for (let i = this.#from(start) - 1; i >= 0; i--) {
      const write = this.writes[i]!;
      if (write.e < start) return write;
    }
    return null;
  }
}
