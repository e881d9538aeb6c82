// overlayfs and FUSE threads: an entry must be dropped when its underlay entry was renamed away, or when its directory is dead
// (IS_DEADDIR); a listing must be ENOENT when its directory was removed, even in the middle.
//
// This test: the host renames or removes a directory in which a process of the container sits, with its cwd and with an open
// descriptor half way through a listing.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR } from '../support/constants.js';
import { withContainer } from './harness.js';

test('the directory is removed', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await host.mkdir(under('d'));
    await root.chdir(here('d'));
    const fd = await root.open('.', O_RDONLY | O_DIRECTORY);
    await host.rmdir(under('d'));
    expect(await errnoOf(root.stat(here('d')))).toBe('ENOENT');
    expect(await errnoOf(root.open('f', O_CREAT | O_RDWR))).toBe('ENOENT');
    expect(await errnoOf(root.mkdir({ dir: fd, name: 'x' }))).toBe('ENOENT');
    expect(await errnoOf(root.symlink('x', 'y'))).toBe('ENOENT');
    await root.writeFile(here('outside'), 'x');
    expect(await errnoOf(root.link(here('outside'), { dir: fd, name: 'x' }))).toBe('ENOENT');
    expect(await errnoOf(root.rename(here('outside'), { dir: fd, name: 'x' }))).toBe('ENOENT');
    expect(await errnoOf(root.rename({ dir: fd, name: 'x' }, here('outside')))).toBe('ENOENT');
    expect(await errnoOf(root.stat('f'))).toBe('ENOENT');
    // Linux answers ENOENT, or an empty end of the list.
    const listed = await errnoOf(
      root.getdents(fd).then((entries) => expect(entries.map(({ name }) => String(name))).toEqual([])),
    );
    expect(['ENOENT', 'no error']).toContain(listed);
    expect((await root.fstat(fd)).nlink).toBe(0);
    // Another directory of the same name is another directory.
    await host.mkdir(under('d'));
    await host.writeFile(under('d', 'f'), 'new');
    expect(await errnoOf(root.stat('f'))).toBe('ENOENT');
    expect((await root.readFile(here('d', 'f'))).toString()).toBe('new');
    await root.chdir('/');
  });
});

test('the directory is removed in the middle of a listing', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await host.mkdir(under('d'));
    const names = Array.from({ length: 500 }, (_, i) => `name-${i}`);
    for (const name of names) await host.writeFile(under('d', name), '');
    const fd = await root.open(here('d'), O_RDONLY | O_DIRECTORY);
    expect((await root.getdents(fd, 1024)).length).toBeGreaterThan(5);
    for (const name of names) await host.unlink(under('d', name));
    await host.rmdir(under('d'));
    // What the kernel had read ahead may still come; then the end, or the error.
    const rest = await errnoOf(
      (async () => {
        while ((await root.getdents(fd, 32_768)).length > 0);
      })(),
    );
    expect(['ENOENT', 'no error']).toContain(rest);
    expect(await errnoOf(root.readdir(here('d')))).toBe('ENOENT');
    const error = await errnoOf(root.readdir({ dir: fd, name: '.' }).then((list) => expect(list).toEqual([])));
    expect(['ENOENT', 'no error']).toContain(error);
    await root.close(fd);
  });
});

test('the parent is renamed, and the grandparent replaced', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    for (const name of ['a', 'a/b', 'a/b/c', 'other', 'other/b', 'other/b/c']) await host.mkdir(under(name));
    await host.writeFile(under('a/b/c/f'), 'first');
    await host.writeFile(under('other/b/c/f'), 'second');
    await root.chdir(here('a/b/c'));
    expect((await root.readFile(here('a/b/c/f'))).toString()).toBe('first');
    await host.rename(under('a'), under('aside'));
    await host.rename(under('other'), under('a'));
    expect((await root.readFile(here('a/b/c/f'))).toString()).toBe('second');
    expect((await root.readFile(here('aside/b/c/f'))).toString()).toBe('first');
    // Who sits below the renamed directory stays there.
    expect((await root.readFile('f')).toString()).toBe('first');
    await root.writeFile('made', 'made');
    expect((await host.readFile(under('aside/b/c/made'))).toString()).toBe('made');
    // What leads up is where it is now.
    expect((await root.readFile('../../../a/b/c/f')).toString()).toBe('second');
    await host.rename(under('aside/b/c'), under('c'));
    expect((await root.readFile('f')).toString()).toBe('first');
    // The kernel walks `..` by itself: it learns of the new parent when somebody meets the directory there.
    await root.stat(here('c'));
    expect((await root.stat('..')).ino).toBe((await host.stat(under())).ino);
    await root.chdir('/');
  });
});
