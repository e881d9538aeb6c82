// The second driver: the same file system through libfuse 2.9 and the npm package fuse-native. It needs nothing of the
// kernel that Linux had not ten years ago, and shows what the kernel driver is for: CAPABILITIES says what this road cannot
// carry, and an option that needs any of it is refused.
//
// Serving is done in a process of its own (fuse-native/server.ts says why); here is its life.

import { type ChildProcess, fork } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { MountOptions } from '../config/mount-options.js';
import { ShiftfsError } from '../errors.js';
import { createSharedBlock, mapSharedBlock } from '../linux/foreign.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { unmount } from '../linux/process.js';
import type { Driver, DriverCapabilities, EndReason, MountedView, ViewStatus } from './driver.js';
import { summarizeFigures } from './figures.js';
import { BLOCK_BYTES, GAUGE, HANGUP_FD, type ServeOrder, type ServerMessage } from './fuse-native/order.js';
import { unmountView } from './mounting.js';
import { mountFlags } from './source.js';

const SERVER = fileURLToPath(new URL('fuse-native/server.js', import.meta.url));
/** What libfuse has said last on stderr, for the one who waits for the mount. */
const STDERR_TAIL = 2048;

export const CAPABILITIES: DriverCapabilities = {
  callerIds: false,
  invalidation: false,
  renameFlags: false,
  locks: false,
  passthrough: false,
  acls: false,
  sharedMaps: false,
  openInodes: false,
  newerCalls: false,
  timeGranularity: 1_000_000,
  singleTimes: false,
  parallel: false,
};

export const fuseNativeDriver: Driver = {
  name: 'fuse-native',
  async mount(options: MountOptions, log: Logger): Promise<MountedView> {
    refuseWhatIsMissing(options);
    const view = new NativeView(options, log);
    await view.start();
    return view;
  },
};

/** Throws ShiftfsError UNSUPPORTED for an option that needs what this driver has not. */
function refuseWhatIsMissing(options: MountOptions): void {
  const { coherence, watcher } = options;
  const refused: [boolean, string, string][] = [
    [
      coherence.mode !== 'strict',
      `--coherence ${coherence.mode === 'ttl' ? `ttl=${coherence.seconds}` : coherence.mode}`,
      'It cannot take cached names back, so nothing is cached: --coherence strict.',
    ],
    [watcher !== 'auto', `--watcher ${watcher}`, 'Nothing is cached, so nothing is watched: leave it out.'],
    [options.forwardEvents === 'on', '--forward-events on', 'It cannot tell who asks: leave it out.'],
    [options.passthrough === 'on', '--passthrough on', 'Every read and write goes through the daemon: leave it out.'],
    [options.ioUring === 'on', '--io-uring on', 'libfuse 2 reads and writes /dev/fuse: leave it out.'],
  ];
  const found = refused.find(([wanted]) => wanted);
  if (found === undefined) return;
  const [, option, hint] = found;
  throw new ShiftfsError('UNSUPPORTED', `--driver fuse-native cannot do ${option}`, hint);
}

class NativeView implements MountedView {
  readonly capabilities = CAPABILITIES;
  readonly ended: Promise<EndReason>;
  private readonly options: MountOptions;
  private readonly log: Logger;
  private readonly block: Int32Array;
  private readonly blockFd: number;
  private device: string | undefined;
  private lastWords = '';
  private finish: (reason: EndReason) => void = () => {};

  constructor(options: MountOptions, log: Logger) {
    this.options = options;
    this.log = log;
    this.blockFd = createSharedBlock('fuse-shiftfs-figures', BLOCK_BYTES);
    this.block = mapSharedBlock(this.blockFd, BLOCK_BYTES);
    this.ended = new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  async start(): Promise<void> {
    const { options } = this;
    const order: ServeOrder = { options, flags: mountFlags(options) };
    const before = mountAt(readMounts(), options.mountpoint)?.id;
    const server = fork(SERVER, [String(process.pid)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', this.blockFd, 'pipe'],
      serialization: 'advanced',
      // A terminal's signals are for the daemon.
      detached: true,
    });
    closeSync(this.blockFd);
    server.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.lastWords = (this.lastWords + text).slice(-STDERR_TAIL);
    });
    try {
      await this.untilServing(server, order);
    } catch (error) {
      server.kill('SIGKILL');
      const left = mountAt(readMounts(), options.mountpoint);
      if (left && left.id !== before && left.fstype === VIEW_FSTYPE) unmount(options.mountpoint, true);
      throw error;
    }
    const mount = mountAt(readMounts(), options.mountpoint);
    this.device = mount?.device;
  }

  private untilServing(server: ChildProcess, order: ServeOrder): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        reject(error);
        this.finish({ kind: 'failed', error });
      };
      server.on('message', (message: ServerMessage) => {
        switch (message.kind) {
          case 'serving':
            return resolve();
          case 'failed':
            return failed(new ShiftfsError(message.code, this.explain(message.message), message.hint));
          case 'log':
            return this.log[message.level](message.fields, message.message);
        }
      });
      (server.stdio as readonly unknown[] as readonly Readable[])[HANGUP_FD]!.once('data', () =>
        this.finish(this.endReason()),
      );
      server.on('error', failed);
      // Once its stderr is at its end, too.
      server.on('close', (code, signal) => {
        const how = signal ? `killed by ${signal}` : `exit status ${code}`;
        failed(new ShiftfsError('DAEMON_DIED', this.explain(`the serving process ended (${how})`)));
      });
      server.send(order, (error) => {
        if (error) failed(error);
      });
    });
  }

  private explain(message: string): string {
    const said = this.lastWords.trim();
    return said === '' ? message : `${message}: ${said}`;
  }

  /** The connection is closed. What was aborted is still mounted, and answers ENOTCONN. */
  private endReason(): EndReason {
    const mount = mountAt(readMounts(), this.options.mountpoint);
    return { kind: mount !== undefined && mount.device === this.device ? 'aborted' : 'unmounted' };
  }

  async unmount(lazy: boolean): Promise<void> {
    unmountView(this.options.mountpoint, lazy);
  }

  status(): ViewStatus {
    const { block } = this;
    const gauge = (word: number): number => block[word]! >>> 0;
    return {
      // FUSE_KERNEL_MINOR_VERSION of libfuse 2.9 (fuse_kernel.h).
      protocol: '7.19',
      features: ['big_writes', 'direct_io'],
      coherence: 'strict',
      watcher: 'none',
      workers: { alive: 1, busy: gauge(GAUGE.busy), max: 1 },
      nodes: gauge(GAUGE.nodes),
      descriptors: { cached: gauge(GAUGE.descriptors), budget: gauge(GAUGE.budget) },
      openFiles: gauge(GAUGE.openFiles),
      openDirectories: gauge(GAUGE.openDirectories),
      ...summarizeFigures(block, 1),
      counters: { libfuse_threads: gauge(GAUGE.threads) },
    };
  }
}
