// The seam between a file system and a transport. A driver takes the options of one mount, makes the view appear and
// serves it until it ends. The daemon (src/daemon) knows drivers only through this file.

import type { Logger } from 'pino';
import type { MountOptions } from '../config/mount-options.js';
import type { HelperState } from '../forward/helper.js';

/**
 * What a transport can carry. An option that needs something a driver lacks is refused at start, never ignored; what a
 * driver lacks is said in words by `limitsOf` (limits.ts).
 */
export interface DriverCapabilities {
  /** Requests carry the caller's uid and gid. */
  readonly callerIds: boolean;
  /** The kernel's cache can be told to drop names and attributes. */
  readonly invalidation: boolean;
  readonly renameFlags: boolean;
  /** Locks are taken in the underlay, so that view and host see each other's. */
  readonly locks: boolean;
  readonly passthrough: boolean;
  /** The kernel checks POSIX ACLs, on view ids. */
  readonly acls: boolean;
  /** MAP_SHARED memory maps. */
  readonly sharedMaps: boolean;
  /** What is open stays the same inode, whatever the host does to its name. */
  readonly openInodes: boolean;
  /** fallocate(2), SEEK_DATA and SEEK_HOLE, O_TMPFILE, the inode flag ioctls. */
  readonly newerCalls: boolean;
  /** Resolution with which time stamps can be set, in nanoseconds. They are shown as the underlay has them. */
  readonly timeGranularity: number;
  /** One of the two time stamps can be set alone (UTIME_OMIT). */
  readonly singleTimes: boolean;
  /** Several requests are served at a time. */
  readonly parallel: boolean;
}

/**
 * Why a view ended.
 *
 * - `unmounted`: somebody unmounted it (umount(8), `fuse-shiftfs umount`, our own `unmount()`).
 * - `aborted`: its connection was aborted (/sys/fs/fuse/connections/N/abort, umount -f).
 * - `failed`: the daemon could not go on; `error` says why.
 */
export type EndReason =
  | { readonly kind: 'unmounted' }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'failed'; readonly error: Error };

/** Figures of a running view for `fuse-shiftfs status`. Counters only grow; sizes are of this moment. */
export interface ViewStatus {
  /** What INIT agreed on: `7.45`. */
  readonly protocol: string;
  /** Kernel features in use, in the kernel header's words: `passthrough`, `posix_acl`, `io_uring` ... */
  readonly features: readonly string[];
  readonly coherence: string;
  readonly watcher: string;
  /** What wakes watchers in the view when the host changes something; absent where nothing does. */
  readonly helper?: { readonly state: HelperState; readonly pid: number | null };
  readonly workers: { readonly alive: number; readonly busy: number; readonly max: number };
  readonly nodes: number;
  readonly descriptors: { readonly cached: number; readonly budget: number };
  readonly openFiles: number;
  readonly openDirectories: number;
  /** Requests served, by opcode name. */
  readonly requests: Readonly<Record<string, RequestFigures>>;
  /** Errors answered, by errno name. */
  readonly errors: Readonly<Record<string, number>>;
  /** Leases granted, broken (by reason), notifications sent and their outcomes, watcher events. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface RequestFigures {
  readonly count: number;
  /** Service time in the daemon, microseconds, from a histogram with power-of-two buckets. */
  readonly p50: number;
  readonly p99: number;
  /** Of all together, microseconds. A daemon of an earlier version has neither this nor the histogram. */
  readonly total?: number;
  /** How many took less than 1, 2, 4, 8 ... microseconds and no less than the number before; the last, longer. */
  readonly histogram?: readonly number[];
}

export interface MountedView {
  readonly capabilities: DriverCapabilities;
  /** Resolves once, when the view is gone and nothing of it is left mounted. */
  readonly ended: Promise<EndReason>;
  /** Asks the kernel to unmount; `lazy` detaches at once (MNT_DETACH). Throws ShiftfsError EBUSY when in use. */
  unmount(lazy: boolean): Promise<void>;
  status(): ViewStatus;
}

export interface Driver {
  readonly name: MountOptions['driver'];
  /** Resolves when the view answers requests. Throws ShiftfsError; nothing stays mounted after a failure. */
  mount(options: MountOptions, log: Logger): Promise<MountedView>;
}
