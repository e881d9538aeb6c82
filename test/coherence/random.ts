// One round of the randomized check: a fresh tree, processes that work on it from both sides, then a look at every name
// when all are done, and the verdict on all they saw.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Actor, withActor } from '../support/actor.js';
import { abortHungFuse } from '../support/mounts.js';
import { baseDirectory, childEnvironment } from '../support/temp.js';
import { type CheckResult, check } from './check.js';
import type { ModeView } from './modes.js';
import type { LogRecord, Side, Sided, WorkerConfig } from './records.js';

const SHIFT = 100_000;
const WORKER = fileURLToPath(new URL('worker.mjs', import.meta.url));
/** A worker that is so much later than it should be hangs, ms. */
const PATIENCE = 20_000;

export interface RoundOptions {
  readonly seed: number;
  readonly seconds: number;
  /** ms; see Mode. */
  readonly bound: number;
  /** That stores through a shared mapping on the host show in the view at once: page cache shared by passthrough. */
  readonly mmapStores: boolean;
  /** Directory for the logs of the workers. */
  readonly logs: string;
}

export interface RoundResult extends CheckResult {
  /** What a look at every name found after all were done; empty when both sides agree. */
  readonly differences: readonly string[];
  /** Kernel time between the end of the round and the first look that agreed, ms. */
  readonly settled: number;
}

/** Who takes part: two on each side, and one who only looks. */
const cast: readonly { readonly side: Side; readonly mutations: number; readonly rest: boolean }[] = [
  { side: 'host', mutations: 0.8, rest: true },
  { side: 'host', mutations: 0.6, rest: true },
  { side: 'view', mutations: 0.4, rest: true },
  { side: 'view', mutations: 0.2, rest: true },
  { side: 'view', mutations: 0, rest: false },
];

async function ready(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('a worker ended before it began')));
  await Promise.race([once(child, 'message'), ended]);
}

async function finish(child: ChildProcess, milliseconds: number): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const controller = new AbortController();
    const late = sleep(milliseconds, 'late', { signal: controller.signal }).catch(() => 'ended');
    const ended = once(child, 'exit').then(() => 'ended');
    if ((await Promise.race([late, ended])) === 'late') {
      const where = `${readFileSync(`/proc/${child.pid}/wchan`, 'latin1')}, ${readFileSync(`/proc/${child.pid}/syscall`, 'latin1')}`;
      child.kill('SIGKILL');
      throw new Error(`a worker hangs (${where}); aborted: ${abortHungFuse(baseDirectory()).join(' ') || '-'}`);
    }
    controller.abort();
  }
  if (child.exitCode !== 0) throw new Error(`a worker ended with ${child.exitCode ?? child.signalCode}`);
}

function realtimeOffset(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return Date.now() * 1e6 - (seconds * 1e9 + nanoseconds);
}

/** Every name below a directory with all that stat and read say, ids as the host has them. */
async function snapshot(actor: Actor, root: string, shift: number): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const walk = async (path: string): Promise<void> => {
    for (const bytes of await actor.readdir(`${root}${path}`)) {
      const below = `${path}/${bytes.toString()}`;
      const { mode, size, mtime, nlink, ino, uid, gid } = await actor.lstat(`${root}${below}`);
      const type = mode & 0o170000;
      let content = '';
      if (type === 0o100000) content = (await actor.readFile(`${root}${below}`)).toString('latin1');
      if (type === 0o120000) content = (await actor.readlink(`${root}${below}`)).toString('latin1');
      const shown = { mode: mode.toString(8), size: type === 0o040000 ? 0 : size, mtime: String(mtime), nlink };
      const words = content.replace(/(.{8})\1*/gs, '$1 ');
      found.set(below, JSON.stringify({ ...shown, ino: String(ino), uid: uid - shift, gid: gid - shift, words }));
      if (type === 0o040000) await walk(below);
    }
  };
  await walk('');
  return found;
}

function differences(host: ReadonlyMap<string, string>, view: ReadonlyMap<string, string>): string[] {
  const found: string[] = [];
  for (const name of new Set([...host.keys(), ...view.keys()]))
    if (host.get(name) !== view.get(name))
      found.push(`${name}\n  host ${host.get(name) ?? 'nothing'}\n  view ${view.get(name) ?? 'nothing'}`);
  return found;
}

/** Waits for at most `bound` ms until both sides show the same. */
async function settle(
  view: Pick<ModeView, 'source' | 'mountpoint'>,
  name: string,
  bound: number,
): Promise<{ differences: string[]; settled: number }> {
  return withActor({ uid: 0, gid: 0 }, async (host) =>
    withActor({ uid: SHIFT, gid: SHIFT }, async (container) => {
      const expected = await snapshot(host, `${view.source}/${name}/tree`, 0);
      const start = performance.now();
      for (;;) {
        const begun = performance.now() - start;
        const shown = await snapshot(container, `${view.mountpoint}/${name}/tree`, SHIFT);
        const found = differences(expected, shown);
        // A look that began within the bound may still be late.
        if (found.length === 0 || begun > bound) return { differences: found, settled: begun };
        await sleep(10);
      }
    }),
  );
}

export async function runRound(
  view: Pick<ModeView, 'source' | 'mountpoint'>,
  options: RoundOptions,
): Promise<RoundResult> {
  const name = `round-${options.seed}`;
  for (const directory of ['', '/tree', '/stage']) {
    mkdirSync(`${view.source}/${name}${directory}`);
    chmodSync(`${view.source}/${name}${directory}`, 0o777);
  }
  const children: ChildProcess[] = [];
  const configs = cast.map(
    ({ side, mutations, rest }, index): WorkerConfig => ({
      side,
      root: `${side === 'host' ? view.source : view.mountpoint}/${name}`,
      seed: Math.imul(options.seed, 31) + index,
      tag: String.fromCharCode(97 + index),
      uid: side === 'host' ? null : SHIFT,
      seconds: options.seconds,
      mutations,
      rest,
      mmapStores: options.mmapStores,
      log: `${options.logs}/${name}-${index}.jsonl`,
    }),
  );
  try {
    for (const config of configs)
      children.push(fork(WORKER, [JSON.stringify(config)], { cwd: '/', env: childEnvironment(), execArgv: [] }));
    await Promise.all(children.map(ready));
    const before = realtimeOffset();
    for (const child of children) child.send('go');
    await Promise.all(children.map((child) => finish(child, options.seconds * 1000 + PATIENCE)));
    const after = realtimeOffset();
    if (Math.abs(after - before) > 10e6) throw new Error('the clock was set during the round');
    const settled = await settle(view, name, options.bound);
    const records = configs.flatMap(({ log, side }) =>
      readFileSync(log, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line): Sided<LogRecord> => ({ ...(JSON.parse(line) as LogRecord), side })),
    );
    const result = check(records, {
      bound: options.bound * 1e6,
      realtimeOffset: before,
      uid: { host: 0, view: SHIFT },
    });
    return { ...result, ...settled };
  } finally {
    for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
  }
}
