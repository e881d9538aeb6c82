// LP1872094: a nested mount used the wrong credentials.
// https://bugs.launchpad.net/bugs/1872094
//
// This test: a view of a view. Ids are shifted twice; what is made at the top belongs to the right ids at both levels below.

import { expect, test } from 'vitest';
import { errnoOf, withActor } from '../support/actor.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withView } from '../support/view.js';

test('a view of a view', async () => {
  await withView({ map: [CONTAINER_MAP] }, async (outer) => {
    // The inner view is served from what the outer shows: ids from 100000 there, from 200000 at the top.
    await withView({ map: ['100000:200000:65536'], source: outer.mountpoint }, async (inner) => {
      await withActor({ uid: 0, gid: 0, userns: ['0:200000:65536'] }, async (root) => {
        await withActor({ uid: 1000, gid: 1000, userns: ['0:200000:65536'] }, async (user) => {
          await withActor({ uid: 0, gid: 0 }, async (host) => {
            const owners = async (name: string): Promise<string> => {
              const all = [];
              for (const top of [outer.source, outer.mountpoint, inner.mountpoint]) {
                const { uid, gid } = await host.lstat(`${top}/${name}`);
                all.push(`${uid}:${gid}`);
              }
              return all.join(' ');
            };
            const top = (name: string): string => `${inner.mountpoint}/${name}`;
            await root.writeFile(top('f'), 'content');
            expect(await owners('f')).toBe('0:0 100000:100000 200000:200000');
            await root.mkdir(top('d'));
            await root.chmod(top('d'), 0o777);
            await user.writeFile(top('d/mine'), 'mine');
            expect(await owners('d/mine')).toBe('1000:1000 101000:101000 201000:201000');
            await root.chown(top('f'), 33, 44);
            expect(await owners('f')).toBe('33:44 100033:100044 200033:200044');
            await root.chown(top('f'), 0, 0);
            await root.chmod(top('f'), 0o600);
            expect(await errnoOf(user.readFile(top('f')))).toBe('EACCES');
            expect((await root.readFile(top('f'))).toString()).toBe('content');
            await root.rename(top('f'), top('d/g'));
            expect((await host.readFile(`${outer.source}/d/g`)).toString()).toBe('content');
          });
        });
      });
    });
  });
});
