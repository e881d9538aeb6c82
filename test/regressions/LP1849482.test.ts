// LP1849482: fallocate was capped at 2 GiB.
// https://bugs.launchpad.net/bugs/1849482
//
// This test: truncate, fallocate, write, read and seek beyond 2 and 4 GiB, and up to 2^53. The files are sparse; what is
// allocated is given back at once.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, O_CREAT, O_RDWR, SEEK_DATA } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { withContainer } from './harness.js';

const GIBIBYTE = 2 ** 30;

test.each([
  ['passthrough as the daemon decides', []],
  ['through the daemon', ['--passthrough', 'off']],
])('beyond 2 and 4 GiB, %s', async (_name, options) => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      const fd = await root.open(here('f'), O_CREAT | O_RDWR);
      for (const size of [
        2 * GIBIBYTE - 1,
        2 * GIBIBYTE,
        3 * GIBIBYTE,
        4 * GIBIBYTE - 1,
        4 * GIBIBYTE,
        5 * GIBIBYTE + 3,
      ]) {
        await root.truncate(here('f'), size);
        expect([(await root.fstat(fd)).size, (await host.stat(under('f'))).size]).toEqual([size, size]);
      }
      await root.ftruncate(fd, 0);
      for (const offset of [2 * GIBIBYTE - 2, 4 * GIBIBYTE - 2, 6 * GIBIBYTE]) {
        await root.pwrite(fd, 'across', offset);
        expect((await root.pread(fd, 20, offset)).toString()).toBe('across');
        expect((await host.stat(under('f'))).size).toBe(offset + 6);
      }
      expect(await root.lseek(fd, 5 * GIBIBYTE, SEEK_DATA)).toBe(6 * GIBIBYTE);
      await root.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 6 * GIBIBYTE);
      expect((await host.stat(under('f'))).blocks).toBeLessThanOrEqual(16);
      await root.close(fd);
    },
    { options },
  );
});

test('fallocate of more than 2 GiB in one call', async () => {
  // On a file system of its own, of sparse blocks: 3 GiB are allocated, none is written.
  const image = await makeImage('xfs', { mebibytes: 6 * 1024 });
  try {
    await withContainer(
      async ({ root, host, in: here, under }) => {
        const fd = await root.open(here('f'), O_CREAT | O_RDWR);
        await root.fallocate(fd, 0, 0, 3 * GIBIBYTE);
        expect(await host.stat(under('f'))).toMatchObject({ size: 3 * GIBIBYTE, blocks: (3 * GIBIBYTE) / 512 });
        await root.fallocate(fd, FALLOC_FL_KEEP_SIZE, 4 * GIBIBYTE, GIBIBYTE);
        expect((await host.stat(under('f'))).size).toBe(3 * GIBIBYTE);
        await root.close(fd);
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});

test('the end of what a double holds: exact below, refused above, never rounded', async () => {
  const image = await makeImage('xfs');
  try {
    await withContainer(
      async ({ root, host, in: here, under }) => {
        const fd = await root.open(here('f'), O_CREAT | O_RDWR);
        const size = Number.MAX_SAFE_INTEGER - 4;
        await root.ftruncate(fd, size);
        expect([(await root.fstat(fd)).size, (await host.stat(under('f'))).size]).toEqual([size, size]);
        await root.pwrite(fd, 'far', size);
        expect((await host.stat(under('f'))).size).toBe(size + 3);
        expect((await root.pread(fd, 10, size - 2)).toString()).toBe('\0\0far');
        expect(await errnoOf(root.ftruncate(fd, 2n ** 53n + 1n))).toMatch(/EINVAL|EFBIG/);
        expect((await host.stat(under('f'))).size).toBe(size + 3);
        await root.close(fd);
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});
