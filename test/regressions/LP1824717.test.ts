// LP1824717: set-user-id and set-group-id bits were not dropped, or dropped wrongly, on write, truncate and chown.
// https://bugs.launchpad.net/bugs/1824717
//
// This test: the same caller does the same to the same file on the kernel's own idmapped mount and through the view; the bits
// that are left must be the same.

import { expect, test } from 'vitest';
import { type Actor, startActor } from '../support/actor.js';
import { KEEP_ID, O_RDWR, O_TRUNC, O_WRONLY, S_ISGID, S_ISUID } from '../support/constants.js';
import { mountIdmapped } from '../support/idmapped.js';
import { withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const doings: Readonly<Record<string, (actor: Actor, file: string) => Promise<unknown>>> = {
  'write to an open file': async (actor, file) => {
    const fd = await actor.open(file, O_WRONLY);
    await actor.write(fd, 'x');
    await actor.close(fd);
  },
  'write through a mapping': async (actor, file) => {
    const fd = await actor.open(file, O_RDWR);
    const map = await actor.mmap(fd, 4096, 3, 1);
    await actor.mapWrite(map, 0, 'x');
    await actor.msync(map, 4);
    await actor.munmap(map);
    await actor.close(fd);
  },
  'open with O_TRUNC': async (actor, file) => actor.close(await actor.open(file, O_WRONLY | O_TRUNC)),
  truncate: (actor, file) => actor.truncate(file, 1),
  ftruncate: async (actor, file) => {
    const fd = await actor.open(file, O_WRONLY);
    await actor.ftruncate(fd, 10);
    await actor.close(fd);
  },
  fallocate: async (actor, file) => {
    const fd = await actor.open(file, O_WRONLY);
    await actor.fallocate(fd, 0, 0, 10_000);
    await actor.close(fd);
  },
  'chown to the same owner': async (actor, file) => {
    const { uid, gid } = await actor.stat(file);
    await actor.chown(file, uid, gid);
  },
  'chgrp to a group of the caller': (actor, file) => actor.chown(file, KEEP_ID, 1000),
  'chmod with set-group-id': (actor, file) => actor.chmod(file, S_ISGID | 0o755),
};

const callers = { root: { uid: 0, gid: 0 }, owner: { uid: 1000, gid: 1000 }, other: { uid: 1001, gid: 1001 } };
const modes = [S_ISUID | 0o777, S_ISGID | 0o777, S_ISUID | S_ISGID | 0o777, S_ISGID | 0o767];

/**
 * Set-group-id without execute for the group gives nobody anything (it once meant mandatory locking). The kernel leaves it to
 * callers in that group; with passthrough the write happens in the daemon's name, which is in no group, and takes it off.
 */
const meansNothing = (mode: number): boolean => (mode & (S_ISGID | 0o010)) === S_ISGID;
const owners = [
  [1000, 1000],
  [1000, 2000],
] as const;

test.each(Object.entries(callers))('the bits that %s leaves', async (_name, identity) => {
  await withTempTree(async (tree) => {
    await withContainer(async ({ host, in: here, under }) => {
      await host.mkdir(`${tree}/underlay`);
      await host.mkdir(`${tree}/idmapped`);
      await mountIdmapped(`${tree}/underlay`, `${tree}/idmapped`, [CONTAINER_MAP]);
      const actor = await startActor({ ...identity, userns: [CONTAINER_MAP] });
      try {
        const results: string[][] = [[], []];
        const places = [
          [(name: string) => `${tree}/idmapped/${name}`, (name: string) => `${tree}/underlay/${name}`],
          [here, under],
        ] as const;
        for (const [index, [shown, real]] of places.entries()) {
          let serial = 0;
          for (const [what, act] of Object.entries(doings))
            for (const [uid, gid] of owners)
              for (const mode of modes) {
                const name = `f${serial++}`;
                await host.writeFile(real(name), 'content');
                await host.chown(real(name), uid, gid);
                await host.chmod(real(name), mode);
                const outcome = await act(actor, shown(name)).then(
                  () => 'ok',
                  (error: { code?: string }) => error.code,
                );
                const stored = (await host.stat(real(name))).mode & 0o7777;
                const left = meansNothing(stored) ? stored & ~S_ISGID : stored;
                const seen = (await actor.stat(shown(name))).mode & 0o7777;
                const title = `${what} ${uid}:${gid} ${mode.toString(8)}`;
                results[index]!.push(
                  `${title}: ${outcome} ${left.toString(8)} ${seen === stored ? '' : seen.toString(8)}`,
                );
              }
        }
        expect(results[1]).toEqual(results[0]);
      } finally {
        await actor.stop();
      }
    });
  });
});
