// overlayfs threads: a readdir that looks names up must not hold the directory's lock; the version is taken before it is
// dropped, a stale listing is not stored, a competitor's is not leaked, and a directory that died meanwhile is ENOENT.
//
// This test: a directory of 10,000 names that stay and some that come and go, changed from both sides while three processes
// list it. Every listing has every stable name exactly once and no name that never was; after the last change, exactly what
// is there; after its removal, ENOENT.

import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { withContainer } from './harness.js';

const STABLE = 10_000;
const SECONDS = 4;

test.each(['strict', 'lease'])(
  'concurrent readers and writers of a great directory, %s',
  { timeout: 60_000 },
  async (coherence) => {
    await withContainer(
      async ({ root, host, user, in: here, under }) => {
        mkdirSync(under('d'));
        const stable = Array.from({ length: STABLE }, (_, i) => `stable-${i}`);
        for (const name of stable) writeFileSync(under('d', name), '');
        let running = true;
        let changes = 0;
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
        const end = performance.now() + SECONDS * 1000;
        let listings = 0;
        const problems: string[] = [];
        await Promise.all(
          readers.map(async (reader) => {
            while (performance.now() < end && problems.length === 0) {
              const counts = new Map<string, number>();
              for (const bytes of await reader.readdir(here('d'))) {
                const name = bytes.toString();
                counts.set(name, (counts.get(name) ?? 0) + 1);
                if (!/^(stable|(host|view)(-moved)?)-\d+$/.test(name)) problems.push(`${name} never was`);
              }
              for (const name of stable)
                if (counts.get(name) !== 1) problems.push(`${name}: ${counts.get(name) ?? 0} times`);
              listings++;
            }
          }),
        );
        running = false;
        await Promise.all(writers);
        expect(problems.slice(0, 5)).toEqual([]);
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
