// LP1849483: files were written with the mounter's CAP_SYS_RESOURCE, which passes over quotas and reserved blocks.
// https://bugs.launchpad.net/bugs/1849483
//
// This test: on an ext4 of which half is reserved for root, a container fills what is free: write, mapping, fallocate and
// creation end in ENOSPC and the reserved half stays. Quotas need a kernel with quota formats; where it has them the same
// capability decides.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { O_CREAT, O_RDWR } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { runOk } from '../support/programs.js';
import { withContainer } from './harness.js';

const MEBIBYTE = 2 ** 20;

test.each([
  ['passthrough as the daemon decides', []],
  ['through the daemon', ['--passthrough', 'off']],
])('reserved blocks stay reserved, %s', async (_name, options) => {
  const image = await makeImage('ext4', { mebibytes: 64 });
  try {
    const device = (await runOk(['findmnt', '-no', 'SOURCE', image.directory])).trim();
    await runOk(['tune2fs', '-m', '50', device]);
    await withContainer(
      async ({ root, host, user, in: here, under }) => {
        const { bfree, bavail, frsize } = await root.statfs(here());
        expect(bfree - bavail).toBeGreaterThan((20 * MEBIBYTE) / frsize);
        for (const [name, actor] of [
          ['root', root],
          ['user', await user(1000)],
        ] as const) {
          await host.mkdir(under(name));
          await host.chmod(under(name), 0o777);
          const fd = await actor.open(here(name, 'f'), O_CREAT | O_RDWR);
          let written = 0;
          let error = '';
          while (error === '' && written < 64 * MEBIBYTE) {
            const before = written;
            error = await errnoOf(
              actor.write(fd, Buffer.alloc(MEBIBYTE, 'x')).then((count) => {
                written += count;
              }),
            );
            if (error === 'no error') error = '';
            if (written === before && error === '') throw new Error('write returned 0');
          }
          expect(error).toBe('ENOSPC');
          expect(await errnoOf(actor.fallocate(fd, 0, 0, 60 * MEBIBYTE))).toBe('ENOSPC');
          const left = await host.statfs(under());
          expect(left.bfree * left.frsize).toBeGreaterThan(20 * MEBIBYTE);
          await actor.close(fd);
          await actor.unlink(here(name, 'f'));
        }
      },
      { source: image.directory, options },
    );
  } finally {
    image.remove();
  }
});
