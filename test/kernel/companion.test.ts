// The companion (src/driver/kernel/companion.ts): awake while requests follow each other, asleep when they stop, and out of
// the way when others want its core.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { COMPANION_NAME } from '../../src/driver/kernel/shared.js';
import { runOk } from '../support/programs.js';
import { childEnvironment } from '../support/temp.js';
import { withView } from '../support/view.js';

/** USER_HZ, for /proc/PID/stat. */
const TICKS_A_SECOND = 100;
const SECONDS = 2;

/** Processor time of the companion, in ticks. */
function companionTime(pid: number): number {
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'latin1');
    if (!stat.includes(`(${COMPANION_NAME})`)) continue;
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  }
  throw new Error('there is no companion');
}

/** One request after the other. */
const requests = (file: string): Promise<string> =>
  runOk([
    process.execPath,
    '-e',
    `const { chmodSync } = require('node:fs');
     for (const end = Date.now() + ${SECONDS * 1000}; Date.now() < end; ) chmodSync(process.argv[1], 0o644);`,
    file,
  ]);

test('a core is kept awake while there are requests, unless somebody else wants it', async (context) => {
  if (availableParallelism() !== 2) context.skip('the machine has not two cores');
  await withView({}, async (view) => {
    writeFileSync(`${view.source}/f`, '');
    const file = `${view.mountpoint}/f`;
    await requests(file);
    const alone = companionTime(view.pid);
    expect(alone).toBeGreaterThan((SECONDS * TICKS_A_SECOND) / 10);

    await sleep(200);
    const before = companionTime(view.pid);
    await sleep(1000);
    expect(companionTime(view.pid) - before).toBeLessThanOrEqual(1);

    const busy = [1, 2].map(() =>
      spawn(process.execPath, ['-e', 'for (;;);'], { env: childEnvironment(), stdio: 'ignore' }),
    );
    try {
      await sleep(500);
      const start = companionTime(view.pid);
      await requests(file);
      expect(companionTime(view.pid) - start).toBeLessThan((SECONDS * TICKS_A_SECOND) / 5);
    } finally {
      for (const process of busy) {
        process.kill('SIGKILL');
        await once(process, 'exit');
      }
    }
  });
}, 60_000);
