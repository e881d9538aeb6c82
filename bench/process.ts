// What /proc says of processes: their CPU time, their children, and whether a pid is still the process it was.

import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, the unit of /proc/PID/stat: 100 on every architecture that Node runs on (include/asm-generic/param.h). */
const USER_HZ = 100;

interface Stat {
  /** One letter: R, S, D, Z ... */
  readonly state: string;
  readonly parent: number;
  /** utime + stime, seconds. */
  readonly cpuSeconds: number;
  /** Clock ticks after boot; with the pid it names a process for good. */
  readonly startTime: string;
}

/** proc_pid_stat(5); null when there is no such process. */
export function processStat(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  // The second field is the name in parentheses, which may hold anything; the third is at index 0 here.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / USER_HZ,
    startTime: fields[19] ?? '',
  };
}

/** The process and all its descendants. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = processStat(pid);
    if (stat !== null) children.set(stat.parent, [...(children.get(stat.parent) ?? []), pid]);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** One line that names a process for good: what `isSameProcess` takes. */
export function processIdentity(pid: number): string {
  return `${pid} ${processStat(pid)?.startTime ?? '?'}`;
}

/** Whether the process lives. A zombie does not: nobody may ever wait for an orphan. */
export function isSameProcess(identity: string): boolean {
  const [pid, startTime] = identity.split(' ');
  const stat = processStat(Number(pid));
  return stat !== null && stat.startTime === startTime && stat.state !== 'Z';
}
