// bindfs, seen here: after `setfacl` or `cp -a`, stat shows the old mode (an ACL changes it behind the attribute cache);
// UTIME_OMIT is not understood: `touch -m` does nothing; nlink is stale after link and unlink through another name; paths
// near PATH_MAX fail because the source's path is put in front. passthrough_hp, seen here: stat is stale for a day.
//
// This test: each of them with the real tools, in a view that caches.

import { expect, test } from 'vitest';
import { O_DIRECTORY, O_RDONLY } from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CACHING } from '../support/view.js';
import { withContainer } from './harness.js';

const inside = { uid: 0, gid: 0, userns: [CONTAINER_MAP] };
/** What the container itself changes it must see at once, whatever is cached. */
const caching = { options: CACHING };

test('setfacl and cp -a, then stat', async () => {
  await withContainer(async ({ root, in: here }) => {
    await root.writeFile(here('f'), 'x');
    await root.chmod(here('f'), 0o640);
    expect((await root.stat(here('f'))).mode & 0o777).toBe(0o640);
    await runOk(['setfacl', '-m', 'u:1000:rwx', here('f')], inside);
    expect((await root.stat(here('f'))).mode & 0o777).toBe(0o670);
    await runOk(['setfacl', '-m', 'm::r', here('f')], inside);
    expect((await root.stat(here('f'))).mode & 0o777).toBe(0o640);
    await runOk(['cp', '-a', here('f'), here('copy')], inside);
    expect((await root.stat(here('copy'))).mode & 0o777).toBe(0o640);
    expect(await runOk(['getfacl', '-cnp', here('copy')], inside)).toBe(
      await runOk(['getfacl', '-cnp', here('f')], inside),
    );
    await runOk(['setfacl', '-b', here('copy')], inside);
    expect((await root.stat(here('copy'))).mode & 0o777).toBe(0o640);
  }, caching);
});

test('touch -m, touch -a and touch -d', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await root.writeFile(here('f'), 'x');
    const [first, second] = [1_000_000_000_000_000_000n, 1_100_000_000_123_456_789n];
    await root.utimens(here('f'), [first, first]);
    await runOk(['touch', '-m', '-d', '@1100000000.123456789', here('f')], inside);
    expect(await root.stat(here('f'))).toMatchObject({ atime: first, mtime: second });
    await runOk(['touch', '-a', '-d', '@1100000000.123456789', here('f')], inside);
    expect(await host.stat(under('f'))).toMatchObject({ atime: second, mtime: second });
    await root.utimens(here('f'), [first, 'omit']);
    expect(await root.stat(here('f'))).toMatchObject({ atime: first, mtime: second });
    await runOk(['touch', '-m', here('f')], inside);
    const { atime, mtime } = await root.stat(here('f'));
    expect(atime).toBe(first);
    expect(mtime).toBeGreaterThan(second);
    expect((await host.stat(under('f'))).mtime).toBe(mtime);
  }, caching);
});

test('nlink after link and unlink through another name', async () => {
  await withContainer(async ({ root, in: here }) => {
    await root.mkdir(here('d'));
    await root.writeFile(here('a'), 'x');
    for (let round = 0; round < 20; round++) {
      await root.link(here('a'), here('d', 'b'));
      expect((await root.stat(here('a'))).nlink).toBe(2);
      await root.link(here('d', 'b'), here('d', 'c'));
      expect((await root.stat(here('a'))).nlink).toBe(3);
      await root.unlink(here('d', 'b'));
      expect((await root.stat(here('a'))).nlink).toBe(2);
      await root.rename(here('d', 'c'), here('d', 'b'));
      expect((await root.stat(here('a'))).nlink).toBe(2);
      await root.unlink(here('d', 'b'));
      expect((await root.stat(here('a'))).nlink).toBe(1);
    }
  }, caching);
});

test('paths as long as the kernel takes them, and deeper than one path can name', async () => {
  await withContainer(async ({ root, host, view, in: here, under }) => {
    // PATH_MAX counts the NUL.
    const room = 4095 - view.mountpoint.length;
    let path = here();
    while (path.length + 200 < 4095 - 1) {
      path = `${path}/${'p'.repeat(199)}`;
      await root.mkdir(path);
    }
    const name = 'f'.repeat(Math.min(255, 4095 - path.length - 1));
    const file = `${path}/${name}`;
    await root.writeFile(file, 'deep');
    expect(file.length).toBeGreaterThan(4000);
    expect(room).toBeGreaterThan(0);
    expect((await root.readFile(file)).toString()).toBe('deep');
    // Deeper: by descriptors, as rm and find do.
    let dir = await root.open(path, O_RDONLY | O_DIRECTORY);
    let below = await host.open(under(), O_RDONLY | O_DIRECTORY);
    for (let depth = 0; depth < 20; depth++) {
      await root.mkdir({ dir, name: 'q'.repeat(250) });
      const next = await root.open({ dir, name: 'q'.repeat(250) }, O_RDONLY | O_DIRECTORY);
      await root.close(dir);
      dir = next;
    }
    await root.writeFile({ dir, name: 'bottom' }, 'reached');
    for (const step of [
      ...path.slice(here().length + 1).split('/'),
      ...Array.from({ length: 20 }, () => 'q'.repeat(250)),
    ]) {
      const next = await host.open({ dir: below, name: step }, O_RDONLY | O_DIRECTORY);
      await host.close(below);
      below = next;
    }
    expect((await host.readFile({ dir: below, name: 'bottom' })).toString()).toBe('reached');
    await root.close(dir);
    await host.close(below);
    await runOk(['rm', '-rf', here('p'.repeat(199))], inside);
    expect(await host.readdir(under())).toEqual([]);
  }, caching);
});
