// File flags, other ioctls, and file handles.

import { expect } from 'vitest';
import { errnoOf } from '../../support/actor.js';
import {
  FICLONE,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FS_NODUMP_FL,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../support/constants.js';
import { type Context, check, expectErrno } from '../suite.js';

const flagsBuffer = (flags: number) => {
  const buffer = Buffer.alloc(8);
  buffer.writeUInt32LE(flags);
  return buffer;
};

async function getFlags(t: Context, fd: number): Promise<number> {
  return (await t.user.ioctl(fd, FS_IOC_GETFLAGS, Buffer.alloc(8))).data.readUInt32LE();
}

async function hostFlags(t: Context, ...names: string[]): Promise<number> {
  const fd = await t.host.open(t.there(...names), O_RDONLY);
  const { data } = await t.host.ioctl(fd, FS_IOC_GETFLAGS, Buffer.alloc(8));
  await t.host.close(fd);
  return data.readUInt32LE();
}

/** Not one of any file system: type '?', number 1, no argument. */
const UNKNOWN_IOCTL = 0x3f01;

export const ioctls = [
  check('FS_IOC_GETFLAGS shows the flags of the underlay, of files and directories', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.mkdir(t.path('d'));
    for (const name of ['f', 'd']) {
      const fd = await t.user.open(t.path(name), O_RDONLY);
      expect(await getFlags(t, fd)).toBe(await hostFlags(t, name));
      await t.user.close(fd);
    }
  }),
  check('FS_IOC_SETFLAGS sets a flag that the owner may set', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    const before = await getFlags(t, fd);
    await t.user.ioctl(fd, FS_IOC_SETFLAGS, flagsBuffer(before | FS_NODUMP_FL));
    expect(await getFlags(t, fd)).toBe(before | FS_NODUMP_FL);
    expect(await hostFlags(t, 'f')).toBe(before | FS_NODUMP_FL);
    await t.user.close(fd);
  }),
  check('FS_IOC_SETFLAGS is for the owner', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.chmod(t.path('f'), 0o666);
    const fd = await t.other.open(t.path('f'), O_RDWR);
    expect(['EPERM', 'EACCES']).toContain(await errnoOf(t.other.ioctl(fd, FS_IOC_SETFLAGS, flagsBuffer(FS_NODUMP_FL))));
    expect((await hostFlags(t, 'f')) & FS_NODUMP_FL).toBe(0);
    await t.other.close(fd);
  }),
  check('only root of the host makes a file immutable, and not through a view', async (t) => {
    await t.root.writeFile(t.path('f'), '');
    const fd = await t.root.open(t.path('f'), O_RDONLY);
    // The daemon of a view has no CAP_LINUX_IMMUTABLE to lend.
    const allowed = t.privileged && !t.place.isView;
    const result = await errnoOf(t.root.ioctl(fd, FS_IOC_SETFLAGS, flagsBuffer(FS_IMMUTABLE_FL)));
    const flags = await hostFlags(t, 'f');
    const hostFd = await t.host.open(t.there('f'), O_RDONLY);
    await t.host.ioctl(hostFd, FS_IOC_SETFLAGS, flagsBuffer(flags & ~FS_IMMUTABLE_FL));
    expect(result).toBe(allowed ? 'no error' : 'EPERM');
    expect((flags & FS_IMMUTABLE_FL) !== 0).toBe(allowed);
    await t.root.close(fd);
    await t.host.close(hostFd);
  }),
  check('a file that the host made immutable or append-only cannot be changed', async (t) => {
    await t.root.writeFile(t.path('f'), 'x');
    const hostFd = await t.host.open(t.there('f'), O_RDONLY);
    const flags = await hostFlags(t, 'f');
    try {
      await t.host.ioctl(hostFd, FS_IOC_SETFLAGS, flagsBuffer(flags | FS_IMMUTABLE_FL));
      await expectErrno('EPERM', t.root.open(t.path('f'), O_WRONLY));
      await expectErrno('EPERM', t.root.unlink(t.path('f')));
      await expectErrno('EPERM', t.root.chmod(t.path('f'), 0o600));
      await t.host.ioctl(hostFd, FS_IOC_SETFLAGS, flagsBuffer(flags | FS_APPEND_FL));
      await expectErrno('EPERM', t.root.open(t.path('f'), O_WRONLY));
      const fd = await t.root.open(t.path('f'), O_WRONLY | O_APPEND);
      await t.root.write(fd, 'y');
      await t.root.close(fd);
      expect(String(await t.root.readFile(t.path('f')))).toBe('xy');
    } finally {
      await t.host.ioctl(hostFd, FS_IOC_SETFLAGS, flagsBuffer(flags));
      await t.host.close(hostFd);
    }
  }),
  check('FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR work', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    const { data } = await t.user.ioctl(fd, FS_IOC_FSGETXATTR, Buffer.alloc(28));
    const hostFd = await t.host.open(t.there('f'), O_RDONLY);
    expect(data).toEqual((await t.host.ioctl(hostFd, FS_IOC_FSGETXATTR, Buffer.alloc(28))).data);
    await t.user.ioctl(fd, FS_IOC_FSSETXATTR, data);
    await t.host.close(hostFd);
    await t.user.close(fd);
  }),
  check('other ioctls are ENOTTY', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await expectErrno('ENOTTY', t.user.ioctl(fd, UNKNOWN_IOCTL));
    const dir = await t.user.open(t.directory, O_RDONLY | O_DIRECTORY);
    await expectErrno('ENOTTY', t.user.ioctl(dir, UNKNOWN_IOCTL));
    await t.user.close(dir);
    await t.user.close(fd);
  }),
  check('a clone is refused where it cannot be made, and never half made', async (t) => {
    await t.user.writeFile(t.path('from'), 'content');
    const from = await t.user.open(t.path('from'), O_RDONLY);
    const to = await t.user.open(t.path('to'), O_CREAT | O_RDWR);
    const argument = Buffer.alloc(8);
    argument.writeInt32LE(from);
    const result = await errnoOf(t.user.ioctl(to, FICLONE, argument));
    expect(['EOPNOTSUPP', 'ENOTTY', 'EXDEV', 'EBADF', 'EINVAL']).toContain(result);
    expect((await t.user.fstat(to)).size).toBe(0);
    await t.user.close(from);
    await t.user.close(to);
  }),
  check('file handles find a file again, under another name too, and not after it is gone', async (t) => {
    await t.root.writeFile(t.path('f'), 'by handle');
    const handle = await t.root.nameToHandle(t.path('f'));
    // FUSE finds only what it still knows, which an open file is.
    const held = await t.root.open(t.path('f'), O_RDONLY);
    await t.root.rename(t.path('f'), t.path('g'));
    const mount = await t.root.open(t.directory, O_RDONLY | O_DIRECTORY);
    const open = () => t.root.openByHandle(mount, handle, O_RDONLY);
    if (!t.privileged) {
      await expectErrno('EPERM', open());
      return;
    }
    const fd = await open();
    expect(String(await t.root.read(fd, 100))).toBe('by handle');
    await t.root.close(fd);
    await t.root.close(held);
    await t.root.unlink(t.path('g'));
    await t.afterHostChange(() => expectErrno('ESTALE', open()));
    await t.root.close(mount);
  }),
];
