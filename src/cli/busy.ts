// Who keeps a mount busy: processes of this mount namespace with their current or root directory, their program, an open
// file or a mapping below it. Only links in /proc are read, never the mount itself.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isInside, mountsBelow, readMounts } from '../linux/mountinfo.js';

export interface Users {
  readonly processes: readonly { readonly pid: number; readonly command: string; readonly use: string }[];
  /** Mount points below it. */
  readonly mounts: readonly string[];
}

export function usersOf(mountpoint: string): Users {
  const namespace = readLink('/proc/self/ns/mnt');
  const processes = [];
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name) || Number(name) === process.pid) continue;
    // Copies of the mount in other namespaces do not keep this one busy (umount_namespaces, fs/namespace.c).
    if (readLink(`/proc/${name}/ns/mnt`) !== namespace) continue;
    const use = useBy(name, mountpoint);
    if (use !== undefined) processes.push({ pid: Number(name), command: commandOf(name), use });
  }
  return { processes, mounts: mountsBelow(readMounts(), mountpoint).map((mount) => mount.mountpoint) };
}

/**
 * Pids, one a mount namespace, of those that have a copy of the file system `device` (major:minor) mounted. Not the helper of
 * its daemon (src/forward), which has one and leaves by itself.
 */
export function holdersOf(device: string, daemon: number): number[] {
  const seen = new Set<string>();
  const holders: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const namespace = readLink(`/proc/${name}/ns/mnt`);
    if (namespace === undefined || seen.has(namespace) || parentOf(name) === daemon) continue;
    seen.add(namespace);
    try {
      if (readMounts(`/proc/${name}/mountinfo`).some((mount) => mount.device === device)) holders.push(Number(name));
    } catch {
      // It ended meanwhile: another process of its namespace may tell.
      seen.delete(namespace);
    }
  }
  return holders;
}

export function describeUsers({ processes, mounts }: Users): string {
  const parts = processes.slice(0, 5).map(({ pid, command, use }) => `${command}[${pid}] (${use})`);
  if (processes.length > 5) parts.push(`${processes.length - 5} more processes`);
  parts.push(...mounts.slice(0, 5).map((mount) => `mounted on it: ${mount}`));
  return parts.join(', ') || 'nobody that /proc shows';
}

function useBy(pid: string, mountpoint: string): string | undefined {
  const isBelow = (path: string | undefined) => path !== undefined && isInside(path, mountpoint);
  if (isBelow(readLink(`/proc/${pid}/cwd`))) return 'working directory';
  if (isBelow(readLink(`/proc/${pid}/root`))) return 'root directory';
  if (isBelow(readLink(`/proc/${pid}/exe`))) return 'program';
  for (const fd of list(`/proc/${pid}/fd`)) {
    const path = readLink(`/proc/${pid}/fd/${fd}`);
    if (isBelow(path)) return `open file ${path}`;
  }
  for (const range of list(`/proc/${pid}/map_files`)) {
    const path = readLink(`/proc/${pid}/map_files/${range}`);
    if (isBelow(path)) return `mapped file ${path}`;
  }
  return undefined;
}

/** The fourth field of proc_pid_stat(5), counted from behind the name, which may hold anything. */
function parentOf(pid: string): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0;
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '?';
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
