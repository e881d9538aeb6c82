// What every benchmark starts with and ends with: the programs it needs, a workspace, a load generator, and a way out
// that leaves nothing behind, also after an error and after Ctrl-C.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Loadgen } from './loadgen.js';
import { describeMachine, type Machine, packageRoot } from './machine.js';
import { Mounter } from './mounting.js';
import { installMissing } from './packages.js';
import { type Progress, progressOn } from './progress.js';
import type { Target } from './targets.js';
import { URING_PARAMETER, Workspace } from './workspace.js';

export interface Session {
  /** Directory of this run, on the file system that is measured. */
  readonly base: string;
  /** Those that can run here. */
  readonly targets: readonly Target[];
  readonly machine: Machine;
  readonly loadgen: Loadgen;
  readonly mounter: Mounter;
  readonly progress: Progress;
  /** Fires at SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** Our compiled program. */
  readonly main: string;
}

interface Wanted {
  readonly base: string;
  readonly targets: readonly Target[];
  readonly enableUring: boolean;
}

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const CANNOT_START = 2;

/** Runs `body` and returns its exit status, or the one of a run that cannot start or was stopped. */
export async function inSession(wanted: Wanted, body: (session: Session) => Promise<number>): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('the benchmark needs root: it mounts, and its callers are other users\n');
    return CANNOT_START;
  }
  const root = packageRoot();
  const main = join(root, 'dist', 'main.js');
  if (wanted.targets.some((target) => target.kind === 'ours') && !existsSync(main)) {
    process.stderr.write(`${main} is missing: npm run build\n`);
    return CANNOT_START;
  }
  const abort = new AbortController();
  const progress = progressOn(process.stderr);
  let stopped: keyof typeof SIGNALS | null = null;
  for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) {
    process.on(signal, () => {
      if (stopped === null) progress.note(`${signal}: cleaning up`);
      stopped ??= signal;
      abort.abort();
    });
  }

  installMissing(wanted.targets, progress.note);
  const workspace = await Workspace.create(wanted.base, progress.note);
  const mounter = new Mounter((pid) => workspace.rememberDaemon(pid));
  try {
    if (wanted.enableUring) workspace.enableUring();
    const uring = existsSync(URING_PARAMETER) && readFileSync(URING_PARAMETER, 'utf8').trim() === 'Y';
    const targets = wanted.targets.filter((target) => uring || !target.needsUring);
    for (const target of wanted.targets) {
      if (targets.includes(target)) continue;
      progress.note(`${target.id} is left out: the kernel offers no FUSE over io_uring (see --enable-uring)`);
    }
    if (targets.length === 0) return CANNOT_START;
    return await body({
      base: workspace.path,
      targets,
      machine: describeMachine(workspace.path, targets),
      loadgen: await Loadgen.compile(join(root, 'bench', 'loadgen.c'), workspace.path),
      mounter,
      progress,
      signal: abort.signal,
      main,
    });
  } catch (error) {
    if (stopped === null) throw error;
    return 128 + SIGNALS[stopped];
  } finally {
    progress.end();
    await mounter.unmountAll();
    await workspace.remove();
  }
}
