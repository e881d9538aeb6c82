// What an idmapped mount cannot do: many owners shown as one, and a chown that has no place in the map taken for done.

import { mkdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { errnoOf } from '../support/actor.js';
import { S_IFIFO } from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';

const SQUASH = ['--squash-uid', '1000:101000', '--squash-gid', '1001:101001'];
const container = { uid: 0, gid: 0, userns: [CONTAINER_MAP] };

test('every file shows as owned by one, and what anybody makes belongs to one', async () => {
  await withContainer(
    async ({ root, host, user, in: here, under }) => {
      await host.chmod(under(), 0o777);
      for (const owner of [0, 1000, 33, 70_000, 4_000_000_000]) {
        await host.writeFile(under(`f${owner}`), 'x');
        await host.chown(under(`f${owner}`), owner, owner);
        expect(await root.stat(here(`f${owner}`))).toMatchObject({ uid: 1000, gid: 1001 });
        expect(await host.stat(here(`f${owner}`))).toMatchObject({ uid: 101_000, gid: 101_001 });
      }
      for (const actor of [root, await user(1000), await user(33)]) {
        const pid = await actor.pid();
        const made = (kind: string): string => `made-${pid}-${kind}`;
        await actor.writeFile(here(made('file')), 'x');
        await actor.mkdir(here(made('directory')));
        await actor.symlink('x', here(made('link')));
        await actor.mknod(here(made('fifo')), S_IFIFO | 0o600);
        for (const kind of ['file', 'directory', 'link', 'fifo']) {
          expect(await host.lstat(under(made(kind)))).toMatchObject({ uid: 1000, gid: 1001 });
          expect(await root.lstat(here(made(kind)))).toMatchObject({ uid: 1000, gid: 1001 });
        }
      }
      // Permissions go by what is shown: the one user owns them all, others do not.
      await host.chmod(under('f33'), 0o600);
      const owner = await user(1000);
      const other = await user(2000);
      expect((await owner.readFile(here('f33'))).toString()).toBe('x');
      expect(await errnoOf(other.readFile(here('f33')))).toBe('EACCES');
    },
    { map: [], options: SQUASH },
  );
});

test('nobody gives a file of a squashed view away', async () => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      await host.writeFile(under('f'), 'x');
      await host.chown(under('f'), 33, 44);
      for (const [uid, gid] of [
        [0, 0],
        [5, 6],
      ] as const)
        expect(await errnoOf(root.chown(here('f'), uid, gid))).toBe('EOVERFLOW');
      // What it shows already is no change, for tar and cp -a.
      expect(await errnoOf(root.chown(here('f'), 1000, 1001))).toBe('no error');
      expect(await host.stat(under('f'))).toMatchObject({ uid: 33, gid: 44 });
    },
    { map: [], options: SQUASH },
  );
});

test('--chown-ignore: what has no place in the map stays as it is and is taken for done, the rest is done', async () => {
  for (const ignore of [false, true])
    await withContainer(
      async ({ host, in: here, under }) => {
        mkdirSync(under('d'));
        for (const name of ['f', 'g']) {
          await host.writeFile(under('d', name), 'x');
          await host.chown(under('d', name), 7, 7);
        }
        // As root of the host: it may name every id, and the view's map has two.
        const told = await errnoOf(host.chown(here('d', 'f'), 5, 5));
        expect(told).toBe(ignore ? 'no error' : 'EOVERFLOW');
        expect(await host.stat(under('d', 'f'))).toMatchObject({ uid: 7, gid: 7 });
        expect(await errnoOf(host.chown(here('d', 'g'), 101_000, 101_000))).toBe('no error');
        expect(await host.stat(under('d', 'g'))).toMatchObject({ uid: 1000, gid: 1000 });
      },
      { map: ['1000:101000:1', '7:100007:1'], options: ignore ? ['--chown-ignore'] : [] },
    );
});

test('cp -a, rsync -A and tar --acls copy owners and ACLs within a view, and the host has its own ids in them', async () => {
  await withContainer(async ({ view, host, under }) => {
    await host.mkdir(under('home'));
    await host.chmod(under('home'), 0o777);
    const script = `set -e; cd "$1/home"; mkdir -p a/b; echo x > a/b/f; chown 1000:1001 a/b/f
setfacl -R -m u:33:r,g:44:rx a; setfacl -d -m u:1000:rwx a/b
getfacl -Rn a > before
cp -a a cp; mkdir rs tar; rsync -aA a/ rs/; tar --acls -cf t.tar a; tar --acls --same-owner -C tar -xpf t.tar
for copy in cp rs tar/a; do (cd $copy && getfacl -Rn . ); done > copies
(cd a && getfacl -Rn .) > one; cat one one one | cmp - copies && echo same
cat one | grep '^user:33\\|^default:user:1000' | sort -u`;
    const output = await runOk(['sh', '-c', script, 'sh', view.mountpoint], container);
    expect(output).toMatch(/^same\ndefault:user:1000:rwx\nuser:33:r--\s/);
    const seen = await runOk(['getfacl', '-n', '-p', under('home', 'cp', 'b', 'f')]);
    expect(seen).toContain('user:33:r--');
    expect(await host.stat(under('home', 'rs', 'b', 'f'))).toMatchObject({ uid: 1000, gid: 1001 });
  });
});
