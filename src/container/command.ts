// Runs programs of others: with a PATH whatever ours is, and without a shell.

import { spawnSync } from 'node:child_process';

/** sudo's and mount(8)'s callers may leave us without one; snaps are in no default PATH. */
const PATH = [process.env['PATH'], '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin']
  .filter(Boolean)
  .join(':');
const TIMEOUT_MS = 60_000;

export interface CommandResult {
  /** Null when it could not be started, was killed or took too long. */
  readonly status: number | null;
  readonly stdout: string;
  /** What it said of itself, or why it could not be started. */
  readonly stderr: string;
  /** There is no such program. */
  readonly missing: boolean;
}

export function runCommand(program: string, args: readonly string[]): CommandResult {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH, LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
  });
  const missing = (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
  return { status, stdout: stdout ?? '', stderr: error && !missing ? error.message : (stderr ?? '').trim(), missing };
}

/** As a word of a command line that a person may copy: quoted only where the shell would take it apart. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
