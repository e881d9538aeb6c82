// The randomized coherence check. Processes on the host and in the view change and look at one small tree at random; every
// look is judged against the history of what could have been true (check.ts). `npm run coherence` runs it for longer.
//
// By hand, it is never repeated after a failure: what was seen once is wrong. In `npm test` it may be repeated once, and is
// named then: one look in millions must be looked into, but everything else need not wait for that.
//
// Controls (ttl): a server that caches by time must be caught. A check that has not been seen to fail proves nothing.

import { chmodSync, mkdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import type { Violation } from './check.js';
import { mountMode, selectedModes } from './modes.js';
import { type RoundResult, runRound } from './random.js';

const ROUND_SECONDS = 4;
const minutes = Number(process.env['FUSE_SHIFTFS_COHERENCE_MINUTES'] ?? '0');
const seconds = minutes > 0 ? minutes * 60 : 12;
const firstSeed = Number(process.env['FUSE_SHIFTFS_COHERENCE_SEED'] ?? Math.floor(Math.random() * 1e9));
/** Where the logs of a run stay; otherwise they are removed with everything else. */
const keptLogs = process.env['FUSE_SHIFTFS_COHERENCE_LOGS'];
const rounds = Math.max(1, Math.round(seconds / ROUND_SECONDS));

const milliseconds = (ns: number): string => (ns / 1e6).toFixed(3);

function describeViolation({ what, lag, observation, overlooked }: Violation): string {
  const late = Number.isFinite(lag) ? `${milliseconds(lag)} ms late` : 'never true';
  return `${what}, ${late}\n  seen       ${JSON.stringify(observation)}\n  overlooked ${JSON.stringify(overlooked)}`;
}

function report(name: string, results: readonly RoundResult[]): string {
  const sum = (pick: (result: RoundResult) => number): number => results.reduce((total, each) => total + pick(each), 0);
  const delays = results.flatMap(({ delays }) => delays).sort((a, b) => a - b);
  const at = (share: number): string =>
    milliseconds(delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? 0);
  return (
    `${name}: ${sum((each) => each.mutations)} changes, ${sum((each) => each.observations)} looks, ` +
    `${sum((each) => each.violations.length)} violations, ${sum((each) => each.differences.length)} differences at rest; ` +
    `${sum((each) => each.refused)} refused by the kernel; ` +
    `${delays.length} host edits looked at, shown after p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)} ms`
  );
}

/** What a daemon writes when something is wrong with it. */
const complaints = (output: string): string[] =>
  output.split('\n').filter((line) => /"level":"(error|fatal)"|"level":[56]0|\b(ERROR|FATAL)\b/.test(line));

/** Errors that no state of the tree explains, whatever is cached. */
const broken = ({ observation }: Violation): boolean => observation.o === 'bad';

describe.each(selectedModes)('random operations, $name', (mode) => {
  test(mode.bound === null ? 'the check catches it' : `nothing is stale for longer than ${mode.bound} ms`, {
    retry: process.env['FUSE_SHIFTFS_COHERENCE_BY_HAND'] === undefined ? 1 : 0,
    timeout: seconds * 3000 + 120_000,
  }, async () => {
    const temporary = makeTempDirectory('coherence');
    const logs = keptLogs ?? temporary;
    mkdirSync(logs, { recursive: true });
    chmodSync(logs, 0o777);
    const view = await mountMode(mode);
    const results: RoundResult[] = [];
    try {
      chmodSync(view.source, 0o777);
      for (let round = 0; round < rounds; round++) {
        const seed = firstSeed + round;
        const roundLogs = `${logs}/${mode.name}-${seed}`;
        mkdirSync(roundLogs, { recursive: true });
        chmodSync(roundLogs, 0o777);
        const result = await runRound(view, {
          seed,
          seconds: ROUND_SECONDS,
          bound: mode.bound ?? 0,
          mmapStores: true,
          logs: roundLogs,
        });
        results.push(result);
        const bad = mode.bound === null ? result.violations.filter(broken) : result.violations;
        if (bad.length > 0 || (mode.bound !== null && result.differences.length > 0)) {
          console.log(`${report(mode.name, results)}\nfailed with seed ${seed}`);
          expect.fail([...bad.slice(0, 5).map(describeViolation), ...result.differences.slice(0, 5)].join('\n'));
        }
      }
      const stores = view.sharesPages ? 'with' : 'without (no passthrough)';
      console.log(`seeds from ${firstSeed}, ${stores} stores through mappings\n${report(mode.name, results)}`);
      if (mode.bound === null) expect(results.flatMap(({ violations }) => violations).length).toBeGreaterThan(100);
      expect(complaints(view.output())).toEqual([]);
      await view.close();
    } finally {
      await view.destroy();
      removeTempDirectory(temporary);
    }
  });
});
