// Views for the suites: mounted by the real command line, in a directory of this test process, and taken away again with
// their daemon whatever the test did.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describeUsers, usersOf } from '../../src/cli/busy.js';
import { abortFuse, detachMountsBelow, isMountedElsewhere, type Mount, mountAt } from './mounts.js';
import { run } from './programs.js';
import { childEnvironment, makeTempDirectory, removeTempDirectory } from './temp.js';
import type { MapArgument } from './userns.js';

export const CLI = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/**
 * Another file system to run the suites on, to see what they find in it: a command with {source} and {mountpoint} that
 * stays in the foreground, such as `bindfs -f {source} {mountpoint}`.
 */
const OTHER_SERVER = process.env['FUSE_SHIFTFS_TEST_SERVER'];

/** The log line of a daemon whose view is ready. */
const SERVING = '"msg":"serving"';
/** Set by suites that put the tests of others to the other driver. */
const DRIVER = process.env['FUSE_SHIFTFS_TEST_DRIVER'];

/** For tests of a view that caches, as far as its driver can. */
export const CACHING: readonly string[] = DRIVER === 'fuse-native' ? [] : ['--coherence', 'lease'];

const MOUNT_TIMEOUT = 20_000;
const END_TIMEOUT = 15_000;
const BUSY_TIMEOUT = 2000;

export interface ViewOptions {
  /** `--map` arguments; none is the identity. */
  readonly map?: readonly MapArgument[];
  /** More arguments of `mount`. */
  readonly options?: readonly string[];
  /** A directory that exists; a new one, mode 0755, when left out. */
  readonly source?: string;
  /** A directory that exists; a new one when left out. */
  readonly mountpoint?: string;
  /** Put before the command: `prlimit --nofile=1024` and the like. */
  readonly wrapper?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface View {
  readonly source: string;
  readonly mountpoint: string;
  /** The process that was started; it stays in the foreground. */
  readonly pid: number;
  readonly running: boolean;
  /** A copy of the mount in another mount namespace keeps it alive. */
  isHeldElsewhere(): boolean;
  /** What it has written so far, to stdout and stderr. */
  output(): string;
  /** Resolves with the exit status when it has ended. */
  readonly ended: Promise<number | null>;
  /** Kills the daemon as a crash would, and waits for its end. The mount stays, dead. */
  kill(): Promise<void>;
  /** Unmounts and waits for the daemon's end. Rejects when either does not happen; removes what was made all the same. */
  close(): Promise<void>;
  /** Takes everything away without asking; never rejects because a test left something open. */
  destroy(): Promise<void>;
}

function mountCommand(source: string, mountpoint: string, { map = [], options = [] }: ViewOptions): string[] {
  if (OTHER_SERVER !== undefined)
    return OTHER_SERVER.split(' ').map((word) => word.replace('{source}', source).replace('{mountpoint}', mountpoint));
  const maps = map.flatMap((argument) => ['--map', argument]);
  const driver = DRIVER === undefined ? [] : ['--driver', DRIVER];
  return [process.execPath, CLI, 'mount', source, mountpoint, '--foreground', ...driver, ...maps, ...options];
}

async function waitUntil(what: string, milliseconds: number, condition: () => boolean): Promise<void> {
  const end = performance.now() + milliseconds;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${milliseconds} ms`);
    await sleep(10);
  }
}

class MountedView implements View {
  readonly source: string;
  readonly mountpoint: string;
  readonly ended: Promise<number | null>;
  private readonly made: string | undefined;
  private readonly child: ChildProcess;
  /** Its log, on stderr in the foreground, says when it serves. */
  private readonly announces: boolean;
  private mount: Mount | undefined;
  private text = '';
  running = true;

  constructor(options: ViewOptions) {
    this.made =
      options.source === undefined || options.mountpoint === undefined ? makeTempDirectory('view') : undefined;
    this.source = options.source ?? `${this.made}/underlay`;
    this.mountpoint = options.mountpoint ?? `${this.made}/view`;
    // A given mount point may be a dead view, which is not to be touched.
    if (options.source === undefined) mkdirSync(this.source, { mode: 0o755 });
    if (options.mountpoint === undefined) mkdirSync(this.mountpoint, { mode: 0o755 });
    this.announces = OTHER_SERVER === undefined && !options.options?.some((option) => option.startsWith('--log-'));
    const command = [...(options.wrapper ?? []), ...mountCommand(this.source, this.mountpoint, options)];
    // The runner's death ends the daemon, which then unmounts; what escapes that is swept by the next run.
    this.child = spawn('setpriv', ['--pdeathsig', 'TERM', ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...childEnvironment(), ...options.env },
      cwd: '/',
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.text += text;
      });
    }
    this.ended = new Promise((resolve) => {
      this.child.once('error', () => resolve(null));
      this.child.once('exit', (status) => resolve(status));
    });
    void this.ended.then(() => {
      this.running = false;
    });
  }

  isHeldElsewhere(): boolean {
    return this.mount !== undefined && isMountedElsewhere(this.mount);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  output(): string {
    return this.text;
  }

  /** Until the kernel shows the mount and the daemon has answered a request. */
  async untilServing(): Promise<void> {
    await waitUntil(`mount on ${this.mountpoint}`, MOUNT_TIMEOUT, () => {
      if (!this.running) throw new Error(`mount failed:\n${this.text}`);
      // Before its daemon is ready the mount is there, or still that of a dead view which this one replaces.
      const mount = mountAt(this.mountpoint);
      this.mount = mount;
      return mount !== undefined && (!this.announces || this.text.includes(SERVING));
    });
    const probe = await run(['stat', '--', this.mountpoint], { timeout: MOUNT_TIMEOUT });
    if (probe.status !== 0) throw new Error(`stat of the new view: ${probe.stderr}\n${this.text}`);
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  private async untilEnded(): Promise<void> {
    await waitUntil(`end of the daemon ${this.pid}`, END_TIMEOUT, () => !this.running);
  }

  /** Others on this machine may look into /proc/PID of what used the view, which keeps it busy for that moment. */
  private async unmount(): Promise<void> {
    for (const end = performance.now() + BUSY_TIMEOUT; ; await sleep(50)) {
      const { status, stderr } = await run(['umount', '--', this.mountpoint], { timeout: END_TIMEOUT });
      if (status === 0) return;
      if (!stderr.includes('busy') || performance.now() > end)
        throw new Error(`${stderr}in use by ${describeUsers(usersOf(this.mountpoint))}`);
    }
  }

  async close(): Promise<void> {
    try {
      if (mountAt(this.mountpoint) !== undefined) await this.unmount();
      await waitUntil(`end of the daemon ${this.pid}`, END_TIMEOUT, () => !this.running || this.isHeldElsewhere());
    } catch (error) {
      throw new Error(`${(error as Error).message}\nthe daemon wrote:\n${this.text}`);
    } finally {
      await this.destroy();
    }
  }

  async destroy(): Promise<void> {
    const mount = mountAt(this.mountpoint);
    if (mount !== undefined) abortFuse(mount);
    detachMountsBelow(this.mountpoint);
    if (this.running) {
      this.child.kill('SIGTERM');
      await this.untilEnded().catch(() => this.kill());
    }
    if (this.made !== undefined && existsSync(this.made)) removeTempDirectory(this.made);
  }
}

/** Mounts a view; the caller closes it. */
export async function mountView(options: ViewOptions = {}): Promise<View> {
  const view = new MountedView(options);
  try {
    await view.untilServing();
  } catch (error) {
    await view.destroy();
    throw error;
  }
  return view;
}

/** Runs `fn` with a view. After success an unmount that does not work fails the test too. */
export async function withView<T>(options: ViewOptions, fn: (view: View) => Promise<T>): Promise<T> {
  const view = await mountView(options);
  let result: T;
  try {
    result = await fn(view);
  } catch (error) {
    await view.destroy();
    throw error;
  }
  await view.close();
  return result;
}
