// The built program, run as a user runs it, for the suites of the command line; views that put themselves in the
// background, and faults that are injected into a real daemon by a script that node loads before it.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProgramOptions, run } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CLI } from '../support/view.js';

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `fuse-shiftfs ARGS` to its end. */
export async function cli(args: readonly string[], options: ProgramOptions = {}): Promise<Result> {
  const { status, stdout, stderr } = await run([process.execPath, CLI, ...args], { timeout: 40_000, ...options });
  return { status, stdout: stdout.toString('utf8'), stderr };
}

/** A directory to mount from, one to mount on, and room for other files; gone afterwards with all mounts and daemons. */
export interface Place {
  readonly directory: string;
  readonly source: string;
  readonly mountpoint: string;
}

export async function withPlace<T>(action: (place: Place) => Promise<T>): Promise<T> {
  const directory = makeTempDirectory('cli');
  const place = { directory, source: `${directory}/source`, mountpoint: `${directory}/view` };
  mkdirSync(place.source);
  mkdirSync(place.mountpoint);
  writeFileSync(`${place.source}/file`, 'content\n');
  try {
    return await action(place);
  } finally {
    for (const pid of daemonsOf(directory)) {
      process.kill(pid, 'SIGCONT');
      process.kill(pid, 'SIGKILL');
    }
    await until('the end of every daemon', () => daemonsOf(directory).length === 0);
    removeTempDirectory(directory);
  }
}

/** Processes that serve (or guard) something below `directory`, by their command lines. */
export function daemonsOf(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      const command = tryRead(`/proc/${name}/cmdline`);
      return /^(fuse-shiftfs |\/bin\/sh\0.*fuse-shiftfs-guardian)/s.test(command) && command.includes(directory);
    })
    .map(Number);
}

export function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export interface Status {
  readonly version: number;
  readonly pid: number;
  readonly state: string;
  readonly source: string;
  readonly mountpoint: string;
  readonly mounted: boolean;
  readonly map: string;
  readonly driver: string;
  readonly startedAt: string;
  readonly view: Record<string, unknown>;
}

export async function statusOf(mountpoint: string): Promise<Status> {
  const { stdout, stderr } = await cli(['status', mountpoint, '--json']);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Status;
}

/** Polls; rejects with what was waited for after ten seconds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${what}`);
    await sleep(10);
  }
}

/** Whether anything of the process is left: threads may outlive its first one. */
export function isRunning(pid: number): boolean {
  const status = tryRead(`/proc/${pid}/status`);
  if (status === '') return false;
  return !/^State:\s+[ZX]/m.test(status) || Number(/^Threads:\s+(\d+)/m.exec(status)?.[1]) > 1;
}

/** An environment in which the daemon, and only it, first runs the CommonJS `script`. */
export function daemonFault(directory: string, script: string): Record<string, string> {
  const file = `${directory}/fault.cjs`;
  writeFileSync(file, `if (/daemon\\/main\\.js$/.test(process.argv[1] ?? '')) {\n${script}\n}\n`);
  return { NODE_OPTIONS: `--require ${file}` };
}

/** A process that sits in `directory`, and so keeps a mount there busy, until it is stopped. */
export async function sitIn(directory: string): Promise<{ pid: number; stop(): Promise<void> }> {
  const { startProgram } = await import('../support/programs.js');
  const child = await startProgram(['sleep', '60'], { cwd: directory });
  const pid = child.pid!;
  await until('the program runs', () => tryRead(`/proc/${pid}/comm`) === 'sleep\n');
  return {
    pid,
    stop: async () => {
      child.kill('SIGKILL');
      await until('its end', () => !isRunning(pid));
    },
  };
}
