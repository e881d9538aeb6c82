// Descriptors that cannot be taken back while somebody uses what they stand for: open files and directories, lock owners,
// those who wait for a lock, and directories watched by descriptor. They are counted for each user of the view, so that one who takes all that he can get
// leaves something for the others.
//
// Promises: together they are never more than `total`, which leaves room for the descriptors of a moment; the last part is
// given only to users who hold little. Users are told apart by a hash of their uid: two that share a counter share
// its allowance.

const H_TOTAL = 0;
/** Holder of the descriptors of watched directories: nobody's allowance. */
export const WATCHES = 1;
const H_USERS = 2;
const USERS = 4096;

export interface HeldLimits {
  /** All that may be held at once. */
  readonly total: number;
  /** How much of it is kept for users who hold no more than `modest`. */
  readonly reserve: number;
  readonly modest: number;
}

export interface HeldShared {
  readonly limits: HeldLimits;
  readonly counters: SharedArrayBuffer;
}

export function createHeld(limits: HeldLimits): HeldShared {
  return { limits, counters: new SharedArrayBuffer((H_USERS + USERS) * 4) };
}

export class Held {
  private readonly limits: HeldLimits;
  private readonly counters: Int32Array;

  constructor(shared: HeldShared) {
    // Of one shape in every thread: what was sent from another has a shape of its own, for which V8 would compile `take` anew.
    const { total, reserve, modest } = shared.limits;
    this.limits = { total, reserve, modest };
    this.counters = new Int32Array(shared.counters);
  }

  /** Who a user is here: what is remembered with each thing held. */
  holder(uid: number): number {
    return H_USERS + ((Math.imul(uid, 0x9e3779b1) >>> 16) & (USERS - 1));
  }

  /** Counts `count` descriptors that are about to be opened. False when the holder may not have them. */
  take(holder: number, count: number): boolean {
    const { counters, limits } = this;
    const total = Atomics.add(counters, H_TOTAL, count) + count;
    const own = Atomics.add(counters, holder, count) + count;
    if (total <= limits.total - limits.reserve || (total <= limits.total && own <= limits.modest)) return true;
    this.give(holder, count);
    return false;
  }

  /** Whether `take` would say yes at this moment. */
  hasRoom(holder: number, count: number): boolean {
    if (!this.take(holder, count)) return false;
    this.give(holder, count);
    return true;
  }

  give(holder: number, count: number): void {
    Atomics.sub(this.counters, holder, count);
    Atomics.sub(this.counters, H_TOTAL, count);
  }

  get total(): number {
    return Atomics.load(this.counters, H_TOTAL);
  }
}
