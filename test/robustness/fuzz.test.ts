// Malformed and hostile requests, a short run of each CI; scripts/fuzz.mjs goes on for hours. The seed is printed and repeats
// a run: FUSE_SHIFTFS_FUZZ_SEED=N.

import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { withTempTree } from '../support/temp.js';

interface FuzzResult {
  readonly report: {
    readonly served: number;
    readonly refused: number;
    readonly errors: Record<string, number>;
  } | null;
  readonly wrong: readonly string[];
}

const SECONDS = 60;

test('no request crashes or hangs the file system, leads out of the underlay, or leaves anything behind', async () => {
  const { fuzz } = (await import(new URL('../fuzz/run.mjs', import.meta.url).href)) as {
    fuzz(options: { directory: string; seed: number; seconds: number }): Promise<FuzzResult>;
  };
  const seed = Number(process.env['FUSE_SHIFTFS_FUZZ_SEED'] ?? randomInt(2 ** 32));
  console.log(`fuzz seed: ${seed}`);
  await withTempTree(async (directory) => {
    const { report, wrong } = await fuzz({ directory, seed, seconds: SECONDS });
    expect(wrong).toEqual([]);
    // It got somewhere: far more was served than refused by the decoder, with many kinds of errors.
    expect(report?.served).toBeGreaterThan(2_000);
    expect(report?.refused).toBeLessThan((report?.served ?? 0) / 2);
    expect(Object.keys(report?.errors ?? {}).length).toBeGreaterThan(10);
  });
}, 180_000);
