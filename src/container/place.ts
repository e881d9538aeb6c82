// Where shared views are mounted: /var/lib/fuse-shiftfs/shares/CONTAINER/NAME. The directory of all shares lies on a shared
// mount, so that a view mounted there reaches a container that has got the place before (mount_namespaces(7)).

import { mkdirSync, rmdirSync } from 'node:fs';
import { ShiftfsError } from '../errors.js';
import { mountAt, mountContaining, mountsBelow, readMounts } from '../linux/mountinfo.js';
import { runCommand } from './command.js';

const SHARES = '/var/lib/fuse-shiftfs/shares';

export function shareDirectory(container: string, share: string): string {
  return `${SHARES}/${container}/${share}`;
}

/** Makes the directory, and sees to it that what is mounted on it propagates. */
export function preparePlace(place: string): void {
  // To be walked through by the roots of containers (LXC does that), not to be listed by everybody.
  mkdirSync(place, { recursive: true, mode: 0o711 });
  if (isShared(place)) return;
  mount('--bind', SHARES, SHARES);
  mount('--make-shared', SHARES);
}

/** Removes the directory, and the mount of our own when it was the last. What is still in use stays. */
export function removePlace(place: string): void {
  for (const directory of [place, place.slice(0, place.lastIndexOf('/'))]) {
    try {
      rmdirSync(directory);
    } catch {
      // It is not empty: another share of this container.
      return;
    }
  }
  const mounts = readMounts();
  if (mountsBelow(mounts, SHARES).length > 0) return;
  if (mountAt(mounts, SHARES)) runCommand('umount', [SHARES]);
  try {
    rmdirSync(SHARES);
  } catch {
    // Shares of stopped containers.
  }
}

/** Whether the mount on which the directory itself lies, below a view that may be on it, is shared. */
function isShared(place: string): boolean {
  const mounts = readMounts();
  const parent = mountContaining(
    mounts.filter(({ mountpoint }) => mountpoint !== place),
    place,
  );
  return parent?.propagation.some((field) => field.startsWith('shared:')) ?? false;
}

function mount(...args: readonly string[]): void {
  const { status, stderr } = runCommand('mount', args);
  if (status !== 0) throw new ShiftfsError('NO_PERMISSION', `mount ${args.join(' ')}: ${stderr}`);
}
