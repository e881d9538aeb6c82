// Everything about source, mount point and rights that can be known before a daemon is started, so that the common
// mistakes are told at once and in plain words. What only the kernel can know is left to the driver.

import { closeSync, constants, lstatSync, openSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ShiftfsError } from '../errors.js';
import { errnoName } from '../linux/errno.js';
import {
  fileSystemPath,
  isInside,
  type Mount,
  mountAt,
  mountsBelow,
  readMounts,
  VIEW_FSTYPE,
} from '../linux/mountinfo.js';
import { CAP, effectiveCapabilities, unmount } from '../linux/process.js';
import { findView } from './registry.js';

/** How long the server of a file system may take to answer a stat before we call it hung. */
const HUNG_AFTER_MS = 5000;
/** MAXSYMLINKS, include/linux/namei.h. */
const MAX_SYMLINKS = 40;

export interface CheckedPaths {
  readonly source: string;
  readonly mountpoint: string;
  /** What was cleared away on the way; belongs in the log. */
  readonly notes: readonly string[];
}

/** Throws ShiftfsError NO_PERMISSION or NO_FUSE. */
export function checkRights(): void {
  if (process.geteuid?.() !== 0) {
    throw new ShiftfsError(
      'NO_PERMISSION',
      'mounting a view needs root',
      'Run it with sudo, or from /etc/fstab or a systemd unit: a view acts on the underlay in the name of every user who ' +
        'asks, which an ordinary user has no right to. To shift ids of your own files alone, bindfs works without root.',
    );
  }
  if (!effectiveCapabilities().has(CAP.SYS_ADMIN)) {
    throw new ShiftfsError(
      'NO_PERMISSION',
      'this root has no CAP_SYS_ADMIN, which mounting needs',
      'Inside a container or a restricted unit: mount on the host, or grant CAP_SYS_ADMIN (CapabilityBoundingSet=).',
    );
  }
  try {
    closeSync(openSync('/dev/fuse', constants.O_RDWR));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const missing = code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO';
    throw new ShiftfsError(
      'NO_FUSE',
      missing ? '/dev/fuse is missing' : `/dev/fuse cannot be opened (${code})`,
      missing
        ? 'Load the module (modprobe fuse); in a container, hand /dev/fuse in.'
        : 'A device cgroup or another policy keeps it from us: allow character device 10:229.',
    );
  }
}

/**
 * Checks and canonicalises both paths. A mount point that a killed daemon left behind is detached first. Throws
 * ShiftfsError NO_SOURCE, NO_MOUNTPOINT, NOT_A_DIRECTORY, NO_PERMISSION, BUSY or NESTED.
 */
export async function checkPaths(source: string, mountpoint: string, xdev: boolean): Promise<CheckedPaths> {
  const notes: string[] = [];
  const place = canonicalMountpoint(mountpoint);
  await clearMountpoint(place, notes);
  checkDirectory(place, 'NO_MOUNTPOINT', `Create it first: mkdir -p ${mountpoint}`);
  const canonicalSource = canonical(source);
  checkDirectory(canonicalSource, 'NO_SOURCE', 'The source is the existing directory to serve.');
  checkNesting(readMounts(), canonicalSource, place, xdev);
  return { source: canonicalSource, mountpoint: place, notes };
}

/**
 * The absolute path of a mount point without symlinks, found without a look at what is mounted on it: its server may be
 * dead, hung, or we.
 */
export function canonicalMountpoint(path: string): string {
  if (/^\/dev\/fd\//.test(path)) {
    throw new ShiftfsError(
      'BAD_OPTION',
      `${path}: a mount point given as a descriptor is not supported`,
      'Leave out drop_privileges: the daemon drops what it does not need by itself.',
    );
  }
  const mounts = readMounts();
  let current = resolve(path);
  for (let links = 0; links <= MAX_SYMLINKS; links++) {
    if (current === '/') return current;
    try {
      const parent = realpathSync(dirname(current));
      const place = join(parent, basename(current));
      if (mountAt(mounts, place) || !lstatSync(place).isSymbolicLink()) return place;
      current = resolve(parent, readlinkSync(place));
    } catch (error) {
      throw pathError(path, 'NO_MOUNTPOINT', error, `Create it first: mkdir -p ${path}`);
    }
  }
  throw new ShiftfsError('NO_MOUNTPOINT', `${path}: too many symbolic links`);
}

function canonical(source: string): string {
  try {
    return realpathSync(source);
  } catch (error) {
    throw pathError(source, 'NO_SOURCE', error, 'The source is the existing directory to serve.');
  }
}

function checkDirectory(path: string, missing: 'NO_SOURCE' | 'NO_MOUNTPOINT', hint: string): void {
  try {
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    throw pathError(path, missing, error, hint);
  }
  throw new ShiftfsError('NOT_A_DIRECTORY', `${path}: not a directory`, 'Both source and mount point are directories.');
}

function pathError(path: string, missing: 'NO_SOURCE' | 'NO_MOUNTPOINT', error: unknown, hint: string): ShiftfsError {
  const { code, message } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  switch (code) {
    case 'ENOENT':
      return new ShiftfsError(missing, `${path}: no such directory`, hint, cause);
    case 'ENOTDIR':
      return new ShiftfsError('NOT_A_DIRECTORY', `${path}: not a directory`, hint, cause);
    case 'EACCES':
    case 'EPERM':
      return new ShiftfsError(
        'NO_PERMISSION',
        `${path}: permission denied`,
        'A FUSE mount may keep root out, too.',
        cause,
      );
    case 'ENOTCONN':
      return new ShiftfsError(
        missing,
        `${path}: lies on a FUSE mount whose server is gone`,
        'Take that mount away (umount -l) or start its server again.',
        cause,
      );
    default:
      return new ShiftfsError(missing, `${path}: ${message}`, hint, cause);
  }
}

/** A living view there is an error; dead ones, of ours, are detached. Any other mount may be mounted over, as always. */
async function clearMountpoint(mountpoint: string, notes: string[]): Promise<void> {
  for (;;) {
    const mount = mountAt(readMounts(), mountpoint);
    if (!mount) return;
    const ours = mount.fstype === VIEW_FSTYPE;
    const registered = ours ? findView(mountpoint) : undefined;
    if (registered) throw alreadyMounted(mount, `served by process ${registered.record.pid}`);
    const state = await probe(mountpoint);
    if (state === 'hung') {
      throw new ShiftfsError(
        'BUSY',
        `${mountpoint}: a ${mount.fstype} mount is there and does not answer`,
        `Take it away first: umount -l ${mountpoint}`,
      );
    }
    if (ours && state === 'alive') throw alreadyMounted(mount, `a view of ${mount.source}`);
    if (state === 'alive') return;
    if (!ours) {
      throw new ShiftfsError(
        'BUSY',
        `${mountpoint}: a dead ${mount.fstype} mount is there`,
        `It is not ours to take away: umount -l ${mountpoint}`,
      );
    }
    const result = unmount(mountpoint, true);
    if (result < 0) {
      throw new ShiftfsError(
        'BUSY',
        `${mountpoint}: a dead view is there and cannot be detached (${errnoName(-result)})`,
      );
    }
    notes.push(`${mountpoint}: detached a view of ${mount.source} whose daemon is gone`);
  }
}

function alreadyMounted(mount: Mount, how: string): ShiftfsError {
  return new ShiftfsError(
    'BUSY',
    `${mount.mountpoint}: already mounted, ${how}`,
    `"fuse-shiftfs umount ${mount.mountpoint}" takes it away; "fuse-shiftfs status" shows it.`,
  );
}

/** Asks the server behind `path`: by statfs(2), which the kernel never answers from what it has cached. */
export async function probe(path: string): Promise<'alive' | 'dead' | 'hung'> {
  const answer = statfs(path).then(
    (): 'alive' | 'dead' => 'alive',
    // ECONNABORTED: it died while it was asked.
    ({ code }: NodeJS.ErrnoException) => (code === 'ENOTCONN' || code === 'ECONNABORTED' ? 'dead' : 'alive'),
  );
  const timeout = new AbortController();
  const late = delay(HUNG_AFTER_MS, 'hung' as const, { signal: timeout.signal }).catch(() => 'hung' as const);
  const result = await Promise.race([answer, late]);
  timeout.abort();
  return result;
}

/**
 * A view inside its own source would contain itself, and the daemon would have to answer its own requests. Paths are
 * compared within their file system as well, because bind mounts share what is mounted on them (mount_namespaces(7)).
 */
function checkNesting(mounts: readonly Mount[], source: string, mountpoint: string, xdev: boolean): void {
  if (source === mountpoint) {
    throw new ShiftfsError(
      'NESTED',
      `${source}: source and mount point are the same directory`,
      'Mount the view elsewhere: the host goes on working in the source.',
    );
  }
  const where = fileSystemPath(mounts, mountpoint);
  const roots = [{ path: source, at: fileSystemPath(mounts, source) }];
  if (!xdev) {
    for (const mount of mountsBelow(mounts, source)) {
      roots.push({ path: mount.mountpoint, at: { device: mount.device, path: mount.root } });
    }
  }
  for (const { path, at } of roots) {
    const shared = where !== undefined && at?.device === where.device && isInside(where.path, at.path);
    if (shared || isInside(mountpoint, path)) {
      throw new ShiftfsError(
        'NESTED',
        `the mount point ${mountpoint} is inside the source ${source}${path === source ? '' : `, by way of ${path}`}`,
        'A view cannot contain itself: choose a mount point outside the source.',
      );
    }
  }
  const sourceAt = roots[0]!.at;
  const hidden = where !== undefined && sourceAt?.device === where.device && isInside(sourceAt.path, where.path);
  if (hidden || isInside(source, mountpoint)) {
    throw new ShiftfsError(
      'NESTED',
      `the source ${source} is inside the mount point ${mountpoint}`,
      'The view would hide its own source from the host: choose another mount point.',
    );
  }
}
