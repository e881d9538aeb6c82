// The supervisor: a thread that never serves and never touches the underlay but for non-blocking locks. It sleeps without
// a timeout while nothing happens, and looks every few milliseconds while something does:
//
//   - file locks that are waited for (SETLKW) are tried again, at once when the view dropped one, else with patience;
//   - a caller that is being killed while its request is stuck gets EINTR, so that it can die;
//   - when every serving thread is stuck, the main thread is asked for more (over io_uring: if anybody waits for one);
//   - descriptors of files that were kept for what follows a look-up are given back;
//   - record locks whose process is gone, but which no FLUSH will report, are dropped.

import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { HandleTable } from '../../filesystem/handle-table.js';
import { Held } from '../../filesystem/held.js';
import { LockTable } from '../../filesystem/lock-table.js';
import { tryLockDescriptor } from '../../filesystem/locks.js';
import { lock, unlock } from '../../filesystem/mutex.js';
import { NodeTable } from '../../filesystem/node-table.js';
import { BackingFiles } from '../../fuse/backing.js';
import { OP, OUT_HEADER } from '../../fuse/protocol.js';
import { EAGAIN, EINTR, ESRCH } from '../../linux/errno.js';
import { IoUring } from '../../linux/io-uring.js';
import { Memory } from '../../linux/memory.js';
import { call2, close, write } from '../../linux/syscalls.js';
import {
  ANSWERED,
  CONTROL,
  HOLDING,
  KIND_DEVICE,
  SERVING,
  STATE_MASK,
  type SupervisorData,
  type ThreadMessage,
  WAIT,
  WORKER,
} from './shared.js';
import { ANSWER_LATER } from './transport.js';

/** Between two looks while requests are being served, ms. Also how long all threads are stuck before there are more. */
const TICK = 10;
/** Between two tries for a lock that a process of the host holds: at first, and at most, ms. */
const RETRY_FIRST = 2;
const RETRY_LAST = 50;
/** Looks without any traffic before the supervisor goes to sleep. */
const QUIET_TICKS = 20;
/** Between two sweeps of files' descriptors, ms: one is kept for one to two of these after its last look-up. */
const SWEEP = 700;
/** Looks between two at all callers, while nobody reads what the kernel says of them: it costs 64 files of /proc. */
const DEAF_TICKS = 10;
/** What the kernel does not count among the requests that wait, as nobody does for an answer. */
const UNCOUNTED: ReadonlySet<number> = new Set([OP.FORGET, OP.BATCH_FORGET, OP.INTERRUPT]);
const SIGKILL_BIT = 1n << 8n;

const { shared, maxWorkers, device, connection } = workerData as SupervisorData;
const port = parentPort!;

class Supervisor {
  private readonly memory = new Memory(256);
  private readonly workers = new Int32Array(shared.workers);
  private readonly control = new Int32Array(shared.control);
  private readonly waiting = new Int32Array(shared.waiting);
  private readonly held = new Held(shared.held);
  private readonly locks = new LockTable(shared.locks, this.held, (fd) => {
    close(fd);
  });
  private readonly backing = new BackingFiles(() => device);
  private readonly nodes = new NodeTable(
    shared.nodes,
    (fd) => {
      close(fd);
    },
    (id) => this.backing.close(id),
  );
  private readonly handles = new HandleTable(shared.handles);
  /** `served` of each thread at the last look. */
  private readonly seen = new Int32Array(maxWorkers).fill(-1);
  /** Threads of the device, then of each queue: how many there are, and how many of them are stuck. */
  private readonly there = new Int32Array(maxWorkers + 1);
  private readonly stuck = new Int32Array(maxWorkers + 1);
  /** For answers to requests that came over io_uring; made when the first one is due. */
  private ring: IoUring | undefined;
  private quiet = 0;
  /** Looks at which every thread was stuck. */
  private deaf = 0;
  private patience = RETRY_FIRST;
  private nextRetry = 0;
  private nextSweep = 0;

  run(): void {
    while (Atomics.load(this.control, CONTROL.ending) === 0) {
      const woken = Atomics.load(this.control, CONTROL.wake);
      const { busy, helpWanted } = this.lookAtWorkers();
      if (helpWanted !== null) this.post({ kind: 'grow', queue: helpWanted });
      this.retryLocks();
      if (this.locks.watched > 0) this.locks.reap((pid) => call2(SYS_KILL, pid, 0) !== -ESRCH);
      this.sweepDescriptors();
      const waiting = Atomics.load(this.control, CONTROL.waiting);
      this.quiet = busy ? 0 : this.quiet + 1;
      if (this.quiet > QUIET_TICKS && waiting === 0 && this.locks.watched === 0 && this.nodes.cachedFiles === 0) {
        Atomics.store(this.control, CONTROL.asleep, 1);
        // A thread that began to serve before it could see the flag is found by one more look.
        if (this.anyServing()) {
          Atomics.store(this.control, CONTROL.asleep, 0);
          this.quiet = 0;
          continue;
        }
        Atomics.wait(this.control, CONTROL.wake, woken);
        Atomics.store(this.control, CONTROL.asleep, 0);
        this.quiet = 0;
      } else Atomics.wait(this.control, CONTROL.wake, woken, waiting > 0 ? Math.min(TICK, this.patience) : TICK);
    }
    this.answerAllWaiting();
  }

  /** Descriptors of files that were not used for a while are given back (node-table.ts). */
  private sweepDescriptors(): void {
    const now = performance.now();
    if (this.nodes.cachedFiles === 0 || now < this.nextSweep) return;
    this.nextSweep = now + SWEEP;
    this.nodes.sweepFiles();
  }

  private post(message: ThreadMessage): void {
    port.postMessage(message);
  }

  private anyServing(): boolean {
    for (let i = 0; i < maxWorkers; i++) {
      if ((Atomics.load(this.workers, i * WORKER.words + WORKER.state) & STATE_MASK) === SERVING) return true;
    }
    return false;
  }

  /** Whether any thread serves, and where more are wanted as all are stuck: -1 on the device, else a queue of io_uring. */
  private lookAtWorkers(): { busy: boolean; helpWanted: number | null } {
    const { there, stuck } = this;
    let busy = false;
    let alive = 0;
    there.fill(0);
    stuck.fill(0);
    for (let i = 0; i < maxWorkers; i++) {
      const base = i * WORKER.words;
      if (Atomics.load(this.workers, base + WORKER.alive) !== 1) continue;
      alive++;
      const queue = this.workers[base + WORKER.queue]!;
      there[queue]!++;
      const served = Atomics.load(this.workers, base + WORKER.served);
      const serving = Atomics.load(this.workers, base + WORKER.state) !== 0;
      if (served !== this.seen[i]) busy = true;
      else if (serving) {
        busy = true;
        stuck[queue]!++;
        if (Atomics.load(this.workers, base + WORKER.interrupted) === 1) this.releaseCaller(base);
      }
      this.seen[i] = served;
    }
    const deviceFull = stuck[0] === there[0];
    if (alive === maxWorkers && deviceFull && ++this.deaf % DEAF_TICKS === 0) this.releaseUnheard();
    if (alive === maxWorkers) return { busy, helpWanted: null };
    const full = there.findIndex((threads, queue) => threads > 0 && stuck[queue] === threads);
    // A thread of the device is also there to hear of callers that are being killed; a queue has one thread, which is
    // alone with every fsync: another one, of 10 MB, only when there is something for it.
    if (full < 0 || (full > 0 && !this.anyRequestWaits())) return { busy, helpWanted: null };
    return { busy, helpWanted: full - 1 };
  }

  /** Whether the kernel has requests that no thread has taken yet (any queue's); true where it does not say. */
  private anyRequestWaits(): boolean {
    let taken = Atomics.load(this.control, CONTROL.waiting);
    for (let i = 0; i < maxWorkers; i++) {
      const base = i * WORKER.words;
      // `state` is IDLE before the reply has gone.
      if (Atomics.load(this.workers, base + WORKER.started) === this.workers[base + WORKER.served]) continue;
      if (!UNCOUNTED.has(this.workers[base + WORKER.opcode]!)) taken++;
    }
    try {
      // Those that are being served are counted, too (Documentation/filesystems/fuse.rst).
      return Number(readFileSync(`/sys/fs/fuse/connections/${connection}/waiting`, 'utf8')) > taken;
    } catch {
      return true;
    }
  }

  /** No thread is left that could read an INTERRUPT: who is being killed is found by looking at all. */
  private releaseUnheard(): void {
    for (let i = 0; i < maxWorkers; i++) this.releaseCaller(i * WORKER.words);
  }

  /** Answers EINTR in place of a thread that is stuck, if the caller is being killed. Anybody else waits it out. */
  private releaseCaller(base: number): void {
    // A request that came over io_uring can only be answered through the entry its thread holds.
    if (this.workers[base + WORKER.kind] !== KIND_DEVICE) return;
    const { workers } = this;
    const state = Atomics.load(workers, base + WORKER.state);
    if ((state & STATE_MASK) !== SERVING) return;
    const pid = workers[base + WORKER.pid]!;
    const lo = workers[base + WORKER.uniqueLo]!;
    const hi = workers[base + WORKER.uniqueHi]!;
    if (!isBeingKilled(pid)) return;
    // Fails when the thread is done with that request, whatever it does now.
    if (Atomics.compareExchange(workers, base + WORKER.state, state, HOLDING) !== state) return;
    // The kernel may forget nodes and release handles as soon as it is answered; the thread is not done with them.
    this.hold(base, WORKER.nodeLo, (low, high) => this.nodes.hold(low, high));
    this.hold(base, WORKER.targetLo, (low, high) => this.nodes.hold(low, high));
    this.hold(base, WORKER.handleLo, (low, high) => this.handles.hold(low, high));
    this.hold(base, WORKER.secondLo, (low, high) => this.handles.hold(low, high));
    Atomics.store(workers, base + WORKER.state, ANSWERED);
    this.answer(workers[base + WORKER.device]!, lo, hi, -EINTR);
  }

  /** Holds what two words of the thread name; they become 0 when that is nothing. */
  private hold(base: number, at: number, hold: (low: number, high: number) => number): void {
    const low = this.workers[base + at]! >>> 0;
    if (low !== 0 && hold(low, this.workers[base + at + 1]! >>> 0) === 0) this.workers[base + at] = 0;
  }

  private retryLocks(): void {
    if (Atomics.load(this.control, CONTROL.waiting) === 0) return;
    const now = performance.now();
    const hurried = Atomics.exchange(this.control, CONTROL.retry, 0) === 1;
    const due = hurried || now >= this.nextRetry;
    const { waiting } = this;
    let left = Atomics.load(this.control, CONTROL.waiting);
    let fresh = false;
    for (let i = 0; i < WAIT.capacity && left > 0; i++) {
      const base = i * WAIT.words;
      const state = Atomics.load(waiting, base + WAIT.state);
      if (state === 0) continue;
      left--;
      // 1: just added and to be tried at once (the lock may have gone since it was refused); 2: tried.
      if (!due && state === 2 && waiting[base + WAIT.interrupted] === 0) continue;
      if (state === 1) fresh = true;
      const result = waiting[base + WAIT.interrupted] === 1 ? -EINTR : this.tryWaiting(base);
      if (result === -EAGAIN) waiting[base + WAIT.state] = 2;
      else this.finishWaiting(base, result);
    }
    this.patience = hurried || fresh ? RETRY_FIRST : due ? Math.min(RETRY_LAST, this.patience * 2) : this.patience;
    if (due || fresh) this.nextRetry = now + this.patience;
  }

  private tryWaiting(base: number): number {
    const { waiting } = this;
    const start = waiting[base + WAIT.startHi]! * 4294967296 + (waiting[base + WAIT.startLo]! >>> 0);
    const end = waiting[base + WAIT.endHi]! * 4294967296 + (waiting[base + WAIT.endLo]! >>> 0);
    return tryLockDescriptor(
      this.memory,
      64,
      waiting[base + WAIT.fd]!,
      waiting[base + WAIT.flock] === 1,
      waiting[base + WAIT.type]!,
      start,
      end,
    );
  }

  private finishWaiting(base: number, result: number): void {
    const { waiting, control } = this;
    const device = waiting[base + WAIT.device]!;
    const lo = waiting[base + WAIT.uniqueLo]!;
    const hi = waiting[base + WAIT.uniqueHi]!;
    const fd = waiting[base + WAIT.fd]!;
    const holder = waiting[base + WAIT.holder]!;
    lock(control, CONTROL.waitLock);
    Atomics.store(waiting, base + WAIT.state, 0);
    Atomics.sub(control, CONTROL.waiting, 1);
    unlock(control, CONTROL.waitLock);
    const ring = waiting[base + WAIT.ring]!;
    if (ring === 0) this.answer(device, lo, hi, result);
    else {
      this.ring ??= new IoUring(8);
      this.ring.post(ring, waiting[base + WAIT.entry]! | ANSWER_LATER, -result);
    }
    // The lock itself stays with its owner's description; this was a second descriptor of it.
    close(fd);
    this.held.give(holder, 1);
  }

  private answerAllWaiting(): void {
    for (let i = 0; i < WAIT.capacity; i++) {
      if (Atomics.load(this.waiting, i * WAIT.words + WAIT.state) !== 0) this.finishWaiting(i * WAIT.words, -EINTR);
    }
  }

  private answer(device: number, uniqueLo: number, uniqueHi: number, error: number): void {
    const { memory } = this;
    memory.u32[0] = OUT_HEADER.size;
    memory.i32[1] = error;
    memory.i32[2] = uniqueLo;
    memory.i32[3] = uniqueHi;
    write(device, memory.address, OUT_HEADER.size);
  }
}

/** kill(2), to ask whether a process is there. */
const SYS_KILL = process.arch === 'arm64' ? 129 : 62;

/** Whether a fatal signal is on its way to the thread: the kernel then queues SIGKILL for each thread (complete_signal). */
function isBeingKilled(pid: number): boolean {
  // A process of a pid namespace beside ours, of which nothing can be known.
  if (pid === 0) return false;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const pending = BigInt(`0x${/^SigPnd:\s*(\w+)/m.exec(status)?.[1] ?? '0'}`);
    const shared = BigInt(`0x${/^ShdPnd:\s*(\w+)/m.exec(status)?.[1] ?? '0'}`);
    return ((pending | shared) & SIGKILL_BIT) !== 0n;
  } catch {
    // It is gone, or its /proc is: nobody waits for the answer.
    return true;
  }
}

new Supervisor().run();
