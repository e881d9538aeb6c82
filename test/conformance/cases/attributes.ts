// Attributes: what stat shows, and every field that can be set.

import { expect } from 'vitest';
import {
  AT_EACCESS,
  AT_SYMLINK_NOFOLLOW,
  F_OK,
  KEEP_ID,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  R_OK,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  W_OK,
  X_OK,
} from '../../support/constants.js';
import { check, expectErrno, OTHER, USER } from '../suite.js';

const PERMISSIONS = 0o7777;
const GIBIBYTE = 2 ** 30;
/** 2001-02-03 04:05:06.123456789 UTC */
const EARLIER = 981_173_106_123_456_789n;
const LATER = 1_700_000_000_987_654_321n;

export const attributes = [
  check('a new file is empty, regular, has one name and the mode that the umask leaves', async (t) => {
    await t.user.open(t.path('f'), O_CREAT | O_RDWR, 0o666);
    const stat = await t.user.stat(t.path('f'));
    expect(stat).toMatchObject({ mode: S_IFREG | 0o644, nlink: 1, size: 0, blocks: 0, ...USER });
  }),
  check('a new directory has two names and the mode that the umask leaves', async (t) => {
    await t.user.mkdir(t.path('d'), 0o777);
    expect(await t.user.stat(t.path('d'))).toMatchObject({ mode: S_IFDIR | 0o755, nlink: 2, ...USER });
  }),
  check('lstat shows the link, stat what it points to', async (t) => {
    await t.user.writeFile(t.path('f'), 'abc');
    await t.user.symlink('f', t.path('l'));
    expect(await t.user.lstat(t.path('l'))).toMatchObject({ mode: S_IFLNK | 0o777, size: 1 });
    expect(await t.user.stat(t.path('l'))).toMatchObject({ mode: S_IFREG | 0o644, size: 3 });
  }),
  check('both sides see the same inode number, size, blocks, times and birth time', async (t) => {
    await t.user.writeFile(t.path('f'), Buffer.alloc(10_000, 1));
    await t.user.utimens(t.path('f'), [EARLIER, LATER]);
    const { ino, size, blocks, atime, mtime, ctime, btime, nlink, mode } = await t.host.stat(t.there('f'));
    expect(await t.user.stat(t.path('f'))).toMatchObject({
      ino,
      size,
      blocks,
      atime,
      mtime,
      ctime,
      btime,
      nlink,
      mode,
    });
  }),
  check('fstat and stat agree', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.write(fd, 'some bytes');
    expect(await t.user.fstat(fd)).toEqual(await t.user.stat(t.path('f')));
    await t.user.close(fd);
  }),
  check('every file of a tree shows the same device', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'f'), '');
    const { dev } = await t.user.stat(t.directory);
    expect(await t.user.stat(t.path('d'))).toMatchObject({ dev });
    expect(await t.user.stat(t.path('d', 'f'))).toMatchObject({ dev });
  }),
  check('a missing name is ENOENT, a file used as a directory ENOTDIR', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('ENOENT', t.user.stat(t.path('missing')));
    await expectErrno('ENOENT', t.user.stat(t.path('missing', 'below')));
    await expectErrno('ENOTDIR', t.user.stat(t.path('f', 'below')));
    await expectErrno('ENOTDIR', t.user.stat(`${t.path('f')}/`));
    await expectErrno('ENOENT', t.user.stat(''));
  }),
  check('links that go round are ELOOP', async (t) => {
    await t.user.symlink('b', t.path('a'));
    await t.user.symlink('a', t.path('b'));
    await expectErrno('ELOOP', t.user.stat(t.path('a')));
  }),

  check('chmod sets each of the twelve bits', async (t) => {
    // Of a file that is not root's: the view keeps set-id bits for root from the host.
    await t.user.writeFile(t.path('f'), '');
    for (let bit = 1; bit <= PERMISSIONS; bit <<= 1) {
      await t.user.chmod(t.path('f'), bit);
      expect((await t.user.stat(t.path('f'))).mode & PERMISSIONS).toBe(bit);
      expect((await t.host.stat(t.there('f'))).mode & PERMISSIONS).toBe(bit);
    }
  }),
  check('fchmod works on a read-only descriptor and on a directory', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(t.path('d'));
    for (const name of ['f', 'd']) {
      const fd = await t.user.open(t.path(name), O_RDONLY);
      await t.user.fchmod(fd, 0o700);
      expect((await t.user.stat(t.path(name))).mode & PERMISSIONS).toBe(0o700);
      await t.user.close(fd);
    }
  }),
  check('chmod follows links', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.symlink('f', t.path('l'));
    await t.user.chmod(t.path('l'), 0o600);
    expect((await t.user.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o600);
  }),
  check('chmod moves ctime and leaves mtime', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.utimens(t.path('f'), [EARLIER, EARLIER]);
    const before = await t.user.stat(t.path('f'));
    await t.user.chmod(t.path('f'), 0o640);
    const after = await t.user.stat(t.path('f'));
    expect(after.mtime).toBe(EARLIER);
    expect(after.ctime >= before.ctime).toBe(true);
  }),
  check('only the owner and root may chmod', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EPERM', t.other.chmod(t.path('f'), 0o777));
    await t.root.chmod(t.path('f'), 0o604);
    expect((await t.user.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o604);
  }),
  check('setting sgid for a group one is not in drops the bit', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chown(t.path('f'), USER.uid, OTHER.gid);
    await t.user.chmod(t.path('f'), 0o2755);
    expect((await t.user.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o755);
  }),

  check('root gives files away, and -1 leaves an id as it is', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chown(t.path('f'), 5, 6);
    expect(await t.root.stat(t.path('f'))).toMatchObject({ uid: 5, gid: 6 });
    await t.root.chown(t.path('f'), 7, KEEP_ID);
    expect(await t.root.stat(t.path('f'))).toMatchObject({ uid: 7, gid: 6 });
    await t.root.chown(t.path('f'), KEEP_ID, 8);
    expect(await t.root.stat(t.path('f'))).toMatchObject({ uid: 7, gid: 8 });
    await t.root.chown(t.path('f'), KEEP_ID, KEEP_ID);
    expect(await t.root.stat(t.path('f'))).toMatchObject({ uid: 7, gid: 8 });
    expect(await t.host.stat(t.there('f'))).toMatchObject({ uid: 7, gid: 8 });
  }),
  check('lchown changes the link, chown what it points to, fchown the open file', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.symlink('f', t.path('l'));
    await t.root.lchown(t.path('l'), 5, 6);
    await t.root.chown(t.path('l'), 7, 8);
    expect(await t.root.lstat(t.path('l'))).toMatchObject({ uid: 5, gid: 6 });
    expect(await t.root.stat(t.path('f'))).toMatchObject({ uid: 7, gid: 8 });
    const fd = await t.root.open(t.path('f'), O_RDONLY);
    await t.root.fchown(fd, 9, 10);
    expect(await t.root.fstat(fd)).toMatchObject({ uid: 9, gid: 10 });
    await t.root.close(fd);
  }),
  check('a user gives nothing away and changes the group only to one of their own', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EPERM', t.user.chown(t.path('f'), OTHER.uid, KEEP_ID));
    await expectErrno('EPERM', t.user.chown(t.path('f'), KEEP_ID, OTHER.gid));
    await t.user.chown(t.path('f'), KEEP_ID, 2000);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ uid: USER.uid, gid: 2000 });
    await expectErrno('EPERM', t.other.chown(t.path('f'), KEEP_ID, OTHER.gid));
  }),
  check('chown by a user drops suid and sgid of a program', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.chmod(t.path('f'), S_ISUID | S_ISGID | 0o755);
    await t.user.chown(t.path('f'), KEEP_ID, 2000);
    expect((await t.user.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o755);
  }),
  check('chown by root drops suid and sgid of a program too, but not of a directory', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chmod(t.path('f'), S_ISUID | S_ISGID | 0o755);
    await t.root.chown(t.path('f'), USER.uid, USER.gid);
    expect((await t.root.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o755);
    await t.root.mkdir(t.path('d'));
    await t.root.chmod(t.path('d'), S_ISGID | 0o755);
    await t.root.chown(t.path('d'), USER.uid, USER.gid);
    expect((await t.root.stat(t.path('d'))).mode & PERMISSIONS).toBe(S_ISGID | 0o755);
  }),

  check('times keep their nanoseconds', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.utimens(t.path('f'), [EARLIER, LATER]);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: EARLIER, mtime: LATER });
    expect(await t.host.stat(t.there('f'))).toMatchObject({ atime: EARLIER, mtime: LATER });
  }),
  check('UTIME_OMIT leaves one time alone, whichever it is', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.utimens(t.path('f'), [EARLIER, EARLIER]);
    await t.user.utimens(t.path('f'), ['omit', LATER]);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: EARLIER, mtime: LATER });
    await t.user.utimens(t.path('f'), [LATER, 'omit']);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: LATER, mtime: LATER });
    await t.user.utimens(t.path('f'), ['omit', 'omit']);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: LATER, mtime: LATER });
  }),
  check('UTIME_NOW and a null pointer take the time of now', async (t) => {
    await t.user.writeFile(t.path('clock'), '');
    const now = (await t.user.stat(t.path('clock'))).mtime;
    for (const times of [['now', 'omit'], ['omit', 'now'], null] as const) {
      await t.user.writeFile(t.path('f'), '');
      await t.user.utimens(t.path('f'), [EARLIER, EARLIER]);
      await t.user.utimens(t.path('f'), times);
      const { atime, mtime } = await t.user.stat(t.path('f'));
      expect(times?.[0] === 'omit' ? atime === EARLIER : atime >= now).toBe(true);
      expect(times?.[1] === 'omit' ? mtime === EARLIER : mtime >= now).toBe(true);
    }
  }),
  check('futimens works on an open file and utimensat on a link itself', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.futimens(fd, [LATER, EARLIER]);
    expect(await t.user.fstat(fd)).toMatchObject({ atime: LATER, mtime: EARLIER });
    await t.user.symlink('f', t.path('l'));
    await t.user.utimens(t.path('l'), [EARLIER, LATER], AT_SYMLINK_NOFOLLOW);
    expect((await t.user.lstat(t.path('l'))).mtime).toBe(LATER);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: LATER, mtime: EARLIER });
    await t.user.close(fd);
  }),
  check('times before 1970 and after 2038 are kept', async (t) => {
    const before1970 = -1_000_000_000_123_456_789n;
    const after2038 = 5_000_000_000_123_456_789n;
    await t.user.writeFile(t.path('f'), '');
    await t.user.utimens(t.path('f'), [before1970, after2038]);
    expect(await t.user.stat(t.path('f'))).toMatchObject({ atime: before1970, mtime: after2038 });
    expect(await t.host.stat(t.there('f'))).toMatchObject({ atime: before1970, mtime: after2038 });
  }),
  check('who may write may touch; only the owner may set a given time', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EACCES', t.other.utimens(t.path('f'), null));
    await t.user.chmod(t.path('f'), 0o666);
    await t.other.utimens(t.path('f'), null);
    await expectErrno('EPERM', t.other.utimens(t.path('f'), [EARLIER, EARLIER]));
    await expectErrno('EPERM', t.other.utimens(t.path('f'), ['omit', 'now']));
  }),
  check('times of a directory can be set', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.utimens(t.path('d'), [EARLIER, LATER]);
    expect((await t.user.stat(t.path('d'))).mtime).toBe(LATER);
  }),
  check('a new name moves mtime and ctime of its directory', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.utimens(t.path('d'), [EARLIER, EARLIER]);
    await t.user.writeFile(t.path('d', 'f'), '');
    const made = await t.user.stat(t.path('d'));
    expect(made.mtime > EARLIER).toBe(true);
    expect(made.mtime).toBe(made.ctime);
    await t.user.utimens(t.path('d'), [EARLIER, EARLIER]);
    await t.user.unlink(t.path('d', 'f'));
    expect((await t.user.stat(t.path('d'))).mtime > EARLIER).toBe(true);
  }),
  check('a write moves mtime and ctime', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.futimens(fd, [EARLIER, EARLIER]);
    await t.user.write(fd, 'x');
    const stat = await t.user.stat(t.path('f'));
    expect(stat.mtime > EARLIER).toBe(true);
    expect(stat.size).toBe(1);
    await t.user.close(fd);
  }),

  check('truncate cuts and grows with zeros', async (t) => {
    await t.user.writeFile(t.path('f'), 'abcdef');
    await t.user.truncate(t.path('f'), 3);
    expect(String(await t.user.readFile(t.path('f')))).toBe('abc');
    await t.user.truncate(t.path('f'), 6);
    expect(await t.user.readFile(t.path('f'))).toEqual(Buffer.from('abc\0\0\0'));
    await t.user.truncate(t.path('f'), 0);
    expect((await t.host.stat(t.there('f'))).size).toBe(0);
  }),
  check('truncate moves mtime', async (t) => {
    await t.user.writeFile(t.path('f'), 'abcdef');
    await t.user.utimens(t.path('f'), [EARLIER, EARLIER]);
    await t.user.truncate(t.path('f'), 3);
    expect((await t.user.stat(t.path('f'))).mtime > EARLIER).toBe(true);
  }),
  check('ftruncate goes past 2 and 4 GiB and leaves a hole', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    for (const size of [2 * GIBIBYTE + 1, 4 * GIBIBYTE + 1, 2 ** 40]) {
      await t.user.ftruncate(fd, size);
      expect((await t.user.fstat(fd)).size).toBe(size);
      expect((await t.host.stat(t.there('f'))).size).toBe(size);
    }
    expect((await t.user.fstat(fd)).blocks).toBe(0);
    await t.user.close(fd);
  }),
  check('truncate refuses what it must', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(t.path('d'));
    const readOnly = await t.user.open(t.path('f'), O_RDONLY);
    await expectErrno('EINVAL', t.user.ftruncate(readOnly, 0));
    await expectErrno('EINVAL', t.user.truncate(t.path('f'), -1));
    await expectErrno('EISDIR', t.user.truncate(t.path('d'), 0));
    await expectErrno('ENOENT', t.user.truncate(t.path('missing'), 0));
    await expectErrno('EACCES', t.other.truncate(t.path('f'), 0));
    await t.user.close(readOnly);
  }),
  check('a descriptor opened for writing truncates a file whose mode forbids it', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_WRONLY, 0o444);
    await t.user.write(fd, 'abc');
    await t.user.ftruncate(fd, 1);
    expect((await t.user.stat(t.path('f'))).size).toBe(1);
    await expectErrno('EACCES', t.user.truncate(t.path('f'), 0));
    await t.user.close(fd);
  }),

  check('access answers for owner, group and others', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chown(t.path('f'), USER.uid, 2000);
    await t.root.chmod(t.path('f'), 0o421);
    await t.user.access(t.path('f'), R_OK);
    await expectErrno('EACCES', t.user.access(t.path('f'), W_OK));
    await t.other.access(t.path('f'), X_OK);
    await expectErrno('EACCES', t.other.access(t.path('f'), R_OK));
    await t.root.access(t.path('f'), R_OK | W_OK | X_OK);
    await t.root.chown(t.path('f'), OTHER.uid, 2000);
    await t.user.access(t.path('f'), W_OK, AT_EACCESS);
    await expectErrno('EACCES', t.user.access(t.path('f'), R_OK));
  }),
  check('root may not execute what nobody may', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    await t.root.chmod(t.path('f'), 0o666);
    await expectErrno('EACCES', t.root.access(t.path('f'), X_OK));
    await t.root.access(t.path('f'), F_OK);
    await expectErrno('ENOENT', t.root.access(t.path('missing'), F_OK));
  }),
  check('statfs shows the underlay', async (t) => {
    const view = await t.user.statfs(t.directory);
    const { blocks, files, namelen, bsize, frsize } = await t.host.statfs(t.there());
    expect(view).toMatchObject({ blocks, files, namelen, bsize, frsize });
    expect(await t.user.fstatfs(await t.user.open(t.directory, O_RDONLY))).toMatchObject({ blocks, namelen });
  }),
  check('the type of a file never changes with its mode', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.chmod(t.path('f'), S_IFDIR | 0o644);
    expect((await t.user.stat(t.path('f'))).mode & S_IFMT).toBe(S_IFREG);
  }),
];
