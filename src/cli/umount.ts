// `fuse-shiftfs umount`: asks the kernel, not the daemon, so that it works when the daemon is dead or hangs.

import { setTimeout as delay } from 'node:timers/promises';
import { canonicalMountpoint } from '../daemon/preflight.js';
import { findView, isGone, isStopped, type ViewRecord } from '../daemon/registry.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';
import { EBUSY, EPERM, errnoName } from '../linux/errno.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { unmount } from '../linux/process.js';
import { describeUsers, holdersOf, usersOf } from './busy.js';

const WAIT_MS = 10_000;
const POLL_MS = 10;
/** Before /proc is searched for containers that keep the daemon busy: a daemon ends in far less. */
const NAMESPACES_AFTER_MS = 500;

/**
 * The mount point to take away, given or from a config file; undefined with `ifMounted` when no view is there. Throws
 * ShiftfsError USAGE or BAD_CONFIG.
 */
export async function umountTarget(
  path: string | undefined,
  config: string | undefined,
  ifMounted: boolean,
): Promise<string | undefined> {
  if ((path === undefined) === (config === undefined)) {
    throw new ShiftfsError('USAGE', 'give the mount point or --config, one of them');
  }
  const target = path ?? (await import('../config/config-file.js')).readConfigFile(config!).mountpoint;
  return ifMounted && !isViewMounted(target) ? undefined : target;
}

function isViewMounted(path: string): boolean {
  try {
    return mountAt(readMounts(), canonicalMountpoint(path))?.fstype === VIEW_FSTYPE;
  } catch (error) {
    if (error instanceof ShiftfsError && error.code === 'NO_MOUNTPOINT') return false;
    throw error;
  }
}

/** Returns the exit status. Throws ShiftfsError NOT_MOUNTED, NO_PERMISSION, BUSY or INTERNAL. */
export async function umount(path: string, lazy: boolean): Promise<number> {
  const mountpoint = canonicalMountpoint(path);
  const mount = mountAt(readMounts(), mountpoint);
  if (mount?.fstype !== VIEW_FSTYPE) {
    throw new ShiftfsError(
      'NOT_MOUNTED',
      `${mountpoint}: ${mount ? `a ${mount.fstype} mount, not a view of fuse-shiftfs` : 'nothing is mounted there'}`,
      mount ? `"umount ${mountpoint}" takes it away.` : '"fuse-shiftfs status" lists the views.',
    );
  }
  if (process.geteuid?.() !== 0) {
    throw new ShiftfsError('NO_PERMISSION', `${mountpoint}: unmounting a view needs root`, 'Run it with sudo.');
  }
  const view = findView(mountpoint);
  const result = unmount(mountpoint, lazy);
  if (result === -EBUSY && view && isStopped(view.record)) {
    throw new ShiftfsError(
      'BUSY',
      `${mountpoint}: its daemon, process ${view.record.pid}, was stopped by a signal, and callers wait for it`,
      `Continue it (kill -CONT ${view.record.pid}), or take the view away with --lazy and kill it: callers then get ENOTCONN.`,
    );
  }
  if (result === -EBUSY) {
    throw new ShiftfsError(
      'BUSY',
      `${mountpoint}: in use by ${describeUsers(usersOf(mountpoint))}`,
      'End these first, or use --lazy: the view disappears at once and ends with its last user.',
    );
  }
  if (result === -EPERM) {
    throw new ShiftfsError('NO_PERMISSION', `${mountpoint}: not permitted`, 'Unmounting needs CAP_SYS_ADMIN.');
  }
  if (result < 0) throw new ShiftfsError('INTERNAL', `${mountpoint}: umount2: ${errnoName(-result)}`);
  if (lazy || !view) return EXIT.ok;
  await waitForEnd(view.record, mount.device);
  return EXIT.ok;
}

/** The mount is gone; says so when the daemon has a reason to stay. */
async function waitForEnd(record: ViewRecord, device: string): Promise<void> {
  const say = (why: string): void => {
    process.stderr.write(
      `fuse-shiftfs: ${record.mountpoint} is unmounted; its daemon, process ${record.pid}, ${why}\n`,
    );
  };
  const start = performance.now();
  while (!isGone(record)) {
    const waited = performance.now() - start;
    if (isStopped(record)) return say('was stopped by a signal and ends when it is continued or killed');
    if (waited > NAMESPACES_AFTER_MS) {
      const holders = holdersOf(device, record.pid);
      if (holders.length > 0) return say(`serves copies of it in mount namespaces of processes ${holders.join(', ')}`);
    }
    if (waited > WAIT_MS) return say('is still there');
    await delay(POLL_MS);
  }
}
