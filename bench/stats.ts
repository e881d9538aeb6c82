// From samples to verdicts: medians, ratios, and whether a bar was met. Pure.

/** One measured run of a workload on a target. */
export interface Sample {
  /** Nanoseconds an operation. */
  readonly ns: number;
  /** User and system time of the daemon during the sample, in seconds; null where there is no daemon. */
  readonly cpuSeconds: number | null;
}

/** What a target did in a row: samples, or the reason it has none. */
export type Outcome = { readonly samples: readonly Sample[] } | { readonly failed: string };

/** The largest ratio that is good enough, and to what. */
export interface Bar {
  readonly against: 'native' | 'peer';
  readonly limit: number;
}

/**
 * - `met`, `missed`: the ratio is within the bar, or not.
 * - `unreachable`: missed, and so would the bare directory: most of the row is not the file system's work.
 */
export type Verdict = 'met' | 'missed' | 'unreachable';

export interface Cell {
  readonly target: string;
  readonly outcome: Outcome;
  /** Median nanoseconds an operation; null for a failed one. */
  readonly median: number | null;
  readonly cpuSeconds: number | null;
  readonly toNative: number | null;
  /** Ratio to the fastest peer; null in rows that the kernel answers, and where no peer succeeded. */
  readonly toPeer: number | null;
  readonly verdict: Verdict | null;
}

export interface RowResult {
  readonly row: string;
  readonly fastestPeer: string | null;
  readonly cells: readonly Cell[];
}

/** The middle value; the mean of the two middle ones of an even number. Of nothing: NaN. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

function medianOf(outcome: Outcome, pick: (sample: Sample) => number | null): number | null {
  if ('failed' in outcome) return null;
  const values = outcome.samples.map(pick).filter((value) => value !== null);
  return values.length === 0 ? null : median(values);
}

function ratio(a: number | null, b: number | null | undefined): number | null {
  return a === null || b === null || b === undefined ? null : a / b;
}

/** Compares the targets of one row. `outcomes` keeps its order. */
export function summarize(
  row: { readonly id: string; readonly kind: 'kernel' | 'daemon'; readonly bar: Bar },
  outcomes: ReadonlyMap<string, Outcome>,
  role: (target: string) => { readonly kind: 'native' | 'kernel' | 'peer' | 'ours'; readonly judged: boolean },
): RowResult {
  const medians = new Map([...outcomes].map(([target, outcome]) => [target, medianOf(outcome, (s) => s.ns)]));
  let native: number | null = null;
  let fastestPeer: string | null = null;
  let fastest: number | null = null;
  for (const [target, value] of medians) {
    if (value === null) continue;
    const { kind } = role(target);
    if (kind === 'native') native = value;
    if (kind === 'peer' && (fastest === null || value < fastest)) {
      fastest = value;
      fastestPeer = target;
    }
  }
  const cells = [...outcomes].map(([target, outcome]): Cell => {
    const value = medians.get(target) ?? null;
    const toNative = ratio(value, native);
    const toPeer = row.kind === 'daemon' ? ratio(value, fastest) : null;
    const measure = row.bar.against === 'native' ? toNative : toPeer;
    let verdict: Verdict | null = null;
    if (role(target).judged && measure !== null) {
      const nativeMeasure = row.bar.against === 'peer' ? ratio(native, fastest) : null;
      if (measure <= row.bar.limit) verdict = 'met';
      else verdict = nativeMeasure !== null && nativeMeasure > row.bar.limit ? 'unreachable' : 'missed';
    }
    return {
      target,
      outcome,
      median: value,
      cpuSeconds: medianOf(outcome, (s) => s.cpuSeconds),
      toNative,
      toPeer,
      verdict,
    };
  });
  return { row: row.id, fastestPeer: row.kind === 'daemon' ? fastestPeer : null, cells };
}

/** Nanoseconds with three digits and a unit. */
export function formatTime(ns: number): string {
  if (ns < 999.5) return `${threeDigits(ns)} ns`;
  if (ns < 999.5e3) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${threeDigits(ns / 1e6)} ms`;
  return `${threeDigits(ns / 1e9)} s`;
}

/** Two decimals below 10, one below 100, none above. */
export function threeDigits(value: number): string {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}
