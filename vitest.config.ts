// The test suites, by the names of test/suites.json: `unit` needs nothing; every other one needs root and real mounts.
// They run one after another (they share two cores and the kernel's FUSE connections), each file in a process of its own.

import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';
import { CountReporter } from './test/support/count-reporter.js';

const suites = JSON.parse(readFileSync(new URL('test/suites.json', import.meta.url), 'utf8')) as Record<
  string,
  unknown
>;

/** Set by scripts/test.mjs. */
const reportFile = process.env['FUSE_SHIFTFS_TEST_REPORT'];

/** The other driver, put to the suites of the first. */
const native = {
  setupFiles: ['test/native/setup.ts'],
  env: { FUSE_SHIFTFS_TEST_DRIVER: 'fuse-native', FUSE_SHIFTFS_TEST_MODES: 'strict' },
};

const road = (name: string): string => `test/support/requests-${name === 'uring' ? 'over-io-uring' : 'by-device'}.ts`;

/** The other road of requests, put to the suites of the first. */
const uring = {
  include: [
    ...['conformance', 'ownership', 'kernel', 'regressions', 'robustness'].map((name) => `test/${name}/**/*.test.ts`),
    'test/coherence/checkout.test.ts',
    'test/coherence/random.test.ts',
  ],
  env: { FUSE_SHIFTFS_TEST_MODES: process.env['FUSE_SHIFTFS_TEST_MODES'] ?? 'strict,lease-fanotify,lease-forwarding' },
};

export default defineConfig({
  test: {
    reporters: ['default', ...(reportFile === undefined ? [] : [new CountReporter(reportFile)])],
    pool: 'forks',
    fileParallelism: false,
    projects: Object.keys(suites).map((name) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        ...(name === 'unit' ? {} : { globalSetup: ['test/support/global.ts', road(name)] }),
        pool: 'forks' as const,
        testTimeout: name === 'unit' ? 10_000 : 60_000,
        hookTimeout: 60_000,
        // On two shared cores a helper process may not run for seconds. What passes only when repeated is named at the end.
        retry: name === 'unit' ? 0 : 2,
        ...(name === 'native' ? native : {}),
        ...(name === 'uring' ? uring : {}),
      },
    })),
  },
});
