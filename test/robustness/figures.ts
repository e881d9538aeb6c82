// What a daemon holds and how it does, read from outside, in /proc. Nothing here enters the mount.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Descriptors a process has open. */
export function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** What its descriptors name, without those that were closed meanwhile. */
export function openPaths(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

/** A line of /proc/PID/status: `VmRSS`, `Threads` ... Sizes are in KiB. */
export function statusField(pid: number, name: string): number {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
}

export const mebibytes = (kibibytes: number): string => `${(kibibytes / 1024).toFixed(1)} MiB`;

/** Waits for something that has to come true by itself. Rejects after `milliseconds` with what `describe` says then. */
export async function eventually(
  milliseconds: number,
  condition: () => boolean | Promise<boolean>,
  describe: () => string | Promise<string> = () => 'the condition',
): Promise<void> {
  const end = performance.now() + milliseconds;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${milliseconds} ms: ${await describe()}`);
    await sleep(20);
  }
}
