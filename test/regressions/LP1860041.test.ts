// LP1860041: unlinking a FIFO, socket or device that was open or connected: an oops, and after the first fix a wrong fstat.
// https://bugs.launchpad.net/bugs/1860041
//
// This test: a FIFO and a socket in the view are opened, unlinked, looked at through the descriptor and used. Devices cannot
// be made by a container: they are in CVE-2020-35517.test.ts.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, S_IFIFO, S_IFSOCK } from '../support/constants.js';
import { withContainer } from './harness.js';

test.each(['the container', 'the host'])('a FIFO that %s unlinks while it is open', async (who) => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await root.mknod(here('fifo'), S_IFIFO | 0o600);
    expect((await host.stat(under('fifo'))).uid).toBe(0);
    const reader = await root.open(here('fifo'), O_RDONLY | O_NONBLOCK);
    const writer = await root.open(here('fifo'), O_WRONLY);
    const { ino } = await root.fstat(reader);
    await (who === 'the host' ? host.unlink(under('fifo')) : root.unlink(here('fifo')));
    expect(await root.fstat(reader)).toMatchObject({ ino, mode: S_IFIFO | 0o600, uid: 0, nlink: 0 });
    expect(await root.fstat(writer)).toMatchObject({ ino, mode: S_IFIFO | 0o600, nlink: 0 });
    await root.write(writer, 'through');
    expect((await root.read(reader, 20)).toString()).toBe('through');
    expect(await errnoOf(root.stat(here('fifo')))).toBe('ENOENT');
    await root.close(reader);
    await root.close(writer);
  });
});

test('a socket that is unlinked while somebody is connected', async () => {
  await withContainer(async ({ root, host, user, in: here, under }) => {
    const server = await root.bindUnix(here('s'));
    await root.chmod(here('s'), 0o777);
    const other = await user(1000);
    const client = await other.connectUnix(here('s'));
    expect((await host.stat(under('s'))).mode & 0o170000).toBe(S_IFSOCK);
    await root.unlink(here('s'));
    await other.write(client, 'still there');
    expect(await errnoOf(other.connectUnix(here('s')))).toBe('ENOENT');
    // The name can be bound again.
    const again = await root.bindUnix(here('s'));
    for (const fd of [server, again]) await root.close(fd);
    await other.close(client);
  });
});

test('host and container meet in a FIFO, and nobody who waits in it holds up the others', async () => {
  await withContainer(async ({ root, host, user, in: here, under }) => {
    await host.mknod(under('fifo'), S_IFIFO | 0o666);
    await host.chmod(under('fifo'), 0o666);
    // A pipe belongs to the inode of the view: the two sides have their own. What must not happen is a hang of others.
    const waiting = root.open(here('fifo'), O_RDONLY);
    await root.untilBlocked();
    const other = await user(1000);
    await other.stat(here('fifo'));
    const both = await other.open(here('fifo'), O_RDWR | O_NONBLOCK);
    const reader = await waiting;
    await other.write(both, 'x');
    expect((await root.read(reader, 1)).toString()).toBe('x');
  });
});
