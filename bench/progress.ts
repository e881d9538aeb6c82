// What a run shows while it lasts: a bar with the time that is left on a terminal, plain lines elsewhere.

import type { Writable } from 'node:stream';

/** Time left, from what the same kind of work took before. Pure but for the clock that it is given. */
export class Estimate {
  readonly #remaining = new Map<string, number>();
  readonly #spent = new Map<string, { seconds: number; times: number }>();

  /** @param work kinds of work and how often each is to be done. */
  constructor(work: ReadonlyMap<string, number>) {
    for (const [kind, times] of work) this.#remaining.set(kind, times);
  }

  finished(kind: string, seconds: number): void {
    const spent = this.#spent.get(kind) ?? { seconds: 0, times: 0 };
    this.#spent.set(kind, { seconds: spent.seconds + seconds, times: spent.times + 1 });
    this.#remaining.set(kind, Math.max(0, (this.#remaining.get(kind) ?? 0) - 1));
  }

  /** Between 0 and 1, by number of pieces. */
  get fraction(): number {
    let done = 0;
    let all = 0;
    for (const spent of this.#spent.values()) done += spent.times;
    for (const times of this.#remaining.values()) all += times;
    all += done;
    return all === 0 ? 1 : done / all;
  }

  /** Seconds; null before anything was done. A kind never done yet counts as the mean of all. */
  get secondsLeft(): number | null {
    let seconds = 0;
    let times = 0;
    for (const spent of this.#spent.values()) {
      seconds += spent.seconds;
      times += spent.times;
    }
    if (times === 0) return null;
    let left = 0;
    for (const [kind, remaining] of this.#remaining) {
      const spent = this.#spent.get(kind);
      left += remaining * (spent === undefined ? seconds / times : spent.seconds / spent.times);
    }
    return left;
  }
}

export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes === 0 ? `${whole} s` : `${minutes} min ${String(whole % 60).padStart(2, '0')} s`;
}

export function bar(fraction: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}

export interface Progress {
  /** Shows what is being done now. */
  at(what: string, estimate: Estimate): void;
  /** A line that stays. */
  note(line: string): void;
  end(): void;
}

/** Lines that a whole run writes where there is no terminal. */
const LINES = 20;

export function progressOn(stream: Writable & { isTTY?: boolean; columns?: number }): Progress {
  if (stream.isTTY !== true) {
    let last = -1;
    return {
      at(what, estimate) {
        const percent = Math.floor(estimate.fraction * LINES) * (100 / LINES);
        if (percent === last) return;
        last = percent;
        const left = estimate.secondsLeft;
        stream.write(
          `${`${percent} %`.padStart(5)}  ${what}${left === null ? '' : `  (${formatDuration(left)} left)`}\n`,
        );
      },
      note: (line) => void stream.write(`${line}\n`),
      end: () => {},
    };
  }
  const clear = '\r\x1b[K';
  return {
    at(what, estimate) {
      const left = estimate.secondsLeft;
      const percent = `${Math.floor(estimate.fraction * 100)} %`.padStart(5);
      const line = `${bar(estimate.fraction, 24)}${percent}  ${left === null ? '' : `${formatDuration(left)} left  `}${what}`;
      stream.write(clear + line.slice(0, (stream.columns ?? 80) - 1));
    },
    note: (line) => void stream.write(`${clear}${line}\n`),
    end: () => void stream.write(clear),
  };
}
