// Mounts a target and takes it away again, whatever state its daemon is in. Nothing here touches a path below a mount
// point itself: a child process does, so that a daemon that hangs cannot hang the benchmark.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Mount, readMounts } from '../src/linux/mountinfo.js';
import { mountIdmapped } from './idmapped.js';
import { processStat, processTree } from './process.js';
import type { MountPaths, Target } from './targets.js';

const run = promisify(execFile);

const READY_MS = 20_000;
const END_MS = 10_000;
/** A daemon that used no processor time for so long is ready; CPU times come in ticks of 10 ms. */
const REST_MS = 200;

export interface Mounted {
  readonly root: string;
  /** Of the daemon and its children; null where there is none. */
  cpuSeconds(): number | null;
  /** The daemon and its children. */
  pids(): number[];
  unmount(): Promise<void>;
}

function mountedAt(mountpoint: string): Mount | undefined {
  return readMounts().findLast((mount) => mount.mountpoint === mountpoint);
}

const UMOUNT_MS = 3000;

/** Whether umount(8) came to an end in time. One that waits for a daemon that is stopped cannot even be killed. */
async function umount(...words: string[]): Promise<boolean> {
  const ended = run('umount', words, { timeout: UMOUNT_MS, killSignal: 'SIGKILL' }).then(
    () => true,
    (error: { killed?: boolean }) => error.killed !== true,
  );
  return Promise.race([ended, delay(UMOUNT_MS + 500, false, { ref: false })]);
}

/** Unmounts, politely at first; a file system that does not let go is aborted and detached. */
export async function forceUnmount(mountpoint: string): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt++) {
    if (mountedAt(mountpoint) === undefined) return;
    if (!(await umount(mountpoint))) break;
    if (attempt > 0) await delay(100);
  }
  const mount = mountedAt(mountpoint);
  if (mount === undefined) return;
  try {
    // A FUSE connection has the minor number of its st_dev for a name.
    writeFileSync(`/sys/fs/fuse/connections/${mount.device.split(':')[1]}/abort`, '1');
  } catch {
    // Not FUSE, or its connection is gone already.
  }
  await umount('-l', mountpoint);
}

async function endDaemon(daemon: ChildProcess): Promise<void> {
  const ended = (): boolean => daemon.exitCode !== null || daemon.signalCode !== null;
  for (const signal of [null, 'SIGTERM', 'SIGKILL'] as const) {
    if (signal !== null) daemon.kill(signal);
    for (const deadline = Date.now() + END_MS / 2; Date.now() < deadline; ) {
      if (ended()) return;
      await delay(5);
    }
  }
}

/**
 * Waits until the daemon does nothing any more: a mount is there before what serves it has finished its start, and that is
 * not what is measured. (Who mounts in the background waits for it, too: the command returns when all is ready.)
 */
async function atRest(mounted: Mounted, signal: AbortSignal): Promise<void> {
  let before = mounted.cpuSeconds();
  let since = Date.now();
  for (const deadline = Date.now() + READY_MS; Date.now() - since < REST_MS && Date.now() < deadline; ) {
    await delay(REST_MS / 10);
    signal.throwIfAborted();
    const now = mounted.cpuSeconds();
    if (now !== before) since = Date.now();
    before = now;
  }
}

export class Mounter {
  readonly #mounted = new Set<Mounted>();
  readonly #remember: (pid: number) => void;

  /** @param remember is told every daemon's pid, for the sweep after a run that was killed. */
  constructor(remember: (pid: number) => void) {
    this.#remember = remember;
  }

  /** @throws Error that says why the target cannot be mounted; then nothing of it is left. */
  async mount(target: Target, paths: MountPaths, signal: AbortSignal): Promise<Mounted> {
    if (target.kind === 'native') {
      return { root: paths.source, cpuSeconds: () => null, pids: () => [], unmount: async () => {} };
    }
    for (const directory of [paths.mountpoint, paths.lower, paths.work]) await mkdir(directory, { recursive: true });
    const command = target.daemon(paths);
    const daemon = command === null ? null : this.#start(command);
    const mounted: Mounted = {
      root: paths.mountpoint,
      pids: () => (daemon?.child.pid === undefined ? [] : processTree(daemon.child.pid)),
      cpuSeconds: () =>
        daemon === null ? null : mounted.pids().reduce((sum, pid) => sum + (processStat(pid)?.cpuSeconds ?? 0), 0),
      unmount: async () => {
        await forceUnmount(paths.mountpoint);
        if (daemon !== null) await endDaemon(daemon.child);
        this.#mounted.delete(mounted);
      },
    };
    this.#mounted.add(mounted);
    try {
      if (daemon === null) await mountIdmapped(paths.source, paths.mountpoint);
      else {
        await this.#ready(daemon, paths.mountpoint, signal);
        await atRest(mounted, signal);
      }
      return mounted;
    } catch (error) {
      await mounted.unmount();
      throw error;
    }
  }

  async unmountAll(): Promise<void> {
    for (const mounted of this.#mounted) await mounted.unmount();
  }

  #start(command: readonly string[]): { child: ChildProcess; said: () => string } {
    // A session of its own: Ctrl-C is for us, and we unmount.
    const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true, cwd: '/' });
    let said = '';
    const keep = (text: string): void => {
      said = (said + text).slice(-2000);
    };
    child.stdout!.setEncoding('utf8').on('data', keep);
    child.stderr!.setEncoding('utf8').on('data', keep);
    child.on('error', (error) => keep(error.message));
    if (child.pid !== undefined) this.#remember(child.pid);
    return { child, said: () => said.trim().split('\n').slice(-3).join('; ') };
  }

  async #ready(
    daemon: { child: ChildProcess; said: () => string },
    mountpoint: string,
    signal: AbortSignal,
  ): Promise<void> {
    const deadline = Date.now() + READY_MS;
    for (;;) {
      signal.throwIfAborted();
      const { pid, exitCode, signalCode } = daemon.child;
      if (pid === undefined || exitCode !== null || signalCode !== null) {
        // What it wrote comes a moment after its end.
        await delay(20);
        throw new Error(`cannot be mounted: ${daemon.said() || `it ended with ${exitCode ?? signalCode}`}`);
      }
      if (mountedAt(mountpoint) !== undefined) break;
      if (Date.now() > deadline) throw new Error(`not mounted after ${READY_MS / 1000} s: ${daemon.said()}`);
      await delay(5);
    }
    await run('stat', [`${mountpoint}/tree`], { timeout: READY_MS, signal, killSignal: 'SIGKILL' });
  }
}
