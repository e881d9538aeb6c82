// LP1872757: a file that was deleted while open, reopened through /proc/PID/fd/N, gave ESTALE: python's tempfile broke.
// https://bugs.launchpad.net/bugs/1872757
//
// This test: reopens deleted files read-only and read-write, stats and truncates them, does the same with O_TMPFILE and with
// python's own tempfile, and when it was the host that deleted or replaced the file.

import { expect, test } from 'vitest';
import { O_CREAT, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY } from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const self = (fd: number): string => `/proc/self/fd/${fd}`;

test.each(['the container', 'the host', 'the host, by another file'])('deleted by %s while open', async (who) => {
  await withContainer(async ({ root, host, in: here, under }) => {
    const fd = await root.open(here('f'), O_CREAT | O_RDWR, 0o600);
    await root.write(fd, 'hello');
    const { ino } = await root.fstat(fd);
    if (who === 'the container') await root.unlink(here('f'));
    else if (who === 'the host') await host.unlink(under('f'));
    else {
      await host.writeFile(under('g'), 'other');
      await host.rename(under('g'), under('f'));
    }
    expect(await root.fstat(fd)).toMatchObject({ ino, size: 5, nlink: 0 });
    expect(await root.stat(self(fd))).toMatchObject({ ino, size: 5, nlink: 0 });

    const reader = await root.open(self(fd), O_RDONLY);
    expect((await root.read(reader, 10)).toString()).toBe('hello');
    const writer = await root.open(self(fd), O_RDWR);
    await root.write(writer, 'HELLO you');
    expect((await root.pread(fd, 20, 0)).toString()).toBe('HELLO you');
    expect((await root.pread(reader, 20, 0)).toString()).toBe('HELLO you');

    await root.ftruncate(writer, 3);
    expect((await root.fstat(fd)).size).toBe(3);
    await root.truncate(self(fd), 2);
    expect((await root.fstat(fd)).size).toBe(2);
    const cutter = await root.open(self(fd), O_WRONLY | O_TRUNC);
    expect((await root.fstat(reader)).size).toBe(0);
    await root.fchmod(fd, 0o644);
    await root.futimens(fd, ['omit', 1_000_000_000n]);
    expect(await root.fstat(reader)).toMatchObject({ mode: 0o100644, mtime: 1_000_000_000n });
    for (const each of [fd, reader, writer, cutter]) await root.close(each);
  });
});

test('O_TMPFILE: reopened, given a name', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    const fd = await root.open(here(), O_TMPFILE | O_RDWR, 0o640);
    await root.write(fd, 'temporary');
    const again = await root.open(self(fd), O_RDWR);
    expect((await root.read(again, 20)).toString()).toBe('temporary');
    await root.linkFd(fd, here('named'));
    expect((await host.readFile(under('named'))).toString()).toBe('temporary');
    expect(await root.stat(here('named'))).toMatchObject({ nlink: 1, mode: 0o100640, uid: 0 });
    await root.close(again);
    await root.close(fd);
  });
});

test("python's tempfile", async () => {
  const program = `
import os, sys, tempfile
d = sys.argv[1]
for make in (lambda: tempfile.TemporaryFile(dir=d), lambda: tempfile.NamedTemporaryFile(dir=d)):
    with make() as f:
        f.write(b'x' * 5000); f.flush()
        if os.path.exists(str(f.name)): os.unlink(f.name); gone = True
        with open('/proc/self/fd/%d' % f.fileno(), 'r+b') as g:
            assert g.read() == b'x' * 5000
            g.seek(0); g.write(b'y'); g.flush()
        f.seek(0)
        assert f.read(2) == b'yx'
        assert os.stat('/proc/self/fd/%d' % f.fileno()).st_nlink == 0
        if not isinstance(f.name, int): f._closer.delete = False
print('ok')
`;
  await withContainer(async ({ view }) => {
    const output = await runOk(['/usr/bin/python3', '-c', program, view.mountpoint], {
      uid: 0,
      gid: 0,
      userns: [CONTAINER_MAP],
    });
    expect(output).toBe('ok\n');
  });
});
