// An underlay that fails on command (faulty-underlay.mjs), for the suites.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { abortFuse, mountAt } from '../support/mounts.js';
import { childEnvironment, makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { eventually } from './figures.js';

const SCRIPT = fileURLToPath(new URL('faulty-underlay.mjs', import.meta.url));

export interface Fault {
  /** Relative to the top; what is below it fails as well. '' is everything. */
  readonly path: string;
  /** Names of FUSE operations; all when left out. */
  readonly ops?: readonly string[];
  /** Answer this. */
  readonly errno?: string;
  /** Do not answer until the faults are set anew. */
  readonly stall?: boolean;
  /** Write at most this many bytes. */
  readonly short?: number;
}

export interface FaultyUnderlay {
  /** Where it is mounted. */
  readonly directory: string;
  /** What it shows: changes made here are the "other machine's". */
  readonly backing: string;
  /** Replaces the faults, and lets everybody go on who is stalled. */
  set(...faults: readonly Fault[]): Promise<void>;
  /** Requests that are stalled at this moment. */
  stalled(): number;
  /** Until so many are. */
  untilStalled(count: number): Promise<void>;
}

export async function withFaultyUnderlay<T>(fn: (underlay: FaultyUnderlay) => Promise<T>): Promise<T> {
  const made = makeTempDirectory('faulty');
  const backing = `${made}/backing`;
  const directory = `${made}/mnt`;
  mkdirSync(backing, { mode: 0o755 });
  mkdirSync(directory);
  const child: ChildProcess = spawn(process.execPath, [SCRIPT, backing, directory], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: childEnvironment(),
    cwd: '/',
  });
  let count = 0;
  let ready = false;
  child.on('message', (message: { ready?: boolean; stalled?: number }) => {
    if (message.ready) ready = true;
    if (message.stalled !== undefined) count = message.stalled;
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    await eventually(
      15_000,
      () => ready,
      () => 'the faulty underlay to be mounted',
    );
    return await fn({
      directory,
      backing,
      set: (...faults) => {
        const rules = faults.map(({ path, ops, errno, stall, short }) => ({
          path,
          ops: ops ?? null,
          errno: errno ?? null,
          stall: stall ?? false,
          short: short ?? null,
        }));
        return new Promise((resolve, reject) =>
          child.send({ rules }, (error) => (error === null ? resolve() : reject(error))),
        );
      },
      stalled: () => count,
      untilStalled: (wanted) =>
        eventually(
          15_000,
          () => count >= wanted,
          () => `${wanted} stalled requests: there are ${count}`,
        ),
    });
  } finally {
    const mount = mountAt(directory);
    if (mount !== undefined) abortFuse(mount);
    child.kill('SIGKILL');
    await ended;
    removeTempDirectory(made);
  }
}
