// What a mount is asked to be: the one value that the command line, mount(8)'s -o string and the config file all
// become, and the only one the daemon reads. Everything in it is plain data, so that it crosses process and thread
// boundaries (JSON, structured clone) unchanged.

import type { IdMapSpec } from '../idmap/spec.js';

/**
 * How the kernel's cache of the view is kept in step with the underlay.
 *
 * - `lease`: names, absences, attributes, listings and link text are cached until the underlay reports a change, then
 *   taken back. Where the underlay cannot be watched this falls back to `strict` and says so.
 * - `strict`: nothing is cached; every step of every path walk asks the underlay.
 * - `ttl`: plain timeouts of `seconds`. A host edit may stay unseen for that long.
 */
export type Coherence =
  | { readonly mode: 'lease' }
  | { readonly mode: 'strict' }
  | { readonly mode: 'ttl'; readonly seconds: number };

/** A switch that the daemon may decide by itself. `on` fails the mount where the thing is not to be had. */
export type Switch = 'auto' | 'on' | 'off';

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

export interface MountOptions {
  /** Absolute, canonical path of the directory to serve (the underlay). */
  readonly source: string;
  /** Absolute, canonical path of the directory to mount on. */
  readonly mountpoint: string;
  readonly driver: 'kernel' | 'fuse-native';
  readonly map: IdMapSpec;
  readonly readOnly: boolean;
  /** Honour set-id bits and file capabilities on the view (drops MS_NOSUID). */
  readonly allowSuid: boolean;
  /** Honour device nodes on the view (drops MS_NODEV). */
  readonly allowDev: boolean;
  readonly noExec: boolean;
  readonly noAtime: boolean;
  /** Let every user reach the view, not only the one who mounted it (`allow_other`). */
  readonly allowOther: boolean;
  /** Leave out file systems mounted below the source, and btrfs subvolumes. */
  readonly xdev: boolean;
  readonly coherence: Coherence;
  readonly watcher: 'auto' | 'fanotify' | 'chokidar';
  readonly passthrough: Switch;
  readonly ioUring: Switch;
  readonly forwardEvents: Switch;
  /** Succeed silently where a chown is refused because an id does not map (bindfs's --chown-ignore). */
  readonly chownIgnore: boolean;
  /** `fuse-native` only: the view ids that own what is created there; null takes the owner of the directory. */
  readonly createOwner: { readonly uid: number; readonly gid: number } | null;
  /** Serving threads that are always there. */
  readonly workers: number;
  /** Serving threads there may be when all are blocked in the underlay. */
  readonly maxWorkers: number;
  /** First column of /proc/mounts; the source path when null. */
  readonly fsname: string | null;
  /** Unmount by itself when the daemon dies. */
  readonly autoUnmount: boolean;
  readonly foreground: boolean;
  readonly logLevel: LogLevel;
  readonly logFile: string | null;
  /** Log every decoded request and reply. */
  readonly trace: boolean;
}
