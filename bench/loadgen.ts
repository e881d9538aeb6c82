// Compiles and drives the load generator (loadgen.c, which documents how the two talk).

import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';

/** A workload could not be run or did not do its work; the message is the reason that the report prints. */
export class WorkloadError extends Error {
  override readonly name: string = 'WorkloadError';
}

export interface LoadResult {
  /** Zero, as `operations`, for a preparation: it has no measured part. */
  readonly ns: number;
  readonly operations: number;
  /** Of a command's output: lines, sum of the hashes of the lines (order does not matter), bytes. */
  readonly facts: { readonly lines: string; readonly hash: string; readonly bytes: string };
  /** What `cpuSeconds` said at the end less what it said at the start of the measured part. */
  readonly cpuSeconds: number | null;
}

export interface LoadOptions {
  /** Runs with this uid and gid and no supplementary groups. */
  readonly user: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly cpuSeconds?: () => number | null;
}

/** The workload does not end: nothing more can be asked of this mount. */
export class HungError extends WorkloadError {}

/** The whole of a workload: warm-up, measurement and check. */
const TIMEOUT_MS = 300_000;
/** How long a process may take to be gone after SIGKILL. */
const KILL_MS = 5000;

const run = promisify(execFile);

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

export class Loadgen {
  readonly #program: string;

  private constructor(program: string) {
    this.#program = program;
  }

  static async compile(sourceFile: string, directory: string): Promise<Loadgen> {
    const program = join(directory, 'loadgen');
    await run('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, sourceFile]);
    return new Loadgen(program);
  }

  /** @throws WorkloadError with the reason; AbortError when the signal fires. */
  async run(words: readonly string[], options: LoadOptions): Promise<LoadResult> {
    options.signal.throwIfAborted();
    const child = spawn(this.#program, words, {
      uid: options.user,
      gid: options.user,
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      // A process group of its own, so that a command that loadgen started ends with it.
      detached: true,
    });
    const killGroup = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    };
    const timers: NodeJS.Timeout[] = [];
    let stop = (): void => {};
    const hung = new Promise<never>((_, reject) => {
      stop = () => {
        killGroup();
        // A caller of a daemon that does not answer cannot be killed; it ends when its mount is aborted.
        timers.push(setTimeout(() => reject(new HungError('the file system does not answer')), KILL_MS));
      };
    });
    let timedOut = false;
    timers.push(
      setTimeout(() => {
        timedOut = true;
        stop();
      }, TIMEOUT_MS),
    );
    options.signal.addEventListener('abort', stop);
    try {
      return await Promise.race([hung, converse(child, options.cpuSeconds ?? (() => null))]);
    } catch (error) {
      options.signal.throwIfAborted();
      if (timedOut) throw new HungError(`not done after ${TIMEOUT_MS / 1000} s`);
      throw error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      options.signal.removeEventListener('abort', stop);
      killGroup();
    }
  }
}

/** The driver's side of the talk. */
async function converse(child: Child, cpuSeconds: () => number | null): Promise<LoadResult> {
  // A child that died while we told it to go is reported by what it said and how it ended.
  child.stdin.on('error', () => {});
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(0, 2000);
  });
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  ended.catch(() => {});
  let reason: string | null = null;
  let ns = 0;
  let operations = 0;
  let facts: LoadResult['facts'] | null = null;
  let cpuBefore: number | null = null;
  let cpuAfter: number | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, ...rest] = line.split(' ');
    if (word === 'ready') {
      cpuBefore = cpuSeconds();
      child.stdin.write('\n');
    } else if (word === 'done') {
      cpuAfter = cpuSeconds();
      ns = Number(rest[0]);
      operations = Number(rest[1]);
    } else if (word === 'ok') {
      facts = { lines: rest[0] ?? '', hash: rest[1] ?? '', bytes: rest[2] ?? '' };
    } else if (word === 'fail') {
      reason ??= rest.join(' ');
    }
  }
  const [code, signal] = await ended;
  if (reason !== null || code !== 0 || facts === null) {
    // The first complaint is the cause; what follows is often only that there was one.
    const said = complaints.trim().split('\n')[0] ?? '';
    const how = reason ?? (signal === null ? `exit code ${code}` : `killed by ${signal}`);
    throw new WorkloadError(said === '' ? how : `${how} (${said})`);
  }
  return { ns, operations, facts, cpuSeconds: cpuBefore === null || cpuAfter === null ? null : cpuAfter - cpuBefore };
}
