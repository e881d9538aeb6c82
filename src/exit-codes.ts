// What the program's exit status says. mount(8) and mount.fuse3 hand a helper's status on to their caller, so the codes are
// mount(8)'s own where it has one, and sysexits(3)'s, which mount(8) does not use, for what can only happen to a daemon.

import type { EndReason } from './driver/driver.js';
import type { ErrorCode } from './errors.js';

export const EXIT = {
  ok: 0,
  /** mount(8) 1: incorrect invocation or permissions. */
  usage: 1,
  /** mount(8) 2: system error. */
  system: 2,
  /** mount(8) 4: internal bug. */
  internal: 4,
  /** mount(8) 8: user interrupt, before the view served. */
  interrupted: 8,
  /** mount(8) 32: mount (or umount) failure. */
  failed: 32,
  /** EX_SOFTWARE: the daemon could not go on; the log says why. */
  daemonFailed: 70,
  /** EX_OSERR: the connection to the kernel was aborted (umount -f, /sys/fs/fuse/connections/N/abort). */
  aborted: 71,
} as const;

const codes: Readonly<Record<ErrorCode, number>> = {
  USAGE: EXIT.usage,
  BAD_MAP: EXIT.usage,
  BAD_OPTION: EXIT.usage,
  BAD_CONFIG: EXIT.usage,
  NO_PERMISSION: EXIT.usage,
  NO_FUSE: EXIT.system,
  INTERNAL: EXIT.internal,
  NO_SOURCE: EXIT.failed,
  NO_MOUNTPOINT: EXIT.failed,
  NOT_A_DIRECTORY: EXIT.failed,
  NESTED: EXIT.failed,
  BUSY: EXIT.failed,
  NOT_MOUNTED: EXIT.failed,
  NO_USERNS: EXIT.failed,
  UNSUPPORTED: EXIT.failed,
  DAEMON_DIED: EXIT.failed,
};

export function exitCodeOf(code: ErrorCode): number {
  return codes[code];
}

export function exitCodeOfEnd(reason: EndReason): number {
  switch (reason.kind) {
    case 'unmounted':
      return EXIT.ok;
    case 'aborted':
      return EXIT.aborted;
    case 'failed':
      return EXIT.daemonFailed;
  }
}
