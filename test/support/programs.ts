// Ordinary programs, run as any identity and in any user namespace, with a timeout that kills them.

import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortHungFuse } from './mounts.js';
import { baseDirectory, childEnvironment } from './temp.js';
import { type MapArgument, writeIdMaps } from './userns.js';

export interface ProgramOptions {
  /** Identity; uid and gid are ids of the user namespace when there is one. The runner's own when left out. */
  readonly uid?: number;
  readonly gid?: number;
  readonly groups?: readonly number[];
  readonly userns?: readonly MapArgument[];
  readonly mountNamespace?: boolean;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  /** Milliseconds. */
  readonly timeout?: number;
}

export interface ProgramResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const DEFAULT_TIMEOUT = 60_000;

/** A shell that says it is in its new namespaces and waits until somebody has written its maps. */
const WAIT_FOR_MAP = 'echo "$$" >&3; read -r go <&4; exec 3>&- 4<&-; exec "$@"';

/** Starts a program as `options` say. The promise resolves when it has its namespaces and identity. */
export async function startProgram(command: readonly string[], options: ProgramOptions = {}): Promise<ChildProcess> {
  const { uid, gid, groups = [], userns, mountNamespace = false } = options;
  let argv = [...command];
  if (uid !== undefined) {
    argv = [
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid ?? uid}`,
      groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups',
      // Those that unshare left ambient so that setpriv could do its work.
      ...(userns !== undefined ? ['--inh-caps=-all'] : []),
      ...argv,
    ];
  }
  if (userns !== undefined) argv = ['sh', '-c', WAIT_FOR_MAP, 'sh', ...argv];
  if (userns !== undefined || mountNamespace) {
    argv = [
      'unshare',
      ...(userns !== undefined ? ['--user', '--keep-caps'] : []),
      ...(mountNamespace ? ['--mount', '--propagation', 'slave'] : []),
      ...argv,
    ];
  }
  argv = ['setpriv', '--pdeathsig', 'KILL', ...argv];
  const [program = '', ...args] = argv;
  const child = spawn(program, args, {
    cwd: options.cwd ?? '/',
    env: { ...childEnvironment(), ...options.env },
    stdio: ['pipe', 'pipe', 'pipe', ...(userns === undefined ? [] : (['pipe', 'pipe'] as const))],
  });
  child.stdin?.on('error', () => {
    // It ended without reading all of its input; its status says how.
  });
  child.stdin?.end(options.input);
  if (userns !== undefined) {
    const [, , , report, go] = child.stdio;
    await new Promise<void>((resolve, reject) => {
      report?.once('data', () => resolve());
      child.once('close', () => reject(new Error(`${argv.join(' ')}: ended before it had its namespace`)));
      child.once('error', reject);
    });
    writeIdMaps(child.pid ?? 0, userns);
    (go as NodeJS.WritableStream).end('go\n');
  }
  return child;
}

/** Runs a program to its end. Rejects when it does not end in time, after killing it. */
export async function run(command: readonly string[], options: ProgramOptions = {}): Promise<ProgramResult> {
  const child = await startProgram(command, options);
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout?.on('data', (data: Buffer) => stdout.push(data));
  child.stderr?.on('data', (data: Buffer) => {
    stderr += data.toString('utf8');
  });
  const ended = new Promise<ProgramResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve({ status, signal, stdout: Buffer.concat(stdout), stderr }));
  });
  const timeout = options.timeout ?? DEFAULT_TIMEOUT;
  const timer = new AbortController();
  const late = sleep(timeout, null, { signal: timer.signal }).catch(() => null);
  try {
    const result = await Promise.race([ended, late]);
    if (result !== null) return result;
    child.kill('SIGKILL');
    const aborted = abortHungFuse(baseDirectory());
    throw new Error(
      `${command.join(' ')}: no end after ${timeout} ms; aborted: ${aborted.join(' ') || '-'}\n${stderr}`,
    );
  } finally {
    timer.abort();
  }
}

/** Like `run`, but anything other than exit status 0 rejects with what the program wrote. Returns its output as text. */
export async function runOk(command: readonly string[], options: ProgramOptions = {}): Promise<string> {
  const { status, signal, stdout, stderr } = await run(command, options);
  if (status !== 0) throw new Error(`${command.join(' ')}: ${signal ?? `exit status ${status}`}\n${stderr}${stdout}`);
  return stdout.toString('utf8');
}
