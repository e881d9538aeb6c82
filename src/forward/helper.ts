// Starts the helper, when it is asked for or when there is something for it to do, and starts it again when it dies, on the
// daemon's main thread. Whatever happens to it, the mount goes on: what it does not do is only that nobody wakes.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { count } from '../coherence/shared.js';
import { F_SETFL, O_NONBLOCK, O_WRONLY } from '../linux/abi.js';
import { pipe } from '../linux/process.js';
import { fcntl } from '../linux/syscalls.js';
import type { ForwardWiring } from './forwarder.js';
import { type ForwardShared, HELPER_EXIT, HELPER_GONE, NO_HELPER } from './jobs.js';

const PROGRAM = fileURLToPath(new URL('./helper-main.js', import.meta.url));
/** What little it does needs no more (V8's flags). */
const NODE_FLAGS = ['--max-old-space-size=32', '--max-semi-space-size=1', '--v8-pool-size=0'];
/** Between its death and the next start, ms: doubled each time up to the second, unless it lived for the third. */
const PAUSE_MS = 50;
const PAUSE_MAX_MS = 30_000;
const SETTLED_MS = 10_000;
/** Deaths in a row, none of them later than SETTLED_MS, after which it is given up. */
const DEATHS_MAX = 10;

/** `waiting`: for the first change by the host that somebody in the view may be waiting for. */
export type HelperState = 'waiting' | 'starting' | 'running' | 'restarting' | 'gone';

export class HelperProcess {
  readonly wiring: ForwardWiring;
  state: HelperState = 'waiting';
  private readonly jobs: { readonly read: number; readonly write: number };
  private readonly answers: { readonly read: number; readonly write: number };
  private readonly control: Int32Array;
  private readonly helper: Int32Array;
  private readonly log: Logger;
  private pause = PAUSE_MS;
  private deaths = 0;
  private child: ChildProcess | undefined;
  private readonly mountpoint: string;
  private readonly device: string;

  /** For the view that is mounted on `mountpoint`, whose device is MAJOR:MINOR; `control` holds the counters of coherence. */
  constructor(shared: ForwardShared, control: Int32Array, log: Logger, mountpoint: string, device: string) {
    this.mountpoint = mountpoint;
    this.device = device;
    // Both ends stay open here: the next helper takes what the one before has left in the pipe.
    this.jobs = pipe();
    this.answers = pipe();
    fcntl(this.jobs.write, F_SETFL, O_WRONLY | O_NONBLOCK);
    this.wiring = { jobs: this.jobs.write, answers: this.answers.read, shared };
    this.control = control;
    this.helper = new Int32Array(shared.helper);
    this.log = log;
  }

  /** Starts it; once. */
  start(): void {
    this.state = 'starting';
    this.spawn();
  }

  /** Nothing will be forwarded any more. */
  giveUp(): void {
    this.state = 'gone';
    Atomics.store(this.helper, 0, HELPER_GONE);
    this.child?.kill('SIGKILL');
  }

  get pid(): number | null {
    const pid = Atomics.load(this.helper, 0);
    return pid < 0 ? null : pid;
  }

  private spawn(): void {
    const started = performance.now();
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, [...NODE_FLAGS, PROGRAM, this.mountpoint, this.device], {
        stdio: ['ignore', 'ignore', 'pipe', this.jobs.read, this.answers.write, this.wiring.shared.gate],
        cwd: '/',
        env: {},
      });
    } catch (error) {
      // Node throws what it does not take for a reason that may pass, such as ENOMEM.
      this.ended(started, { code: null, signal: null, said: (error as Error).message });
      return;
    }
    this.child = child;
    child.unref();
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-1024);
    });
    (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
    if (child.pid !== undefined) {
      Atomics.store(this.helper, 0, child.pid);
      this.state = 'running';
    }
    child.once('error', (error) => {
      said = error.message;
    });
    // Node calls this in the turn in which it reaps the process, before which the pid cannot be anybody else's.
    const ended = (code: number | null, signal: string | null): void => {
      this.ended(started, { code, signal, said: said.trim() });
    };
    child.once('exit', ended);
    if (child.pid === undefined) child.once('error', () => ended(null, null));
  }

  private ended(started: number, how: { code: number | null; signal: string | null; said: string }): void {
    this.child = undefined;
    if (how.code === HELPER_EXIT.gone || this.state === 'gone') {
      this.giveUp();
      return;
    }
    Atomics.store(this.helper, 0, NO_HELPER);
    if (performance.now() - started > SETTLED_MS) {
      this.pause = PAUSE_MS;
      this.deaths = 0;
    }
    if (++this.deaths >= DEATHS_MAX) {
      this.giveUp();
      this.log.error(how, 'the process that wakes watchers of the view does not stay; they are not woken any more');
      return;
    }
    this.state = 'restarting';
    this.log.warn(
      { ...how, pause: this.pause },
      'the process that wakes watchers of the view ended, and is started again',
    );
    setTimeout(() => {
      count(this.control, 'forward_restarts');
      this.spawn();
    }, this.pause).unref();
    this.pause = Math.min(this.pause * 2, PAUSE_MAX_MS);
  }
}
