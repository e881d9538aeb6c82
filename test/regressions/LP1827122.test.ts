// LP1827122: remounting could drop ro, nosuid, nodev, noexec and noatime of the source's mount.
// https://bugs.launchpad.net/bugs/1827122
//
// This test: the source is mounted with each of them, and the view must have them: in its flags and in what it does.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { ST_NODEV, ST_NOEXEC, ST_NOSUID, ST_RDONLY } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { run } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const ST_NOATIME = 1024;

const flags: Readonly<Record<string, number>> = {
  ro: ST_RDONLY,
  nosuid: ST_NOSUID,
  nodev: ST_NODEV,
  noexec: ST_NOEXEC,
  noatime: ST_NOATIME,
};

test.each(Object.entries(flags))('a source mounted %s', async (option, flag) => {
  const image = await makeImage('tmpfs', { options: ['rw'] });
  try {
    // Everything in it first: a read-only file system takes nothing.
    await run(['sh', '-c', 'printf "#!/bin/sh\\necho ran\\n" > program; chmod 755 program'], { cwd: image.directory });
    await run(['mount', '-o', `remount,${option}`, image.directory]);
    await withContainer(
      async ({ root, host, view, in: here }) => {
        expect(((await host.statfs(view.mountpoint)).flags & flag) !== 0).toBe(true);
        if (option === 'ro') {
          expect(await errnoOf(root.writeFile(here('x'), 'x'))).toBe('EROFS');
          expect(await errnoOf(root.chmod(here('program'), 0o777))).toBe('EROFS');
        }
        const ran = await run([here('program')], { uid: 0, gid: 0, userns: [CONTAINER_MAP] });
        expect(ran.status === 0).toBe(option !== 'noexec');
        // Root of the container owns the mount in its own namespace, if anywhere, and cannot take the flag off.
        const remount = await run(['mount', '-o', 'remount,rw,suid,dev,exec,atime', view.mountpoint], {
          uid: 0,
          gid: 0,
          userns: [CONTAINER_MAP],
          mountNamespace: true,
        });
        expect(remount.status).not.toBe(0);
        expect(((await host.statfs(view.mountpoint)).flags & flag) !== 0).toBe(true);
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});
