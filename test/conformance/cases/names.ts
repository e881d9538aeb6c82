// Names, paths and symbolic links.

import { expect } from 'vitest';
import {
  DT_DIR,
  NAME_MAX,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  PATH_MAX,
  S_IFIFO,
} from '../../support/constants.js';
import { type Context, check, expectErrno } from '../suite.js';

const LONGEST = 'n'.repeat(NAME_MAX);
const TOO_LONG = 'n'.repeat(NAME_MAX + 1);

/** Makes directories of the longest name until a path of PATH_MAX - 1 bytes is just possible; returns that path. */
async function deepPath(t: Context): Promise<{ path: string; there: string }> {
  // Both ways in must fit, and the two sides have different prefixes: relative to the open directory they are equal.
  await t.user.mkdir(t.path('deep'));
  const actor = t.user;
  let dir = await actor.open(t.path('deep'), O_RDONLY | O_DIRECTORY);
  const names: string[] = [];
  for (let length = 0; length + NAME_MAX + 1 < PATH_MAX - 1; length += NAME_MAX + 1) {
    await actor.mkdir({ dir, name: LONGEST });
    const next = await actor.open({ dir, name: LONGEST }, O_RDONLY | O_DIRECTORY);
    await actor.close(dir);
    dir = next;
    names.push(LONGEST);
  }
  const last = 'f'.repeat(PATH_MAX - 1 - names.length * (NAME_MAX + 1));
  await actor.close(await actor.open({ dir, name: last }, O_CREAT | O_EXCL | O_RDWR));
  await actor.close(dir);
  const path = [...names, last].join('/');
  return { path, there: path };
}

export const names = [
  check('names of 255 bytes work in every call that makes a name', async (t) => {
    const name = (first: string) => t.path(first + LONGEST.slice(1));
    await t.user.writeFile(name('a'), 'a');
    await t.user.mkdir(name('b'));
    await t.user.symlink('x', name('c'));
    await t.user.link(name('a'), name('d'));
    await t.user.mknod(name('e'), S_IFIFO | 0o600);
    await t.user.rename(name('a'), name('f'));
    const found = (await t.user.readdir(t.directory)).map(String).sort();
    expect(found).toEqual(['b', 'c', 'd', 'e', 'f'].map((first) => first + LONGEST.slice(1)));
    expect((await t.host.readdir(t.there())).length).toBe(5);
  }),
  check('names of 256 bytes are ENAMETOOLONG in every call', async (t) => {
    const long = t.path(TOO_LONG);
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('ENAMETOOLONG', t.user.stat(long));
    await expectErrno('ENAMETOOLONG', t.user.open(long, O_CREAT | O_RDWR));
    await expectErrno('ENAMETOOLONG', t.user.mkdir(long));
    await expectErrno('ENAMETOOLONG', t.user.mknod(long, S_IFIFO));
    await expectErrno('ENAMETOOLONG', t.user.symlink('x', long));
    await expectErrno('ENAMETOOLONG', t.user.link(t.path('f'), long));
    await expectErrno('ENAMETOOLONG', t.user.rename(t.path('f'), long));
    await expectErrno('ENAMETOOLONG', t.user.unlink(long));
    await expectErrno('ENAMETOOLONG', t.user.rmdir(long));
  }),
  check('every byte but / and NUL can be in a name', async (t) => {
    const made: Buffer[] = [];
    for (let byte = 1; byte < 256; byte++) {
      if (byte === 0x2f) continue;
      const name = Buffer.from([0x78, byte]);
      made.push(name);
      await t.user.writeFile(Buffer.concat([Buffer.from(`${t.directory}/`), name]), name);
    }
    const found = (await t.user.readdir(t.directory)).sort(Buffer.compare);
    expect(found).toEqual(made.sort(Buffer.compare));
    expect((await t.host.readdir(t.there())).sort(Buffer.compare)).toEqual(found);
    for (const name of found)
      expect(await t.user.readFile(Buffer.concat([Buffer.from(`${t.directory}/`), name]))).toEqual(name);
  }),
  check('names that are not UTF-8 can be renamed, linked and removed', async (t) => {
    const name = (...bytes: number[]) => Buffer.concat([Buffer.from(`${t.directory}/`), Buffer.from(bytes)]);
    await t.user.writeFile(name(0xff, 0xfe), 'x');
    await t.user.rename(name(0xff, 0xfe), name(0xc3, 0x28));
    await t.user.link(name(0xc3, 0x28), name(0x80));
    expect((await t.user.stat(name(0x80))).nlink).toBe(2);
    await t.user.unlink(name(0xc3, 0x28));
    expect(await t.user.readdir(t.directory)).toEqual([Buffer.from([0x80])]);
  }),
  check('a path of 4095 bytes works and one of 4096 is ENAMETOOLONG', async (t) => {
    const { path } = await deepPath(t);
    const actor = await t.actor('user');
    await actor.chdir(t.path('deep'));
    expect((await actor.stat(path)).size).toBe(0);
    await actor.writeFile(path, 'deep');
    expect(String(await actor.readFile(path))).toBe('deep');
    await expectErrno('ENAMETOOLONG', actor.stat(`${path}g`));
  }),
  check('a tree deeper than PATH_MAX can be walked, listed and left', async (t) => {
    const actor = await t.actor('user');
    await t.user.mkdir(t.path('deep'));
    await actor.chdir(t.path('deep'));
    const name = 'd'.repeat(200);
    for (let depth = 0; depth < 25; depth++) {
      await actor.mkdir(name);
      await actor.chdir(name);
    }
    await actor.writeFile('bottom', 'here');
    expect(String(await actor.readFile('./bottom'))).toBe('here');
    for (let depth = 0; depth < 25; depth++) await actor.chdir('..');
    expect((await actor.readdir('.')).map(String)).toEqual([name]);
    expect((await actor.stat('.')).ino).toBe((await t.user.stat(t.path('deep'))).ino);
  }),
  check('the names . and .. are taken', async (t) => {
    await t.user.mkdir(t.path('d'));
    await expectErrno('EINVAL', t.user.rmdir(t.path('d', '.')));
    await expectErrno('ENOTEMPTY', t.user.rmdir(t.path('d', '..')));
    await expectErrno('EEXIST', t.user.mkdir(t.path('d', '.')));
    await expectErrno('EBUSY', t.user.rename(t.path('d', '.'), t.path('e')));
    expect((await t.user.stat(t.path('d', '..'))).ino).toBe((await t.user.stat(t.directory)).ino);
  }),
  check('a slash at the end asks for a directory', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(`${t.path('d')}/`);
    await expectErrno('EISDIR', t.user.open(`${t.path('new')}/`, O_CREAT | O_RDWR));
    await expectErrno('ENOTDIR', t.user.unlink(`${t.path('f')}/`));
    await expectErrno('ENOENT', t.user.symlink('x', `${t.path('l')}/`));
    await t.user.rmdir(`${t.path('d')}/`);
    expect((await t.user.readdir(t.directory)).map(String)).toEqual(['f']);
  }),
  check('names differ by case and by normal form', async (t) => {
    const all = ['a', 'A', '\u00e9', 'e\u0301'];
    for (const name of all) await t.user.writeFile(t.path(name), name);
    for (const name of all) expect(String(await t.user.readFile(t.path(name)))).toBe(name);
    expect((await t.user.readdir(t.directory)).length).toBe(all.length);
  }),
  check('calls relative to an open directory go on after it was renamed', async (t) => {
    await t.user.mkdir(t.path('d'));
    const dir = await t.user.open(t.path('d'), O_RDONLY | O_DIRECTORY);
    await t.user.rename(t.path('d'), t.path('e'));
    await t.user.mkdir({ dir, name: 'below' });
    expect((await t.user.stat(t.path('e', 'below'))).nlink).toBe(2);
    const entries = await t.user.getdents(dir);
    expect(entries.find((entry) => entry.name.equals(Buffer.from('below')))?.type).toBe(DT_DIR);
    await t.user.close(dir);
  }),

  check('a link keeps any text', async (t) => {
    for (const target of ['x', '../up', '/absolute/and/missing', Buffer.from([0xff, 0x0a, 0x80]), 'l'.repeat(4095)]) {
      await t.user.symlink(target, t.path('l'));
      expect(await t.user.readlink(t.path('l'))).toEqual(Buffer.from(target));
      expect((await t.user.lstat(t.path('l'))).size).toBe(target.length);
      expect(await t.host.readlink(t.there('l'))).toEqual(Buffer.from(target));
      await t.user.unlink(t.path('l'));
    }
  }),
  check('readlink cuts to the size of the buffer', async (t) => {
    await t.user.symlink('0123456789', t.path('l'));
    expect(String(await t.user.readlink(t.path('l'), 4))).toBe('0123');
  }),
  check('symlink and readlink refuse what they must', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EEXIST', t.user.symlink('x', t.path('f')));
    await expectErrno('ENOENT', t.user.symlink('', t.path('l')));
    await expectErrno('ENAMETOOLONG', t.user.symlink('l'.repeat(4096), t.path('l')));
    await expectErrno('EINVAL', t.user.readlink(t.path('f')));
    await expectErrno('ENOENT', t.user.readlink(t.path('missing')));
  }),
  check('links are followed in the middle of a path, relative to where they are', async (t) => {
    await t.user.mkdir(t.path('a'));
    await t.user.mkdir(t.path('b'));
    await t.user.writeFile(t.path('b', 'f'), 'found');
    await t.user.symlink('../b', t.path('a', 'l'));
    expect(String(await t.user.readFile(t.path('a', 'l', 'f')))).toBe('found');
    await t.user.symlink(t.path('b'), t.path('a', 'absolute'));
    expect(String(await t.user.readFile(t.path('a', 'absolute', 'f')))).toBe('found');
  }),
  check('a link to nothing can be created through, but not exclusively', async (t) => {
    await t.user.symlink('target', t.path('l'));
    await expectErrno('ENOENT', t.user.stat(t.path('l')));
    await expectErrno('EEXIST', t.user.open(t.path('l'), O_CREAT | O_EXCL | O_RDWR));
    await t.user.writeFile(t.path('l'), 'through');
    expect(String(await t.user.readFile(t.path('target')))).toBe('through');
  }),
  check('a link belongs to who made it and is not protected by its mode', async (t) => {
    await t.user.symlink('x', t.path('l'));
    expect(await t.other.lstat(t.path('l'))).toMatchObject({ uid: 1000, gid: 1000, nlink: 1 });
    expect(String(await t.other.readlink(t.path('l')))).toBe('x');
  }),
];
