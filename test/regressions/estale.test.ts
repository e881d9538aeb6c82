// FUSE and overlayfs threads: a revalidation that answers "no" means look again, never an error: 0 must not become ESTALE. And
// the check narrows the window between look and use, it does not close it: what changes between them must not hang or crash.
//
// A rename between two directories that meets a directory which the host has moved there is told ESTALE by the kernel itself, as
// long as its entry is where it was (fs/dcache.c, __d_unalias; in 2015 it was changed from EBUSY, Linux 95ad5c291313).
//
// The first test: the host replaces every step of a path, without a pause and always by something that works; whoever walks the
// path in the container gets one of the contents it had, and no error, ever. (The same with everything at random, for as long
// as wanted: test/coherence.) The second: such renames, at once after the move; ESTALE only while somebody holds the directory.

import { mkdirSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { O_PATH } from '../support/constants.js';
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

const renaming = ['strict', 'lease --watcher fanotify', 'lease --watcher chokidar', 'ttl=60'];

test.each(renaming)('a rename that meets a directory the host has moved, %s', async (mode) => {
  await withContainer(
    async ({ root, host, user, in: here, under }) => {
      await host.chmod(under(), 0o777);
      const holder = await user(1000);
      const told: string[] = [];
      const make = async (round: string): Promise<void> => {
        for (const name of ['from', 'to', 'other', 'from/moved', 'other/new']) {
          if (!name.includes('/')) await root.mkdir(here(`${name}${round}`));
          else await root.mkdir(here(name.replace('/', `${round}/`)));
        }
        await root.stat(here(`from${round}`, 'moved'));
      };
      for (let i = 0; i < 20; i++) {
        await make(`${i}`);
        await host.rename(under(`from${i}`, 'moved'), under(`to${i}`, 'moved'));
        told.push(await errnoOf(root.rename(here(`other${i}`, 'new'), here(`to${i}`, 'moved'))));
      }
      expect(told).toEqual(Array.from(told, () => 'no error'));

      // Somebody is in it: the kernel cannot let go of the entry. Once it was looked up, it is where it belongs.
      await make('');
      const fd = await holder.open(here('from', 'moved'), O_PATH);
      await host.rename(under('from', 'moved'), under('to', 'moved'));
      expect(['ESTALE', 'no error']).toContain(await errnoOf(root.rename(here('other', 'new'), here('to', 'moved'))));
      await root.stat(here('to', 'moved'));
      expect(['no error', 'ENOENT']).toContain(await errnoOf(root.rename(here('other', 'new'), here('to', 'moved'))));
      expect(await errnoOf(root.lstat(here('other', 'new')))).toBe('ENOENT');
      await holder.close(fd);
    },
    { options: ['--coherence', ...mode.split(' ')] },
  );
});

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
