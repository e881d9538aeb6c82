// overlayfs threads: a readdir that looks names up must not hold the directory's lock; the version is taken before it is
// dropped, a stale listing is not stored, a competitor's is not leaked, and a directory that died meanwhile is ENOENT.
//
// This test: a directory of 3,000 names that stay, while on the host 10,000 others come and go, and some more from both sides, and
// processes of the container list it. Every listing has every stable name exactly once and no name that never was; after the
// last change, exactly what is there; after its removal, ENOENT.

import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { withContainer } from './harness.js';

const STABLE = 3000;
/** At least, and until all of the others have come and gone once. */
const SECONDS = 3;

/** Names that come and go as fast as the host can, on a thread of its own; says how many times all of them did. */
const CHURN = `
const { parentPort, workerData: { directory, seconds } } = require('node:worker_threads');
const fs = require('node:fs');
const end = performance.now() + seconds * 1000;
let rounds = 0;
do {
  for (let i = 0; i < 10000; i++) fs.closeSync(fs.openSync(directory + '/churn-' + i, 'w'));
  for (let i = 0; i < 10000; i++) fs.unlinkSync(directory + '/churn-' + i);
  rounds++;
} while (performance.now() < end);
parentPort.postMessage(rounds);
`;

test.each(['strict', 'lease'])(
  'concurrent readers and writers of a great directory, %s',
  { timeout: 120_000 },
  async (coherence) => {
    await withContainer(
      async ({ root, host, user, in: here, under }) => {
        mkdirSync(under('d'));
        const stable = Array.from({ length: STABLE }, (_, i) => `stable-${i}`);
        for (const name of stable) writeFileSync(under('d', name), '');
        let running = true;
        let changes = 0;
        const churn = new Worker(CHURN, { eval: true, workerData: { directory: under('d'), seconds: SECONDS } });
        const churned = new Promise<number>((resolve, reject) => {
          churn.once('message', resolve);
          churn.once('error', reject);
        }).finally(() => {
          running = false;
        });
        const writer = async (actor: typeof host, top: string, prefix: string): Promise<void> => {
          for (let i = 0; running; i = (i + 1) % 50) {
            await actor.writeFile(`${top}/${prefix}-${i}`, 'x');
            await actor.rename(`${top}/${prefix}-${i}`, `${top}/${prefix}-moved-${i}`);
            if (i % 2 === 0) await actor.unlink(`${top}/${prefix}-moved-${i}`);
            changes++;
          }
        };
        const writers = [writer(host, under('d'), 'host'), writer(root, here('d'), 'view')];
        const readers = [await user(1000), await user(1001)];
        let listings = 0;
        const problems: string[] = [];
        await Promise.all(
          readers.map(async (reader) => {
            while (running && problems.length === 0) {
              const counts = new Map<string, number>();
              for (const bytes of await reader.readdir(here('d'))) {
                const name = bytes.toString();
                counts.set(name, (counts.get(name) ?? 0) + 1);
                if (!/^(stable|churn|(host|view)(-moved)?)-\d+$/.test(name)) problems.push(`${name} never was`);
              }
              for (const name of stable)
                if (counts.get(name) !== 1) problems.push(`${name}: ${counts.get(name) ?? 0} times`);
              listings++;
            }
          }),
        );
        const rounds = await churned;
        await Promise.all(writers);
        expect(problems.slice(0, 5)).toEqual([]);
        expect(rounds).toBeGreaterThan(0);
        expect(listings).toBeGreaterThan(3);
        expect(changes).toBeGreaterThan(20);

        const settled = async (): Promise<boolean> => {
          const seen = (await root.readdir(here('d'))).map(String).sort();
          return JSON.stringify(seen) === JSON.stringify(readdirSync(under('d')).sort());
        };
        const start = performance.now();
        let same = await settled();
        while (!same && coherence === 'lease' && performance.now() - start < 1000) same = await settled();
        expect(same).toBe(true);

        rmSync(under('d'), { recursive: true });
        let error = await errnoOf(root.readdir(here('d')));
        const removed = performance.now();
        while (error === 'no error' && coherence === 'lease' && performance.now() - removed < 1000)
          error = await errnoOf(root.readdir(here('d')));
        expect(error).toBe('ENOENT');
      },
      { options: ['--coherence', coherence] },
    );
  },
);
