// Extended attributes and POSIX ACLs.

import { expect } from 'vitest';
import { ACL_ACCESS, ACL_DEFAULT, acl, readAcl } from '../../support/acl.js';
import { errnoOf } from '../../support/actor.js';
import { O_CREAT, O_RDONLY, O_RDWR, O_TMPFILE, S_IFIFO, XATTR_CREATE, XATTR_REPLACE } from '../../support/constants.js';
import { check, expectErrno, OTHER, USER } from '../suite.js';

export const xattrs = [
  check('attributes are set, read, listed and removed, seen from both sides', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    expect(await t.user.listxattr(t.path('f'))).toEqual([]);
    await t.user.setxattr(t.path('f'), 'user.one', 'first');
    await t.user.setxattr(t.path('f'), 'user.two', Buffer.from([0, 255, 10, 0]));
    expect(String(await t.user.getxattr(t.path('f'), 'user.one'))).toBe('first');
    expect(await t.host.getxattr(t.there('f'), 'user.two')).toEqual(Buffer.from([0, 255, 10, 0]));
    expect(await t.user.listxattr(t.path('f'))).toEqual(['user.one', 'user.two']);
    await t.host.setxattr(t.there('f'), 'user.one', 'changed by the host');
    expect(String(await t.user.getxattr(t.path('f'), 'user.one'))).toBe('changed by the host');
    await t.user.removexattr(t.path('f'), 'user.one');
    await expectErrno('ENODATA', t.user.getxattr(t.path('f'), 'user.one'));
    await expectErrno('ENODATA', t.user.removexattr(t.path('f'), 'user.one'));
    expect(await t.host.listxattr(t.there('f'))).toEqual(['user.two']);
  }),
  check('an empty value is a value', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.setxattr(t.path('f'), 'user.empty', '');
    expect(await t.user.getxattr(t.path('f'), 'user.empty')).toEqual(Buffer.alloc(0));
    expect(await t.user.listxattr(t.path('f'))).toEqual(['user.empty']);
  }),
  check('a size of 0 asks for the size and one too small is ERANGE', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.setxattr(t.path('f'), 'user.sized', 'x'.repeat(1000));
    expect(await t.user.getxattr(t.path('f'), 'user.sized', 0)).toBe(1000);
    await expectErrno('ERANGE', t.user.getxattr(t.path('f'), 'user.sized', 999));
    expect((await t.user.getxattr(t.path('f'), 'user.sized', 1000)).length).toBe(1000);
    const length = await t.user.listxattr(t.path('f'), 0);
    expect(length).toBe('user.sized'.length + 1);
    await expectErrno('ERANGE', t.user.listxattr(t.path('f'), length - 1));
    expect(await t.user.listxattr(t.path('f'), length)).toEqual(['user.sized']);
  }),
  check('XATTR_CREATE and XATTR_REPLACE hold', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('ENODATA', t.user.setxattr(t.path('f'), 'user.a', '1', XATTR_REPLACE));
    await t.user.setxattr(t.path('f'), 'user.a', '1', XATTR_CREATE);
    await expectErrno('EEXIST', t.user.setxattr(t.path('f'), 'user.a', '2', XATTR_CREATE));
    await t.user.setxattr(t.path('f'), 'user.a', '3', XATTR_REPLACE);
    expect(String(await t.user.getxattr(t.path('f'), 'user.a'))).toBe('3');
    await expectErrno('EINVAL', t.user.setxattr(t.path('f'), 'user.a', '4', 0x80));
  }),
  check('names and values have their limits', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    const longest = `user.${'n'.repeat(250)}`;
    await t.user.setxattr(t.path('f'), longest, 'x');
    expect(await t.user.listxattr(t.path('f'))).toEqual([longest]);
    await expectErrno('ERANGE', t.user.setxattr(t.path('f'), `${longest}n`, 'x'));
    await expectErrno('E2BIG', t.user.setxattr(t.path('f'), 'user.big', Buffer.alloc(65_537)));
    await expectErrno('EOPNOTSUPP', t.user.setxattr(t.path('f'), 'nonsense.name', 'x'));
    await expectErrno('ENODATA', t.user.getxattr(t.path('f'), 'user.missing'));
  }),
  check("a value that the underlay has no room for is refused, with the underlay's own error", async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.host.writeFile(t.there('g'), '');
    const big = Buffer.alloc(60_000, 'x');
    const expected = await errnoOf(t.host.setxattr(t.there('g'), 'user.big', big));
    expect(await errnoOf(t.user.setxattr(t.path('f'), 'user.big', big))).toBe(expected);
  }),
  check('directories and open files have attributes', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.setxattr(t.path('d'), 'user.note', 'directory');
    expect(String(await t.user.getxattr(t.path('d'), 'user.note'))).toBe('directory');
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.fsetxattr(fd, 'user.note', 'open file');
    expect(String(await t.user.fgetxattr(fd, 'user.note'))).toBe('open file');
    expect(await t.user.flistxattr(fd)).toEqual(['user.note']);
    await t.user.fremovexattr(fd, 'user.note');
    expect(await t.user.flistxattr(fd)).toEqual([]);
    await t.user.close(fd);
  }),
  check('user attributes are not for links and fifos', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.symlink('f', t.path('l'));
    await t.user.mknod(t.path('p'), S_IFIFO | 0o600);
    await expectErrno('EPERM', t.user.lsetxattr(t.path('l'), 'user.note', 'x'));
    await expectErrno('EPERM', t.user.setxattr(t.path('p'), 'user.note', 'x'));
    await t.user.setxattr(t.path('l'), 'user.note', 'followed');
    expect(String(await t.user.getxattr(t.path('f'), 'user.note'))).toBe('followed');
    await expectErrno('ENODATA', t.user.lgetxattr(t.path('l'), 'user.note'));
    expect(await t.user.llistxattr(t.path('l'))).toEqual([]);
  }),
  check('modes decide who may read and write attributes', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.setxattr(t.path('f'), 'user.note', 'x');
    await t.user.chmod(t.path('f'), 0o600);
    await expectErrno('EACCES', t.other.getxattr(t.path('f'), 'user.note'));
    await expectErrno('EACCES', t.other.setxattr(t.path('f'), 'user.note', 'y'));
    await t.user.chmod(t.path('f'), 0o644);
    expect(String(await t.other.getxattr(t.path('f'), 'user.note'))).toBe('x');
    await expectErrno('EACCES', t.other.removexattr(t.path('f'), 'user.note'));
    await t.user.chmod(t.path('f'), 0o444);
    await expectErrno('EACCES', t.user.setxattr(t.path('f'), 'user.note', 'y'));
  }),
  check('trusted attributes are hidden from all but root of the host', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.host.setxattr(t.there('f'), 'trusted.secret', 'x');
    await t.host.setxattr(t.there('f'), 'user.open', 'y');
    const nobodys = t.privileged ? t.user : t.root;
    expect(await nobodys.listxattr(t.path('f'))).toEqual(['user.open']);
    await expectErrno('ENODATA', nobodys.getxattr(t.path('f'), 'trusted.secret'));
    await expectErrno('EPERM', nobodys.setxattr(t.path('f'), 'trusted.mine', 'x'));
    await expectErrno('EPERM', nobodys.removexattr(t.path('f'), 'trusted.secret'));
  }),
  check('setting an attribute moves ctime', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.utimens(t.path('f'), [0n, 0n]);
    const before = await t.user.stat(t.path('f'));
    await t.user.setxattr(t.path('f'), 'user.note', 'x');
    const after = await t.user.stat(t.path('f'));
    expect(after.ctime >= before.ctime).toBe(true);
    expect(after.mtime).toBe(0n);
    expect((await t.host.stat(t.there('f'))).ctime).toBe(after.ctime);
  }),

  check('an ACL lets in who it names', async (t) => {
    await t.user.writeFile(t.path('f'), 'secret');
    await t.user.chmod(t.path('f'), 0o600);
    await t.user.setxattr(
      t.path('f'),
      ACL_ACCESS,
      acl({ owner: 6, users: { [OTHER.uid]: 4 }, group: 0, mask: 4, others: 0 }),
    );
    expect(String(await t.other.readFile(t.path('f')))).toBe('secret');
    await expectErrno('EACCES', t.other.open(t.path('f'), O_RDWR));
    expect((await t.user.stat(t.path('f'))).mode & 0o777).toBe(0o640);
    expect(readAcl(await t.user.getxattr(t.path('f'), ACL_ACCESS))).toEqual(
      readAcl(acl({ owner: 6, users: { [OTHER.uid]: 4 }, group: 0, mask: 4, others: 0 })),
    );
    expect(await t.user.listxattr(t.path('f'))).toEqual([ACL_ACCESS]);
  }),
  check('an ACL names groups too, and the mask limits them', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    const withMask = (mask: number) => acl({ owner: 6, groups: { [OTHER.gid]: 6 }, group: 0, mask, others: 0 });
    await t.user.setxattr(t.path('f'), ACL_ACCESS, withMask(6));
    await t.other.close(await t.other.open(t.path('f'), O_RDWR));
    await t.user.setxattr(t.path('f'), ACL_ACCESS, withMask(4));
    await expectErrno('EACCES', t.other.open(t.path('f'), O_RDWR));
    await t.other.close(await t.other.open(t.path('f'), O_RDONLY));
  }),
  check('setting an ACL changes the mode, and chmod changes the mask', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.setxattr(t.path('f'), ACL_ACCESS, acl({ owner: 7, users: { 5: 7 }, group: 5, mask: 7, others: 1 }));
    expect((await t.user.stat(t.path('f'))).mode & 0o777).toBe(0o771);
    await t.user.chmod(t.path('f'), 0o640);
    expect(readAcl(await t.user.getxattr(t.path('f'), ACL_ACCESS))).toEqual(
      readAcl(acl({ owner: 6, users: { 5: 7 }, group: 5, mask: 4, others: 0 })),
    );
    await t.user.removexattr(t.path('f'), ACL_ACCESS);
    expect((await t.user.stat(t.path('f'))).mode & 0o777).toBe(0o640);
    await expectErrno('ENODATA', t.user.getxattr(t.path('f'), ACL_ACCESS));
  }),
  check('an ACL that says no more than the mode is not kept', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.setxattr(t.path('f'), ACL_ACCESS, acl({ owner: 6, group: 4, others: 0 }));
    expect((await t.user.stat(t.path('f'))).mode & 0o777).toBe(0o640);
    expect(await t.user.listxattr(t.path('f'))).toEqual([]);
  }),
  check('ACLs set by the host count here', async (t) => {
    await t.root.writeFile(t.path('f'), 'x');
    await t.root.chmod(t.path('f'), 0o600);
    await expectErrno('EACCES', t.user.open(t.path('f'), O_RDONLY));
    await t.host.setxattr(
      t.there('f'),
      ACL_ACCESS,
      acl({ owner: 6, users: { [USER.uid]: 4 }, group: 0, mask: 4, others: 0 }),
    );
    await t.afterHostChange(async () => {
      expect(String(await t.user.readFile(t.path('f')))).toBe('x');
    });
    await t.host.removexattr(t.there('f'), ACL_ACCESS);
    await t.host.chmod(t.there('f'), 0o600);
    await t.afterHostChange(() => expectErrno('EACCES', t.user.open(t.path('f'), O_RDONLY)));
  }),
  check('a default ACL takes the place of the umask and is inherited by directories', async (t) => {
    const given = acl({ owner: 7, users: { [OTHER.uid]: 6 }, group: 5, mask: 7, others: 4 });
    await t.user.mkdir(t.path('d'));
    await t.user.setxattr(t.path('d'), ACL_DEFAULT, given);
    const actor = await t.actor('user', { umask: 0o077 });
    await actor.close(await actor.open(t.path('d', 'f'), O_CREAT | O_RDWR, 0o666));
    await actor.mkdir(t.path('d', 'e'), 0o777);
    await actor.mknod(t.path('d', 'p'), S_IFIFO | 0o666);
    expect((await t.user.stat(t.path('d', 'f'))).mode & 0o777).toBe(0o664);
    expect((await t.user.stat(t.path('d', 'e'))).mode & 0o777).toBe(0o774);
    expect((await t.user.stat(t.path('d', 'p'))).mode & 0o777).toBe(0o664);
    expect(readAcl(await t.user.getxattr(t.path('d', 'f'), ACL_ACCESS))).toEqual(
      readAcl(acl({ owner: 6, users: { [OTHER.uid]: 6 }, group: 5, mask: 6, others: 4 })),
    );
    expect(readAcl(await t.user.getxattr(t.path('d', 'e'), ACL_DEFAULT))).toEqual(readAcl(given));
    await t.other.close(await t.other.open(t.path('d', 'f'), O_RDWR));
  }),
  check('a default ACL counts for O_TMPFILE and not for links', async (t) => {
    await t.user.mkdir(t.path('d'));
    await t.user.setxattr(t.path('d'), ACL_DEFAULT, acl({ owner: 7, users: { 5: 7 }, group: 7, mask: 7, others: 0 }));
    const fd = await t.user.open(t.path('d'), O_TMPFILE | O_RDWR, 0o666);
    expect((await t.user.fstat(fd)).mode & 0o777).toBe(0o660);
    expect(await t.user.flistxattr(fd)).toEqual([ACL_ACCESS]);
    await t.user.close(fd);
    await t.user.symlink('x', t.path('d', 'l'));
    expect((await t.user.lstat(t.path('d', 'l'))).mode & 0o777).toBe(0o777);
  }),
  check('ACLs that make no sense are refused', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await expectErrno('EACCES', t.user.setxattr(t.path('f'), ACL_DEFAULT, acl({ owner: 7, group: 7, others: 0 })));
    await expectErrno('EINVAL', t.user.setxattr(t.path('f'), ACL_ACCESS, acl({ owner: 7, group: 7 })));
    await expectErrno(
      'EINVAL',
      t.user.setxattr(t.path('f'), ACL_ACCESS, acl({ owner: 7, users: { 5: 7 }, group: 7, others: 0 })),
    );
    await expectErrno('EOPNOTSUPP', t.user.setxattr(t.path('f'), ACL_ACCESS, Buffer.alloc(8, 0xff)));
    await expectErrno('EPERM', t.other.setxattr(t.path('f'), ACL_ACCESS, acl({ owner: 7, group: 7, others: 7 })));
  }),
];
