// LP1990849: EOVERFLOW from trivial operations on some underlays.
// https://bugs.launchpad.net/bugs/1990849
//
// This test: every operation as several mapped ids on ext4, xfs, btrfs and tmpfs; none may fail.

import { expect, test } from 'vitest';
import { startActor } from '../support/actor.js';
import { O_CREAT, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, RENAME_EXCHANGE, S_IFIFO } from '../support/constants.js';
import { type ImageKind, makeImage } from '../support/images.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const ids = [0, 1, 33, 1000, 65_533, 65_534, 65_535];

test.each<ImageKind>(['ext4', 'xfs', 'btrfs', 'tmpfs'])('every operation on %s', { timeout: 60_000 }, async (kind) => {
  const image = await makeImage(kind);
  try {
    await withContainer(
      async ({ host, in: here, under }) => {
        for (const id of ids) {
          const actor = await startActor({ uid: id, gid: id, userns: [CONTAINER_MAP] });
          try {
            await host.mkdir(under(`${id}`));
            await host.chown(under(`${id}`), id, id);
            const at = (name: string): string => here(`${id}`, name);
            const fd = await actor.open(at('f'), O_CREAT | O_RDWR);
            await actor.write(fd, Buffer.alloc(10_000, 'x'));
            expect((await actor.pread(fd, 4, 5000)).toString()).toBe('xxxx');
            expect(await actor.fstat(fd)).toMatchObject({ uid: id, gid: id });
            await actor.ftruncate(fd, 5000);
            await actor.fsync(fd);
            await actor.fallocate(fd, 0, 0, 20_000);
            await actor.fchmod(fd, 0o600);
            await actor.futimens(fd, [1n, 2n]);
            await actor.flock(fd, 2);
            await actor.lock(fd, 6, { type: 1, start: 0, length: 10 });
            await actor.fsetxattr(fd, 'user.name', 'value');
            expect((await actor.fgetxattr(fd, 'user.name')).toString()).toBe('value');
            expect(await actor.flistxattr(fd)).toContain('user.name');
            await actor.fremovexattr(fd, 'user.name');
            await actor.close(fd);
            await actor.chown(at('f'), id, id);
            await actor.chmod(at('f'), 0o644);
            await actor.utimens(at('f'), null);
            await actor.truncate(at('f'), 100);
            await actor.link(at('f'), at('g'));
            await actor.rename(at('g'), at('h'));
            await actor.symlink('f', at('l'));
            expect((await actor.readlink(at('l'))).toString()).toBe('f');
            await actor.rename(at('l'), at('f'), RENAME_EXCHANGE);
            await actor.mkdir(at('d'));
            await actor.mknod(at('d/p'), S_IFIFO | 0o600);
            await actor.mknod(at('d/r'), 0o100600);
            const unnamed = await actor.open(at('d'), O_TMPFILE | O_RDWR);
            await actor.linkFd(unnamed, at('d/named'));
            await actor.close(unnamed);
            expect((await actor.readdir(at('d'))).map(String).sort()).toEqual(['named', 'p', 'r']);
            await actor.close(await actor.open(at('h'), O_WRONLY | O_TRUNC));
            for (const name of ['d/p', 'd/r', 'd/named']) {
              expect(await host.stat(under(`${id}`, name))).toMatchObject({ uid: id, gid: id });
              await actor.unlink(at(name));
            }
            await actor.rmdir(at('d'));
            for (const name of ['f', 'h', 'l']) await actor.unlink(at(name));
            await actor.statfs(at('.'));
            expect(await actor.readdir(at('.'))).toEqual([]);
          } finally {
            await actor.stop();
          }
        }
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});
