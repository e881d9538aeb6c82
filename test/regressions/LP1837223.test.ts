// LP1837223: no O_DIRECT.
// https://bugs.launchpad.net/bugs/1837223
//
// This test: O_DIRECT reads and writes, aligned and at the end of the file; both sides see the same.

import { expect, test } from 'vitest';
import { O_CREAT, O_DIRECT, O_RDONLY, O_RDWR } from '../support/constants.js';
import { withContainer } from './harness.js';

test.each([
  ['as the daemon decides', []],
  ['through the daemon', ['--passthrough', 'off']],
])('O_DIRECT, %s', async (_name, options) => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      const block = Buffer.alloc(4096, 'd');
      const fd = await root.open(here('f'), O_CREAT | O_RDWR | O_DIRECT, 0o644);
      expect(await root.write(fd, block)).toBe(4096);
      expect(await root.pwrite(fd, Buffer.alloc(65_536, 'e'), 4096)).toBe(65_536);
      expect((await host.readFile(under('f'))).equals(Buffer.concat([block, Buffer.alloc(65_536, 'e')]))).toBe(true);

      await host.writeFile(under('f'), Buffer.concat([Buffer.alloc(8192, 'h'), Buffer.from('tail')]));
      expect((await root.pread(fd, 4096, 4096)).toString()).toBe('h'.repeat(4096));
      expect((await root.pread(fd, 4096, 8192)).toString()).toBe('tail');
      expect((await root.pread(fd, 4096, 12_288)).length).toBe(0);
      const reader = await root.open(here('f'), O_RDONLY | O_DIRECT);
      expect((await root.pread(reader, 8192, 0)).toString()).toBe('h'.repeat(8192));
      for (const each of [fd, reader]) await root.close(each);
    },
    { options },
  );
});
