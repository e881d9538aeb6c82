// The kernel driver: makes the mount, agrees with the kernel on the protocol, starts the threads that serve, and ends
// them when the view ends. It runs on the main thread, which never serves and never touches the view.

import { closeSync, constants, openSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { AliasesData } from '../coherence/aliases-thread.js';
import type { ChokidarData } from '../coherence/chokidar-thread.js';
import { armDevice, armInode } from '../coherence/fanotify-marks.js';
import type { WatcherData } from '../coherence/fanotify-thread.js';
import { FixedLeases } from '../coherence/fixed-leases.js';
import { createNameTable, NameTable } from '../coherence/name-table.js';
import { NOTIFIER_BYTES, Notifier } from '../coherence/notifier.js';
import {
  COHERENCE,
  COUNTERS,
  type CoherenceShared,
  MODE_CHILDREN,
  MODE_FILESYSTEM,
  MODE_INODES,
} from '../coherence/shared.js';
import type { WatchingData } from '../coherence/watching.js';
import type { MountOptions } from '../config/mount-options.js';
import { ShiftfsError } from '../errors.js';
import { Context, type FileSystemOptions, SCRATCH_SIZE } from '../filesystem/context.js';
import { createDevices, DEVICE_HANDLES, DEVICE_UNWATCHABLE, Devices } from '../filesystem/devices.js';
import { createHandleTable, HandleTable } from '../filesystem/handle-table.js';
import { createHeld, Held } from '../filesystem/held.js';
import { createLockTable, LockTable } from '../filesystem/lock-table.js';
import { createNodeTable, NodeTable, ROOT_SLOT } from '../filesystem/node-table.js';
import { initializeRoot } from '../filesystem/resolve.js';
import { HelperProcess } from '../forward/helper.js';
import { createForwardShared, type ForwardShared } from '../forward/jobs.js';
import { BackingFiles } from '../fuse/backing.js';
import { featureNames, type InitWishes, MAX_WRITE, type Negotiated, negotiate, writeInitOut } from '../fuse/init.js';
import { argumentSizes, IN_HEADER, INIT_OUT, INIT2, OP, OUT_HEADER } from '../fuse/protocol.js';
import { Request } from '../fuse/request.js';
import { IdMap } from '../idmap/map.js';
import { MS_RDONLY, O_CLOEXEC } from '../linux/abi.js';
import { EBUSY, EINTR, ENODEV, ENOENT, EPERM, errnoName } from '../linux/errno.js';
import { openGroup } from '../linux/fanotify.js';
import { Memory } from '../linux/memory.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { unmount } from '../linux/process.js';
import { call2, call6, close, NR, read, write } from '../linux/syscalls.js';
import type { Driver, DriverCapabilities, EndReason, MountedView, ViewStatus } from './driver.js';
import { summarizeFigures } from './figures.js';
import {
  COMPANION,
  CONTROL,
  createShared,
  KIND_DEVICE,
  KIND_QUEUE,
  KIND_SPARE,
  type Shared,
  type SupervisorData,
  type ThreadMessage,
  WORKER,
  type WorkerData,
} from './kernel/shared.js';
import { enableUring, possibleCores, uringParameter } from './kernel/uring-parameter.js';
import { unmountView } from './mounting.js';
import { DESCRIPTORS_A_THREAD, mountFlags, openSource, shareDescriptors } from './source.js';

/** Nodes there may be: address space, not memory (100 bytes each when used). */
const NODE_CAPACITY = 8 << 20;
const HANDLE_CAPACITY = 1 << 20;

/** Room for the names the kernel may have cached, bytes: address space, about 40 for each when used. */
const NAME_BYTES = 512 << 20;
/** Serving threads that there are more with a helper: some may be waiting for what it holds, and it for an answer. */
const WAITING_FOR_HELPER = 2;
/** Each core's queue of FUSE over io_uring takes a thread, of 8 MB: with more cores, requests come by the device. */
const QUEUES_MAX = 32;

export const kernelDriver: Driver = {
  name: 'kernel',
  async mount(options: MountOptions, log: Logger): Promise<MountedView> {
    const view = new KernelView(options, log);
    await view.start();
    return view;
  },
};

/** What reports changes of the underlay, and what its leases are kept in. */
interface Coherent {
  readonly shared: CoherenceShared;
  readonly group: number;
  readonly wake: number;
  readonly mode: number;
  /** Null: nothing is forwarded to watchers in the view. */
  readonly forward: ForwardShared | null;
}

/** The companion keeps one core awake: with more than two there is another idle one all the same. */
const COMPANION_CORES = 2;

class KernelView implements MountedView {
  readonly capabilities: DriverCapabilities = {
    callerIds: true,
    invalidation: true,
    renameFlags: true,
    locks: true,
    passthrough: true,
    acls: true,
    sharedMaps: true,
    openInodes: true,
    newerCalls: true,
    timeGranularity: 1,
    singleTimes: true,
    parallel: true,
  };
  readonly ended: Promise<EndReason>;
  private readonly options: MountOptions;
  private readonly log: Logger;
  private readonly memory = new Memory(SCRATCH_SIZE + 16384);
  private readonly threads: Worker[] = [];
  private supervisor: Worker | undefined;
  private shared: Shared | undefined;
  private nodes: NodeTable | undefined;
  private handles: HandleTable | undefined;
  private workerData: Omit<WorkerData, 'index' | 'kind' | 'queue' | 'warm'> | undefined;
  private agreed: Negotiated | undefined;
  private descriptorBudget = 0;
  /** What was asked for, or what there are descriptors for. */
  private maxWorkers = 0;
  private coherence: Coherent | null = null;
  private readonly accompanied = availableParallelism() === COMPANION_CORES;
  private watcher: Worker | undefined;
  private helper: HelperProcess | undefined;
  private mounted = false;
  private finish: (reason: EndReason) => void = () => {};

  constructor(options: MountOptions, log: Logger) {
    this.options = options;
    this.log = log;
    this.ended = new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  async start(): Promise<void> {
    const { options } = this;
    const rootFd = openSource(options);
    const flags = mountFlags(options);
    const { allowSuid, chownIgnore, xdev } = options;
    const context = this.prepareTables(rootFd, { allowSuid, chownIgnore, xdev, uncached: true });
    if (options.coherence.mode === 'lease') this.coherence = this.prepareCoherence(context);
    const caching = this.seconds > 0 || this.coherence !== null;
    const fsOptions: FileSystemOptions = { allowSuid, chownIgnore, xdev, uncached: !caching };
    // Before the mount: it sends INIT, which offers what is switched on then.
    const ioUring = this.wantIoUring(context);
    const device = this.openDevice();
    try {
      this.mountDevice(device, flags);
      const wishes: InitWishes = { passthrough: options.passthrough !== 'off', stackDepth: 1, ioUring, caching };
      this.agreed = this.answerInit(device, wishes);
      this.log.debug({ features: featureNames(this.agreed), minor: this.agreed.minor }, 'agreed with the kernel');
      if (options.passthrough === 'on' && (this.agreed.flags2 & INIT2.PASSTHROUGH) === 0) {
        throw new ShiftfsError(
          'UNSUPPORTED',
          'this kernel has no FUSE passthrough',
          'It needs Linux 6.9; use --passthrough auto.',
        );
      }
      this.workerData = {
        mountpoint: options.mountpoint,
        device,
        agreed: this.agreed,
        map: options.map,
        options: fsOptions,
        ttl: this.seconds,
        trace: options.trace,
        accompanied: this.accompanied,
        shared: this.shared!,
        coherence: this.coherence,
      };
      await this.startThreads();
      await this.startAliases(device);
      if (this.coherence !== null) await this.startWatcher(device);
      if (options.forwardEvents === 'on') await this.startHelper();
    } catch (error) {
      if (this.mounted) unmount(options.mountpoint, true);
      closeSync(device);
      throw error;
    }
  }

  async unmount(lazy: boolean): Promise<void> {
    unmountView(this.options.mountpoint, lazy);
  }

  status(): ViewStatus {
    const { shared, agreed } = this;
    const workers = new Int32Array(shared!.workers);
    let alive = 0;
    let busy = 0;
    for (let at = 0; at < workers.length; at += WORKER.words) {
      if (workers[at + WORKER.alive] !== 1) continue;
      alive++;
      if (workers[at + WORKER.state] !== 0) busy++;
    }
    return {
      protocol: `7.${agreed!.minor}`,
      features: featureNames(agreed!),
      coherence: this.describeCoherence(),
      watcher: this.describeWatcher(),
      ...(this.helper === undefined ? {} : { helper: { state: this.helper.state, pid: this.helper.pid } }),
      workers: { alive, busy, max: this.maxWorkers },
      nodes: this.nodes!.liveNodes,
      descriptors: {
        cached: this.nodes!.cachedDescriptors + this.nodes!.pinnedDescriptors,
        budget: this.descriptorBudget,
      },
      openFiles: this.handles!.openFiles,
      openDirectories: this.handles!.openDirectories,
      ...summarizeFigures(new Int32Array(shared!.figures), this.maxWorkers),
      counters: this.counters(),
    };
  }

  private describeCoherence(): string {
    if (this.coherence === null) return this.seconds > 0 ? `ttl=${this.seconds}` : 'strict';
    const leasing = Atomics.load(new Int32Array(this.coherence.shared.control), COHERENCE.mode) !== 0;
    return leasing ? 'lease' : 'lease (suspended: nothing is cached)';
  }

  private describeWatcher(): string {
    switch (this.coherence?.mode) {
      case MODE_FILESYSTEM:
        return 'fanotify, one mark on the file system';
      case MODE_INODES:
        return 'fanotify, marks on inodes';
      case MODE_CHILDREN:
        return 'chokidar';
      default:
        return 'none';
    }
  }

  private counters(): Record<string, number> {
    if (this.coherence === null) return {};
    const control = new Int32Array(this.coherence.shared.control);
    const counters: Record<string, number> = { names: new NameTable(this.coherence.shared.names).live };
    for (const [i, name] of COUNTERS.entries()) counters[name] = control[COHERENCE.counters + i]! >>> 0;
    return counters;
  }

  /** Seconds the kernel may keep names and attributes when nothing reports changes. */
  private get seconds(): number {
    return this.options.coherence.mode === 'ttl' ? this.options.coherence.seconds : 0;
  }

  private prepareTables(rootFd: number, fsOptions: FileSystemOptions): Context {
    const { threads, nodes, held } = shareDescriptors(this.options.maxWorkers);
    this.descriptorBudget = nodes.descriptorBudget;
    this.maxWorkers = threads;
    this.shared = createShared(
      {
        nodes: createNodeTable({ capacity: NODE_CAPACITY, ...nodes }),
        handles: createHandleTable(HANDLE_CAPACITY),
        locks: createLockTable(),
        held: createHeld(held),
        devices: createDevices(),
      },
      this.maxWorkers,
    );
    const closeDescriptor = (fd: number): void => {
      close(fd);
    };
    const backing = new BackingFiles(() => this.workerData!.device);
    this.nodes = new NodeTable(this.shared.nodes, closeDescriptor, (id) => backing.close(id));
    this.handles = new HandleTable(this.shared.handles);
    // /proc/self/fd is the working directory of serving threads; for the root, the main thread's own serves.
    process.chdir('/proc/self/fd');
    const holders = new Held(this.shared.held);
    const context = new Context({
      memory: this.memory,
      nodes: this.nodes,
      handles: this.handles,
      locks: new LockTable(this.shared.locks, holders, closeDescriptor),
      held: holders,
      devices: new Devices(this.shared.devices),
      ids: new IdMap(this.options.map),
      leases: new FixedLeases(0),
      backing: null,
      options: fsOptions,
    });
    const error = initializeRoot(context, rootFd);
    process.chdir('/');
    if (error < 0) {
      throw new ShiftfsError('NO_SOURCE', `cannot read the source ${this.options.source}: ${errnoName(-error)}`);
    }
    return context;
  }

  /** Chooses what will report changes of the underlay. Null: nothing does, and the view is served as in strict mode. */
  private prepareCoherence(context: Context): Coherent | null {
    const { options, log } = this;
    const shared: CoherenceShared = {
      control: new SharedArrayBuffer(COHERENCE.words * 4),
      names: createNameTable(NAME_BYTES),
    };
    const root = context.nodes.device(ROOT_SLOT);
    if (context.devices.has(root, DEVICE_UNWATCHABLE)) {
      const message = 'the source is on a file system that does not report changes made elsewhere: nothing is cached';
      log.warn({ hint: 'Use --coherence ttl=SECONDS if stale data for that long is acceptable.' }, message);
      return null;
    }
    if (options.watcher !== 'chokidar') {
      const coherent = this.prepareFanotify(context, shared);
      if (coherent !== null) return coherent;
      if (options.watcher === 'fanotify') {
        throw new ShiftfsError(
          'UNSUPPORTED',
          'fanotify cannot watch the source',
          'It needs Linux 5.17 and a file system with file handles; use --watcher auto.',
        );
      }
    }
    return { shared, group: -1, wake: -1, mode: MODE_CHILDREN, forward: null };
  }

  private prepareFanotify(context: Context, shared: CoherenceShared): Coherent | null {
    const root = context.nodes.device(ROOT_SLOT);
    if (!context.devices.has(root, DEVICE_HANDLES)) return null;
    const group = openGroup();
    if (group < 0) {
      this.log.debug({ errno: errnoName(-group) }, 'fanotify is not to be had');
      return null;
    }
    const wake = call2(NR.eventfd2, 0, O_CLOEXEC);
    let mode = armDevice(context, group, root) ? MODE_FILESYSTEM : 0;
    if (mode === 0) {
      process.chdir('/proc/self/fd');
      if (armInode(context, group, ROOT_SLOT)) mode = MODE_INODES;
      process.chdir('/');
    }
    if (mode !== 0) {
      return { shared, group, wake, mode, forward: this.wantForwarding() ? createForwardShared() : null };
    }
    close(group);
    close(wake);
    return null;
  }

  /** What the host does can be repeated on a view that takes changes, by whoever is told of each. */
  private wantForwarding(): boolean {
    return this.options.forwardEvents !== 'off' && (mountFlags(this.options) & MS_RDONLY) === 0;
  }

  /**
   * The helper, which takes 40 MB, is started with the first change that is to be forwarded, unless it was asked for. It is
   * not waited for: what is to be forwarded waits until it is there.
   */
  private async startHelper(): Promise<void> {
    const { helper } = this;
    if (helper === undefined) {
      throw new ShiftfsError(
        'UNSUPPORTED',
        'changes of the source cannot be forwarded to watchers in the view',
        'It needs --coherence lease, fanotify, and a view that is not read-only; use --forward-events auto.',
      );
    }
    if (helper.state !== 'waiting') return;
    helper.start();
    if (!this.overIoUring) await this.addThreads(WAITING_FOR_HELPER, KIND_DEVICE, -1, true);
  }

  /** Starts the thread that lets the kernel forget where directories were. */
  private async startAliases(device: number): Promise<void> {
    const data: AliasesData = { device, aliases: this.shared!.aliases };
    const thread = new Worker(fileURLToPath(new URL('../coherence/aliases-thread.js', import.meta.url)), {
      workerData: data,
    });
    await new Promise<void>((resolve, reject) => {
      thread.once('message', () => resolve());
      thread.on('error', (error) => {
        reject(error);
        this.fail(error);
      });
    });
  }

  /** Starts the thread that reads what changes; leases are granted from here on. */
  private async startWatcher(device: number): Promise<void> {
    const { shared, group, wake, mode, forward } = this.coherence!;
    const { mountpoint } = this.options;
    const mount = mountAt(readMounts(), mountpoint);
    if (forward !== null && mount !== undefined) {
      this.helper = new HelperProcess(forward, new Int32Array(shared.control), this.log, mountpoint, mount.device);
    }
    const file = group >= 0 ? '../coherence/fanotify-thread.js' : '../coherence/chokidar-thread.js';
    const data: WatcherData | ChokidarData =
      group >= 0
        ? {
            group,
            wake,
            device,
            source: this.options.source,
            shared: this.shared!,
            coherence: shared,
            forward: this.helper?.wiring ?? null,
          }
        : { device, shared: this.shared!, coherence: shared, budget: Math.floor(this.descriptorBudget / 2) };
    const watcher = new Worker(fileURLToPath(new URL(file, import.meta.url)), { workerData: data });
    this.watcher = watcher;
    await new Promise<void>((resolve, reject) => {
      watcher.on('message', (message: ThreadMessage) => {
        if (message.kind === 'ready') resolve();
        else if (message.kind === 'forward') void this.startHelper();
        else if (message.kind === 'ended') this.helper?.giveUp();
        else if (message.kind === 'log') this.log[message.level](message.fields, message.message);
      });
      watcher.on('error', (error) => {
        reject(error);
        this.loseWatcher(device, error);
      });
    });
    const control = new Int32Array(shared.control);
    if (this.canTakeBackAbsences(device, control)) Atomics.store(control, COHERENCE.negative, 1);
    else this.log.info('this kernel cannot be told to drop an absent name: absences are not cached');
    Atomics.store(control, COHERENCE.mode, mode);
  }

  /**
   * The watcher's thread broke: nothing more is granted, and another thread takes back all there is. Whatever that one cannot
   * take back could go stale, so then the view ends.
   */
  private loseWatcher(device: number, error: unknown): void {
    const { shared } = this.coherence!;
    Atomics.store(new Int32Array(shared.control), COHERENCE.mode, 0);
    this.watcher = undefined;
    this.helper?.giveUp();
    const message =
      'the watcher of the underlay broke: nothing is cached any more; restart the daemon to have leases again, and please report this';
    this.log.error({ err: error }, message);
    const data: WatchingData = { device, shared: this.shared!, coherence: shared };
    const recall = new Worker(fileURLToPath(new URL('../coherence/recall-thread.js', import.meta.url)), {
      workerData: data,
    });
    recall.on('error', (cause) => this.fail(cause));
  }

  /**
   * Linux 6.19 to 7.1 answer INVAL_ENTRY for a cached absence with ENOENT and leave it there, so it is tried, on this
   * mount: an absent name is looked up (by this thread, which serves nothing) and taken back.
   */
  private canTakeBackAbsences(device: number, control: Int32Array): boolean {
    const name = Buffer.from(`.fuse-shiftfs-probe-${process.pid}`);
    const path = `${this.options.mountpoint}/${name.toString()}`;
    Atomics.store(control, COHERENCE.negative, 1);
    Atomics.store(control, COHERENCE.mode, this.coherence!.mode);
    const absent = statSync(path, { throwIfNoEntry: false }) === undefined;
    Atomics.store(control, COHERENCE.mode, 0);
    Atomics.store(control, COHERENCE.negative, 0);
    const memory = new Memory(NOTIFIER_BYTES);
    const taken = new Notifier(memory, 0, device, control).invalEntry(ROOT_SLOT, 0, name, 0, name.length) === 0;
    return absent && taken;
  }

  private openDevice(): number {
    try {
      return openSync('/dev/fuse', constants.O_RDWR | O_CLOEXEC);
    } catch (cause) {
      throw new ShiftfsError(
        'NO_FUSE',
        `cannot open /dev/fuse: ${(cause as Error).message}`,
        'Load the module with: modprobe fuse',
        {
          cause,
        },
      );
    }
  }

  private mountDevice(device: number, flags: number): void {
    const { options, memory } = this;
    const at = SCRATCH_SIZE;
    const data = [
      `fd=${device}`,
      'rootmode=40000',
      'user_id=0',
      'group_id=0',
      'default_permissions',
      ...(options.allowOther ? ['allow_other'] : []),
    ].join(',');
    const source = memory.setString(at, options.fsname ?? options.source);
    const target = memory.setString(at + 4200, options.mountpoint);
    const type = memory.setString(at + 8400, VIEW_FSTYPE);
    const text = memory.setString(at + 8500, data);
    const error = call6(NR.mount, source, target, type, flags, text, 0);
    if (error === -EPERM) {
      throw new ShiftfsError('NO_PERMISSION', 'mounting is not permitted', 'Run it as root (CAP_SYS_ADMIN is needed).');
    }
    if (error === -ENODEV) {
      throw new ShiftfsError('NO_FUSE', 'the kernel has no FUSE', 'Load the module with: modprobe fuse');
    }
    if (error < 0) {
      const code = error === -EBUSY ? 'BUSY' : error === -ENOENT ? 'NO_MOUNTPOINT' : 'INTERNAL';
      throw new ShiftfsError(code, `cannot mount on ${options.mountpoint}: ${errnoName(-error)}`);
    }
    this.mounted = true;
  }

  /** INIT is queued by mount(2), so this read returns at once. */
  private answerInit(device: number, wishes: InitWishes): Negotiated {
    // The read buffer must hold max_write and a header, whatever arrives (fuse_dev_do_read refuses smaller ones).
    const memory = new Memory(MAX_WRITE + 16384);
    let length: number;
    do length = read(device, memory.address, MAX_WRITE + 4096);
    while (length === -EINTR);
    if (length < 0) throw new ShiftfsError('INTERNAL', `cannot read INIT: ${errnoName(-length)}`);
    const request = new Request(memory, argumentSizes(false));
    const error = request.attach(0, length);
    if (error < 0 || request.opcode !== OP.INIT)
      throw new ShiftfsError('INTERNAL', 'the kernel did not begin with INIT');
    const agreed = negotiate(memory, request.argument, length - IN_HEADER.size, wishes);
    if (typeof agreed === 'number') {
      throw new ShiftfsError('UNSUPPORTED', "this kernel's FUSE is too old", 'Linux 5.4 or later is needed.');
    }
    const readahead = memory.u32[(request.argument >> 2) + 2]!;
    const out = MAX_WRITE + 8192;
    memory.u32[out >> 2] = OUT_HEADER.size + INIT_OUT.size;
    memory.i32[(out >> 2) + 1] = 0;
    memory.u32[(out >> 2) + 2] = request.uniqueLo;
    memory.u32[(out >> 2) + 3] = request.uniqueHi;
    writeInitOut(memory, out + OUT_HEADER.size, agreed, wishes, readahead);
    const written = write(device, memory.address + out, OUT_HEADER.size + INIT_OUT.size);
    if (written < 0) throw new ShiftfsError('INTERNAL', `the kernel refused our INIT: ${errnoName(-written)}`);
    return agreed;
  }

  private async startThreads(): Promise<void> {
    const minor = mountAt(readMounts(), this.options.mountpoint)?.device.split(':')[1];
    const data: SupervisorData = {
      shared: this.shared!,
      maxWorkers: this.maxWorkers,
      device: this.workerData!.device,
      connection: Number(minor),
    };
    this.supervisor = new Worker(fileURLToPath(new URL('./kernel/supervisor.js', import.meta.url)), {
      workerData: data,
    });
    this.supervisor.on('message', (message: ThreadMessage) => {
      if (message.kind === 'grow') void this.grow(message.queue);
    });
    this.supervisor.on('error', (error) => this.fail(error));
    if (this.accompanied) this.startCompanion();
    if (!this.overIoUring) {
      const threads = Math.min(this.options.workers, this.maxWorkers);
      await Promise.all(Array.from({ length: threads }, () => this.startThread(KIND_DEVICE, -1)));
      return;
    }
    // FORGET, INTERRUPT and what comes before the queues are there arrive by the device.
    await this.startThread(KIND_DEVICE, -1);
    await Promise.all(Array.from({ length: possibleCores() }, (_, core) => this.startThread(KIND_QUEUE, core)));
  }

  private startCompanion(): void {
    const companion = new Worker(fileURLToPath(new URL('./kernel/companion.js', import.meta.url)), {
      workerData: { control: this.shared!.control },
    });
    companion.on('error', (error) => this.fail(error));
  }

  private growing = false;

  private get overIoUring(): boolean {
    return (this.agreed!.flags2 & INIT2.OVER_IO_URING) !== 0;
  }

  /**
   * Whether to ask for FUSE over io_uring. `on` switches the module parameter on first. Not over a remote file system: a
   * request that came this way cannot be answered by another thread, so a caller stuck there could not be killed.
   */
  private wantIoUring(context: Context): boolean {
    const { options, log } = this;
    if (options.ioUring === 'off') return false;
    const remote = context.devices.has(context.nodes.device(ROOT_SLOT), DEVICE_UNWATCHABLE);
    const cores = possibleCores();
    const threadsSuffice = cores <= QUEUES_MAX && cores < this.maxWorkers;
    if (options.ioUring === 'auto') return !remote && threadsSuffice && uringParameter() === 'Y';
    if (!threadsSuffice) {
      throw new ShiftfsError(
        'UNSUPPORTED',
        `FUSE over io_uring takes a thread for each of ${cores} cores, and there may be ${Math.min(QUEUES_MAX, this.maxWorkers - 1)}`,
        'Use --io-uring auto.',
      );
    }
    if (uringParameter() === 'N' && enableUring()) {
      log.info('FUSE over io_uring was off, and is switched on for this machine until it boots again');
    }
    if (uringParameter() === 'Y') return true;
    throw new ShiftfsError(
      'UNSUPPORTED',
      'FUSE over io_uring is not to be had',
      'It needs Linux 6.14 and fuse.enable_uring=1; use --io-uring auto.',
    );
  }

  /** Twice as many threads for a queue, or for the device (-1): all that there are have been stuck for a while. */
  private async grow(queue: number): Promise<void> {
    if (this.growing) return;
    const there = this.threadsOf(queue);
    this.log.debug({ queue, threads: there }, 'serving threads are stuck in the underlay');
    this.growing = true;
    await this.addThreads(there, queue < 0 ? KIND_DEVICE : KIND_SPARE, queue, false);
    this.growing = false;
  }

  /** As many more serving threads as there may be, up to `wanted`, while requests are served. `warm`: nobody waits for them. */
  private async addThreads(wanted: number, kind: WorkerData['kind'], queue: number, warm: boolean): Promise<void> {
    const more = Math.min(wanted, this.maxWorkers - this.threads.length);
    // A thread cannot give cached descriptors back before it runs.
    this.nodes!.evict(more * DESCRIPTORS_A_THREAD);
    try {
      await Promise.all(Array.from({ length: more }, () => this.startThread(kind, queue, warm)));
    } catch (error) {
      this.log.warn({ err: error }, 'cannot start more serving threads');
    }
  }

  private threadsOf(queue: number): number {
    const workers = new Int32Array(this.shared!.workers);
    return this.threads.filter((_, index) => workers[index * WORKER.words + WORKER.queue] === queue + 1).length;
  }

  private startThread(kind: WorkerData['kind'], queue: number, warm = true): Promise<void> {
    const index = this.threads.length;
    const data: WorkerData = { ...this.workerData!, index, kind, queue, warm };
    const thread = new Worker(fileURLToPath(new URL('./kernel/worker.js', import.meta.url)), { workerData: data });
    this.threads.push(thread);
    let serving = false;
    return new Promise((resolve, reject) => {
      thread.on('message', (message: ThreadMessage) => {
        if (message.kind === 'ready') {
          serving = true;
          resolve();
        } else if (message.kind === 'log') this.log[message.level](message.fields, message.message);
        else if (message.kind === 'ended') this.end(message.errno);
        else if (message.kind === 'arm' || message.kind === 'disarm') this.watcher?.postMessage(message);
      });
      thread.on('error', (error) => {
        // One that did not get as far as to serve is missed by nobody but whoever asked for it.
        reject(error);
        if (serving) this.fail(error);
      });
    });
  }

  private end(errno: number): void {
    const control = new Int32Array(this.shared!.control);
    Atomics.store(control, CONTROL.ending, 1);
    this.wakeSupervisor();
    Atomics.store(control, CONTROL.companion, COMPANION.awake);
    Atomics.notify(control, CONTROL.companion);
    // ENODEV: unmounted, and the last user is gone. ECONNABORTED (ABORT_ERROR): aborted through sysfs or umount -f.
    this.finish(errno === ENODEV ? { kind: 'unmounted' } : { kind: 'aborted' });
  }

  private fail(error: unknown): void {
    this.finish({ kind: 'failed', error: error instanceof Error ? error : new Error(String(error)) });
  }

  private wakeSupervisor(): void {
    const control = new Int32Array(this.shared!.control);
    Atomics.add(control, CONTROL.wake, 1);
    Atomics.notify(control, CONTROL.wake);
  }
}
