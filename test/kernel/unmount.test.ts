// The ends of a view: unmounted in use, lazily, by signal, its daemon killed, its source removed; and what it inherits from
// the mount it serves.

import { expect, test } from 'vitest';
import { errnoOf, withActor } from '../support/actor.js';
import {
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  ST_NODEV,
  ST_NOEXEC,
  ST_NOSUID,
  ST_RDONLY,
} from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { mountAt } from '../support/mounts.js';
import { run, runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CLI, mountView, withView } from '../support/view.js';

const root = { uid: 0, gid: 0 };
const cli = (...args: string[]) => [process.execPath, CLI, ...args];

test('a view in use is not unmounted, and goes on', async () => {
  await withView({}, (view) =>
    withActor(root, async (actor) => {
      const fd = await actor.open(`${view.mountpoint}/f`, O_CREAT | O_RDWR);
      expect((await run(['umount', view.mountpoint])).status).not.toBe(0);
      expect((await run(cli('umount', view.mountpoint))).status).not.toBe(0);
      await actor.write(fd, 'still');
      expect(String(await actor.readFile(`${view.source}/f`))).toBe('still');
      await actor.close(fd);
    }),
  );
});

test('fuse-shiftfs umount ends the view and its daemon, which reports success', async () => {
  const view = await mountView();
  try {
    await runOk(cli('umount', view.mountpoint));
    expect(mountAt(view.mountpoint)).toBeUndefined();
    expect(view.isHeldElsewhere() ? 0 : await view.ended).toBe(0);
  } finally {
    await view.destroy();
  }
});

test('a lazy unmount keeps open files working until they are closed, then the daemon ends', async () => {
  const view = await mountView();
  try {
    await withActor(root, async (actor) => {
      const fd = await actor.open(`${view.mountpoint}/f`, O_CREAT | O_RDWR);
      await runOk(['umount', '--lazy', view.mountpoint]);
      expect(mountAt(view.mountpoint)).toBeUndefined();
      await actor.write(fd, 'after the unmount');
      expect(String(await actor.pread(fd, 100, 0))).toBe('after the unmount');
      expect(view.running).toBe(true);
      await actor.close(fd);
      expect(String(await actor.readFile(`${view.source}/f`))).toBe('after the unmount');
    });
    expect(view.isHeldElsewhere() ? 0 : await view.ended).toBe(0);
  } finally {
    await view.destroy();
  }
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} unmounts and ends with success`, async () => {
    const view = await mountView();
    try {
      process.kill(view.pid, signal);
      expect(await view.ended).toBe(0);
      expect(mountAt(view.mountpoint)).toBeUndefined();
    } finally {
      await view.destroy();
    }
  });
}

test('after kill -9 of the daemon everything is ENOTCONN, and a new mount on the same place works', async () => {
  const view = await mountView();
  try {
    await withActor(root, async (actor) => {
      await actor.writeFile(`${view.mountpoint}/f`, 'kept');
      const fd = await actor.open(`${view.mountpoint}/f`, O_RDONLY);
      await view.kill();
      // Over io_uring, the connection may end a little after the daemon: who meets that is told ECONNABORTED.
      await expect.poll(() => errnoOf(actor.stat(`${view.mountpoint}/f`))).toBe('ENOTCONN');
      expect(await errnoOf(actor.open(`${view.mountpoint}/g`, O_CREAT | O_RDWR))).toBe('ENOTCONN');
      await actor.close(fd);
      const again = await mountView({ source: view.source, mountpoint: view.mountpoint });
      expect(String(await actor.readFile(`${view.mountpoint}/f`))).toBe('kept');
      await actor.writeFile(`${view.mountpoint}/f`, 'served again');
      expect(String(await actor.readFile(`${view.source}/f`))).toBe('served again');
      await again.close();
    });
  } finally {
    await view.destroy();
  }
});

test('a call in flight ends when the daemon is killed', async () => {
  await withView({}, (view) =>
    withActor(root, async (actor) => {
      // A stopped daemon keeps the call waiting, a killed one ends it.
      process.kill(view.pid, 'SIGSTOP');
      const waiting = errnoOf(actor.mkdir(`${view.mountpoint}/d`));
      await actor.untilBlocked();
      process.kill(view.pid, 'SIGKILL');
      // The last one from FUSE over io_uring, whose commands are cancelled.
      expect(['ECONNABORTED', 'ENOTCONN', 'ECANCELED']).toContain(await waiting);
      await view.ended;
    }),
  );
});

test('a source that is removed leaves an empty view that says so and can be unmounted', async () => {
  const made = makeTempDirectory('removed');
  try {
    await runOk(['mkdir', `${made}/source`, `${made}/view`]);
    await withView({ source: `${made}/source`, mountpoint: `${made}/view` }, (view) =>
      withActor(root, async (actor) => {
        await actor.mkdir(`${view.mountpoint}/d`);
        await actor.writeFile(`${view.mountpoint}/d/f`, 'open');
        const fd = await actor.open(`${view.mountpoint}/d/f`, O_RDONLY);
        await runOk(['rm', '-rf', view.source]);
        expect(String(await actor.read(fd, 100))).toBe('open');
        // Its lease is broken as soon as the event is read.
        await expect.poll(() => errnoOf(actor.stat(`${view.mountpoint}/d`)), { timeout: 5_000 }).toBe('ENOENT');
        expect(await errnoOf(actor.mkdir(`${view.mountpoint}/e`))).toBe('ENOENT');
        expect(await errnoOf(actor.readdir(view.mountpoint))).toBe('ENOENT');
        expect((await actor.stat(view.mountpoint)).nlink).toBe(0);
        await actor.close(fd);
      }),
    );
  } finally {
    removeTempDirectory(made);
  }
});

test('a source whose file system is unmounted lazily goes on being served', async () => {
  const image = await makeImage('ext4');
  try {
    await withView({ source: image.directory }, (view) =>
      withActor(root, async (actor) => {
        await actor.writeFile(`${view.mountpoint}/f`, 'x');
        await runOk(['umount', '--lazy', image.directory]);
        expect(String(await actor.readFile(`${view.mountpoint}/f`))).toBe('x');
        await actor.writeFile(`${view.mountpoint}/g`, 'y');
        expect((await actor.readdir(view.mountpoint)).map(String)).toContain('g');
      }),
    );
  } finally {
    image.remove();
  }
});

test('a view has the restrictions of the mount it serves', async () => {
  const image = await makeImage('tmpfs', { options: ['nosuid', 'nodev', 'noexec'] });
  try {
    await withActor(root, async (actor) => {
      await actor.writeFile(`${image.directory}/program`, '#!/bin/true\n', 0o755);
      await withView({ source: image.directory, options: ['--allow-suid', '--allow-dev'] }, async (view) => {
        const { flags } = await actor.statfs(view.mountpoint);
        expect(flags & (ST_NOSUID | ST_NODEV | ST_NOEXEC)).toBe(ST_NOSUID | ST_NODEV | ST_NOEXEC);
        expect(flags & ST_RDONLY).toBe(0);
        expect((await run(['sh', '-c', `exec ${view.mountpoint}/program`])).status).toBe(126);
      });
      await runOk(['mount', '-o', 'remount,ro', image.directory]);
      await withView({ source: image.directory }, async (view) => {
        expect((await actor.statfs(view.mountpoint)).flags & ST_RDONLY).toBe(ST_RDONLY);
        expect(await errnoOf(actor.open(`${view.mountpoint}/new`, O_CREAT | O_RDWR))).toBe('EROFS');
        expect(await errnoOf(actor.chmod(`${view.mountpoint}/program`, 0o700))).toBe('EROFS');
        expect(await errnoOf(actor.open(`${view.mountpoint}/program`, O_WRONLY))).toBe('EROFS');
        expect(await errnoOf(actor.unlink(`${view.mountpoint}/program`))).toBe('EROFS');
      });
    });
  } finally {
    image.remove();
  }
});

test('a full underlay is ENOSPC, and room comes back when an open file is gone', async () => {
  const image = await makeImage('ext4', { mebibytes: 16 });
  try {
    await withView({ source: image.directory }, (view) =>
      withActor(root, async (actor) => {
        const fd = await actor.open(`${view.mountpoint}/big`, O_CREAT | O_RDWR);
        const block = Buffer.alloc(1 << 20, 'x');
        let result = 'no error';
        for (let written = 0; written < 32 && result === 'no error'; written++)
          result = await errnoOf(actor.write(fd, block));
        expect(result).toBe('ENOSPC');
        const full = await actor.statfs(view.mountpoint);
        await actor.unlink(`${view.mountpoint}/big`);
        expect((await actor.statfs(view.mountpoint)).bfree).toBeLessThan(full.bfree + 1000);
        await actor.close(fd);
        // FUSE releases a file after its last close has returned.
        for (let wait = 0; wait < 500 && (await actor.statfs(view.mountpoint)).bfree <= full.bfree + 1000; wait++);
        expect((await actor.statfs(view.mountpoint)).bfree).toBeGreaterThan(full.bfree + 1000);
        await actor.writeFile(`${view.mountpoint}/small`, 'fits');
      }),
    );
  } finally {
    image.remove();
  }
});
