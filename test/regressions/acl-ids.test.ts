// Read in shiftfs's source: ids in ACL_USER and ACL_GROUP entries were shifted differently. bindfs 91 (open since 2020): no
// ids in ACLs are mapped at all. bindfs, seen here: after setfacl the mode stays the old one.
//
// This test: the real setfacl and getfacl, u: and g: and default ACLs, from the container to the host and back; the entries
// decide who may read.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const inside = { uid: 0, gid: 0, userns: [CONTAINER_MAP] };
const entries = (output: string): string => output.trim().split('\n').join(' ');

test('ACL entries of users and groups, access and default, in both directions', async () => {
  await withContainer(async ({ root, host, view, user, in: here, under }) => {
    await root.mkdir(here('d'));
    await root.writeFile(here('d', 'f'), 'content');
    await root.chmod(here('d', 'f'), 0o640);
    const get = async (name: string): Promise<string[]> => [
      entries(await runOk(['getfacl', '-cnp', here(name)], inside)),
      entries(await runOk(['getfacl', '-cnp', under(name)])),
      entries(await runOk(['getfacl', '-cnp', `${view.mountpoint}/${name}`])),
    ];

    await runOk(['setfacl', '-m', 'u:1000:r,g:33:rw', here('d', 'f')], inside);
    const [shown, real, outside] = await get('d/f');
    expect(shown).toBe('user::rw- user:1000:r-- group::r-- group:33:rw- mask::rw- other::---');
    expect(real).toBe(shown);
    expect(outside).toBe('user::rw- user:101000:r-- group::r-- group:100033:rw- mask::rw- other::---');
    // The mask became the group's bits: stat must show it at once.
    expect((await root.stat(here('d', 'f'))).mode & 0o777).toBe(0o660);

    expect((await (await user(1000)).readFile(here('d', 'f'))).toString()).toBe('content');
    expect(await errnoOf((await user(1001)).readFile(here('d', 'f')))).toBe('EACCES');
    expect(await errnoOf((await user(1001, { groups: [33] })).writeFile(here('d', 'f'), 'content'))).toBe('no error');

    await runOk(['setfacl', '-m', 'u:5:rwx,g:6:x', under('d')]);
    await runOk(['setfacl', '-d', '-m', 'u:7:rw,g:8:r', under('d')]);
    const [directory] = await get('d');
    expect(directory).toBe(
      'user::rwx user:5:rwx group::r-x group:6:--x mask::rwx other::r-x ' +
        'default:user::rwx default:user:7:rw- default:group::r-x default:group:8:r-- default:mask::rwx default:other::r-x',
    );

    // Inheritance: what the container creates gets the default entries, whatever its umask.
    await root.writeFile(here('d', 'heir'), 'x');
    const [heir, heirBelow] = await get('d/heir');
    expect(heir).toBe(
      'user::rw- user:7:rw- group::r-x group:8:r-- mask::rw- other::r--'.replace(
        'group::r-x',
        'group::r-x\t#effective:r--',
      ),
    );
    expect(heirBelow).toBe(heir);
    expect((await root.stat(here('d', 'heir'))).mode & 0o777).toBe(0o664);

    // Taken away again, from either side.
    await runOk(['setfacl', '-b', here('d', 'f')], inside);
    expect((await get('d/f'))[1]).toBe('user::rw- group::r-- other::---');
    expect(await errnoOf((await user(1000)).readFile(here('d', 'f')))).toBe('EACCES');
    expect((await host.listxattr(under('d', 'f'))).join(' ')).not.toContain('posix_acl');
  });
});

test('an ACL entry for an id that the map does not have', async () => {
  await withContainer(async ({ root, user, in: here, under }) => {
    await root.writeFile(here('f'), 'content');
    await runOk(['setfacl', '-m', 'u:70000:rwx', under('f')]);
    const shown = entries(await runOk(['getfacl', '-cnp', here('f')], inside));
    // Nobody of the container is meant by it.
    expect(shown).not.toContain('user:70000');
    expect(await errnoOf((await user(4464)).writeFile(here('f'), 'x'))).toBe('EACCES');
  });
});
