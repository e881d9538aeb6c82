// `npm run soak -- --hours N` (or --minutes N, --seed N): the soak of test/robustness for as long as wanted. Takes root and a
// build. Prints what each part did and what its daemon held; the exit status is 0 when nothing was wrong.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { hours: { type: 'string' }, minutes: { type: 'string' }, seed: { type: 'string' } },
});
const minutes = Number(values.hours ?? 0) * 60 + Number(values.minutes ?? 0) || 5;
const root = fileURLToPath(new URL('..', import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [`${root}node_modules/vitest/vitest.mjs`, 'run', '--project', 'robustness', 'soak.test.ts'],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      FUSE_SHIFTFS_SOAK_MINUTES: String(minutes),
      ...(values.seed === undefined ? {} : { FUSE_SHIFTFS_SOAK_SEED: values.seed }),
    },
  },
);
process.exitCode = status ?? 1;
