// The process that serves a view through fuse-native, on its main thread: the addon gives its requests to node's default
// event loop (uv_default_loop()), which no worker thread has, and whoever serves must not be the daemon's main thread,
// which answers for the view's status and takes it away while a request may be stuck in the underlay.
//
// Promises: it dies with the daemon, whatever kills that; a handler that fails answers EIO and is logged.

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { FixedLeases } from '../../coherence/fixed-leases.js';
import { ShiftfsError } from '../../errors.js';
import { Context, isolateThread, SCRATCH_SIZE } from '../../filesystem/context.js';
import { createDevices, Devices } from '../../filesystem/devices.js';
import { createHandleTable, HandleTable } from '../../filesystem/handle-table.js';
import { createHeld, Held } from '../../filesystem/held.js';
import { createLockTable, LockTable } from '../../filesystem/lock-table.js';
import { createNodeTable, NodeTable } from '../../filesystem/node-table.js';
import { initializeRoot } from '../../filesystem/resolve.js';
import { IdMap } from '../../idmap/map.js';
import { CLONE_FS, MS_NOATIME, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY } from '../../linux/abi.js';
import { EIO, errnoName } from '../../linux/errno.js';
import { mapSharedBlock } from '../../linux/foreign.js';
import { Memory } from '../../linux/memory.js';
import { VIEW_FSTYPE } from '../../linux/mountinfo.js';
import { dieWithParent, setNotDumpable } from '../../linux/process.js';
import { close, exitGroup } from '../../linux/syscalls.js';
import { countRequest } from '../figures.js';
import { openSource, shareDescriptors } from '../source.js';
import {
  type Handler,
  loadAddon,
  mountWithAddon,
  type NativeFrame,
  OPERATIONS,
  type Operation,
  type Signal,
} from './addon.js';
import { Frame } from './frame.js';
import { OPERATION_BYTES, Operations } from './operations.js';
import { BLOCK_BYTES, BLOCK_FD, GAUGE, type HangupData, type ServeOrder, type ServerMessage } from './order.js';

const DAEMON = Number(process.argv[2]);
/** Nodes there may be: those of a walk, of kept directories and of open files. */
const NODE_CAPACITY = 2 << 20;
const HANDLE_CAPACITY = 1 << 20;
/** The addon copies both strings into buffers of this size, and cuts what is longer (fuse_native_mount). */
const ADDON_STRING = 1024;

/** Which argument of a handler is the buffer that its signal must be given back, to be detached. */
const BUFFER_ARGUMENT: Partial<Record<Operation, number>> = {
  read: 2,
  write: 2,
  setxattr: 2,
  getxattr: 2,
  listxattr: 1,
};

function send(message: ServerMessage, then: () => void = () => {}): void {
  process.send!(message, then);
}

class Server {
  private readonly addon = loadAddon();
  private readonly order: ServeOrder;
  private readonly block = mapSharedBlock(BLOCK_FD, BLOCK_BYTES);
  private readonly frames = new Map<NativeFrame, Frame>();
  private readonly context: Context;
  private readonly operations: Operations;

  constructor(order: ServeOrder) {
    this.order = order;
    const { options } = order;
    const memory = new Memory(SCRATCH_SIZE + OPERATION_BYTES);
    const rootFd = openSource(options);
    isolateThread(memory, CLONE_FS);
    const shares = shareDescriptors(2);
    this.block[GAUGE.budget] = shares.nodes.descriptorBudget;
    const held = new Held(createHeld(shares.held));
    const closeDescriptor = (fd: number): void => {
      close(fd);
    };
    this.context = new Context({
      memory,
      nodes: new NodeTable(createNodeTable({ capacity: NODE_CAPACITY, ...shares.nodes }), closeDescriptor),
      handles: new HandleTable(createHandleTable(HANDLE_CAPACITY)),
      locks: new LockTable(createLockTable(), held, closeDescriptor),
      held,
      devices: new Devices(createDevices()),
      ids: new IdMap(options.map),
      leases: new FixedLeases(0),
      backing: null,
      options: {
        allowSuid: options.allowSuid,
        chownIgnore: options.chownIgnore,
        xdev: options.xdev,
        uncached: true,
      },
    });
    const error = initializeRoot(this.context, rootFd);
    if (error < 0)
      throw new ShiftfsError('NO_SOURCE', `cannot read the source ${options.source}: ${errnoName(-error)}`);
    this.context.credentials.initialize();
    this.gauge();
    this.operations = new Operations(this.context, SCRATCH_SIZE, options.createOwner);
  }

  mount(): void {
    const { options } = this.order;
    const words = libfuseOptions(this.order);
    if (Buffer.byteLength(options.mountpoint) >= ADDON_STRING || Buffer.byteLength(words) >= ADDON_STRING - 2) {
      throw new ShiftfsError(
        'UNSUPPORTED',
        `--driver fuse-native: the path of the mount point or of the source is too long (${ADDON_STRING} bytes)`,
        'Name the source for the mount table with --fsname, or use --driver kernel.',
      );
    }
    const handlers = Object.fromEntries(OPERATIONS.map((name) => [name, this.handler(name)]));
    mountWithAddon(
      this.addon,
      options.mountpoint,
      words,
      (bytes) => this.allocate(bytes),
      handlers as Record<Operation, Handler>,
    );
  }

  /** Memory for the requests of one more thread of libfuse, for good. */
  private allocate(bytes: number): Buffer {
    const native = Buffer.alloc(bytes);
    this.frames.set(native, new Frame(native));
    this.block[GAUGE.threads]!++;
    return native;
  }

  private handler(name: Operation): Handler {
    const { addon } = this;
    if (name === 'init') {
      return (native) => {
        addon.fuse_native_signal_init(native, 0);
        send({ kind: 'serving' });
      };
    }
    const number = addon[`op_${name}`];
    const { opcode, serve } = this.operations.table[name];
    const answer = (native: NativeFrame): number => {
      const frame = this.frames.get(native);
      const started = performance.now();
      let result = -EIO;
      this.block[GAUGE.busy] = 1;
      try {
        if (frame?.op !== number) throw new Error('this is not the fuse-native whose requests we know');
        result = this.operations.serve(serve, frame);
        if (this.order.options.trace) this.trace(name, frame, result);
      } catch (error) {
        this.logFailure(name, error);
      }
      this.operations.settle();
      countRequest(this.block, opcode, result, started);
      this.gauge();
      return result;
    };
    const buffer = BUFFER_ARGUMENT[name];
    if (buffer === undefined) {
      // What the others write into a request we have written ourselves, so the plainest of them serves for all.
      const done: Signal = addon.fuse_native_signal_fsync;
      return (native) => done(native, answer(native));
    }
    const done: Signal = addon[`fuse_native_signal_${name}`];
    if (name === 'read' || name === 'write') {
      return (native, _, ...args) => done(native, answer(native), 0, (args[buffer] as Buffer).buffer);
    }
    return (native, _, ...args) => done(native, answer(native), (args[buffer] as Buffer).buffer);
  }

  private gauge(): void {
    const { block, context } = this;
    block[GAUGE.busy] = 0;
    block[GAUGE.nodes] = context.nodes.liveNodes;
    block[GAUGE.descriptors] = context.nodes.cachedDescriptors + context.nodes.pinnedDescriptors;
    block[GAUGE.openFiles] = context.handles.openFiles;
    block[GAUGE.openDirectories] = context.handles.openDirectories;
  }

  private trace(name: string, frame: Frame, result: number): void {
    const reply = result < 0 ? errnoName(-result) : result;
    send({
      kind: 'log',
      level: 'trace',
      fields: { name, path: this.operations.describe(frame), reply },
      message: 'request',
    });
  }

  private logFailure(name: string, error: unknown): void {
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    send({
      kind: 'log',
      level: 'error',
      fields: { name, cause },
      message: 'a request failed inside the daemon and was answered EIO; please report this',
    });
  }
}

/** libfuse 2's words (fuse.h(3), mount.c); commas and backslashes in a name are escaped with a backslash. */
function libfuseOptions({ options, flags }: ServeOrder): string {
  const fsname = (options.fsname ?? options.source).replace(/[\\,]/g, (character) => `\\${character}`);
  return [
    'default_permissions',
    'direct_io',
    'use_ino',
    'big_writes',
    'entry_timeout=0',
    'negative_timeout=0',
    'attr_timeout=0',
    'ac_attr_timeout=0',
    `fsname=${fsname}`,
    `subtype=${VIEW_FSTYPE.slice('fuse.'.length)}`,
    ...(options.allowOther ? ['allow_other'] : []),
    (flags & MS_RDONLY) !== 0 ? 'ro' : 'rw',
    (flags & MS_NOSUID) !== 0 ? 'nosuid' : 'suid',
    (flags & MS_NODEV) !== 0 ? 'nodev' : 'dev',
    ...((flags & MS_NOEXEC) !== 0 ? ['noexec'] : []),
    ...((flags & MS_NOATIME) !== 0 ? ['noatime'] : []),
  ].join(',');
}

/** libfuse's descriptor of the connection. */
function fuseDescriptor(): number {
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === '/dev/fuse') return Number(name);
    } catch {
      // The descriptor of the listing itself.
    }
  }
  throw new ShiftfsError('INTERNAL', 'libfuse has no descriptor of /dev/fuse');
}

function fail(error: unknown): void {
  const known =
    error instanceof ShiftfsError
      ? error
      : new ShiftfsError('INTERNAL', error instanceof Error ? error.message : String(error));
  send({ kind: 'failed', code: known.code, message: known.message, hint: known.hint }, () => exitGroup(1));
}

/** Starts the thread that notices the end; resolves when it does. What it returns takes libfuse's descriptor. */
async function startHangupThread(): Promise<(device: number) => void> {
  const device = new SharedArrayBuffer(4);
  const data: HangupData = { daemon: DAEMON, device };
  const thread = new Worker(fileURLToPath(new URL('hangup-thread.js', import.meta.url)), { workerData: data });
  await once(thread, 'message');
  return (fd) => {
    const cell = new Int32Array(device);
    Atomics.store(cell, 0, fd);
    Atomics.notify(cell, 0);
  };
}

async function begin(order: ServeOrder): Promise<void> {
  const { options } = order;
  process.title = `fuse-shiftfs-server ${options.source} ${options.mountpoint}`;
  try {
    const watch = await startHangupThread();
    new Server(order).mount();
    watch(fuseDescriptor());
  } catch (error) {
    fail(error);
  }
}

// Until the thread that keeps it is there (hangup-thread.ts).
dieWithParent(DAEMON);
setNotDumpable();
// What ends the view is the daemon's to decide; a service manager signals the whole group.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGXFSZ'] as const) process.on(signal, () => {});
process.once('disconnect', () => exitGroup(1));
process.once('message', (order) => void begin(order as ServeOrder));
