// LP1841977: a wrong number of links after unlink, and the space of a deleted file that was open did not come back.
// https://bugs.launchpad.net/bugs/1841977
//
// This test: nlink after link and unlink, by either side and through either name; df after an open file was deleted and closed.

import { expect, test } from 'vitest';
import { O_CREAT, O_RDONLY, O_RDWR } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { withContainer } from './harness.js';

const MEBIBYTE = 2 ** 20;

test('nlink follows link and unlink by either side', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await root.writeFile(here('a'), 'x');
    const fd = await root.open(here('a'), O_RDONLY);
    const links = async (name: string): Promise<number[]> => [
      (await root.stat(here(name))).nlink,
      (await root.fstat(fd)).nlink,
      (await host.stat(under(name))).nlink,
    ];
    expect(await links('a')).toEqual([1, 1, 1]);
    await root.link(here('a'), here('b'));
    expect(await links('a')).toEqual([2, 2, 2]);
    await host.link(under('b'), under('c'));
    expect(await links('a')).toEqual([3, 3, 3]);
    await root.unlink(here('a'));
    expect(await links('b')).toEqual([2, 2, 2]);
    await host.unlink(under('b'));
    expect(await links('c')).toEqual([1, 1, 1]);
    await root.unlink(here('c'));
    expect((await root.fstat(fd)).nlink).toBe(0);
    await root.mkdir(here('d'));
    await root.mkdir(here('d', 'e'));
    expect((await root.stat(here('d'))).nlink).toBe(3);
    await host.rmdir(under('d', 'e'));
    expect((await root.stat(here('d'))).nlink).toBe(2);
    await root.close(fd);
  });
});

test.each(['the container', 'the host'])(
  'the space of an open file that %s deleted comes back when it is closed',
  async (who) => {
    const image = await makeImage('ext4', { mebibytes: 64 });
    try {
      await withContainer(
        async ({ root, host, in: here, under }) => {
          const used = async (): Promise<number> => {
            const { blocks, bfree, frsize } = await root.statfs(here());
            return ((blocks - bfree) * frsize) / MEBIBYTE;
          };
          const fd = await root.open(here('big'), O_CREAT | O_RDWR);
          const before = await used();
          for (let i = 0; i < 20; i++) await root.write(fd, Buffer.alloc(MEBIBYTE, 'x'));
          await root.fsync(fd);
          expect(await used()).toBeGreaterThanOrEqual(before + 20);
          await (who === 'the host' ? host.unlink(under('big')) : root.unlink(here('big')));
          expect(await used()).toBeGreaterThanOrEqual(before + 20);
          await root.close(fd);
          // The last close is told to the daemon after close(2) has returned, and ext4 frees later still.
          const end = performance.now() + 5000;
          while ((await used()) > before + 1 && performance.now() < end)
            await host.syncfs(await host.open(under(), O_RDONLY));
          expect(await used()).toBeLessThanOrEqual(before + 1);
        },
        { source: image.directory },
      );
    } finally {
      image.remove();
    }
  },
);
