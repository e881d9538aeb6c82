// What is mounted, and taking it away. Works on text under /proc and /sys only and never enters a mount, so that a hung
// view cannot hang the runner.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

export interface Mount {
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
  /** Minor of the anonymous device; for FUSE the number of its connection under /sys/fs/fuse/connections. */
  readonly minor: number;
  readonly options: readonly string[];
}

/** Undoes the octal escapes of /proc/PID/mountinfo. */
function unescapeField(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The mounts of this mount namespace, oldest first (proc_pid_mountinfo(5)). */
export function listMounts(): Mount[] {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').trimEnd().split('\n');
  return lines.map((line) => {
    const [left = '', right = ''] = line.split(' - ');
    const fields = left.split(' ');
    const [type = '', source = ''] = right.split(' ');
    return {
      mountpoint: unescapeField(fields[4] ?? ''),
      type,
      source: unescapeField(source),
      minor: Number((fields[2] ?? '').split(':')[1]),
      options: (fields[5] ?? '').split(','),
    };
  });
}

/** Newest first, the order in which they can be unmounted. */
export function mountsBelow(directory: string): Mount[] {
  return listMounts()
    .filter(({ mountpoint }) => mountpoint === directory || mountpoint.startsWith(`${directory}/`))
    .reverse();
}

export function mountAt(mountpoint: string): Mount | undefined {
  return listMounts().findLast((mount) => mount.mountpoint === mountpoint);
}

/**
 * Somebody's mount namespace, that of a container test beside us for instance, has a copy of the file system, wherever: it
 * keeps the server alive after our unmount. Not the helper of the daemon: it must leave by itself.
 */
export function isMountedElsewhere({ minor }: Mount): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      if (!/^\d+$/.test(pid) || !readFileSync(`/proc/${pid}/mountinfo`, 'latin1').includes(` 0:${minor} `))
        return false;
      return !readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('fuse-shiftfs-forward');
    } catch {
      // The process ended meanwhile.
      return false;
    }
  });
}

const FUSE_CONTROL = '/sys/fs/fuse/connections';

/** Mounts the file system that hung connections are aborted through, where the system has not done it at boot. */
export function mountFuseControl(): void {
  if (mountAt(FUSE_CONTROL) !== undefined) return;
  const { status, stderr } = spawnSync('mount', ['-t', 'fusectl', 'fusectl', FUSE_CONTROL], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`hung mounts could not be aborted: ${stderr}`);
}

const isFuse = (mount: Mount) => mount.type === 'fuse' || mount.type.startsWith('fuse.');

/** Requests the server has not answered, or null when the connection is gone. */
export function waitingRequests(mount: Mount): number | null {
  try {
    return Number(readFileSync(`${FUSE_CONTROL}/${mount.minor}/waiting`, 'latin1'));
  } catch {
    return null;
  }
}

/** Ends a FUSE connection: everybody who waits for its server gets ECONNABORTED. A connection that is gone is fine. */
export function abortFuse(mount: Mount): void {
  if (!isFuse(mount)) return;
  try {
    writeFileSync(`${FUSE_CONTROL}/${mount.minor}/abort`, '1');
  } catch {
    // Somebody unmounted it meanwhile, or its server died, which ends the connection as well.
  }
}

/** Ends the FUSE connections below `directory` that owe somebody an answer. Returns their mount points. */
export function abortHungFuse(directory: string): string[] {
  const hung = mountsBelow(directory).filter((mount) => isFuse(mount) && (waitingRequests(mount) ?? 0) > 0);
  for (const mount of hung) abortFuse(mount);
  return hung.map(({ mountpoint }) => mountpoint);
}

/** Takes away every mount at or below `directory`, whatever state its server is in. */
export function detachMountsBelow(directory: string): void {
  for (const mount of mountsBelow(directory)) {
    abortFuse(mount);
    spawnSync('umount', ['--lazy', '--no-canonicalize', mount.mountpoint], { timeout: 10_000, killSignal: 'SIGKILL' });
  }
}
