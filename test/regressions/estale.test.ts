// FUSE and overlayfs threads: a revalidation that answers "no" means look again, never an error: 0 must not become ESTALE. And
// the check narrows the window between look and use, it does not close it: what changes between them must not hang or crash.
//
// This test: the host replaces every step of a path, without a pause and always by something that works; whoever walks the
// path in the container gets one of the contents it had, and no error, ever. (The same with everything at random, for as long
// as wanted: test/coherence.)

import { mkdirSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { withContainer } from './harness.js';

/** Exchanges and replaces as fast as the host can, on a thread of its own. */
const REPLACER = `
const { parentPort, workerData: { root, seconds } } = require('node:worker_threads');
const fs = require('node:fs');
const end = performance.now() + seconds * 1000;
let count = 0;
while (performance.now() < end) {
  // rename(2) cannot exchange from node: a link to a directory is swapped instead, and files are renamed into place.
  fs.writeFileSync(root + '/a/b/c/new', 'v' + count);
  fs.renameSync(root + '/a/b/c/new', root + '/a/b/c/f');
  fs.symlinkSync(count % 2 ? 'a' : 'z', root + '/link.new');
  fs.renameSync(root + '/link.new', root + '/link');
  fs.writeFileSync(root + '/z/b/c/new', 'w' + count);
  fs.renameSync(root + '/z/b/c/new', root + '/z/b/c/f');
  count++;
}
parentPort.postMessage(count);
`;

test.each([
  ['strict', 5],
  ['lease', 5],
  ['ttl=0.01', 5],
])('path walks while every step is replaced, %s', async (coherence, seconds) => {
  await withContainer(
    async ({ view, root, user, in: here, under }) => {
      for (const top of ['a', 'z']) {
        mkdirSync(under(top, 'b', 'c'), { recursive: true });
        writeFileSync(under(top, 'b', 'c', 'f'), 'v');
      }
      await root.symlink('a', here('link'));
      const replacer = new Worker(REPLACER, { eval: true, workerData: { root: view.source, seconds } });
      const replaced = new Promise<number>((resolve, reject) => {
        replacer.once('message', resolve);
        replacer.once('error', reject);
      });
      let running = true;
      void replaced.then(() => {
        running = false;
      });
      const errors = new Map<string, number>();
      const walkers = [root, await user(1000), await user(1001)];
      let walks = 0;
      await Promise.all(
        walkers.map(async (walker) => {
          while (running) {
            for (const top of ['a', 'link', 'z'])
              for (const call of [
                walker.readFile(here(top, 'b/c/f')),
                walker.stat(here(top, 'b/c/f')),
                walker.access(here(top, 'b/c/f'), 4),
              ]) {
                const error = await errnoOf(call);
                walks++;
                if (error !== 'no error') errors.set(error, (errors.get(error) ?? 0) + 1);
              }
          }
        }),
      );
      expect(await replaced).toBeGreaterThan(100);
      expect(walks).toBeGreaterThan(100);
      expect(Object.fromEntries(errors)).toEqual({});
    },
    { options: ['--coherence', coherence] },
  );
});
