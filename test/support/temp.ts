// Temporary directories of the suites, and the promise that nothing outlives them: every process that runs tests keeps
// all it makes below /var/tmp/fuse-shiftfs-test-PID (never /tmp, where editors behave differently), marks every process it
// starts with that path in the environment, and what a killed run left is swept at the next start.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { detachMountsBelow, mountsBelow } from './mounts.js';

const ROOT = '/var/tmp';
const PREFIX = 'fuse-shiftfs-test-';
/** In the environment of every process a suite starts, inherited by daemons: whose it is. */
export const OWNER_VARIABLE = 'FUSE_SHIFTFS_TEST_OWNER';
/** Names the process that owns the directory; a pid alone may have been given to another process since. */
const OWNER_FILE = 'owner';

/** Clock ticks after boot at which the process started, field 22 of proc_pid_stat(5); null when there is none. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** Only while something is in it. */
let base: string | undefined;
let exitHandled = false;

/** The directory of this process, made when first needed. Other ids may walk through it. */
export function baseDirectory(): string {
  if (base === undefined) {
    base = `${ROOT}/${PREFIX}${process.pid}`;
    mkdirSync(base, { recursive: true, mode: 0o755 });
    writeFileSync(`${base}/${OWNER_FILE}`, `${process.pid} ${startTime(process.pid)}\n`);
    if (!exitHandled) process.once('exit', removeOwnBase);
    exitHandled = true;
  }
  return base;
}

/** The environment for child processes of a suite. */
export function childEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, [OWNER_VARIABLE]: baseDirectory() };
}

/** Makes a directory that everybody may enter. `purpose` shows in its name. */
export function makeTempDirectory(purpose: string): string {
  const directory = mkdtempSync(`${baseDirectory()}/${purpose}-`);
  spawnSync('chmod', ['755', directory]);
  return directory;
}

/** Removes `directory` and what is mounted below it. Throws when something is left. */
export function removeTempDirectory(directory: string): void {
  removeTree(directory);
  // The runner may end this process without its exit handlers: leave nothing as soon as nothing is needed.
  if (base !== undefined && existsSync(base) && readdirSync(base).every((name) => name === OWNER_FILE)) {
    removeTree(base);
    base = undefined;
  }
}

function removeTree(directory: string): void {
  detachMountsBelow(directory);
  const left = mountsBelow(directory);
  if (left.length > 0) throw new Error(`still mounted: ${left.map(({ mountpoint }) => mountpoint).join(', ')}`);
  const options = { encoding: 'utf8', timeout: 120_000 } as const;
  const remove = () => spawnSync('rm', ['-rf', '--one-file-system', '--', directory], options);
  let result = remove();
  if (result.status !== 0) {
    // A test that failed may have left an immutable file.
    spawnSync('chattr', ['-R', '-f', '-i', '-a', directory], options);
    result = remove();
  }
  if (result.status !== 0) throw new Error(`rm -rf ${directory}: ${result.stderr}`);
}

/** Runs `fn` with a new directory and removes it afterwards, whatever happened. */
export async function withTempTree<T>(fn: (directory: string) => T | Promise<T>): Promise<T> {
  const directory = makeTempDirectory('tree');
  try {
    return await fn(directory);
  } finally {
    removeTempDirectory(directory);
  }
}

function processesOwnedBy(directory: string): number[] {
  const mark = Buffer.from(`${OWNER_VARIABLE}=${directory}\0`);
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid) || pid === process.pid) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`).includes(mark);
      } catch {
        return false;
      }
    });
}

function removeOwnBase(): void {
  if (base !== undefined) removeBase(base);
}

function removeBase(directory: string): void {
  for (const pid of processesOwnedBy(directory)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  removeTree(directory);
}

function ownerIsAlive(directory: string): boolean {
  const pid = Number(directory.slice(directory.lastIndexOf('-') + 1));
  try {
    const recorded = readFileSync(`${directory}/${OWNER_FILE}`, 'latin1').trim().split(' ')[1];
    return startTime(pid) === recorded;
  } catch {
    // Killed between making the directory and the file, or about to write it.
    return startTime(pid) !== null;
  }
}

/** Removes what earlier runs left: their processes, mounts and directories. Returns the directories it removed. */
export async function sweep(): Promise<string[]> {
  const removed: string[] = [];
  for (const name of readdirSync(ROOT)) {
    if (!name.startsWith(PREFIX)) continue;
    const directory = `${ROOT}/${name}`;
    if (ownerIsAlive(directory)) continue;
    // A killed process lets go of its mounts and files a moment later.
    for (let attempt = 0; ; attempt++) {
      try {
        removeBase(directory);
        removed.push(directory);
        break;
      } catch (error) {
        if (attempt === 20) throw error;
        await sleep(100);
      }
    }
  }
  return removed;
}
