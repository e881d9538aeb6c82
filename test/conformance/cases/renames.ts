// rename(2), renameat2(2) and hard links.

import { expect } from 'vitest';
import { errnoOf } from '../../support/actor.js';
import {
  AT_SYMLINK_FOLLOW,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  S_IFCHR,
  S_IFMT,
} from '../../support/constants.js';
import { check, expectErrno } from '../suite.js';

export const renames = [
  check('a file keeps its identity and content under its new name', async (t) => {
    await t.user.writeFile(t.path('a'), 'content');
    const { ino, mtime } = await t.user.stat(t.path('a'));
    await t.user.rename(t.path('a'), t.path('b'));
    await expectErrno('ENOENT', t.user.stat(t.path('a')));
    expect(await t.user.stat(t.path('b'))).toMatchObject({ ino, mtime, nlink: 1 });
    expect(String(await t.user.readFile(t.path('b')))).toBe('content');
    expect((await t.host.readdir(t.there())).map(String)).toEqual(['b']);
  }),
  check('a rename over a file replaces it, and who has it open keeps the old one', async (t) => {
    await t.user.writeFile(t.path('a'), 'new');
    await t.user.writeFile(t.path('b'), 'old content');
    const old = await t.user.open(t.path('b'), O_RDONLY);
    await t.user.rename(t.path('a'), t.path('b'));
    expect(String(await t.user.readFile(t.path('b')))).toBe('new');
    expect(String(await t.user.read(old, 100))).toBe('old content');
    expect((await t.user.fstat(old)).nlink).toBe(0);
    await t.user.close(old);
  }),
  check('a directory moves with what is in it, and the parents count', async (t) => {
    await t.user.mkdir(t.path('a'));
    await t.user.mkdir(t.path('b'));
    await t.user.mkdir(t.path('a', 'd'));
    await t.user.writeFile(t.path('a', 'd', 'f'), 'inside');
    await t.user.rename(t.path('a', 'd'), t.path('b', 'e'));
    expect(String(await t.user.readFile(t.path('b', 'e', 'f')))).toBe('inside');
    expect((await t.user.stat(t.path('a'))).nlink).toBe(2);
    expect((await t.user.stat(t.path('b'))).nlink).toBe(3);
    expect((await t.user.stat(t.path('b', 'e', '..'))).ino).toBe((await t.user.stat(t.path('b'))).ino);
  }),
  check('a directory replaces an empty one only', async (t) => {
    for (const name of ['a', 'empty', 'full', 'full/x']) await t.user.mkdir(t.path(name));
    await expectErrno('ENOTEMPTY', t.user.rename(t.path('a'), t.path('full')));
    await t.user.rename(t.path('a'), t.path('empty'));
    expect((await t.user.readdir(t.directory)).map(String).sort()).toEqual(['empty', 'full']);
  }),
  check('rename refuses what it must', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.mkdir(t.path('d', 'e'));
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('ENOTDIR', t.user.rename(t.path('d'), t.path('f')));
    await expectErrno('EISDIR', t.user.rename(t.path('f'), t.path('d')));
    await expectErrno('EINVAL', t.user.rename(t.path('d'), t.path('d', 'e', 'below')));
    await expectErrno('ENOTEMPTY', t.user.rename(t.path('d', 'e'), t.path('d')));
    await expectErrno('ENOENT', t.user.rename(t.path('missing'), t.path('x')));
    await expectErrno('ENOENT', t.user.rename(t.path('f'), t.path('missing', 'x')));
    await expectErrno('ENOTDIR', t.user.rename(t.path('f'), t.path('f', 'x')));
    await expectErrno('EINVAL', t.user.rename(t.path('f'), t.path('x'), 0x80));
  }),
  check('a rename between two names of one file does nothing', async (t) => {
    await t.user.writeFile(t.path('a'), 'x');
    await t.user.link(t.path('a'), t.path('b'));
    await t.user.rename(t.path('a'), t.path('b'));
    expect((await t.user.readdir(t.directory)).map(String).sort()).toEqual(['a', 'b']);
    expect((await t.user.stat(t.path('a'))).nlink).toBe(2);
  }),
  check('a rename to its own name does nothing', async (t) => {
    await t.user.writeFile(t.path('a'), 'x');
    await t.user.rename(t.path('a'), t.path('a'));
    expect(String(await t.user.readFile(t.path('a')))).toBe('x');
  }),
  check('a link is moved, not what it points to', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.symlink('f', t.path('l'));
    await t.user.rename(t.path('l'), t.path('m'));
    expect(String(await t.user.readlink(t.path('m')))).toBe('f');
  }),
  check('open files and working directories go on after a rename above them', async (t) => {
    const actor = await t.actor('user');
    await actor.mkdir(t.path('a'));
    await actor.mkdir(t.path('a', 'b'));
    await actor.writeFile(t.path('a', 'b', 'f'), 'x');
    await actor.chdir(t.path('a', 'b'));
    const fd = await actor.open('f', O_RDWR);
    await actor.rename(t.path('a'), t.path('z'));
    expect(String(await actor.getcwd())).toBe(t.path('z', 'b'));
    await actor.pwrite(fd, 'y', 0);
    expect(String(await actor.readFile('f'))).toBe('y');
    await actor.writeFile('new', '');
    expect((await t.user.readdir(t.path('z', 'b'))).length).toBe(2);
  }),
  check('a rename moves the times of both directories', async (t) => {
    await t.user.mkdir(t.path('a'));
    await t.user.mkdir(t.path('b'));
    await t.user.writeFile(t.path('a', 'f'), '');
    await t.user.utimens(t.path('a'), [0n, 0n]);
    await t.user.utimens(t.path('b'), [0n, 0n]);
    await t.user.rename(t.path('a', 'f'), t.path('b', 'f'));
    expect((await t.user.stat(t.path('a'))).mtime > 0n).toBe(true);
    expect((await t.user.stat(t.path('b'))).mtime > 0n).toBe(true);
  }),
  check('RENAME_NOREPLACE replaces nothing', async (t) => {
    await t.user.writeFile(t.path('a'), 'a');
    await t.user.writeFile(t.path('b'), 'b');
    await expectErrno('EEXIST', t.user.rename(t.path('a'), t.path('b'), RENAME_NOREPLACE));
    expect(String(await t.user.readFile(t.path('b')))).toBe('b');
    await t.user.rename(t.path('a'), t.path('c'), RENAME_NOREPLACE);
    expect((await t.user.readdir(t.directory)).map(String).sort()).toEqual(['b', 'c']);
  }),
  check('RENAME_EXCHANGE swaps two files, a file and a directory, and nothing with nothing', async (t) => {
    await t.user.writeFile(t.path('a'), 'a');
    await t.user.writeFile(t.path('b'), 'b');
    await t.user.rename(t.path('a'), t.path('b'), RENAME_EXCHANGE);
    expect(String(await t.user.readFile(t.path('a')))).toBe('b');
    expect(String(await t.user.readFile(t.path('b')))).toBe('a');
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'in'), '');
    await t.user.rename(t.path('a'), t.path('d'), RENAME_EXCHANGE);
    expect((await t.user.readdir(t.path('a'))).map(String)).toEqual(['in']);
    expect(String(await t.user.readFile(t.path('d')))).toBe('b');
    await expectErrno('ENOENT', t.user.rename(t.path('a'), t.path('missing'), RENAME_EXCHANGE));
    await expectErrno('EINVAL', t.user.rename(t.path('a'), t.path('b'), RENAME_EXCHANGE | RENAME_NOREPLACE));
    expect(String(await t.host.readFile(t.there('b')))).toBe('a');
  }),
  check('RENAME_EXCHANGE between directories keeps their counts right', async (t) => {
    for (const name of ['p', 'q', 'p/d']) await t.user.mkdir(t.path(name));
    await t.user.writeFile(t.path('q', 'f'), '');
    await t.user.rename(t.path('p', 'd'), t.path('q', 'f'), RENAME_EXCHANGE);
    expect((await t.user.stat(t.path('p'))).nlink).toBe(2);
    expect((await t.user.stat(t.path('q'))).nlink).toBe(3);
  }),
  check('RENAME_WHITEOUT leaves a whiteout or is refused; it never becomes a plain rename', async (t) => {
    await t.root.writeFile(t.path('a'), 'a');
    const result = await errnoOf(t.root.rename(t.path('a'), t.path('b'), RENAME_WHITEOUT));
    const found = (await t.root.readdir(t.directory)).map(String).sort();
    if (result === 'no error') {
      expect(found).toEqual(['a', 'b']);
      expect((await t.root.lstat(t.path('a'))).mode & S_IFMT).toBe(S_IFCHR);
    } else {
      expect(['EINVAL', 'EPERM']).toContain(result);
      expect(found).toEqual(['a']);
    }
  }),

  check('a hard link is the same file under two names', async (t) => {
    await t.user.writeFile(t.path('a'), 'one');
    await t.user.link(t.path('a'), t.path('b'));
    const { ino } = await t.user.stat(t.path('a'));
    expect(await t.user.stat(t.path('b'))).toMatchObject({ ino, nlink: 2 });
    expect((await t.user.stat(t.path('a'))).nlink).toBe(2);
    await t.user.writeFile(t.path('b'), 'through the other name');
    expect(String(await t.user.readFile(t.path('a')))).toBe('through the other name');
    expect((await t.user.stat(t.path('a'))).size).toBe(22);
    await t.user.chmod(t.path('a'), 0o600);
    expect((await t.user.stat(t.path('b'))).mode & 0o777).toBe(0o600);
  }),
  check('link counts are right after every step, whichever name is used', async (t) => {
    await t.user.writeFile(t.path('0'), 'x');
    for (let count = 1; count < 5; count++) {
      await t.user.link(t.path(`${count - 1}`), t.path(`${count}`));
      for (let name = 0; name <= count; name++) expect((await t.user.stat(t.path(`${name}`))).nlink).toBe(count + 1);
    }
    for (let count = 4; count > 0; count--) {
      await t.user.unlink(t.path(`${count}`));
      for (let name = 0; name < count; name++) expect((await t.user.stat(t.path(`${name}`))).nlink).toBe(count);
    }
  }),
  check('links in different directories of one file stay one file after its first name is gone', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('a'), 'x');
    await t.user.link(t.path('a'), t.path('d', 'b'));
    const fd = await t.user.open(t.path('a'), O_RDWR);
    await t.user.unlink(t.path('a'));
    await t.user.write(fd, 'Y');
    expect(String(await t.user.readFile(t.path('d', 'b')))).toBe('Y');
    expect((await t.user.fstat(fd)).nlink).toBe(1);
    await t.user.close(fd);
  }),
  check('a rename over one of two names counts the other down', async (t) => {
    await t.user.writeFile(t.path('a'), 'x');
    await t.user.link(t.path('a'), t.path('b'));
    await t.user.writeFile(t.path('c'), 'y');
    await t.user.rename(t.path('c'), t.path('a'));
    expect((await t.user.stat(t.path('b'))).nlink).toBe(1);
  }),
  check('link refuses what it must', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EPERM', t.user.link(t.path('d'), t.path('e')));
    await expectErrno('EEXIST', t.user.link(t.path('f'), t.path('d')));
    await expectErrno('ENOENT', t.user.link(t.path('missing'), t.path('e')));
    await expectErrno('ENOENT', t.user.link(t.path('f'), t.path('missing', 'e')));
  }),
  check('link takes a symbolic link itself unless told to follow', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    await t.user.symlink('f', t.path('l'));
    await t.user.link(t.path('l'), t.path('hard'));
    expect((await t.user.lstat(t.path('hard'))).ino).toBe((await t.user.lstat(t.path('l'))).ino);
    await t.user.link(t.path('l'), t.path('followed'), AT_SYMLINK_FOLLOW);
    expect((await t.user.lstat(t.path('followed'))).ino).toBe((await t.user.stat(t.path('f'))).ino);
  }),
  check("one may not link what is not one's own to use (protected_hardlinks)", async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chmod(t.path('f'), 0o600);
    await expectErrno('EPERM', t.user.link(t.path('f'), t.path('g')));
  }),
  check('a link or rename made in the underlay shows the same inode here', async (t) => {
    await t.user.writeFile(t.path('a'), 'x');
    const { ino } = await t.user.stat(t.path('a'));
    await t.host.link(t.there('a'), t.there('b'));
    expect((await t.user.stat(t.path('b'))).ino).toBe(ino);
    const fd = await t.user.open(t.path('c'), O_CREAT | O_RDWR);
    await t.user.close(fd);
    await t.afterHostChange(async () => {
      expect((await t.user.stat(t.path('b'))).nlink).toBe(2);
    });
  }),
];
