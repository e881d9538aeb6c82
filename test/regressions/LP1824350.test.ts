// LP1824350: chown through the mount stored the id as the container sees it, unshifted.
// https://bugs.launchpad.net/bugs/1824350
//
// This test: chown, chgrp, lchown and fchown in the container, stat on the host, and back; ids that the map does not have.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { KEEP_ID, O_CREAT, O_RDWR, OVERFLOW_ID } from '../support/constants.js';
import { withContainer } from './harness.js';

test('chown in the container arrives in the underlay as the host id, and back', async () => {
  await withContainer(async ({ root, host, view, in: here, under }) => {
    const fd = await root.open(here('f'), O_CREAT | O_RDWR, 0o644);
    await root.mkdir(here('d'));
    await root.symlink('f', here('l'));
    const observer = async (name: string): Promise<unknown> => {
      const [inside, below, outside] = [
        await root.lstat(here(name)),
        await host.lstat(under(name)),
        await host.lstat(`${view.mountpoint}/${name}`),
      ];
      return [inside, below, outside].map(({ uid, gid }) => `${uid}:${gid}`).join(' ');
    };
    expect(await observer('f')).toBe('0:0 0:0 100000:100000');
    await root.chown(here('f'), 33, 44);
    expect(await observer('f')).toBe('33:44 33:44 100033:100044');
    await root.chown(here('f'), 65_535, KEEP_ID);
    expect(await observer('f')).toBe('65535:44 65535:44 165535:100044');
    await root.fchown(fd, KEEP_ID, 1);
    expect(await observer('f')).toBe('65535:1 65535:1 165535:100001');
    await root.chown(here('d'), 5, 6);
    expect(await observer('d')).toBe('5:6 5:6 100005:100006');
    await root.lchown(here('l'), 7, 8);
    expect(await observer('l')).toBe('7:8 7:8 100007:100008');
    expect(await observer('f')).toBe('65535:1 65535:1 165535:100001');

    await host.chown(under('f'), 1000, 2000);
    expect(await observer('f')).toBe('1000:2000 1000:2000 101000:102000');
    // Root of the host gives the view's file to the container's uid 5 by the id that the view shows.
    await host.chown(`${view.mountpoint}/f`, 100_005, 100_006);
    expect(await observer('f')).toBe('5:6 5:6 100005:100006');
  });
});

test('an underlay id outside the map shows as nobody and cannot be given away', async () => {
  await withContainer(async ({ root, host, view, in: here, under }) => {
    await host.writeFile(under('f'), 'x', 0o644);
    await host.chown(under('f'), 70_000, 70_000);
    expect(await root.stat(here('f'))).toMatchObject({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
    expect((await host.stat(`${view.mountpoint}/f`)).uid).toBe(OVERFLOW_ID);
    expect(await errnoOf(root.chown(here('f'), 0, 0))).toBe('EPERM');
    expect(await errnoOf(root.chmod(here('f'), 0o777))).toBe('EPERM');
    // An id of the host that no range of the map shows.
    expect(await errnoOf(host.chown(`${view.mountpoint}/f`, 5, 5))).toBe('EOVERFLOW');
    expect(await host.stat(under('f'))).toMatchObject({ uid: 70_000, gid: 70_000 });
  });
});
