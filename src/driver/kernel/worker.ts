// A serving thread: reads a request from its clone of /dev/fuse, serves it with blocking calls, writes the reply. It has
// no event loop of its own while it serves, and ends when the view does.
//
// Promises: a request that was read is answered exactly once, by this thread or (when it is stuck and its caller is
// being killed) by the supervisor; an exception in a handler is EIO for that request and a log line, never the end.

import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { Aliases } from '../../coherence/aliases.js';
import { armDevice, armInode, disarmInode } from '../../coherence/fanotify-marks.js';
import { FixedLeases } from '../../coherence/fixed-leases.js';
import { type Watch, WatchedLeases } from '../../coherence/leases.js';
import { NameTable } from '../../coherence/name-table.js';
import { AT_ARGUMENT, Context, isolateThread, type Leases, SCRATCH_SIZE } from '../../filesystem/context.js';
import { Devices } from '../../filesystem/devices.js';
import { closeDirectory, releaseDirectory } from '../../filesystem/directories.js';
import { closeFile, release } from '../../filesystem/files.js';
import { HANDLE_FILE, HandleTable } from '../../filesystem/handle-table.js';
import { Held } from '../../filesystem/held.js';
import { LockTable } from '../../filesystem/lock-table.js';
import { type LockRequest, waiterDescriptor } from '../../filesystem/locks.js';
import { lock, unlock } from '../../filesystem/mutex.js';
import { NODE_ARMING, NodeTable, type Place } from '../../filesystem/node-table.js';
import { BackingFiles } from '../../fuse/backing.js';
import {
  argumentSizes,
  COPY_TARGET_HANDLE,
  FUSE_DEV_IOC_CLONE,
  handleOffsets,
  INIT,
  INIT2,
  OP,
  OP_LIMIT,
  OUT_HEADER,
  opName,
} from '../../fuse/protocol.js';
import { Request } from '../../fuse/request.js';
import { type Described, describeArguments, describeReply } from '../../fuse/trace.js';
import { IdMap } from '../../idmap/map.js';
import { AT_FDCWD, CLONE_FS, O_CLOEXEC, O_RDWR } from '../../linux/abi.js';
import { EAGAIN, ECONNABORTED, EIO, ENODEV, ENOENT, ENOLCK, errnoName } from '../../linux/errno.js';
import { Memory } from '../../linux/memory.js';
import { currentCore, pinToCore } from '../../linux/scheduling.js';
import { close, ioctl, openat, write } from '../../linux/syscalls.js';
import { countRequest, FIGURES_WORDS } from '../figures.js';
import { Dispatcher, NO_REPLY, type Surroundings, TAKEN_OVER } from './dispatch.js';
import {
  COMPANION,
  CONTROL,
  HOLDING,
  IDLE,
  KIND_DEVICE,
  KIND_QUEUE,
  KIND_SPARE,
  SERVING,
  STATE_BITS,
  STATE_MASK,
  type ThreadMessage,
  WAIT,
  WORKER,
  type WorkerData,
} from './shared.js';
import { DeviceTransport, ENDED, REPLY_BYTES, REQUEST_BYTES, RING_BYTES, RingTransport, Spinner } from './transport.js';
import { warmUp } from './warm-up.js';

/** Where the transport's buffers begin: the first page after the scratch areas. */
const TRANSPORT_AT = (SCRATCH_SIZE + 4095) & ~4095;

/** Less than this between two requests, ms, and so many of them: it goes on like that. */
const CLOSE = 0.1;
const CLOSE_REQUESTS = 8;

/** A request that came by the device is answered there. */
const NOT_PARKED = { ring: 0, entry: 0 } as const;

const data = workerData as WorkerData;
const port = parentPort!;

function post(message: ThreadMessage): void {
  port.postMessage(message);
}

class Server implements Surroundings {
  private readonly memory: Memory;
  private readonly transport: DeviceTransport | RingTransport;
  private readonly context: Context;
  private readonly request: Request;
  private readonly dispatcher: Dispatcher;
  private readonly workers: Int32Array;
  private readonly base: number;
  private readonly control: Int32Array;
  private readonly waiting: Int32Array;
  private readonly figures: Int32Array;
  private readonly device: number;
  private readonly handleOffsets = handleOffsets();
  /** When the last request was done, and how many in a row have followed closely (performance.now(), ms). */
  private lastEnd = 0;
  private inARow = 0;
  private readonly aliases = new Aliases(data.shared.aliases);

  constructor() {
    const { shared, agreed } = data;
    const room = data.kind === KIND_DEVICE ? REQUEST_BYTES + REPLY_BYTES : RING_BYTES;
    this.memory = new Memory(TRANSPORT_AT + room + 4096);
    // Page-aligned in memory, for the entries of a ring.
    const at = TRANSPORT_AT + (-(this.memory.address + TRANSPORT_AT) & 4095);
    isolateThread(this.memory, CLONE_FS);
    const setxattrExt = (agreed.flags & INIT.SETXATTR_EXT) !== 0;
    if (data.warm) warmUp(data.map, setxattrExt);
    this.device = this.cloneDevice();
    if (data.kind === KIND_DEVICE) {
      const alone = (agreed.flags2 & INIT2.OVER_IO_URING) === 0;
      const spinner = new Spinner(new Int32Array(shared.control), alone);
      this.transport = new DeviceTransport(this.memory, at, this.device, spinner);
    } else {
      // Callers use the queue of the core they run on.
      pinToCore(data.queue);
      this.transport = new RingTransport(this.memory, at, this.device, data.queue, data.mountpoint);
      if (data.kind === KIND_SPARE) this.transport.provoke();
    }
    const closeLater = (fd: number): void => {
      close(fd);
    };
    const backing = new BackingFiles(() => this.device);
    const nodes = new NodeTable(shared.nodes, closeLater, (id) => backing.close(id));
    const leases = this.leases(nodes);
    const held = new Held(shared.held);
    this.context = new Context({
      memory: this.memory,
      nodes,
      handles: new HandleTable(shared.handles),
      locks: new LockTable(shared.locks, held, closeLater),
      held,
      devices: new Devices(shared.devices),
      ids: new IdMap(data.map),
      leases,
      backing: (agreed.flags2 & INIT2.PASSTHROUGH) !== 0 ? backing : null,
      options: data.options,
    });
    if (leases instanceof WatchedLeases) leases.attach(this.context);
    this.context.credentials.initialize();
    this.request = new Request(this.memory, argumentSizes(setxattrExt));
    this.dispatcher = new Dispatcher(this.context, this, setxattrExt, data.coherence?.forward ?? null);
    this.workers = new Int32Array(shared.workers);
    this.base = data.index * WORKER.words;
    this.control = new Int32Array(shared.control);
    this.waiting = new Int32Array(shared.waiting);
    this.figures = new Int32Array(shared.figures, data.index * FIGURES_WORDS * 4, FIGURES_WORDS);
    this.workers[this.base + WORKER.device] = this.device;
    this.workers[this.base + WORKER.kind] = data.kind;
    this.workers[this.base + WORKER.queue] = data.queue + 1;
    Atomics.store(this.workers, this.base + WORKER.alive, 1);
  }

  private leases(nodes: NodeTable): Leases {
    const { coherence } = data;
    if (coherence === null) return new FixedLeases(data.ttl);
    const control = new Int32Array(coherence.shared.control);
    const names = new NameTable(coherence.shared.names);
    const ask = (kind: 'arm' | 'disarm', slot: number): void =>
      post({ kind, slot, generation: nodes.generation(slot) });
    const watch: Watch =
      coherence.group >= 0
        ? {
            armDevice: (device) => armDevice(this.context, coherence.group, device),
            armNode: (slot) => armInode(this.context, coherence.group, slot),
            disarmNode: (slot) => disarmInode(this.context, coherence.group, slot),
            wake: () => {
              this.memory.setU64(AT_ARGUMENT, 1);
              write(coherence.wake, this.memory.address + AT_ARGUMENT, 8);
            },
          }
        : {
            armDevice: () => false,
            armNode: (slot) => {
              if ((nodes.setFlags(slot, NODE_ARMING) & NODE_ARMING) === 0) ask('arm', slot);
              return false;
            },
            disarmNode: (slot) => ask('disarm', slot),
            wake: () => {},
          };
    return new WatchedLeases(control, names, watch);
  }

  /** Serves until the view ends; the errno that ended it. */
  run(): number {
    const { transport, request } = this;
    for (;;) {
      const received = transport.receive(request);
      if (received === ENDED) return transport.endErrno;
      this.serve(received);
    }
  }

  waitForLock(request: Request, handle: number, wanted: LockRequest): number {
    const { holder, held } = this.context;
    const fd = waiterDescriptor(this.context, handle, wanted);
    if (fd < 0) return fd;
    const { control, waiting, transport } = this;
    const parked = transport instanceof RingTransport ? transport.park() : NOT_PARKED;
    if (parked === null) {
      close(fd);
      held.give(holder, 1);
      return -ENOLCK;
    }
    lock(control, CONTROL.waitLock);
    let at = -1;
    for (let i = 0; i < WAIT.capacity && at < 0; i++) if (waiting[i * WAIT.words + WAIT.state] === 0) at = i;
    if (at >= 0) {
      const base = at * WAIT.words;
      waiting[base + WAIT.uniqueLo] = request.uniqueLo;
      waiting[base + WAIT.uniqueHi] = request.uniqueHi;
      waiting[base + WAIT.device] = this.device;
      waiting[base + WAIT.fd] = fd;
      waiting[base + WAIT.type] = wanted.type;
      waiting[base + WAIT.flock] = wanted.flock ? 1 : 0;
      waiting[base + WAIT.interrupted] = 0;
      waiting[base + WAIT.startLo] = wanted.start >>> 0;
      waiting[base + WAIT.startHi] = Math.floor(wanted.start / 4294967296);
      waiting[base + WAIT.endLo] = wanted.end >>> 0;
      waiting[base + WAIT.endHi] = Math.min(Math.floor(wanted.end / 4294967296), 0x7fffffff);
      waiting[base + WAIT.pid] = wanted.pid;
      waiting[base + WAIT.ring] = parked.ring;
      waiting[base + WAIT.entry] = parked.entry;
      waiting[base + WAIT.holder] = holder;
      waiting[base + WAIT.state] = 1;
      Atomics.add(control, CONTROL.waiting, 1);
    }
    unlock(control, CONTROL.waitLock);
    if (at < 0) {
      close(fd);
      held.give(holder, 1);
      return -ENOLCK;
    }
    this.wakeSupervisor();
    return TAKEN_OVER;
  }

  locksDropped(): void {
    if (Atomics.load(this.control, CONTROL.waiting) === 0) return;
    Atomics.store(this.control, CONTROL.retry, 1);
    this.wakeSupervisor();
  }

  dropAlias({ parent, generation, name, length }: Place, held: number): boolean {
    const { aliases } = this;
    if (held !== 0) return aliases.dropBefore(data.index, held, parent, generation, name, length);
    aliases.drop(parent, generation, name, length);
    return false;
  }

  interrupt(uniqueLo: number, uniqueHi: number): void {
    const { workers, waiting, control } = this;
    let found = false;
    for (let at = 0; at < workers.length && !found; at += WORKER.words) {
      if (
        at !== this.base &&
        (Atomics.load(workers, at + WORKER.state) & STATE_MASK) === SERVING &&
        workers[at + WORKER.uniqueLo] === (uniqueLo | 0) &&
        workers[at + WORKER.uniqueHi] === (uniqueHi | 0)
      ) {
        Atomics.store(workers, at + WORKER.interrupted, 1);
        found = true;
      }
    }
    if (!found && Atomics.load(control, CONTROL.waiting) > 0) {
      lock(control, CONTROL.waitLock);
      for (let i = 0; i < WAIT.capacity && !found; i++) {
        const base = i * WAIT.words;
        if (
          waiting[base + WAIT.state] !== 0 &&
          waiting[base + WAIT.uniqueLo] === (uniqueLo | 0) &&
          waiting[base + WAIT.uniqueHi] === (uniqueHi | 0)
        ) {
          waiting[base + WAIT.interrupted] = 1;
          found = true;
        }
      }
      unlock(control, CONTROL.waitLock);
    }
    if (found) this.wakeSupervisor();
    else this.requeueInterrupt(uniqueLo, uniqueHi);
  }

  /**
   * The request is being read by a thread that has not said so yet, or is answered already. EAGAIN makes the kernel send
   * the INTERRUPT again in the first case (fs/fuse/dev.c, fuse_dev_do_write); in the second it knows no such request. It
   * looks only among requests read from the device that is written to.
   */
  private requeueInterrupt(uniqueLo: number, uniqueHi: number): void {
    const { workers } = this;
    for (let at = 0; at < workers.length; at += WORKER.words) {
      if (Atomics.load(workers, at + WORKER.alive) !== 1) continue;
      const device = workers[at + WORKER.device]!;
      const { u32, i32, address } = this.memory;
      u32[AT_ARGUMENT >> 2] = OUT_HEADER.size;
      i32[(AT_ARGUMENT >> 2) + 1] = -EAGAIN;
      u32[(AT_ARGUMENT >> 2) + 2] = uniqueLo | 1;
      u32[(AT_ARGUMENT >> 2) + 3] = uniqueHi;
      if (write(device, address + AT_ARGUMENT, OUT_HEADER.size) >= 0) return;
    }
  }

  private serve(received: number): void {
    const { request, workers, base, control, transport } = this;
    const { opcode } = request;
    const { leases } = this.context;
    const started = performance.now();
    const serving = ((Atomics.add(workers, base + WORKER.started, 1) + 1) << STATE_BITS) | SERVING;
    let result = received;
    workers[base + WORKER.uniqueLo] = request.uniqueLo;
    workers[base + WORKER.uniqueHi] = request.uniqueHi;
    workers[base + WORKER.opcode] = request.opcode;
    workers[base + WORKER.pid] = request.pid;
    workers[base + WORKER.nodeLo] = request.nodeidLo;
    workers[base + WORKER.nodeHi] = request.nodeidHi;
    const two = opcode === OP.RENAME || opcode === OP.RENAME2 || opcode === OP.LINK;
    workers[base + WORKER.targetLo] = two ? request.u32(0) : 0;
    workers[base + WORKER.targetHi] = two ? request.u32(4) : 0;
    const traced = data.trace && received === 0 ? describeArguments(request) : null;
    this.publishHandles(received === 0 ? opcode : 0);
    workers[base + WORKER.interrupted] = 0;
    Atomics.store(workers, base + WORKER.state, serving);
    if (Atomics.load(control, CONTROL.asleep) === 1) this.wakeSupervisor();
    if (result === 0) {
      try {
        result = this.dispatcher.dispatch(request, transport.out, transport.room);
      } catch (error) {
        result = -EIO;
        this.logFailure(error);
      }
    }
    // Before it is on its way: the buffers are the next request's from then on.
    if (data.trace) this.trace(traced, result);
    if (Atomics.compareExchange(workers, base + WORKER.state, serving, IDLE) !== serving) {
      while (Atomics.load(workers, base + WORKER.state) === HOLDING);
      Atomics.store(workers, base + WORKER.state, IDLE);
      this.undo(result);
      this.releaseHeld();
    } else if (result === NO_REPLY) transport.dismiss();
    else if (result !== TAKEN_OVER) this.reply(result);
    if (leases.granted) {
      transport.flush();
      leases.settle();
    }
    Atomics.add(workers, base + WORKER.served, 1);
    const ended = countRequest(this.figures, request.opcode, result, started);
    if (data.accompanied) this.beat(started);
    this.lastEnd = ended;
  }

  /** Wakes the companion when requests follow each other closely. */
  private beat(started: number): void {
    const { control } = this;
    Atomics.add(control, CONTROL.beats, 1);
    this.inARow = started - this.lastEnd < CLOSE ? this.inARow + 1 : 0;
    if (this.inARow < CLOSE_REQUESTS || Atomics.load(control, CONTROL.companion) !== COMPANION.asleep) return;
    this.inARow = 0;
    Atomics.store(
      control,
      CONTROL.busyCore,
      data.kind === KIND_QUEUE ? data.queue : currentCore(this.memory, AT_ARGUMENT),
    );
    if (Atomics.compareExchange(control, CONTROL.companion, COMPANION.asleep, COMPANION.awake) !== COMPANION.asleep)
      return;
    Atomics.notify(control, CONTROL.companion);
  }

  private reply(result: number): void {
    const { request, transport } = this;
    const error = transport.reply(request, Math.min(result, 0), Math.max(result, 0));
    if (error === 0) return;
    // ENOENT: the caller was killed and does not wait any more, so what it was given would never be returned.
    if (error === -ENOENT) this.undo(result);
    else if (error !== -ENODEV && error !== -ECONNABORTED) this.logReplyFailure(-error, result);
  }

  /** For the supervisor, which holds them when it answers in our place. */
  private publishHandles(opcode: number): void {
    const { request, workers, base, handleOffsets } = this;
    const at = opcode < OP_LIMIT ? handleOffsets[opcode]! : -1;
    const two = opcode === OP.COPY_FILE_RANGE || opcode === OP.COPY_FILE_RANGE_64;
    workers[base + WORKER.handleLo] = at < 0 ? 0 : request.u32(at);
    workers[base + WORKER.handleHi] = at < 0 ? 0 : request.u32(at + 4);
    workers[base + WORKER.secondLo] = two ? request.u32(COPY_TARGET_HANDLE) : 0;
    workers[base + WORKER.secondHi] = two ? request.u32(COPY_TARGET_HANDLE + 4) : 0;
  }

  /** Gives back what the supervisor held, so that handles and nodes outlived the kernel's interest in them. */
  private releaseHeld(): void {
    const { workers, base, context } = this;
    for (const word of [WORKER.handleLo, WORKER.secondLo]) {
      const handle = workers[base + word]!;
      if (handle === 0) continue;
      const kind = context.handles.letGo(handle);
      if (kind === HANDLE_FILE) closeFile(context, handle);
      else if (kind !== 0) closeDirectory(context, handle);
    }
    for (const word of [WORKER.nodeLo, WORKER.targetLo]) {
      const slot = workers[base + word]!;
      if (slot !== 0) context.nodes.forget(slot, 1);
    }
  }

  /** Gives back what a reply that nobody got has handed out: lookups and handles. */
  private undo(result: number): void {
    if (result < 0 || result >= NO_REPLY) return;
    const { context } = this;
    const { opcode } = this.request;
    const opened = opcode === OP.OPEN || opcode === OP.CREATE || opcode === OP.TMPFILE;
    if (opened) release(context, context.result.handle);
    else if (opcode === OP.OPENDIR) releaseDirectory(context, context.result.handle);
    const looked =
      opcode === OP.LOOKUP ||
      opcode === OP.CREATE ||
      opcode === OP.TMPFILE ||
      opcode === OP.MKNOD ||
      opcode === OP.MKDIR ||
      opcode === OP.SYMLINK ||
      opcode === OP.LINK;
    if (looked && context.result.node !== 0) context.nodes.forget(context.result.node, 1);
    this.doubtUndone();
  }

  /** What the request did to the underlay stays done, but the kernel was told that it failed and keeps what it had. */
  private doubtUndone(): void {
    const { request, context } = this;
    const { leases, nodes } = context;
    const slot = nodes.resolve(request.nodeidLo, request.nodeidHi);
    if (slot === 0) return;
    switch (request.opcode) {
      case OP.CREATE:
      case OP.MKNOD:
      case OP.MKDIR:
      case OP.SYMLINK:
      case OP.LINK:
        request.string(request.payload);
        leases.doubt(slot, request.payload, request.nameLength);
        break;
      case OP.RENAME:
      case OP.RENAME2: {
        const target = nodes.resolve(request.u32(0), request.u32(4));
        request.string(request.payload);
        const newName = request.payload + request.nameLength + 1;
        request.string(newName);
        if (target !== 0) leases.doubt(target, newName, request.nameLength);
        break;
      }
      case OP.LOOKUP:
      case OP.GETATTR:
        return;
    }
    leases.doubt(slot, 0, 0);
  }

  private wakeSupervisor(): void {
    Atomics.store(this.control, CONTROL.asleep, 0);
    Atomics.add(this.control, CONTROL.wake, 1);
    Atomics.notify(this.control, CONTROL.wake);
  }

  private describe(): object {
    const { request } = this;
    return {
      opcode: opName(request.opcode),
      unique: request.uniqueHi * 4294967296 + request.uniqueLo,
      nodeid: request.nodeidLo,
      generation: request.nodeidHi,
      uid: request.uid,
      gid: request.gid,
      // `pid` is the daemon's own in every line.
      caller: request.pid,
    };
  }

  private logFailure(error: unknown): void {
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    post({
      kind: 'log',
      level: 'error',
      fields: { ...this.describe(), cause },
      message: 'a request failed inside the daemon and was answered EIO; please report this',
    });
  }

  private logReplyFailure(errno: number, result: number): void {
    post({
      kind: 'log',
      level: 'error',
      fields: { ...this.describe(), result, errno: errnoName(errno) },
      message: 'the kernel did not take a reply',
    });
    // EINVAL for a reply leaves its caller waiting; an error is always taken.
    this.transport.reply(this.request, -EIO, 0);
  }

  private trace(request: Described | null, result: number): void {
    const { opcode } = this.request;
    const reply = result >= NO_REPLY ? 'none' : describeReply(opcode, this.memory, this.transport.out, result);
    post({ kind: 'log', level: 'trace', fields: { ...this.describe(), request, reply }, message: 'request' });
  }

  private cloneDevice(): number {
    const { memory } = this;
    const fd = openat(AT_FDCWD, memory.setString(0, '/dev/fuse'), O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) throw new Error(`cannot open /dev/fuse: ${errnoName(-fd)}`);
    memory.u32[0] = data.device;
    const error = ioctl(fd, FUSE_DEV_IOC_CLONE, memory.address);
    if (error < 0) throw new Error(`cannot clone the FUSE device: ${errnoName(-error)}`);
    return fd;
  }
}

const server = new Server();
post({ kind: 'ready' });
// The message must leave before the thread blocks for good; a posted message needs no turn of the event loop.
const errno = server.run();
post({ kind: 'ended', errno });
