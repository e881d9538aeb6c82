// Making and removing names, the flags of open(2), and who may.

import { expect } from 'vitest';
import { errnoOf } from '../../support/actor.js';
import {
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  S_ISGID,
  S_ISVTX,
} from '../../support/constants.js';
import { check, expectErrno, OTHER, USER } from '../suite.js';

const PERMISSIONS = 0o7777;

export const creation = [
  check('mknod makes fifos, sockets and regular files', async (t) => {
    for (const [name, type] of [
      ['fifo', S_IFIFO],
      ['socket', S_IFSOCK],
      ['file', S_IFREG],
      ['plain', 0],
    ] as const) {
      await t.user.mknod(t.path(name), type | 0o666);
      const stat = await t.user.lstat(t.path(name));
      expect(stat.mode).toBe((type || S_IFREG) | 0o644);
      expect(stat).toMatchObject({ ...USER, nlink: 1, size: 0 });
    }
    await expectErrno('EEXIST', t.user.mknod(t.path('fifo'), S_IFIFO));
  }),
  check('devices can be made by root of the host in a plain directory, and by nobody else', async (t) => {
    const allowed = t.privileged && !t.place.isView;
    const device = (1 << 8) | 3;
    for (const type of [S_IFCHR, S_IFBLK])
      await expectErrno(allowed ? 'no error' : 'EPERM', t.root.mknod(t.path(`device${type}`), type | 0o666, device));
    await expectErrno('EPERM', t.user.mknod(t.path('users'), S_IFCHR | 0o666, device));
    expect((await t.host.readdir(t.there())).length).toBe(allowed ? 2 : 0);
  }),
  check('a fifo carries bytes between two processes', async (t) => {
    await t.user.mknod(t.path('fifo'), S_IFIFO | 0o600);
    const reader = await t.user.open(t.path('fifo'), O_RDONLY | O_NONBLOCK);
    const writer = await t.root.open(t.path('fifo'), O_WRONLY | O_NONBLOCK);
    await t.root.write(writer, 'through the pipe');
    expect(String(await t.user.read(reader, 100))).toBe('through the pipe');
    await t.user.close(reader);
    await t.root.close(writer);
    await expectErrno('ENXIO', t.user.open(t.path('fifo'), O_WRONLY | O_NONBLOCK));
  }),
  check('a fifo that was removed while open still works and has no name', async (t) => {
    await t.user.mknod(t.path('fifo'), S_IFIFO | 0o600);
    const fd = await t.user.open(t.path('fifo'), O_RDWR | O_NONBLOCK);
    await t.user.unlink(t.path('fifo'));
    expect(await t.user.fstat(fd)).toMatchObject({ nlink: 0, mode: S_IFIFO | 0o600 });
    await t.user.write(fd, 'x');
    expect(String(await t.user.read(fd, 1))).toBe('x');
    await t.user.close(fd);
  }),
  check('a socket can be bound, connected to and removed', async (t) => {
    const actor = await t.actor('user');
    await actor.chdir(t.directory);
    const listening = await actor.bindUnix('socket');
    expect((await actor.lstat('socket')).mode & S_IFMT).toBe(S_IFSOCK);
    const connected = await actor.connectUnix('socket');
    await expectErrno('EADDRINUSE', actor.bindUnix('socket'));
    await actor.unlink('socket');
    expect((await actor.fstat(listening)).mode & S_IFMT).toBe(S_IFSOCK);
    await expectErrno('ENOENT', actor.connectUnix('socket'));
    await actor.close(connected);
    await actor.close(listening);
  }),
  check('mkdir counts in its parent and rmdir counts it off', async (t) => {
    expect((await t.user.stat(t.directory)).nlink).toBe(2);
    await t.user.mkdir(t.path('a'));
    await t.user.mkdir(t.path('b'));
    expect((await t.user.stat(t.directory)).nlink).toBe(4);
    await t.user.rmdir(t.path('a'));
    expect((await t.user.stat(t.directory)).nlink).toBe(3);
  }),
  check('mkdir and rmdir refuse what they must', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'f'), '');
    await expectErrno('EEXIST', t.user.mkdir(t.path('f')));
    await expectErrno('EEXIST', t.user.mkdir(t.path('d')));
    await expectErrno('ENOENT', t.user.mkdir(t.path('missing', 'd')));
    await expectErrno('ENOTDIR', t.user.mkdir(t.path('f', 'd')));
    await expectErrno('ENOTEMPTY', t.user.rmdir(t.path('d')));
    await expectErrno('ENOTDIR', t.user.rmdir(t.path('f')));
    await expectErrno('ENOENT', t.user.rmdir(t.path('missing')));
  }),
  check('unlink refuses what it must', async (t) => {
    await t.user.mkdir(t.path('d'));
    await expectErrno('EISDIR', t.user.unlink(t.path('d')));
    await expectErrno('ENOENT', t.user.unlink(t.path('missing')));
    await t.user.writeFile(t.path('f'), '');
    await t.user.unlink(t.path('f'));
    await expectErrno('ENOENT', t.user.unlink(t.path('f')));
    await expectErrno('ENOENT', t.host.stat(t.there('f')));
  }),
  check('a name can be made again after it was removed, as another type', async (t) => {
    for (let round = 0; round < 3; round++) {
      await t.user.writeFile(t.path('n'), `round ${round}`);
      expect(String(await t.user.readFile(t.path('n')))).toBe(`round ${round}`);
      await t.user.unlink(t.path('n'));
      await t.user.mkdir(t.path('n'));
      expect(await t.user.readdir(t.path('n'))).toEqual([]);
      await t.user.rmdir(t.path('n'));
      await t.user.symlink('x', t.path('n'));
      expect(String(await t.user.readlink(t.path('n')))).toBe('x');
      await t.user.unlink(t.path('n'));
    }
  }),

  check('the umask of the caller counts', async (t) => {
    const actor = await t.actor('user', { umask: 0o077 });
    await actor.close(await actor.open(t.path('f'), O_CREAT | O_RDWR, 0o777));
    await actor.mkdir(t.path('d'), 0o777);
    await actor.mknod(t.path('p'), S_IFIFO | 0o777);
    for (const name of ['f', 'd', 'p']) expect((await t.user.stat(t.path(name))).mode & PERMISSIONS).toBe(0o700);
    await actor.umask(0);
    await actor.close(await actor.open(t.path('open'), O_CREAT | O_RDWR, 0o777));
    expect((await t.user.stat(t.path('open'))).mode & PERMISSIONS).toBe(0o777);
  }),
  check('a file can be made with any mode and written through the descriptor that made it', async (t) => {
    for (const mode of [0, 0o444, 0o200]) {
      const fd = await t.user.open(t.path(`m${mode}`), O_CREAT | O_EXCL | O_RDWR, mode);
      await t.user.write(fd, 'written');
      expect(String(await t.user.pread(fd, 10, 0))).toBe('written');
      await t.user.close(fd);
    }
    await expectErrno('EACCES', t.user.open(t.path('m0'), O_RDONLY));
  }),
  check('suid, sgid and sticky can be asked for at creation', async (t) => {
    const actor = await t.actor('user', { umask: 0 });
    await actor.close(await actor.open(t.path('f'), O_CREAT | O_RDWR, 0o6755));
    expect((await actor.stat(t.path('f'))).mode & PERMISSIONS).toBe(0o6755);
    await actor.mkdir(t.path('d'), 0o1755);
    expect((await actor.stat(t.path('d'))).mode & PERMISSIONS).toBe(0o1755);
  }),
  check('O_EXCL refuses a name that exists', async (t) => {
    await t.user.close(await t.user.open(t.path('f'), O_CREAT | O_EXCL | O_RDWR));
    await expectErrno('EEXIST', t.user.open(t.path('f'), O_CREAT | O_EXCL | O_RDWR));
    await t.user.mkdir(t.path('d'));
    await expectErrno('EEXIST', t.user.open(t.path('d'), O_CREAT | O_EXCL | O_RDWR));
  }),
  check('open without O_CREAT makes nothing', async (t) => {
    await expectErrno('ENOENT', t.user.open(t.path('f'), O_RDWR));
    expect(await t.user.readdir(t.directory)).toEqual([]);
  }),
  check('O_TRUNC empties a file and needs leave to write', async (t) => {
    await t.user.writeFile(t.path('f'), 'content');
    await expectErrno('EACCES', t.other.open(t.path('f'), O_WRONLY | O_TRUNC));
    expect((await t.user.stat(t.path('f'))).size).toBe(7);
    const fd = await t.user.open(t.path('f'), O_WRONLY | O_TRUNC);
    expect((await t.user.fstat(fd)).size).toBe(0);
    expect((await t.host.stat(t.there('f'))).size).toBe(0);
    await t.user.close(fd);
  }),
  check('O_DIRECTORY wants a directory, writing one is refused', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(t.path('d'));
    await expectErrno('ENOTDIR', t.user.open(t.path('f'), O_RDONLY | O_DIRECTORY));
    await expectErrno('EISDIR', t.user.open(t.path('d'), O_RDWR));
    await expectErrno('EISDIR', t.user.open(t.path('d'), O_RDWR | O_CREAT));
    const fd = await t.user.open(t.path('d'), O_RDONLY | O_DIRECTORY);
    await expectErrno('EISDIR', t.user.read(fd, 10));
    await t.user.close(fd);
  }),
  check('O_NOFOLLOW refuses a link at the end only', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'f'), 'x');
    await t.user.symlink('d', t.path('l'));
    await t.user.symlink('d/f', t.path('m'));
    await expectErrno('ELOOP', t.user.open(t.path('m'), O_RDONLY | O_NOFOLLOW));
    await t.user.close(await t.user.open(t.path('l', 'f'), O_RDONLY | O_NOFOLLOW));
  }),
  check('O_PATH opens anything, reads nothing and works as a directory', async (t) => {
    await t.user.mkdir(t.path('d'), 0o700);
    await t.user.writeFile(t.path('d', 'f'), 'x', 0);
    const file = await t.user.open(t.path('d', 'f'), O_PATH);
    expect((await t.user.fstat(file)).size).toBe(1);
    await expectErrno('EBADF', t.user.read(file, 1));
    await expectErrno('EBADF', t.user.fchmod(file, 0o600));
    const dir = await t.user.open(t.path('d'), O_PATH | O_DIRECTORY);
    await t.user.chmod({ dir, name: 'f' }, 0o600);
    expect(String(await t.user.readFile({ dir, name: 'f' }))).toBe('x');
    await t.user.symlink('f', t.path('l'));
    const link = await t.user.open(t.path('l'), O_PATH | O_NOFOLLOW);
    expect(String(await t.user.readlink({ dir: link, name: '' }))).toBe('f');
    for (const fd of [file, dir, link]) await t.user.close(fd);
  }),
  check('O_TMPFILE makes a file without a name that can get one', async (t) => {
    const fd = await t.user.open(t.directory, O_TMPFILE | O_RDWR, 0o640);
    expect(await t.user.fstat(fd)).toMatchObject({ nlink: 0, size: 0, mode: S_IFREG | 0o640, ...USER });
    await t.user.write(fd, 'unnamed');
    expect(await t.user.readdir(t.directory)).toEqual([]);
    await t.user.linkFd(fd, t.path('named'));
    expect(await t.user.stat(t.path('named'))).toMatchObject({ nlink: 1, size: 7, ...USER });
    expect(String(await t.host.readFile(t.there('named')))).toBe('unnamed');
    await t.user.close(fd);
  }),
  check('O_TMPFILE with O_EXCL can never get a name', async (t) => {
    const fd = await t.user.open(t.directory, O_TMPFILE | O_RDWR | O_EXCL, 0o600);
    await expectErrno('ENOENT', t.user.linkFd(fd, t.path('named')));
    await t.user.write(fd, 'x');
    expect(String(await t.user.pread(fd, 1, 0))).toBe('x');
    await t.user.close(fd);
  }),
  check('O_DIRECT reads and writes whole blocks', async (t) => {
    const data = Buffer.alloc(64 * 1024, 'direct');
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR | O_DIRECT);
    expect(await t.user.pwrite(fd, data, 0)).toBe(data.length);
    expect(await t.user.pread(fd, data.length, 0)).toEqual(data);
    expect(await t.user.pread(fd, 4096, 8192)).toEqual(data.subarray(8192, 12_288));
    await t.user.close(fd);
    expect((await t.host.readFile(t.there('f'))).equals(data)).toBe(true);
  }),
  check('O_DIRECT can be switched on later', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.pwrite(fd, Buffer.alloc(8192, 'x'), 0);
    await t.user.fcntl(fd, 4, O_DIRECT);
    expect((await t.user.pread(fd, 4096, 4096)).equals(Buffer.alloc(4096, 'x'))).toBe(true);
    await t.user.close(fd);
  }),
  check('O_SYNC writes arrive', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_WRONLY | O_SYNC);
    await t.user.write(fd, 'synchronous');
    expect(String(await t.host.readFile(t.there('f')))).toBe('synchronous');
    await t.user.close(fd);
  }),
  check('O_NOATIME is for the owner', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    await t.user.close(await t.user.open(t.path('f'), O_RDONLY | O_NOATIME));
    await expectErrno('EPERM', t.other.open(t.path('f'), O_RDONLY | O_NOATIME));
  }),
  check('flags of an open file can be read and O_APPEND switched', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.write(fd, 'abc');
    expect((await t.user.fcntl(fd, 3)) & O_APPEND).toBe(0);
    await t.user.fcntl(fd, 4, O_APPEND);
    await t.user.lseek(fd, 0, 0);
    await t.user.write(fd, 'def');
    expect(String(await t.user.readFile(t.path('f')))).toBe('abcdef');
    await t.user.close(fd);
  }),

  check('modes decide who may open what for what', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    for (const [mode, read, write] of [
      [0o600, 'EACCES', 'EACCES'],
      [0o604, 'no error', 'EACCES'],
      [0o602, 'EACCES', 'no error'],
      [0o606, 'no error', 'no error'],
      [0o066, 'no error', 'no error'],
    ] as const) {
      await t.user.chmod(t.path('f'), mode);
      expect(await errnoOf(t.other.open(t.path('f'), O_RDONLY))).toBe(read);
      expect(await errnoOf(t.other.open(t.path('f'), O_WRONLY))).toBe(write);
    }
    await expectErrno('EACCES', t.user.open(t.path('f'), O_RDONLY));
    await t.root.close(await t.root.open(t.path('f'), O_RDWR));
  }),
  check('a directory without x cannot be walked, one without r not be listed', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'f'), 'x');
    await t.user.chmod(t.path('d'), 0o704);
    await expectErrno('EACCES', t.other.stat(t.path('d', 'f')));
    expect((await t.other.readdir(t.path('d'))).map(String)).toEqual(['f']);
    await t.user.chmod(t.path('d'), 0o701);
    await expectErrno('EACCES', t.other.readdir(t.path('d')));
    expect((await t.other.stat(t.path('d', 'f'))).size).toBe(1);
    await t.user.chmod(t.path('d'), 0o000);
    await expectErrno('EACCES', t.user.stat(t.path('d', 'f')));
    expect((await t.root.stat(t.path('d', 'f'))).size).toBe(1);
  }),
  check('nothing can be made, removed, renamed or linked in a directory one may not write', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.writeFile(t.path('d', 'f'), '');
    await t.user.mkdir(t.path('d', 'e'));
    await expectErrno('EACCES', t.other.open(t.path('d', 'g'), O_CREAT | O_RDWR));
    await expectErrno('EACCES', t.other.mkdir(t.path('d', 'g')));
    await expectErrno('EACCES', t.other.mknod(t.path('d', 'g'), S_IFIFO));
    await expectErrno('EACCES', t.other.symlink('x', t.path('d', 'g')));
    await expectErrno('EACCES', t.other.unlink(t.path('d', 'f')));
    await expectErrno('EACCES', t.other.rmdir(t.path('d', 'e')));
    await expectErrno('EACCES', t.other.rename(t.path('d', 'f'), t.path('f')));
    await expectErrno('EACCES', t.other.open(t.path('d'), O_TMPFILE | O_RDWR));
  }),
  check('in a sticky directory only owners remove and rename', async (t) => {
    await t.root.mkdir(t.path('d'));
    await t.root.chmod(t.path('d'), S_ISVTX | 0o777);
    await t.user.writeFile(t.path('d', 'f'), '');
    await expectErrno('EPERM', t.other.unlink(t.path('d', 'f')));
    await expectErrno('EPERM', t.other.rename(t.path('d', 'f'), t.path('d', 'g')));
    await t.other.writeFile(t.path('d', 'mine'), '');
    await expectErrno('EPERM', t.other.rename(t.path('d', 'mine'), t.path('d', 'f')));
    await t.user.rename(t.path('d', 'f'), t.path('d', 'g'));
    await t.root.unlink(t.path('d', 'g'));
    await t.other.unlink(t.path('d', 'mine'));
  }),
  check('what is made in a setgid directory takes its group, directories the bit too', async (t) => {
    await t.root.mkdir(t.path('d'));
    await t.root.chown(t.path('d'), 0, 3000);
    await t.root.chmod(t.path('d'), S_ISGID | 0o777);
    await t.user.writeFile(t.path('d', 'f'), '');
    await t.user.mkdir(t.path('d', 'e'));
    await t.user.symlink('x', t.path('d', 'l'));
    await t.user.mknod(t.path('d', 'p'), S_IFIFO | 0o600);
    for (const name of ['f', 'e', 'l', 'p'])
      expect(await t.user.lstat(t.path('d', name))).toMatchObject({ uid: USER.uid, gid: 3000 });
    expect((await t.user.stat(t.path('d', 'e'))).mode & PERMISSIONS).toBe(S_ISGID | 0o755);
    const unnamed = await t.user.open(t.path('d'), O_TMPFILE | O_RDWR, 0o600);
    expect(await t.user.fstat(unnamed)).toMatchObject({ uid: USER.uid, gid: 3000 });
    await t.user.close(unnamed);
  }),
  check('sgid is not granted with a group one is not in (CVE-2018-13405)', async (t) => {
    await t.root.mkdir(t.path('d'));
    await t.root.chown(t.path('d'), 0, 3000);
    await t.root.chmod(t.path('d'), S_ISGID | 0o777);
    const actor = await t.actor('user', { umask: 0 });
    await actor.close(await actor.open(t.path('d', 'f'), O_CREAT | O_EXCL | O_RDWR, S_ISGID | 0o777));
    expect(await actor.stat(t.path('d', 'f'))).toMatchObject({ mode: S_IFREG | 0o777, gid: 3000 });
  }),
  check('a supplementary group opens what it may', async (t) => {
    await t.root.writeFile(t.path('f'), 'x');
    await t.root.chown(t.path('f'), 0, 2000);
    await t.root.chmod(t.path('f'), 0o040);
    expect(String(await t.user.readFile(t.path('f')))).toBe('x');
    await expectErrno('EACCES', t.other.open(t.path('f'), O_RDONLY));
  }),
  check('a supplementary group creates where it may', async (t) => {
    await t.root.mkdir(t.path('d'));
    await t.root.chown(t.path('d'), 0, 2000);
    await t.root.chmod(t.path('d'), 0o770);
    await t.user.writeFile(t.path('d', 'f'), 'x');
    expect(await t.user.stat(t.path('d', 'f'))).toMatchObject(USER);
    await expectErrno('EACCES', t.other.stat(t.path('d', 'f')));
  }),
  check('a name made by one user is a file of that user for everybody', async (t) => {
    await t.user.writeFile(t.path('u'), '');
    await t.other.writeFile(t.path('o'), '');
    await t.root.writeFile(t.path('r'), '');
    expect(await t.host.stat(t.there('u'))).toMatchObject(USER);
    expect(await t.host.stat(t.there('o'))).toMatchObject(OTHER);
    expect(await t.host.stat(t.there('r'))).toMatchObject({ uid: 0, gid: 0 });
    expect(await t.other.stat(t.path('u'))).toMatchObject(USER);
  }),
];
