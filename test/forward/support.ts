// What the tests of forwarding ask a daemon, and how they wait.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOf } from '../support/status.js';
import type { View } from '../support/view.js';

/** Resolves when the condition holds; rejects, saying what was waited for, after `timeout` ms. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeout = 30_000,
): Promise<void> {
  const end = performance.now() + timeout;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`no ${what} within ${timeout} ms`);
    await sleep(20);
  }
}

/** Pid of the helper, once it is there. */
export async function helperOf(view: View, other = 0): Promise<number> {
  let pid = 0;
  await until('helper', async () => {
    const { helper } = await statusOf(view);
    pid = helper?.pid ?? 0;
    // Its name is set when its modules are loaded.
    return helper?.state === 'running' && pid !== other && readTitle(pid).startsWith('fuse-shiftfs-forward');
  });
  return pid;
}

function readTitle(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** The value below which `share` of the sorted numbers are. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
