// `npm run coherence -- --minutes N`: the randomized coherence check by hand, for as long as wanted.
//
//   --minutes N        for each mode (fractions too); without it as short as in `npm test`
//   --mode A,B         strict, lease-fanotify, lease-forwarding, lease-chokidar, ttl, idmapped, bindfs-ttl
//   --io-uring         with requests over io_uring instead of by the device
//   --seed S           the seed of the first round, as an earlier run printed it
//   --logs DIRECTORY   keep what every process did and saw, one JSON object a line (records.ts)

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    mode: { type: 'string' },
    'io-uring': { type: 'boolean', default: false },
    seed: { type: 'string' },
    logs: { type: 'string' },
  },
});

const environment = {
  FUSE_SHIFTFS_COHERENCE_BY_HAND: '1',
  FUSE_SHIFTFS_COHERENCE_MINUTES: values.minutes,
  FUSE_SHIFTFS_TEST_MODES: values.mode,
  FUSE_SHIFTFS_COHERENCE_SEED: values.seed,
  FUSE_SHIFTFS_COHERENCE_LOGS: values.logs,
};
const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined));
const project = values['io-uring'] ? 'uring' : 'coherence';
const root = fileURLToPath(new URL('../..', import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [`${root}/node_modules/vitest/vitest.mjs`, 'run', '--project', project, 'random.test.ts'],
  { cwd: root, stdio: 'inherit', env: { ...process.env, ...given } },
);
process.exitCode = status ?? 1;
