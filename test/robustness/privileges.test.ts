// Container root against the rights of the host: what it leaves in the underlay must not make anybody root there, and what
// the host has there must not become reachable. Every attack comes from a real user namespace through the real mount, and is
// judged by what the host sees.

import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { ACL_ACCESS, acl } from '../support/acl.js';
import { errnoOf, type Stat, withActor } from '../support/actor.js';
import {
  MAP_SHARED,
  O_APPEND,
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
  S_IFBLK,
  S_IFCHR,
  S_IFREG,
  S_ISGID,
  S_ISUID,
} from '../support/constants.js';
import { makeImage } from '../support/images.js';

const SET_ID = S_ISUID | S_ISGID;
const LINKS = 0x400; // AT_SYMLINK_FOLLOW: a name for an open file

/** Container root is root of the underlay: the case in which a set-id file would matter most. */
test('no way of setting set-id bits leaves a set-id file of root on the host', async () => {
  await withContainer(async ({ root, host, user, in: here, under }) => {
    const left = async (name: string) => (await host.stat(under(name))).mode & SET_ID;

    await root.writeFile(here('chmod'), '#!/bin/sh\n');
    await root.chmod(here('chmod'), 0o6755);
    expect(await left('chmod')).toBe(0);

    const fd = await root.open(here('fchmod'), O_CREAT | O_RDWR);
    await root.fchmod(fd, 0o6755);
    expect(await left('fchmod')).toBe(0);

    await root.close(await root.open(here('create'), O_CREAT | O_WRONLY, 0o6755));
    expect(await left('create')).toBe(0);

    await root.mknod(here('mknod'), S_IFREG | 0o6755);
    expect(await left('mknod')).toBe(0);

    const unnamed = await root.open(here(), O_TMPFILE | O_RDWR, 0o6755);
    await root.linkFd(unnamed, here('tmpfile'));
    expect(await left('tmpfile')).toBe(0);

    // A set-id file of somebody else that is then given to root.
    const other = await user(1000);
    await root.chmod(here(), 0o777);
    await other.close(await other.open(here('given'), O_CREAT | O_WRONLY, 0o755));
    await other.chmod(here('given'), 0o6755);
    expect(await left('given')).toBe(SET_ID);
    await root.chown(here('given'), 0, 0);
    expect(await host.stat(under('given'))).toMatchObject({ uid: 0, gid: 0 });
    expect(await left('given')).toBe(0);

    // Only the group is root's.
    await root.writeFile(here('group'), '');
    await root.chown(here('group'), 1000, 0);
    await root.chmod(here('group'), 0o6755);
    expect(await left('group')).toBe(S_ISUID);

    // In a set-group-id directory of root's group.
    await root.mkdir(here('dir'), 0o777);
    await root.chmod(here('dir'), 0o2777);
    await other.close(await other.open(here('dir/inherited'), O_CREAT | O_WRONLY, 0o2755));
    expect(await host.stat(under('dir/inherited'))).toMatchObject({ uid: 1000, gid: 0 });
    expect(await left('dir/inherited')).toBe(0);

    // Restored by an archive: owner, mode and attributes in every order.
    await root.writeFile(here('tar'), '');
    await root.chmod(here('tar'), 0o4755);
    await root.chown(here('tar'), 1000, 1000);
    await root.chmod(here('tar'), 0o6755);
    await root.chown(here('tar'), 0, 0);
    expect(await left('tar')).toBe(0);
  });
});

test('with --allow-suid the bits stay, and the view honours them', async () => {
  await withContainer(
    async ({ root, host, view, in: here, under }) => {
      await root.writeFile(here('f'), '');
      await root.chmod(here('f'), 0o6755);
      expect((await host.stat(under('f'))).mode & SET_ID).toBe(SET_ID);
      const { flags } = await host.statfs(view.mountpoint);
      expect(flags & 2 /* ST_NOSUID */).toBe(0);
    },
    { options: ['--allow-suid'] },
  );
});

/** struct vfs_cap_data of version 3: effective, cap_setuid permitted, valid in the namespace of `root`. */
function capability(root: number): Buffer {
  const blob = Buffer.alloc(24);
  blob.writeUInt32LE(0x03000001, 0);
  blob.writeUInt32LE(1 << 7, 4);
  blob.writeUInt32LE(root, 20);
  return blob;
}

/** The form without a namespace, which the kernel completes with the writer's. */
function plainCapability(): Buffer {
  const blob = Buffer.alloc(20);
  blob.writeUInt32LE(0x02000001, 0);
  blob.writeUInt32LE(1 << 7, 4);
  return blob;
}

test('file capabilities that the host would honour cannot be planted', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await root.writeFile(here('f'), '', 0o755);
    for (const blob of [plainCapability(), capability(0), capability(100000)]) {
      const error = await errnoOf(root.setxattr(here('f'), 'security.capability', blob));
      expect(['EPERM', 'EINVAL', 'EOVERFLOW']).toContain(error);
      expect(await errnoOf(host.getxattr(under('f'), 'security.capability'))).toBe('ENODATA');
    }
    // One for the namespaces of a user of the container: on the host it holds in that user's namespaces alone.
    await root.setxattr(here('f'), 'security.capability', capability(1000));
    expect((await host.getxattr(under('f'), 'security.capability')).readUInt32LE(20)).toBe(1000);
  });
});

test('a file capability of the host goes when the container writes, truncates or chowns the file', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    const plant = async (name: string) => {
      await host.writeFile(under(name), 'program', 0o755);
      await host.setxattr(under(name), 'security.capability', plainCapability());
    };
    const planted = (name: string) => errnoOf(host.getxattr(under(name), 'security.capability'));
    await plant('write');
    expect(await planted('write')).toBe('no error');
    const fd = await root.open(here('write'), O_RDWR);
    await root.pwrite(fd, 'attack!', 0);
    expect(await planted('write')).toBe('ENODATA');
    await plant('truncate');
    await root.truncate(here('truncate'), 1);
    expect(await planted('truncate')).toBe('ENODATA');
    await plant('chown');
    await root.chown(here('chown'), 1000, 1000);
    expect(await planted('chown')).toBe('ENODATA');
    await plant('open');
    await root.writeFile(here('open'), 'attack!');
    expect(await planted('open')).toBe('ENODATA');
  });
});

test('a set-id program of another host user loses its bits when the container writes to it', async () => {
  await withContainer(async ({ root, user, host, in: here, under }) => {
    for (const passthrough of [O_RDWR, O_WRONLY]) {
      await host.writeFile(under('f'), 'program');
      await host.chown(under('f'), 1000, 1000);
      await host.chmod(under('f'), 0o6777);
      // Container root has CAP_FSETID in its namespace only; whoever else writes has none.
      const writer = passthrough === O_RDWR ? await user(1001) : root;
      const fd = await writer.open(here('f'), passthrough);
      await writer.pwrite(fd, 'attack!', 0);
      const { mode } = await host.stat(under('f'));
      if (writer !== root) expect(mode & SET_ID).toBe(0);
      await writer.close(fd);
    }
  });
});

test.each([
  ['passed through', []],
  ['served by the daemon', ['--passthrough', 'off']],
])('set-id programs of host root cannot be rewritten, %s', async (_, options) => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      const ways: Record<string, (path: string) => Promise<unknown>> = {
        write: async (path) => {
          const fd = await root.open(path, O_WRONLY);
          await root.write(fd, 'attack!');
          await root.close(fd);
        },
        mmap: async (path) => {
          const fd = await root.open(path, O_RDWR);
          const map = await root.mmap(fd, 7, PROT_READ | PROT_WRITE, MAP_SHARED);
          await root.mapWrite(map, 0, 'attack!');
          await root.munmap(map);
          await root.close(fd);
        },
        truncate: (path) => root.truncate(path, 3),
        replaced: (path) => root.writeFile(path, 'attack!'),
        fallocate: async (path) => {
          const fd = await root.open(path, O_RDWR);
          await root.fallocate(fd, 1, 0, 4096);
          await root.close(fd);
        },
        copied: async (path) => {
          await root.writeFile(here('source'), 'attack!');
          const from = await root.open(here('source'), O_RDONLY);
          const to = await root.open(path, O_WRONLY);
          await root.copyFileRange(from, 0, to, 0, 7);
          await root.close(from);
          await root.close(to);
        },
        appended: async (path) => {
          const fd = await root.open(path, O_WRONLY | O_APPEND);
          await root.write(fd, 'attack!');
          await root.close(fd);
        },
      };
      for (const [name, way] of Object.entries(ways)) {
        await host.writeFile(under(name), 'program of root');
        await host.setxattr(under(name), 'security.capability', plainCapability());
        await host.chmod(under(name), 0o6755);
        await way(here(name));
        const { mode } = await host.stat(under(name));
        expect({ name, mode: mode & SET_ID }).toEqual({ name, mode: 0 });
        expect([name, await errnoOf(host.getxattr(under(name), 'security.capability'))]).toEqual([name, 'ENODATA']);
      }
      // Reading and running it leaves it alone.
      await host.writeFile(under('kept'), 'program of root');
      await host.chmod(under('kept'), 0o6755);
      await root.readFile(here('kept'));
      expect((await host.stat(under('kept'))).mode & SET_ID).toBe(SET_ID);
    },
    { options },
  );
});

test('a set-group-id bit kept through a chown to root cannot be made effective with an ACL', async () => {
  await withContainer(
    async ({ root, user, host, in: here, under }) => {
      await root.chmod(here(), 0o777);
      const owner = await user(1000);
      await owner.close(await owner.open(here('f'), O_CREAT | O_WRONLY, 0o644));
      // Without execution for the group the bit means mandatory locking, and chown(2) leaves it to members of the group.
      await owner.chmod(here('f'), 0o2745);
      await owner.writeFile(here('g'), '');
      await root.chown(here('f'), -1, 0);
      await root.setxattr(here('f'), ACL_ACCESS, acl({ owner: 7, group: 7, others: 5 }));
      const { mode, gid } = await host.stat(under('f'));
      expect(gid).toBe(0);
      expect((mode & 0o2010) === 0o2010).toBe(false);
    },
    { options: ['--workers', '1', '--max-workers', '1'] },
  );
});

test('extended attributes of the host are neither shown nor set', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await host.writeFile(under('f'), '');
    await host.setxattr(under('f'), 'trusted.secret', 'host');
    await host.setxattr(under('f'), 'security.label', 'host');
    await host.setxattr(under('f'), 'user.shared', 'both');
    expect(await root.listxattr(here('f'))).toEqual(['user.shared']);
    for (const name of ['trusted.secret', 'security.label']) {
      expect(['ENODATA', 'EPERM', 'EOPNOTSUPP']).toContain(await errnoOf(root.getxattr(here('f'), name)));
      expect(['EPERM', 'EOPNOTSUPP']).toContain(await errnoOf(root.setxattr(here('f'), name, 'x')));
      expect(['EPERM', 'EOPNOTSUPP']).toContain(await errnoOf(root.removexattr(here('f'), name)));
      expect((await host.getxattr(under('f'), name)).toString()).toBe('host');
    }
    for (const name of ['trusted.overlay.opaque', 'security.selinux', 'security.ima', 'system.other', 'bare']) {
      expect(['EPERM', 'EOPNOTSUPP']).toContain(await errnoOf(root.setxattr(here('f'), name, 'x')));
    }
    expect(await host.listxattr(under('f'))).toEqual(['security.label', 'trusted.secret', 'user.shared']);
  });
});

test('ids outside the map: shown as nobody, and never created or given', async () => {
  await withContainer(
    async ({ root, user, host, in: here, under }) => {
      await host.writeFile(under('foreign'), 'secret', 0o600);
      await host.chown(under('foreign'), 5000, 5000);
      expect(await root.stat(here('foreign'))).toMatchObject({ uid: 65534, gid: 65534 });
      expect(await errnoOf(root.readFile(here('foreign')))).toBe('EACCES');
      expect(await errnoOf(root.chmod(here('foreign'), 0o777))).toBe('EPERM');
      expect(await errnoOf(root.chown(here('foreign'), 0, 0))).toBe('EPERM');
      await root.writeFile(here('own'), '');
      await root.chmod(here(), 0o777);
      for (const [uid, gid] of [
        [2000, -1],
        [-1, 2000],
        [65534, 65534],
      ] as const) {
        expect(['EOVERFLOW', 'EINVAL']).toContain(await errnoOf(root.chown(here('own'), uid, gid)));
      }
      // Somebody of the container who has no id in the underlay.
      const nobody = await user(2000);
      expect(await errnoOf(nobody.writeFile(here('new'), 'x'))).toBe('EOVERFLOW');
      expect(await errnoOf(nobody.mkdir(here('new')))).toBe('EOVERFLOW');
      expect(await errnoOf(nobody.symlink('x', here('new')))).toBe('EOVERFLOW');
      expect((await host.readdir(under())).map(String).sort()).toEqual(['foreign', 'own']);
      expect(await host.stat(under('own'))).toMatchObject({ uid: 0, gid: 0 });
    },
    // The container has 65536 ids, the view only 1500 of them.
    { map: ['0:100000:1500'] },
  );
});

test('device nodes: none can be made, and those of the host cannot be opened', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    const null13 = (1 << 8) | 3;
    for (const type of [S_IFCHR, S_IFBLK]) {
      expect(await errnoOf(root.mknod(here('device'), type | 0o666, null13))).toBe('EPERM');
    }
    await host.mknod(under('null'), S_IFCHR | 0o666, null13);
    await host.mknod(under('disk'), S_IFBLK | 0o666, (7 << 8) | 0);
    for (const name of ['null', 'disk']) {
      expect(await errnoOf(root.open(here(name), O_RDONLY | O_NONBLOCK))).toBe('EACCES');
      expect(await errnoOf(root.open(here(name), O_RDWR | O_NONBLOCK))).toBe('EACCES');
      // Not by another name either.
      await root.link(here(name), here(`${name}-link`), LINKS);
      await root.rename(here(`${name}-link`), here(`${name}-moved`));
      expect(await errnoOf(root.open(here(`${name}-moved`), O_RDONLY | O_NONBLOCK))).toBe('EACCES');
    }
  });
});

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FS_PROJINHERIT_FL = 0x20000000;
const FS_XFLAG_PROJINHERIT = 0x200;

test('ioctls: no immutable files, no other project for quotas, nothing unknown', async () => {
  const image = await makeImage('xfs');
  try {
    await withContainer(
      async ({ root, host, in: here, under }) => {
        await root.writeFile(here('f'), '');
        await root.mkdir(here('d'));
        const file = await root.open(here('f'), O_RDWR);
        const directory = await root.open(here('d'), O_RDONLY);
        const word = (value: number) => {
          const buffer = Buffer.alloc(8);
          buffer.writeUInt32LE(value >>> 0, 0);
          return buffer;
        };
        const flags = (await root.ioctl(file, FS_IOC_GETFLAGS, Buffer.alloc(8))).data.readUInt32LE(0);
        for (const privileged of [0x10, 0x20]) {
          expect(await errnoOf(root.ioctl(file, FS_IOC_SETFLAGS, word(flags | privileged)))).toBe('EPERM');
        }
        // The host's quota for the tree hangs on the project id (ext4(5), xfs_quota(8)).
        const hostFile = await host.open(under('f'), O_RDONLY);
        const hostDirectory = await host.open(under('d'), O_RDONLY);
        for (const fd of [hostFile, hostDirectory]) {
          const attributes = (await host.ioctl(fd, FS_IOC_FSGETXATTR, Buffer.alloc(28))).data;
          attributes.writeUInt32LE(77, 12);
          if (fd === hostDirectory)
            attributes.writeUInt32LE((attributes.readUInt32LE(0) | FS_XFLAG_PROJINHERIT) >>> 0, 0);
          await host.ioctl(fd, FS_IOC_FSSETXATTR, attributes);
        }
        for (const fd of [file, directory]) {
          const attributes = (await root.ioctl(fd, FS_IOC_FSGETXATTR, Buffer.alloc(28))).data;
          expect(attributes.readUInt32LE(12)).toBe(77);
          attributes.writeUInt32LE(0, 12);
          expect(['EINVAL', 'EPERM']).toContain(await errnoOf(root.ioctl(fd, FS_IOC_FSSETXATTR, attributes)));
        }
        const own = (await root.ioctl(directory, FS_IOC_GETFLAGS, Buffer.alloc(8))).data.readUInt32LE(0);
        expect(own & FS_PROJINHERIT_FL).not.toBe(0);
        expect(['EINVAL', 'EPERM']).toContain(
          await errnoOf(root.ioctl(directory, FS_IOC_SETFLAGS, word(own & ~FS_PROJINHERIT_FL))),
        );
        for (const fd of [hostFile, hostDirectory]) {
          expect((await host.ioctl(fd, FS_IOC_FSGETXATTR, Buffer.alloc(28))).data.readUInt32LE(12)).toBe(77);
        }
        // What we do not know carries who knows what: FIEMAP, TRIM, freeze, reflink, labels, shutdown, encryption.
        for (const request of [0xc020660b, 0xc0185879, 0xc0045877, 0x40049409, 0x41009432, 0x8004587d, 0x800c6613]) {
          const error = await errnoOf(root.ioctl(file, request, Buffer.alloc(256)));
          expect(['ENOTTY', 'EPERM', 'EOPNOTSUPP', 'EINVAL', 'EBADF', 'EIO', 'EFAULT']).toContain(error);
        }
        await root.writeFile(here('still'), 'writable');
        await host.close(hostFile);
        await host.close(hostDirectory);
      },
      { source: image.directory },
    );
  } finally {
    image.remove();
  }
});

test('two views of one tree: chmod through one races chown through the other', async () => {
  // One view orders the two by the inode's lock in the kernel; two views have two inodes.
  await withContainer(async ({ root, host, user, in: here, under, view }) => {
    await withContainer(
      async ({ root: second, in: there }) => {
        await root.chmod(here(), 0o777);
        const owner = await user(1000);
        await owner.writeFile(here('f'), 'program');
        let seen = 0;
        for (let round = 0; round < 20; round++) {
          const [, , looks] = await Promise.all([
            root.batch(Array.from({ length: 200 }, () => ['chmod', here('f'), 0o6755])),
            second.batch(
              Array.from({ length: 200 }, (_, index) => ['chown', there('f'), index % 2 ? 0 : 1000, 0] as const),
            ),
            host.batch(Array.from({ length: 2000 }, () => ['stat', under('f')])),
          ]);
          // stat(2) reads owner and mode without a lock, so one look can mix two states: only what two show counts.
          const bad = (looks as Stat[]).map(({ uid, mode }) => uid === 0 && (mode & S_ISUID) !== 0);
          seen += bad.filter((now, index) => now && bad[index + 1] === true).length;
        }
        expect(seen).toBe(0);
      },
      { source: view.source },
    );
  });
});

test('a directory that the host moved out of the source is no way out', async () => {
  await withContainer(async ({ root, host, in: here, under, view }) => {
    const outside = `${view.source}-outside`;
    await withActor({ uid: 0, gid: 0 }, async () => {
      await host.mkdir(outside, 0o700);
      await host.writeFile(`${outside}/secret`, 'secret', 0o600);
      await root.mkdir(here('a'), 0o755);
      await root.mkdir(here('a/b'), 0o755);
      const b = await root.open(here('a/b'), O_RDONLY);
      await host.rename(under('a'), `${outside}/a`);
      // ".." of what is open leads to where the view had it, never to the directory it lies in now.
      for (const path of ['../../secret', '../../../secret', '..//../secret']) {
        expect(['ENOENT', 'ESTALE', 'EACCES']).toContain(await errnoOf(root.open({ dir: b, name: path }, O_RDONLY)));
      }
      expect((await root.readdir(here())).map(String)).toEqual([]);
    });
  });
});
