// bindfs 159: READDIRPLUS answered with a wrong size, which cut the pages of files that were mapped: SIGBUS in git.
// https://github.com/mpartel/bindfs/issues/159
//
// This test: a file is mapped and grows while others list its directory with its attributes; the mapping is read to the end
// all the time. Then the container's own git works in the view while both sides list it.

import { mkdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MAP_SHARED, O_APPEND, O_RDONLY, O_RDWR, O_WRONLY, PROT_READ } from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const PAGE = 4096;

test.each([
  ['passthrough as the daemon decides', []],
  ['through the daemon', ['--passthrough', 'off']],
])('a mapped file that grows while its directory is listed, %s', async (_name, options) => {
  await withContainer(
    async ({ root, host, user, in: here, under }) => {
      await host.mkdir(under('d'));
      await host.writeFile(under('d', 'f'), Buffer.alloc(PAGE, '0'));
      const lister = await user(1000);
      let growing = true;
      const listing = (async () => {
        // A listing, then each name: what makes the kernel ask for names with attributes (READDIRPLUS_AUTO).
        while (growing) for (const name of await lister.readdir(here('d'))) await lister.lstat(`${here('d')}/${name}`);
      })();
      const fd = await root.open(here('d', 'f'), O_RDONLY);
      const appender = await host.open(under('d', 'f'), O_WRONLY | O_APPEND);
      for (let pages = 2; pages < 100; pages++) {
        await host.write(appender, Buffer.alloc(PAGE, `${pages % 10}`));
        expect((await root.stat(here('d', 'f'))).size).toBe(pages * PAGE);
        const map = await root.mmap(fd, pages * PAGE, PROT_READ, MAP_SHARED);
        expect((await root.mapRead(map, (pages - 1) * PAGE, 1)).toString()).toBe(`${pages % 10}`);
        await root.munmap(map);
      }
      growing = false;
      await listing;
      await root.close(fd);
    },
    { options },
  );
});

test('git in the view', async () => {
  await withContainer(async ({ view, host, user, in: here, under }) => {
    mkdirSync(under('project'));
    const lister = await user(1000);
    let working = true;
    const listing = (async () => {
      while (working) {
        for (const name of await lister.readdir(here('project')))
          await lister.lstat(`${here('project')}/${name}`).catch(() => null);
        await host.readdir(under('project'));
      }
    })();
    const script = `set -e
cd "$1"
export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1
git() { command git -c user.name=T -c user.email=t@example.org -c safe.directory='*' -c gc.auto=0 "$@"; }
git init -q -b main
for n in $(seq 60); do seq "$n" 3000 > "file$n"; done
git add .
git commit -q -m one
git switch -q -c other
for n in $(seq 60); do echo more >> "file$n"; done
git commit -q -a -m two
git gc -q
git switch -q main
git switch -q other
git fsck --strict 2>&1
git status --porcelain
git log --oneline | wc -l`;
    const output = await runOk(['sh', '-c', script, 'sh', `${view.mountpoint}/project`], {
      uid: 0,
      gid: 0,
      userns: [CONTAINER_MAP],
    });
    working = false;
    await listing;
    expect(output.trim()).toBe('2');
  });
});

test('a mapping is not cut by a truncation that was taken back', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await host.writeFile(under('f'), Buffer.alloc(4 * PAGE, 'a'));
    const fd = await root.open(here('f'), O_RDWR);
    const map = await root.mmap(fd, 4 * PAGE, PROT_READ, MAP_SHARED);
    expect((await root.mapRead(map, 3 * PAGE, 1)).toString()).toBe('a');
    await host.truncate(under('f'), PAGE);
    await host.writeFile(under('f'), Buffer.alloc(4 * PAGE, 'b'));
    expect((await root.stat(here('f'))).size).toBe(4 * PAGE);
    expect((await root.mapRead(map, 3 * PAGE, 1)).toString()).toBe('b');
    await root.munmap(map);
    await root.close(fd);
  });
});
