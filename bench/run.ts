// One run: every visit of the schedule prepares, mounts, measures, unmounts and clears away. A target that fails a row
// is not asked again; its reason stands in the table instead of a number.

import { execFile } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Dataset } from './dataset.js';
import { HungError } from './loadgen.js';
import type { Mounted } from './mounting.js';
import type { BenchOptions } from './options.js';
import { Estimate } from './progress.js';
import { DATA_GROUP, ROWS, type Row, type Scene } from './rows.js';
import { schedule } from './schedule.js';
import type { Session } from './session.js';
import type { Outcome, Sample } from './stats.js';
import { mountPaths, type Target, targetById, UNDERLAY_ID } from './targets.js';

const runProgram = promisify(execFile);

export interface Bench extends Session {
  readonly options: BenchOptions;
  readonly dataset: Dataset;
}

interface Group {
  readonly name: string;
  readonly rows: readonly Row[];
}

/** Collects samples and reasons. */
class Ledger {
  readonly #samples = new Map<string, Sample[]>();
  readonly #failures = new Map<string, string>();

  add(row: Row, target: Target, sample: Sample): void {
    const key = `${row.id} ${target.id}`;
    this.#samples.set(key, [...(this.#samples.get(key) ?? []), sample]);
  }

  fail(row: Row, target: Target, reason: string): void {
    this.#failures.set(`${row.id} ${target.id}`, reason);
  }

  failed(row: Row, target: Target): boolean {
    return this.#failures.has(`${row.id} ${target.id}`);
  }

  outcome(row: Row, target: string): Outcome {
    const failed = this.#failures.get(`${row.id} ${target}`);
    if (failed !== undefined) return { failed };
    return { samples: this.#samples.get(`${row.id} ${target}`) ?? [] };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.replaceAll(/\s+/g, ' ').trim() : String(error);
}

function groupsOf(ids: readonly string[]): Group[] {
  const groups = new Map<string, Row[]>();
  for (const row of ROWS) {
    if (ids.includes(row.id)) groups.set(row.group, [...(groups.get(row.group) ?? []), row]);
  }
  return [...groups].map(([name, rows]) => ({ name, rows }));
}

/**
 * Runs everything. `finished` is called for every row as soon as its last sample is taken.
 *
 * @throws what is not a target's fault: an abort, a full disk.
 */
export async function runAll(
  bench: Bench,
  finished: (row: Row, outcomes: ReadonlyMap<string, Outcome>) => void,
): Promise<void> {
  const { options, progress, signal } = bench;
  const groups = groupsOf(options.rows);
  const ledger = new Ledger();
  const estimate = new Estimate(
    new Map(
      groups.flatMap((group) =>
        options.targets.map((target): [string, number] => [`${group.name} ${target}`, options.rounds]),
      ),
    ),
  );
  for (const visit of schedule(groups, options.targets, options.rounds)) {
    const { group, round } = visit;
    const show = (target: Target, row: Row): void =>
      progress.at(`round ${round + 1}/${options.rounds}  ${row.id}  ${target.id}`, estimate);
    const targets = visit.targets.map(targetById);
    // All at the same time, or each on its own.
    for (const together of options.allMounted ? [targets] : targets.map((target) => [target])) {
      const mounted = new Map<Target, Mounted>();
      try {
        for (const target of together) await prepare(bench, group, target, ledger);
        // What was prepared must not be written to the disk while something is measured.
        await runProgram('sync', ['-f', bench.dataset.source]);
        for (const target of together) {
          if (group.rows.every((row) => ledger.failed(row, target))) continue;
          const paths = mountPaths(bench.base, bench.dataset.source, target, bench.main, options.mountArguments);
          try {
            mounted.set(target, await bench.mounter.mount(target, paths, signal));
          } catch (error) {
            signal.throwIfAborted();
            for (const row of group.rows) ledger.fail(row, target, reasonOf(error));
          }
        }
        for (const target of together) {
          const started = performance.now();
          const mount = mounted.get(target);
          if (mount !== undefined) await measure(bench, group, target, mount, ledger, (row) => show(target, row));
          estimate.finished(`${group.name} ${target.id}`, (performance.now() - started) / 1000);
        }
      } finally {
        for (const mount of mounted.values()) await mount.unmount();
        for (const target of together) await putAway(bench, group, target);
      }
    }
    if (round === options.rounds - 1) {
      for (const row of group.rows) {
        finished(row, new Map(options.targets.map((target) => [target, ledger.outcome(row, target)])));
      }
    }
  }
}

/**
 * Relative to the source. Of another name in each run: ext4 chooses the place by a hash of it (see spreadDirectories), and
 * the last run's was emptied a moment ago.
 */
function scratchName(bench: Bench, target: Target): string {
  return join('scratch', `${target.id}-${basename(bench.base)}`);
}

function scratchOf(bench: Bench, target: Target): string {
  return join(bench.dataset.source, scratchName(bench, target));
}

/**
 * Takes what a visit has made out of everybody's sight. It is deleted with the workspace: whoever makes files soon after
 * others were deleted pays for it (see rows.ts, smallRow). Only the few large files are not kept for so long.
 */
async function putAway(bench: Bench, group: Group, target: Target): Promise<void> {
  const scratch = scratchOf(bench, target);
  if (group.rows.every((row) => row.group === DATA_GROUP)) await rm(scratch, { recursive: true, force: true });
  else if (existsSync(scratch)) await rename(scratch, join(mkdtempSync(join(bench.base, 'done-')), target.id));
}

function sceneOf(bench: Bench, target: Target, row: Row, mounted: Mounted | null): Scene {
  return {
    target,
    root: mounted?.root ?? bench.dataset.source,
    dataset: bench.dataset,
    scratch: join(scratchName(bench, target), row.id),
    options: bench.options,
    loadgen: bench.loadgen,
    signal: bench.signal,
    cpuSeconds: () => mounted?.cpuSeconds() ?? null,
  };
}

async function prepare(bench: Bench, group: Group, target: Target, ledger: Ledger): Promise<void> {
  const scratch = scratchOf(bench, target);
  mkdirSync(scratch);
  chownSync(scratch, UNDERLAY_ID, UNDERLAY_ID);
  for (const row of group.rows) {
    if (ledger.failed(row, target)) continue;
    const directory = join(scratch, row.id);
    mkdirSync(directory);
    chownSync(directory, UNDERLAY_ID, UNDERLAY_ID);
    await row.prepare?.(sceneOf(bench, target, row, null));
  }
}

async function measure(
  bench: Bench,
  group: Group,
  target: Target,
  mounted: Mounted,
  ledger: Ledger,
  show: (row: Row) => void,
): Promise<void> {
  for (const row of group.rows) {
    if (ledger.failed(row, target)) continue;
    show(row);
    try {
      const { ns, operations, cpuSeconds } = await row.run(sceneOf(bench, target, row, mounted));
      ledger.add(row, target, { ns: ns / operations, cpuSeconds });
    } catch (error) {
      bench.signal.throwIfAborted();
      ledger.fail(row, target, reasonOf(error));
      if (error instanceof HungError) {
        for (const other of group.rows) {
          if (!ledger.failed(other, target)) ledger.fail(other, target, `hung in ${row.id}`);
        }
        return;
      }
    }
  }
}
