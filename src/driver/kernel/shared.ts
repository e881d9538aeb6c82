// What the threads of one mount share beside the tables: the state of each serving thread, the figures, the locks that
// are waited for, and the switches of the supervisor. Plain shared memory; whoever reads it needs no message.

import { createAliases } from '../../coherence/aliases.js';
import type { CoherenceShared } from '../../coherence/shared.js';
import type { FileSystemOptions } from '../../filesystem/context.js';
import type { DevicesShared } from '../../filesystem/devices.js';
import type { HandleTableShared } from '../../filesystem/handle-table.js';
import type { HeldShared } from '../../filesystem/held.js';
import type { LockTableShared } from '../../filesystem/lock-table.js';
import type { NodeTableShared } from '../../filesystem/node-table.js';
import type { ForwardShared } from '../../forward/jobs.js';
import type { Negotiated } from '../../fuse/init.js';
import type { IdMapSpec } from '../../idmap/spec.js';
import { FIGURES_WORDS } from '../figures.js';

/** One serving thread's words. */
export const WORKER = {
  words: 24,
  /**
   * IDLE; SERVING, with the number of the request (`started`) above STATE_BITS, so that one is not taken for the next; or
   * HOLDING and then ANSWERED by the supervisor while it was still being served.
   */
  state: 0,
  uniqueLo: 1,
  uniqueHi: 2,
  opcode: 3,
  pid: 4,
  /** The kernel sent INTERRUPT for the request being served. */
  interrupted: 5,
  /** Requests served (wraps). */
  served: 6,
  /** Its clone of the device; replies must be written where the request was read. */
  device: 7,
  /** 0 not there, 1 serving, 2 ended. */
  alive: 8,
  /** Requests begun (wraps): one more than `served` while one is on its way. */
  started: 9,
  /** The nodes the request is about: the second is the target of a rename or a link, 0 for others. */
  nodeLo: 11,
  nodeHi: 12,
  targetLo: 13,
  targetHi: 14,
  /** KIND_DEVICE, KIND_QUEUE or KIND_SPARE. */
  kind: 10,
  /** The handles the request works on; 0 for none. Once ANSWERED, they are held. */
  handleLo: 15,
  handleHi: 16,
  secondLo: 17,
  secondHi: 18,
  /** The queue of FUSE over io_uring that it has an entry in, plus 1; 0 on the device. */
  queue: 19,
} as const;

/** Reads the device. With FUSE over io_uring, one of these is there for what still comes that way. */
export const KIND_DEVICE = 1;
/** Answers for the queue of one core, over io_uring, and stays on that core. */
export const KIND_QUEUE = 2;
/** Answers for a queue whose own thread is stuck. */
export const KIND_SPARE = 3;

export const IDLE = 0;
export const SERVING = 1;
export const ANSWERED = 2;
/** The supervisor is about to answer: wait until it has. */
export const HOLDING = 3;
export const STATE_BITS = 2;
export const STATE_MASK = (1 << STATE_BITS) - 1;

/** Switches, by index. */
export const CONTROL = {
  words: 16,
  /** 1 while the supervisor sleeps until somebody wakes it. */
  asleep: 0,
  /** Futex word of the supervisor. */
  wake: 1,
  /** 1 when the view is ending. */
  ending: 2,
  /** Mutex of the waiting list. */
  waitLock: 3,
  /** Entries in the waiting list. */
  waiting: 4,
  /** Locks were dropped through the view: try the waiting ones again at once. */
  retry: 5,
  /** 1 while a serving thread looks for requests without sleeping. */
  spinning: 6,
  /** COMPANION: what the companion does (companion.ts). */
  companion: 7,
  /** Requests served, for the companion (wraps). */
  beats: 8,
  /** The core that the companion is to leave alone. */
  busyCore: 9,
} as const;

/** Its name as a thread. */
export const COMPANION_NAME = 'companion';

export const COMPANION = {
  /** Until it is woken. */
  asleep: 0,
  awake: 1,
  /** It was in somebody's way, and is not to be woken. */
  resting: 2,
} as const;

/** One lock that is waited for (SETLKW). Offsets in u32 words; start and end in f64 words after them. */
export const WAIT = {
  words: 20,
  capacity: 4096,
  state: 0,
  uniqueLo: 1,
  uniqueHi: 2,
  device: 3,
  fd: 4,
  type: 5,
  flock: 6,
  interrupted: 7,
  startLo: 8,
  startHi: 9,
  endLo: 10,
  endHi: 11,
  pid: 12,
  /** With FUSE over io_uring: the ring whose thread has to answer (0: the device is written to), and its entry. */
  ring: 13,
  entry: 14,
  /** For whom `fd` is counted (held.ts). */
  holder: 15,
} as const;

/** Everything a serving thread is given. */
export interface WorkerData {
  readonly index: number;
  readonly kind: typeof KIND_DEVICE | typeof KIND_QUEUE | typeof KIND_SPARE;
  /**
   * The queue of FUSE over io_uring that this thread has its entry in, -1 on the device. One and no more: the kernel gives
   * requests to any entry that is free, and one of a thread that is stuck with another entry's request would never be served.
   */
  readonly queue: number;
  /** Absolute; for threads with an entry of io_uring. */
  readonly mountpoint: string;
  /** The mount's first descriptor of /dev/fuse; each thread clones it. */
  readonly device: number;
  readonly agreed: Negotiated;
  readonly map: IdMapSpec;
  readonly options: FileSystemOptions;
  /** Seconds for names and attributes when nothing is leased. */
  readonly ttl: number;
  readonly trace: boolean;
  /** There is a companion (companion.ts). */
  readonly accompanied: boolean;
  /** Nobody waits for this thread yet: it can become fast before it serves. */
  readonly warm: boolean;
  readonly shared: Shared;
  /** Null in the modes strict and ttl. `group` is the fanotify group, -1 with the chokidar watcher. */
  readonly coherence: {
    readonly shared: CoherenceShared;
    readonly group: number;
    readonly wake: number;
    readonly forward: ForwardShared | null;
  } | null;
}

/** What the supervisor is given. */
export interface SupervisorData {
  readonly shared: Shared;
  readonly maxWorkers: number;
  /** The mount's first descriptor of /dev/fuse. */
  readonly device: number;
  /** Its number in /sys/fs/fuse/connections: the minor of st_dev. */
  readonly connection: number;
}

export interface Shared {
  readonly nodes: NodeTableShared;
  readonly handles: HandleTableShared;
  readonly locks: LockTableShared;
  readonly held: HeldShared;
  readonly devices: DevicesShared;
  readonly workers: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  readonly waiting: SharedArrayBuffer;
  readonly figures: SharedArrayBuffer;
  /** See src/coherence/aliases.ts. */
  readonly aliases: SharedArrayBuffer;
}

export function createShared(
  parts: Pick<Shared, 'nodes' | 'handles' | 'locks' | 'held' | 'devices'>,
  maxWorkers: number,
): Shared {
  return {
    ...parts,
    workers: new SharedArrayBuffer(maxWorkers * WORKER.words * 4),
    control: new SharedArrayBuffer(CONTROL.words * 4),
    waiting: new SharedArrayBuffer(WAIT.capacity * WAIT.words * 4),
    figures: new SharedArrayBuffer(maxWorkers * FIGURES_WORDS * 4),
    aliases: createAliases(maxWorkers),
  };
}

/** Messages of a serving thread or the supervisor to the main thread. */
export type ThreadMessage =
  | { readonly kind: 'ready' }
  /** All threads of a queue (-1: of the device) are stuck. */
  | { readonly kind: 'grow'; readonly queue: number }
  /** A directory is to be watched, or not any more (chokidar). */
  | { readonly kind: 'arm' | 'disarm'; readonly slot: number; readonly generation: number }
  /** The host has changed something that a watcher in the view may wait for. */
  | { readonly kind: 'forward' }
  | { readonly kind: 'ended'; readonly errno: number }
  | {
      readonly kind: 'log';
      readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    };
