// The one directory that holds all that a run makes, and the sweep that takes away what a killed run left there: its
// mounts, its daemons and its files.

import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isInside, readMounts } from '../src/linux/mountinfo.js';
import { forceUnmount } from './mounting.js';
import { isSameProcess, processIdentity } from './process.js';

const PREFIX = 'fuse-shiftfs-bench-';
export const URING_PARAMETER = '/sys/module/fuse/parameters/enable_uring';

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/**
 * Asks ext4 to put the directories of this one where there is most room (chattr(1), T), each with its files. Otherwise they
 * are all made where inodes were deleted a moment ago, by the workload before or the run before, and making a file means
 * to pass over each of those (fs/ext4/ialloc.c, recently_deleted). Other file systems have no such flag, and need none.
 */
export function spreadDirectories(path: string): void {
  spawnSync('chattr', ['+T', path], { stdio: 'ignore' });
}

export class Workspace {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Sweeps what dead runs left in `base`, then makes a new directory there. */
  static async create(base: string, note: (line: string) => void): Promise<Workspace> {
    await mkdir(base, { recursive: true });
    for (const name of await readdir(base)) {
      if (!name.startsWith(PREFIX)) continue;
      const left = new Workspace(join(base, name));
      const [owner] = linesOf(join(left.path, 'owner'));
      if (owner !== undefined && isSameProcess(owner)) continue;
      note(`removing ${left.path}, left by a run that was killed`);
      await left.remove();
    }
    const path = await mkdtemp(join(base, PREFIX));
    writeFileSync(join(path, 'owner'), `${processIdentity(process.pid)}\n`);
    // The callers of the workloads are other users.
    await chmod(path, 0o755);
    spreadDirectories(path);
    return new Workspace(path);
  }

  rememberDaemon(pid: number): void {
    appendFileSync(join(this.path, 'daemons'), `${processIdentity(pid)}\n`);
  }

  /** Switches FUSE over io_uring on until `remove`. */
  enableUring(): void {
    const before = readFileSync(URING_PARAMETER, 'utf8').trim();
    writeFileSync(join(this.path, 'enable_uring'), `${before}\n`);
    writeFileSync(URING_PARAMETER, 'Y');
  }

  /** Unmounts, ends and deletes everything; safe to call on what is half gone. */
  async remove(): Promise<void> {
    const below = (): string[] =>
      readMounts()
        .map((mount) => mount.mountpoint)
        .filter((mountpoint) => isInside(mountpoint, this.path));
    for (const mountpoint of below().reverse()) await forceUnmount(mountpoint);
    for (const identity of linesOf(join(this.path, 'daemons'))) {
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        if (!isSameProcess(identity)) break;
        process.kill(Number(identity.split(' ')[0]), signal);
        for (let wait = 0; wait < 20 && isSameProcess(identity); wait++) await delay(50);
      }
    }
    const [uring] = linesOf(join(this.path, 'enable_uring'));
    if (uring !== undefined) writeFileSync(URING_PARAMETER, uring);
    // Deleting through a mount that would not go could delete what is not ours.
    const stuck = below();
    if (stuck.length > 0) throw new Error(`still mounted: ${stuck.join(', ')}`);
    await rm(this.path, { recursive: true, force: true });
  }
}
