// io_uring, as far as FUSE over io_uring needs it: one ring a thread, 128-byte submission entries, one system call to
// submit and to wait. Layouts from include/uapi/linux/io_uring.h.

import koffi from 'koffi';
import { AT_FDCWD } from './abi.js';
import { Memory } from './memory.js';
import { call4, call6, close, NR } from './syscalls.js';

const IORING_SETUP_COOP_TASKRUN = 1 << 8;
const IORING_SETUP_SQE128 = 1 << 10;
const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
const IORING_ENTER_GETEVENTS = 1;
const IORING_OP_STATX = 21;
const IORING_OP_MSG_RING = 40;
const IORING_OP_URING_CMD = 46;
/** struct io_uring_sqe: its flags are the second byte. */
const IOSQE_ASYNC = 1 << (4 + 8);
const IORING_REGISTER_IOWQ_AFF = 17;
const IORING_OFF_SQES = 0x10000000;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const SQE_WORDS = 32;
const CQE_WORDS = 4;

function map(fd: number, length: number, offset: number): Int32Array {
  const address = call6(NR.mmap, 0, length, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset);
  if (address < 0) throw new Error(`mmap of an io_uring failed: errno ${-address}`);
  return new Int32Array(koffi.view(BigInt(address) as never, length));
}

export class IoUring {
  readonly fd: number;
  private readonly rings: Int32Array;
  private readonly sqes: Int32Array;
  private readonly sqTail: number;
  private readonly sqMask: number;
  private readonly sqArray: number;
  private readonly cqHead: number;
  private readonly cqTail: number;
  private readonly cqMask: number;
  private readonly cqes: number;
  private queued = 0;
  /** Of the completion `next` returned: what was submitted with it, and its result. */
  userData = 0;
  result = 0;

  /** For the calling thread alone. Throws where the kernel has no io_uring, or forbids it. */
  constructor(entries: number) {
    const params = new Memory(120);
    const flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER;
    params.u32[2] = flags | IORING_SETUP_DEFER_TASKRUN;
    let fd = call6(NR.io_uring_setup, entries, params.address, 0, 0, 0, 0);
    if (fd < 0) {
      params.u32.fill(0);
      params.u32[2] = flags | IORING_SETUP_COOP_TASKRUN;
      fd = call6(NR.io_uring_setup, entries, params.address, 0, 0, 0, 0);
    }
    if (fd < 0) throw new Error(`io_uring_setup failed: errno ${-fd}`);
    this.fd = fd;
    const { u32 } = params;
    const sqEntries = u32[0]!;
    const cqEntries = u32[1]!;
    // struct io_sqring_offsets at 40, struct io_cqring_offsets at 80. One mapping holds both rings (5.4).
    const ringsLength = Math.max(u32[16]! + sqEntries * 4, u32[25]! + cqEntries * 16);
    this.rings = map(fd, ringsLength, 0);
    this.sqes = map(fd, sqEntries * SQE_WORDS * 4, IORING_OFF_SQES);
    this.sqTail = u32[11]! >> 2;
    this.sqMask = this.rings[u32[12]! >> 2]!;
    this.sqArray = u32[16]! >> 2;
    this.cqHead = u32[20]! >> 2;
    this.cqTail = u32[21]! >> 2;
    this.cqMask = this.rings[u32[22]! >> 2]!;
    this.cqes = u32[25]! >> 2;
  }

  /**
   * Queues a IORING_OP_URING_CMD on `file`. `address` and `length` are the command's own; `words` are the first six u32
   * of the command area at byte 48 (three u64).
   */
  command(
    file: number,
    operation: number,
    address: number,
    length: number,
    userData: number,
    flags: number,
    commitLo: number,
    commitHi: number,
    queue: number,
  ): void {
    const { sqes } = this;
    const at = this.begin();
    sqes[at] = IORING_OP_URING_CMD;
    sqes[at + 1] = file;
    sqes[at + 2] = operation;
    sqes[at + 4] = address | 0;
    sqes[at + 5] = Math.floor(address / 4294967296);
    sqes[at + 6] = length;
    sqes[at + 8] = userData;
    // struct fuse_uring_cmd_req { u64 flags; u64 commit_id; u16 qid; } at byte 48
    sqes[at + 12] = flags;
    sqes[at + 14] = commitLo;
    sqes[at + 15] = commitHi;
    sqes[at + 16] = queue;
    this.submit();
  }

  /**
   * Queues a statx(2) that a thread of the kernel does, on one core (Linux 5.14), while this one goes on. `path` and `buffer` are
   * addresses.
   */
  statxElsewhere(path: number, flags: number, mask: number, buffer: number, userData: number, core: number): void {
    const cores = new Memory(128);
    cores.u8[core >> 3] = 1 << (core & 7);
    call4(NR.io_uring_register, this.fd, IORING_REGISTER_IOWQ_AFF, cores.address, 128);
    const { sqes } = this;
    const at = this.begin();
    sqes[at] = IORING_OP_STATX | IOSQE_ASYNC;
    sqes[at + 1] = AT_FDCWD;
    sqes[at + 2] = buffer | 0;
    sqes[at + 3] = Math.floor(buffer / 4294967296);
    sqes[at + 4] = path | 0;
    sqes[at + 5] = Math.floor(path / 4294967296);
    sqes[at + 6] = mask;
    sqes[at + 7] = flags;
    sqes[at + 8] = userData;
    this.submit();
  }

  /** Posts a completion to another thread's ring (Linux 5.18): it wakes up with this `userData` and `result`. */
  post(ring: number, userData: number, result: number): number {
    const { sqes } = this;
    const at = this.begin();
    sqes[at] = IORING_OP_MSG_RING;
    sqes[at + 1] = ring;
    sqes[at + 2] = userData;
    sqes[at + 6] = result;
    this.submit();
    const entered = call6(NR.io_uring_enter, this.fd, this.queued, 1, IORING_ENTER_GETEVENTS, 0, 0);
    if (entered < 0) return entered;
    this.queued -= entered;
    return this.take() ? Math.min(this.result, 0) : 0;
  }

  /** Where the next submission entry lies in `sqes`, empty; it is the kernel's with `submit`. */
  private begin(): number {
    const at = (this.rings[this.sqTail]! & this.sqMask) * SQE_WORDS;
    this.sqes.fill(0, at, at + SQE_WORDS);
    return at;
  }

  private submit(): void {
    const { rings } = this;
    const tail = rings[this.sqTail]!;
    const index = tail & this.sqMask;
    rings[this.sqArray + index] = index;
    Atomics.store(rings, this.sqTail, tail + 1);
    this.queued++;
  }

  /** Takes a completion if there is one; otherwise submits what is queued and waits. 1, or -errno. */
  next(): number {
    for (;;) {
      if (this.take()) return 1;
      const entered = call6(NR.io_uring_enter, this.fd, this.queued, 1, IORING_ENTER_GETEVENTS, 0, 0);
      if (entered < 0) return entered;
      this.queued -= entered;
    }
  }

  /** Submits what is queued without waiting. */
  flush(): void {
    if (this.queued === 0) return;
    const entered = call6(NR.io_uring_enter, this.fd, this.queued, 0, 0, 0, 0);
    if (entered > 0) this.queued -= entered;
  }

  close(): void {
    close(this.fd);
  }

  private take(): boolean {
    const { rings } = this;
    const head = rings[this.cqHead]!;
    // What is queued goes first: a reply must not wait until the next request is served.
    if (this.queued > 0 || head === Atomics.load(rings, this.cqTail)) return false;
    const at = this.cqes + (head & this.cqMask) * CQE_WORDS;
    this.userData = rings[at]!;
    this.result = rings[at + 2]!;
    Atomics.store(rings, this.cqHead, head + 1);
    return true;
  }
}
