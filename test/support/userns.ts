// User namespaces for the suites. Root writes /proc/PID/uid_map itself: nothing here needs /etc/subuid or newuidmap.

import { writeFileSync } from 'node:fs';

/** One `[u:|g:|b:]INSIDE:OUTSIDE:COUNT`, in the syntax of --map and the order of a line of /proc/PID/uid_map. */
export type MapArgument = string;

/** The map of a usual container: its root is host uid and gid 100000. */
export const CONTAINER_MAP: MapArgument = '0:100000:65536';

/** The lines of uid_map (`u`) or gid_map (`g`) that the arguments ask for. */
export function idMapLines(map: readonly MapArgument[], kind: 'u' | 'g'): string {
  const lines = map.flatMap((argument) => {
    const parts = argument.split(':');
    const kinds = parts.length === 4 ? parts.shift() : 'b';
    return kinds === 'b' || kinds === kind ? [parts.join(' ')] : [];
  });
  return `${lines.join('\n')}\n`;
}

/** Gives the new user namespace that process `pid` sits in its map. */
export function writeIdMaps(pid: number, map: readonly MapArgument[]): void {
  writeFileSync(`/proc/${pid}/uid_map`, idMapLines(map, 'u'));
  writeFileSync(`/proc/${pid}/gid_map`, idMapLines(map, 'g'));
}
