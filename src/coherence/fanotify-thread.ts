// The fanotify watcher: reads what changes in the underlay and breaks the leases it touches. A thread of its own, asleep
// in poll(2) while nothing happens.
//
// Changes made by this process are the view's own, which the kernel has accounted for, and are skipped by pid. When the
// queue overflows, every lease is looked at again, and none is granted until that is done. When the group cannot be read
// any more, all leases are taken back for good, the log says so, and the view goes on without them.

import { openSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import type { ThreadMessage } from '../driver/kernel/shared.js';
import { type Context, SCRATCH_SIZE } from '../filesystem/context.js';
import { DEVICE_HANDLES } from '../filesystem/devices.js';
import { HANDLE_BYTES_MAX, NODE_WATCHED } from '../filesystem/node-table.js';
import { Forwarder, type ForwardWiring, type Watching } from '../forward/forwarder.js';
import { EAGAIN, EINTR, errnoName } from '../linux/errno.js';
import {
  type EventHandle,
  FAN_CREATE,
  FAN_DELETE,
  FAN_Q_OVERFLOW,
  FAN_RENAME,
  type FanotifyEvent,
  NAME_EVENTS,
  newEvent,
  parseEvent,
} from '../linux/fanotify.js';
import { Memory } from '../linux/memory.js';
import { mountsBelow, readMounts } from '../linux/mountinfo.js';
import { call2, call6, NR, read } from '../linux/syscalls.js';
import type { Breaker } from './breaker.js';
import { disarmInode } from './fanotify-marks.js';
import { FixedLeases } from './fixed-leases.js';
import { COHERENCE, count } from './shared.js';
import { recallEverything, startWatching, WATCHING_BYTES, type WatchingData } from './watching.js';

export interface WatcherData extends WatchingData {
  /** The fanotify group. */
  readonly group: number;
  /** An eventfd that wakes the watcher. */
  readonly wake: number;
  /** Path of the source, whose mounts below are watched. */
  readonly source: string;
  /** Null: what the host does is not forwarded to watchers in the view. */
  readonly forward: ForwardWiring | null;
}

const EVENT_BYTES = 65536;
/** No event is longer: three handles and two names. */
const EVENT_MAX = 1024;
/** Between two looks at whether replies have landed, ms. */
const RECHECK_MS = 1;
const DOT = 46;
const POLLIN = 1;
/** What /proc/self/mountinfo reports a change by (fs/proc_namespace.c, mounts_poll). */
const POLLPRI = 2;
const POLLOUT = 4;
/**
 * A mark on a whole file system reports what the host does elsewhere on it, too. When that is all there is, events are
 * left to gather for this long, ms, so that a busy host costs a bounded number of wake-ups.
 */
const BUSY_MS = 4;
const BUSY_READS = 16;
/**
 * The same while events that matter come without a pause, such as those of a container that writes one file after another
 * (data that is passed through is written under the writer's own pid): what a host edit waits for in between.
 */
const GATHER_MS = 1;

const data = workerData as WatcherData;
const port = parentPort!;

/** The mounts below a path, as one text to compare. */
function mountsInside(path: string): string {
  const mounts = mountsBelow(readMounts(), path);
  return mounts.map(({ id, device, mountpoint }) => `${id} ${device} ${mountpoint}`).join('\n');
}

/** This thread grants nothing, but a node that it is the last to use takes its mark with it. */
class NoLeases extends FixedLeases {
  private readonly freed: (slot: number) => void;

  constructor(freed: (slot: number) => void) {
    super(0);
    this.freed = freed;
  }

  override forget(slot: number): void {
    this.freed(slot);
  }
}

class Watcher implements Watching {
  private readonly memory = new Memory(SCRATCH_SIZE + EVENT_BYTES + WATCHING_BYTES + 1024);
  private readonly eventsAt = SCRATCH_SIZE;
  private readonly pollAt = SCRATCH_SIZE + EVENT_BYTES + WATCHING_BYTES;
  private readonly control = new Int32Array(data.coherence.control);
  private readonly context: Context;
  private readonly breaker: Breaker;
  private readonly forwarder: Forwarder | null;
  private readonly mountTable = openSync('/proc/self/mountinfo', 'r');
  private mounts = mountsInside(data.source);
  private readonly event: FanotifyEvent = newEvent();
  /** Whether an event of this read was about a node the kernel knows; and reads in a row in which none was. */
  private touched = false;
  private irrelevant = 0;
  /** Reads in a row that had no BUSY_MS between them, and when the last one ended. */
  private incessant = 0;
  private handledAt = 0;
  private readonly nap = new Int32Array(new SharedArrayBuffer(4));
  private readonly self = call2(NR.getpid, 0, 0);
  /** Devices by fsid, as statfs(2) tells it; looked up again when an unknown one comes. */
  private devicesByFsid = new Map<string, number[]>();
  private devicesKnown = 0;

  constructor() {
    const leases = new NoLeases((slot) => this.disarm(slot));
    const { context, names, breaker } = startWatching(this.memory, SCRATCH_SIZE + EVENT_BYTES, data, leases);
    this.context = context;
    this.breaker = breaker;
    this.forwarder =
      data.forward === null ? null : new Forwarder(this.context, names, this.control, data.forward, this);
  }

  /** Watches until the group fails; the errno. */
  run(): number {
    const { memory, breaker, forwarder } = this;
    let drained = true;
    for (;;) {
      const ready = this.poll(breaker.pending ? RECHECK_MS : -1);
      if (ready < 0 && ready !== -EINTR) return -ready;
      if (breaker.pending) breaker.recheck();
      if (Atomics.load(this.control, COHERENCE.crowded) === 1) breaker.sweep();
      if (Atomics.load(this.control, COHERENCE.doubtCount) > 0 && !breaker.settleDoubts()) this.revalidateEverything();
      if (ready <= 0) continue;
      if (memory.u16[(this.pollAt + 16 + 6) >> 1] !== 0) forwarder?.receive();
      if (memory.u16[(this.pollAt + 24 + 6) >> 1] !== 0) forwarder?.pump();
      if ((memory.u16[(this.pollAt + 8 + 6) >> 1]! & POLLIN) !== 0)
        read(data.wake, memory.address + this.pollAt + 56, 8);
      if (memory.u16[(this.pollAt + 32 + 6) >> 1] !== 0) this.lookAtMounts();
      if (memory.u16[(this.pollAt + 6) >> 1] === 0) continue;
      if (drained) forwarder?.eventsBegin();
      const length = read(data.group, memory.address + this.eventsAt, EVENT_BYTES);
      if (length === -EINTR || length === -EAGAIN) continue;
      if (length <= 0) return length === 0 ? 0 : -length;
      drained = length < EVENT_BYTES - EVENT_MAX;
      this.handle(length);
      forwarder?.pump();
      this.rest();
    }
  }

  /** After a read: lets events gather when many come. */
  private rest(): void {
    this.incessant = performance.now() - this.handledAt < BUSY_MS ? this.incessant + 1 : 0;
    if (this.irrelevant >= BUSY_READS) Atomics.wait(this.nap, 0, 0, BUSY_MS);
    else if (this.incessant >= BUSY_READS) Atomics.wait(this.nap, 0, 0, GATHER_MS);
    this.handledAt = performance.now();
  }

  private disarm(slot: number): void {
    if ((this.context.nodes.flags(slot) & NODE_WATCHED) !== 0) disarmInode(this.context, data.group, slot);
  }

  /** Nothing may be granted meanwhile. */
  private revalidateEverything(): void {
    const mode = Atomics.exchange(this.control, COHERENCE.mode, 0);
    this.breaker.revalidateEverything();
    Atomics.store(this.control, COHERENCE.mode, mode);
  }

  /** All leases are taken back; none will be granted. */
  giveUp(): void {
    Atomics.store(this.control, COHERENCE.mode, 0);
    recallEverything(this.breaker);
  }

  private handle(length: number): void {
    const { memory, breaker, event, control } = this;
    const end = this.eventsAt + length;
    let others = false;
    for (let at = this.eventsAt; at < end; ) {
      at = parseEvent(memory, at, end, event);
      if (!this.isOwn(event.pid) || (event.mask & FAN_Q_OVERFLOW) !== 0) {
        others = true;
        break;
      }
    }
    if (others) breaker.begin();
    let overflow = false;
    for (let at = this.eventsAt; at < end; ) {
      at = parseEvent(memory, at, end, event);
      if ((event.mask & FAN_Q_OVERFLOW) !== 0) overflow = true;
      else if (this.isOwn(event.pid)) count(control, 'events_own');
      else {
        count(control, 'events');
        this.handleEvent();
      }
    }
    if (others) breaker.end();
    this.irrelevant = this.touched ? 0 : this.irrelevant + 1;
    this.touched = false;
    if (overflow) this.handleOverflow();
  }

  /** The daemon's own doing, or the helper's. */
  private isOwn(pid: number): boolean {
    return pid === this.self || this.forwarder?.isHelper(pid) === true;
  }

  /**
   * The mount table changed. No event of the underlay tells that something was mounted on a directory of it, or taken
   * away, but every name there stands for something else then.
   */
  private lookAtMounts(): void {
    const now = mountsInside(data.source);
    if (now === this.mounts) return;
    this.mounts = now;
    this.revalidateEverything();
  }

  private handleOverflow(): void {
    count(this.control, 'overflows');
    this.log('warn', {}, 'events of the underlay were lost: everything the kernel has cached is looked at again');
    this.revalidateEverything();
  }

  private handleEvent(): void {
    const { event, context, breaker } = this;
    const { nodes } = context;
    this.forwarder?.collect(event);
    // What happens to a directory itself is told with its own handle as the directory's, and the name "." (fanotify(7)).
    const itself = event.nameLength === 1 && this.memory.u8[event.name] === DOT ? event.directory : event.object;
    for (const device of this.devicesOf(itself)) {
      const slot = this.find(itself, device);
      if (slot === 0) continue;
      breaker.breakNode(slot);
      nodes.forget(slot, 1);
    }
    if ((event.mask & FAN_RENAME) !== 0) {
      this.changeName(event.directory, event.name, event.nameLength, FAN_DELETE, true);
      this.changeName(event.newDirectory, event.newName, event.newNameLength, FAN_CREATE, false);
    } else if ((event.mask & NAME_EVENTS) !== 0) {
      this.changeName(event.directory, event.name, event.nameLength, event.mask, false);
    }
  }

  /** A name was made or taken away, as `mask` says; `moved`: what it stood for has another name now. */
  private changeName(directory: EventHandle, name: number, length: number, mask: number, moved: boolean): void {
    if (length === 0) return;
    const { event, context, breaker, memory } = this;
    const { nodes } = context;
    for (const device of this.devicesOf(directory)) {
      const slot = this.find(directory, device);
      if (slot === 0) continue;
      nodes.bumpVersion(slot);
      const arrived = (mask & FAN_CREATE) !== 0;
      let now: number | 'other' = arrived ? 'other' : 0;
      if (arrived && event.object.type >= 0) {
        const child = this.find(event.object, device);
        if (child !== 0) {
          now = child;
          nodes.forget(child, 1);
        }
      }
      // Several events of one name may be merged into one: then only looking tells, and it counts as unknown.
      if (arrived && (mask & FAN_DELETE) !== 0) now = 'other';
      breaker.breakName(slot, memory.u8, name, length, now, moved);
      breaker.breakNode(slot);
      nodes.forget(slot, 1);
    }
  }

  /** The node of an event's handle on a device, with one lookup counted; 0 when the kernel does not know it. */
  find(handle: EventHandle, device: number): number {
    const { identity, nodes } = this.context;
    const { u8 } = this.memory;
    if (handle.bytes > HANDLE_BYTES_MAX) return 0;
    identity.device = device;
    const { words } = identity;
    words.fill(0);
    words[0] = (handle.type << 16) | handle.bytes;
    // Handles need not be aligned in the event.
    for (let i = 0; i < handle.bytes; i++) words[1 + (i >> 2)]! |= u8[handle.offset + i]! << ((i & 3) * 8);
    const slot = nodes.find(identity);
    if (slot !== 0) this.touched = true;
    return slot;
  }

  recheckName(parent: number, generation: number, name: Uint8Array): void {
    this.breaker.recheckName(parent, generation, name);
  }

  wantHelper(): void {
    port.postMessage({ kind: 'forward' } satisfies ThreadMessage);
  }

  devicesOf(handle: EventHandle): readonly number[] {
    if (handle.type < 0) return [];
    const key = `${handle.fsidLo}:${handle.fsidHi}`;
    const known = this.devicesByFsid.get(key);
    const { devices } = this.context;
    if (known !== undefined && this.devicesKnown === devices.count) return known;
    this.devicesByFsid = new Map();
    this.devicesKnown = devices.count;
    for (let index = 0; index < devices.count; index++) {
      if (!devices.has(index, DEVICE_HANDLES)) continue;
      const at = this.pollAt + 512;
      if (call2(NR.fstatfs, devices.fd(index), this.memory.address + at) < 0) continue;
      const fsid = `${this.memory.u32[(at + 56) >> 2]!}:${this.memory.u32[(at + 60) >> 2]!}`;
      this.devicesByFsid.set(fsid, [...(this.devicesByFsid.get(fsid) ?? []), index]);
    }
    return this.devicesByFsid.get(key) ?? [];
  }

  /** ppoll(2) on the group, the eventfd, and the pipes to and from the helper. */
  private poll(timeout: number): number {
    const { memory, pollAt, forwarder } = this;
    const { forward } = data;
    this.pollOn(0, data.group, POLLIN);
    this.pollOn(1, data.wake, POLLIN);
    this.pollOn(2, forward === null ? -1 : forward.answers, POLLIN);
    this.pollOn(3, forwarder?.wantsRoom === true ? forward!.jobs : -1, POLLOUT);
    this.pollOn(4, this.mountTable, POLLPRI);
    memory.setU64(pollAt + 40, 0);
    memory.setU64(pollAt + 48, Math.max(0, timeout) * 1_000_000);
    const time = timeout < 0 ? 0 : memory.address + pollAt + 40;
    return call6(NR.ppoll, memory.address + pollAt, 5, time, 0, 8, 0);
  }

  private pollOn(index: number, fd: number, events: number): void {
    const at = this.pollAt + index * 8;
    this.memory.i32[at >> 2] = fd;
    this.memory.u16[(at + 4) >> 1] = events;
    this.memory.u16[(at + 6) >> 1] = 0;
  }

  log(level: 'warn' | 'error', fields: object, message: string): void {
    const entry: ThreadMessage = { kind: 'log', level, fields, message };
    port.postMessage(entry);
  }
}

const watcher = new Watcher();
port.postMessage({ kind: 'ready' } satisfies ThreadMessage);
const errno = watcher.run();
watcher.giveUp();
watcher.log(
  'error',
  { errno: errnoName(errno) },
  'the watcher of the underlay failed: nothing is cached any more; restart the daemon to have leases again',
);
port.postMessage({ kind: 'ended', errno } satisfies ThreadMessage);
