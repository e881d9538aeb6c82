// How a serving thread gets its requests and gives its replies: read(2) and write(2) on the device, or FUSE over
// io_uring. The server (worker.ts) is the same on both roads.

import { performance } from 'node:perf_hooks';
import { MAX_WRITE } from '../../fuse/init.js';
import { FUSE_URING, OUT_HEADER, URING_HEADER } from '../../fuse/protocol.js';
import type { Request } from '../../fuse/request.js';
import { STATX_BASIC_STATS } from '../../linux/abi.js';
import { EAGAIN, ECANCELED, EINTR, ENODEV, ENOENT, ENOTCONN } from '../../linux/errno.js';
import { IoUring } from '../../linux/io-uring.js';
import { STATX } from '../../linux/layout.js';
import type { Memory } from '../../linux/memory.js';
import { fcntl, read, write } from '../../linux/syscalls.js';
import { COMPANION, CONTROL } from './shared.js';

/** Room for the largest request and for the largest reply: max_write and a header, in whole pages. */
export const REQUEST_BYTES = MAX_WRITE + 8192;
export const REPLY_BYTES = MAX_WRITE + 8192;

export interface Transport {
  /** Where a reply's struct is written, and how many bytes fit. Set before each request is served. */
  readonly out: number;
  readonly room: number;
  /** Waits for a request and sets the cursor on it. What `Request.attach` says, or ENDED. */
  receive(request: Request): number;
  /** Why `receive` ended: errno. */
  readonly endErrno: number;
  /** Answers the request received last. 0, or -errno of the kernel. */
  reply(request: Request, error: number, length: number): number;
  /** Ends the request received last, to which there is no reply. */
  dismiss(): void;
  /** Makes sure that the reply has reached the kernel. */
  flush(): void;
}

export const ENDED = 1;

const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const O_RDWR = 2;

/** Requests by read(2), replies by write(2). */
export class DeviceTransport implements Transport {
  readonly out: number;
  readonly room = REPLY_BYTES - OUT_HEADER.size - 64;
  endErrno = 0;
  private readonly memory: Memory;
  private readonly device: number;
  private readonly requestAt: number;
  private readonly replyAt: number;
  private readonly spinner: Spinner;
  private blocking = true;

  constructor(memory: Memory, at: number, device: number, spinner: Spinner) {
    this.memory = memory;
    this.device = device;
    this.requestAt = at;
    this.replyAt = at + REQUEST_BYTES;
    this.out = this.replyAt + OUT_HEADER.size;
    this.spinner = spinner;
  }

  receive(request: Request): number {
    const address = this.memory.address + this.requestAt;
    for (;;) {
      let length = this.spinner.take() ? this.spin(address) : -EAGAIN;
      if (length === -EAGAIN) {
        this.block(true);
        length = read(this.device, address, REQUEST_BYTES);
      }
      if (length >= 0) return request.attach(this.requestAt, length);
      // ENOENT: the request was interrupted before we got it. The rest is fuse_dev_do_read's "try again".
      if (length === -EINTR || length === -EAGAIN || length === -ENOENT) continue;
      this.endErrno = -length;
      return ENDED;
    }
  }

  reply(request: Request, error: number, length: number): number {
    const { u32, i32, address } = this.memory;
    const word = this.replyAt >> 2;
    u32[word] = OUT_HEADER.size + length;
    i32[word + 1] = error;
    u32[word + 2] = request.uniqueLo;
    u32[word + 3] = request.uniqueHi;
    const written = write(this.device, address + this.replyAt, OUT_HEADER.size + length);
    return Math.min(written, 0);
  }

  /** Over once it is read. */
  dismiss(): void {}

  flush(): void {}

  /** Looks for a request without sleeping, for a bounded time. Its length, or -EAGAIN. */
  private spin(address: number): number {
    this.block(false);
    const until = performance.now() + this.spinner.limit;
    let length: number;
    do length = read(this.device, address, REQUEST_BYTES);
    while (length === -EAGAIN && performance.now() < until);
    this.spinner.done(length !== -EAGAIN);
    return length;
  }

  private block(blocking: boolean): void {
    if (this.blocking === blocking) return;
    fcntl(this.device, F_SETFL, blocking ? O_RDWR : O_RDWR | O_NONBLOCK);
    this.blocking = blocking;
  }
}

/**
 * Waking a thread on another core costs more than most requests (on virtual machines: 50 us), so one thread at a time may
 * look for the next request a little before it sleeps. Only while that succeeds: a quiet view costs nothing.
 */
export class Spinner {
  /** How long to look, ms. */
  readonly limit = 0.06;
  private readonly control: Int32Array;
  /** How well looking did lately, 0 to 16; below HOPELESS it is tried now and then only. */
  private luck = 8;
  private turns = 0;

  private readonly allowed: boolean;

  /** The token of who may look is a word of `control`. Not `allowed`: never look (requests come another way). */
  constructor(control: Int32Array, allowed: boolean) {
    this.control = control;
    this.allowed = allowed;
  }

  take(): boolean {
    // With a companion, the caller wants this core.
    if (!this.allowed || Atomics.load(this.control, CONTROL.companion) === COMPANION.awake) return false;
    if (this.luck < 4 && (++this.turns & 15) !== 0) return false;
    return Atomics.compareExchange(this.control, CONTROL.spinning, 0, 1) === 0;
  }

  done(found: boolean): void {
    Atomics.store(this.control, CONTROL.spinning, 0);
    this.luck = found ? Math.min(16, this.luck + 1) : Math.max(0, this.luck - 2);
  }
}

const PATH_MAX = 4096;
/** Room that one entry of a queue takes in memory: its header block and vectors in a page of their own, its payload. */
const ENTRY_HEADER = 4096;
const ENTRY_PAYLOAD = MAX_WRITE + 4096;
const ENTRY_BYTES = ENTRY_HEADER + ENTRY_PAYLOAD;
/** Where the two struct iovec of an entry lie in its first page. */
const VECTORS = 512;
/** Entries one thread may have: one for the next request, and one for each that waits for a lock. */
const ENTRIES_MAX = 64;
/** For the path and the answer of `provoke`. */
const PROVOKING_BYTES = PATH_MAX + STATX.size;
export const RING_BYTES = ENTRIES_MAX * ENTRY_BYTES + PROVOKING_BYTES;
/** In the user data of a completion: it was posted by the supervisor, to answer the entry's request. */
export const ANSWER_LATER = 1 << 20;
/** The same: what `provoke` asked for has been answered. */
const PROVOKED = 1 << 21;
/** include/uapi/linux/fcntl.h: statx(2) asks the file system. */
const AT_STATX_FORCE_SYNC = 0x2000;

/**
 * Requests and replies by FUSE over io_uring (Linux 6.14): one entry in the queue of one core.
 * Committing a reply and waiting for the next request is one system call, on the caller's core.
 */
export class RingTransport implements Transport {
  out = 0;
  readonly room = ENTRY_PAYLOAD;
  endErrno = 0;
  private readonly memory: Memory;
  private readonly device: number;
  private readonly at: number;
  private readonly ring: IoUring;
  private readonly queue: number;
  private readonly mountpoint: string;
  private entries = 0;
  /** Entry of the request being served. */
  private entry = 0;

  /** `at` is page-aligned room for RING_BYTES, untouched until an entry is used. */
  constructor(memory: Memory, at: number, device: number, queue: number, mountpoint: string) {
    this.memory = memory;
    this.device = device;
    this.at = at;
    this.ring = new IoUring(ENTRIES_MAX);
    this.queue = queue;
    this.mountpoint = mountpoint;
    this.addEntry();
    // Registered at once, so that the kernel knows of every queue before the mount is announced.
    this.ring.flush();
  }

  receive(request: Request): number {
    for (;;) {
      const got = this.ring.next();
      if (got === -EINTR || got === -EAGAIN) continue;
      if (got < 0) {
        this.endErrno = -got;
        return ENDED;
      }
      const { result, userData } = this.ring;
      if (userData === PROVOKED) continue;
      if ((userData & ANSWER_LATER) !== 0) {
        this.commit(userData & ~ANSWER_LATER, -result, 0);
        continue;
      }
      if (result < 0) {
        if (result === -EAGAIN || result === -EINTR) continue;
        // ENOTCONN and ECANCELED: the connection is going away, with every entry of the queue.
        this.endErrno = result === -ENOTCONN || result === -ECANCELED ? ENODEV : -result;
        return ENDED;
      }
      this.entry = userData;
      this.out = this.payloadOf(userData);
      const header = this.headerOf(userData);
      const payloadSize = this.memory.u32[(header + URING_HEADER.payload_sz) >> 2]!;
      return request.attachRing(header, header + URING_HEADER.op_in, this.out, Math.min(payloadSize, ENTRY_PAYLOAD));
    }
  }

  reply(_request: Request, error: number, length: number): number {
    this.commit(this.entry, error, length);
    return 0;
  }

  /**
   * Here such a request, too, is over when it is committed, and its caller waits for that: a FORGET that the kernel sends
   * for an entry of a READDIRPLUS that it cannot use (fs/fuse/readdir.c, fuse_force_forget) comes over the ring.
   */
  dismiss(): void {
    this.commit(this.entry, 0, 0);
  }

  flush(): void {
    this.ring.flush();
  }

  /**
   * Leaves the request received last to be answered by the supervisor (it posts to `fd`), and takes another entry in its
   * place. Null when there are too many.
   */
  park(): { readonly ring: number; readonly entry: number } | null {
    if (this.entries >= ENTRIES_MAX) return null;
    this.addEntry();
    this.provoke();
    return { ring: this.ring.fd, entry: this.entry };
  }

  /**
   * Makes sure that requests which wait in the queue are served. The kernel gives a new entry only what comes after it; what
   * waits already goes to whoever commits a request (fs/fuse/dev_uring.c, fuse_uring_do_register and
   * fuse_uring_commit_fetch). So a thread of the kernel asks for the attributes of the view's root, on the queue's core, once
   * the new entry is submitted.
   */
  provoke(): void {
    const { memory, queue } = this;
    const room = this.at + ENTRIES_MAX * ENTRY_BYTES;
    const path = memory.setString(room, this.mountpoint);
    this.ring.statxElsewhere(
      path,
      AT_STATX_FORCE_SYNC,
      STATX_BASIC_STATS,
      memory.address + room + PATH_MAX,
      PROVOKED,
      queue,
    );
  }

  private addEntry(): void {
    const { memory, queue } = this;
    const entry = this.entries++;
    const vectors = this.headerOf(entry) + VECTORS;
    memory.setU64(vectors, memory.address + this.headerOf(entry));
    memory.setU64(vectors + 8, URING_HEADER.size);
    memory.setU64(vectors + 16, memory.address + this.payloadOf(entry));
    memory.setU64(vectors + 24, ENTRY_PAYLOAD);
    this.ring.command(this.device, FUSE_URING.REGISTER, memory.address + vectors, 2, entry, 0, 0, 0, queue);
  }

  /** The reply of an entry's request, whose header still holds its unique; then the entry is free for the next. */
  private commit(entry: number, error: number, length: number): void {
    const { u32, i32 } = this.memory;
    const header = this.headerOf(entry);
    const word = header >> 2;
    const commit = (header + URING_HEADER.commit_id) >> 2;
    const commitLo = u32[commit]!;
    const commitHi = u32[commit + 1]!;
    u32[word] = OUT_HEADER.size + length;
    i32[word + 1] = error;
    u32[(header + URING_HEADER.payload_sz) >> 2] = length;
    this.ring.command(this.device, FUSE_URING.COMMIT_AND_FETCH, 0, 0, entry, 0, commitLo, commitHi, this.queue);
  }

  private headerOf(entry: number): number {
    return this.at + entry * ENTRY_BYTES;
  }

  private payloadOf(entry: number): number {
    return this.headerOf(entry) + ENTRY_HEADER;
  }
}
