// Container root that is mapped onto root of the host can leave a setuid-root file in the underlay, for an accomplice on the
// host to run.
//
// This test: with the usual map (underlay id 0 is the container's root) no way of making such a file leaves the bit, unless
// the administrator asked for it with --allow-suid; other users' own set-id files are their own affair.

import { copyFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { O_CREAT, O_RDWR, O_TMPFILE, S_ISGID, S_ISUID } from '../support/constants.js';
import { run } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const SET_ID = S_ISUID | S_ISGID;

test('no file of host root gets a set-id bit from a container', async () => {
  await withContainer(async ({ root, host, user, in: here, under }) => {
    const left = async (name: string): Promise<number> => (await host.stat(under(name))).mode & SET_ID;
    await errnoOf(root.open(here('created'), O_CREAT | O_RDWR, 0o6755));
    await errnoOf(root.mknod(here('made'), 0o106755));
    await root.writeFile(here('changed'), 'x');
    await root.chown(here('changed'), 0, 0);
    await errnoOf(root.chmod(here('changed'), 0o6755));
    const unnamed = await root.open(here(), O_TMPFILE | O_RDWR, 0o6755);
    await root.linkFd(unnamed, here('unnamed'));
    await errnoOf(root.fchmod(unnamed, 0o6755));
    for (const name of ['created', 'made', 'changed', 'unnamed']) {
      if ((await errnoOf(host.stat(under(name)))) !== 'no error') continue;
      expect([name, await left(name)]).toEqual([name, 0]);
    }
    // Set by its owner first, given to root then: chown takes it off.
    const owner = await user(1000);
    await host.chmod(under(), 0o777);
    await owner.writeFile(here('given'), 'x');
    await owner.chmod(here('given'), 0o4755);
    await errnoOf(root.chown(here('given'), 0, 0));
    expect(await left('given')).toBe(0);
    // Over a mask of an ACL, which is a chmod by another name.
    await run(['setfacl', '-m', 'u::rwx,m::rwx,u:1000:rwx', here('changed')], {
      uid: 0,
      gid: 0,
      userns: [CONTAINER_MAP],
    });
    expect(await left('changed')).toBe(0);
  });
});

test('the view itself does not honour the bits, unless asked', async () => {
  for (const allowed of [false, true])
    await withContainer(
      async ({ host, in: here, under }) => {
        copyFileSync('/usr/bin/id', under('id'));
        await host.chown(under('id'), 33, 33);
        await host.chmod(under('id'), 0o4755);
        const { stdout } = await run([here('id'), '-u'], { uid: 1000, gid: 1000, userns: [CONTAINER_MAP] });
        expect(stdout.toString().trim()).toBe(allowed ? '33' : '1000');
      },
      { options: allowed ? ['--allow-suid'] : [] },
    );
});
