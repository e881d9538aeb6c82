// LP1824735: the marked source was unmounted before the mount that used it: use after free.
// https://bugs.launchpad.net/bugs/1824735
//
// This test: the file system of the source is detached, or the source removed, while the view is in use. What is open goes on
// working, the rest gets errors, and the daemon unmounts cleanly.

import { expect, test } from 'vitest';
import { errnoOf, withActor } from '../support/actor.js';
import { O_CREAT, O_RDWR } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { runOk } from '../support/programs.js';
import { withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

test('the file system of the source is unmounted lazily', async () => {
  const image = await makeImage('ext4');
  try {
    await withContainer(
      async ({ root, in: here }) => {
        const fd = await root.open(here('f'), O_CREAT | O_RDWR);
        await root.write(fd, 'before');
        // It is in use: a plain umount says so.
        await expect(runOk(['umount', image.directory])).rejects.toThrow(/busy/);
        await runOk(['umount', '--lazy', image.directory]);
        await root.write(fd, ' after');
        expect((await root.pread(fd, 20, 0)).toString()).toBe('before after');
        // The daemon holds the tree: the view goes on serving all of it.
        await root.writeFile(here('g'), 'new');
        expect((await root.readdir(here())).map(String)).toContain('g');
        await root.close(fd);
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});

test('the source directory is removed while the view is in use', async () => {
  await withTempTree(async (tree) => {
    await withActor({ uid: 0, gid: 0 }, async (host) => {
      await host.mkdir(`${tree}/source`);
      await host.writeFile(`${tree}/source/f`, 'content');
      await withContainer(
        async ({ root, in: here }) => {
          const fd = await root.open(here('f'), O_RDWR);
          await host.unlink(`${tree}/source/f`);
          await host.rmdir(`${tree}/source`);
          expect((await root.pread(fd, 20, 0)).toString()).toBe('content');
          expect(await errnoOf(root.stat(here('f')))).toBe('ENOENT');
          expect(await errnoOf(root.writeFile(here('g'), 'x'))).toBe('ENOENT');
          expect(await errnoOf(root.mkdir(here('d')))).toBe('ENOENT');
          await root.stat(here());
          await root.close(fd);
        },
        { source: `${tree}/source`, map: [CONTAINER_MAP] },
      );
    });
  });
});
