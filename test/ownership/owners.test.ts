// Who owns what, on either side of a map: what is seen, what is made, what is given away, and what has no place in the map.

import { expect, test, vi } from 'vitest';
import { ACL_ACCESS, acl, readAcl } from '../support/acl.js';
import { errnoOf } from '../support/actor.js';
import { KEEP_ID, O_CREAT, O_RDWR, O_TMPFILE, O_WRONLY, OVERFLOW_ID, S_IFIFO, S_ISGID } from '../support/constants.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { describeMapped } from './places.js';

const CONTAINER_ROOT = 100_000;
const PERMISSIONS = 0o7777;

describeMapped('a usual container', [CONTAINER_MAP], (place) => {
  test('three sides see one file: underlay, view on the host, view in the container', async () => {
    const { here, there, host, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    for (const [uid, gid] of [
      [0, 0],
      [1000, 1000],
      [33, 7],
      [65_535, 65_535],
    ] as const) {
      const name = `seen-${uid}`;
      await host.writeFile(`${there}/${name}`, '');
      await host.chown(`${there}/${name}`, uid, gid);
      expect(await host.stat(`${here}/${name}`)).toMatchObject({
        uid: CONTAINER_ROOT + uid,
        gid: CONTAINER_ROOT + gid,
      });
      expect(await root.stat(`${here}/${name}`)).toMatchObject({ uid, gid });
      expect(await root.stat(`${there}/${name}`)).toMatchObject({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
    }
  });
  test('whatever is made in the container belongs to the same ids in the underlay', async () => {
    const { here, there, host, inside } = place();
    for (const [uid, gid] of [
      [0, 0],
      [1000, 1001],
      [65_534, 5],
    ] as const) {
      const actor = await inside({ uid, gid });
      const name = (kind: string) => `made-${uid}-${kind}`;
      await actor.writeFile(`${here}/${name('file')}`, 'x');
      await actor.mkdir(`${here}/${name('directory')}`);
      await actor.symlink('x', `${here}/${name('link')}`);
      await actor.mknod(`${here}/${name('fifo')}`, S_IFIFO | 0o600);
      const unnamed = await actor.open(here, O_TMPFILE | O_RDWR, 0o600);
      expect(await actor.fstat(unnamed)).toMatchObject({ uid, gid });
      await actor.linkFd(unnamed, `${here}/${name('unnamed')}`);
      for (const kind of ['file', 'directory', 'link', 'fifo', 'unnamed']) {
        expect(await host.lstat(`${there}/${name(kind)}`)).toMatchObject({ uid, gid });
        expect(await actor.lstat(`${here}/${name(kind)}`)).toMatchObject({ uid, gid });
      }
    }
  });
  test('container root gives files away within the map, and the host sees it', async () => {
    const { here, there, host, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    await root.writeFile(`${here}/given`, '');
    await root.chown(`${here}/given`, 33, 44);
    expect(await host.stat(`${there}/given`)).toMatchObject({ uid: 33, gid: 44 });
    await root.chown(`${here}/given`, KEEP_ID, 55);
    expect(await host.stat(`${there}/given`)).toMatchObject({ uid: 33, gid: 55 });
    await host.chown(`${there}/given`, 1000, 1000);
    // Its event brings it.
    await vi.waitFor(async () => {
      expect(await root.stat(`${here}/given`)).toMatchObject({ uid: 1000, gid: 1000 });
    });
  });
  test('container root cannot name ids outside of its own namespace', async () => {
    const { here, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    await root.writeFile(`${here}/mine`, '');
    expect(await errnoOf(root.chown(`${here}/mine`, 70_000, KEEP_ID))).toBe('EINVAL');
  });
  test('ids that the map has no place for show as 65534', async () => {
    const { here, there, host, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    await host.writeFile(`${there}/unmapped`, 'x');
    await host.chown(`${there}/unmapped`, 70_000, 80_000);
    expect(await host.stat(`${here}/unmapped`)).toMatchObject({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
    expect(await root.stat(`${here}/unmapped`)).toMatchObject({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
  });
  test('nobody in the container has power over a file of an unmapped owner', async () => {
    const { here, there, host, inside } = place();
    await host.writeFile(`${there}/foreign`, 'x');
    await host.chown(`${there}/foreign`, 70_000, 70_000);
    await host.chmod(`${there}/foreign`, 0o600);
    const root = await inside({ uid: 0, gid: 0 });
    const overflow = await inside({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
    for (const actor of [root, overflow]) {
      expect(await errnoOf(actor.open(`${here}/foreign`, O_WRONLY))).toBe('EACCES');
      // An idmapped mount says EOVERFLOW for a change that names no owner (fs/attr.c, notify_change()).
      expect(['EPERM', 'EOVERFLOW']).toContain(await errnoOf(actor.chmod(`${here}/foreign`, 0o777)));
      expect(await errnoOf(actor.chown(`${here}/foreign`, 0, 0))).toBe('EPERM');
    }
    expect(await host.stat(`${there}/foreign`)).toMatchObject({ uid: 70_000, gid: 70_000 });
  });
  test('ids of the host that the map does not show cannot be given away or make anything (EOVERFLOW)', async () => {
    const { here, there, host, outside } = place();
    await host.writeFile(`${there}/kept`, '');
    expect(await errnoOf(host.chown(`${here}/kept`, 5, KEEP_ID))).toBe('EOVERFLOW');
    expect(await errnoOf(host.chown(`${here}/kept`, KEEP_ID, 5))).toBe('EOVERFLOW');
    expect(await host.stat(`${there}/kept`)).toMatchObject({ uid: 0, gid: 0 });
    await host.chown(`${here}/kept`, CONTAINER_ROOT + 9, CONTAINER_ROOT + 10);
    expect(await host.stat(`${there}/kept`)).toMatchObject({ uid: 9, gid: 10 });
    const stranger = await outside({ uid: 4321, gid: 4321 });
    expect(await errnoOf(stranger.open(`${here}/strange`, O_CREAT | O_RDWR))).toBe('EOVERFLOW');
    expect(await errnoOf(stranger.mkdir(`${here}/strange`))).toBe('EOVERFLOW');
    expect(await errnoOf(stranger.symlink('x', `${here}/strange`))).toBe('EOVERFLOW');
    expect(await errnoOf(host.stat(`${there}/strange`))).toBe('ENOENT');
  });
  test('a host process with a view id is that user', async () => {
    const { here, there, host, outside } = place();
    const shifted = await outside({ uid: CONTAINER_ROOT + 1000, gid: CONTAINER_ROOT + 1000 });
    await shifted.writeFile(`${here}/shifted`, 'x');
    expect(await host.stat(`${there}/shifted`)).toMatchObject({ uid: 1000, gid: 1000 });
  });
  test('a host user is not their namesake of the underlay', async () => {
    const { here, there, host, outside } = place();
    await host.writeFile(`${there}/private`, 'x');
    await host.chown(`${there}/private`, 1000, 1000);
    await host.chmod(`${there}/private`, 0o600);
    const namesake = await outside({ uid: 1000, gid: 1000 });
    expect(await errnoOf(namesake.open(`${here}/private`, O_RDWR))).toBe('EACCES');
  });
  test('permissions go by the ids that are shown', async () => {
    const { here, there, host, inside } = place();
    await host.mkdir(`${there}/home`, 0o700);
    await host.chown(`${there}/home`, 1000, 1000);
    const owner = await inside({ uid: 1000, gid: 1000 });
    const other = await inside({ uid: 1001, gid: 1001 });
    const root = await inside({ uid: 0, gid: 0 });
    await owner.writeFile(`${here}/home/f`, 'mine');
    expect(await errnoOf(other.stat(`${here}/home/f`))).toBe('EACCES');
    expect(String(await root.readFile(`${here}/home/f`))).toBe('mine');
  });
  test('supplementary groups open and create', async () => {
    const { here, there, host, inside } = place();
    await host.mkdir(`${there}/team`);
    await host.chown(`${there}/team`, 0, 2000);
    await host.chmod(`${there}/team`, 0o770);
    const member = await inside({ uid: 1000, gid: 1000, groups: [2000, 3000] });
    const stranger = await inside({ uid: 1000, gid: 1000 });
    await member.writeFile(`${here}/team/f`, 'x');
    expect(await host.stat(`${there}/team/f`)).toMatchObject({ uid: 1000, gid: 1000 });
    await member.chown(`${here}/team/f`, KEEP_ID, 3000);
    expect(await host.stat(`${there}/team/f`)).toMatchObject({ uid: 1000, gid: 3000 });
    expect(await errnoOf(stranger.stat(`${here}/team/f`))).toBe('EACCES');
  });
  test('what is made in a setgid directory takes its group, and directories the bit', async () => {
    const { here, there, host, inside } = place();
    await host.mkdir(`${there}/setgid`);
    await host.chown(`${there}/setgid`, 0, 2000);
    await host.chmod(`${there}/setgid`, S_ISGID | 0o777);
    for (const groups of [[], [2000]]) {
      const actor = await inside({ uid: 1000, gid: 1000, groups });
      const name = (kind: string) => `${kind}-${groups.length}`;
      await actor.writeFile(`${here}/setgid/${name('f')}`, '');
      await actor.mkdir(`${here}/setgid/${name('d')}`);
      expect(await host.stat(`${there}/setgid/${name('f')}`)).toMatchObject({ uid: 1000, gid: 2000 });
      const directory = await host.stat(`${there}/setgid/${name('d')}`);
      expect(directory).toMatchObject({ uid: 1000, gid: 2000 });
      expect(directory.mode & PERMISSIONS).toBe(S_ISGID | 0o755);
    }
  });
  test('a program with sgid is not made for a group its maker is not in (CVE-2018-13405, CVE-2022-0358)', async () => {
    const { here, there, host, inside } = place();
    await host.mkdir(`${there}/setgid-trap`);
    await host.chown(`${there}/setgid-trap`, 0, 2000);
    await host.chmod(`${there}/setgid-trap`, S_ISGID | 0o777);
    for (const [who, groups, left] of [
      ['stranger', [], 0o777],
      ['member', [2000], S_ISGID | 0o777],
    ] as const) {
      const actor = await inside({ uid: 1000, gid: 1000, groups, umask: 0 });
      await actor.close(await actor.open(`${here}/setgid-trap/${who}`, O_CREAT | O_RDWR, S_ISGID | 0o777));
      await actor.mknod(`${here}/setgid-trap/${who}-node`, 0o100000 | S_ISGID | 0o777);
      for (const name of [who, `${who}-node`]) {
        const { mode, gid } = await host.stat(`${there}/setgid-trap/${name}`);
        expect(gid).toBe(2000);
        expect(mode & PERMISSIONS).toBe(left);
      }
    }
  });
  test('suid and sgid go when a user of the container writes, cuts or gives away', async () => {
    const { here, there, host, inside } = place();
    const user = await inside({ uid: 1000, gid: 1000, groups: [2000] });
    await user.writeFile(`${here}/program`, 'x');
    const changes = {
      write: async () => {
        const fd = await user.open(`${here}/program`, O_WRONLY);
        await user.write(fd, 'y');
        await user.close(fd);
      },
      truncate: () => user.truncate(`${here}/program`, 0),
      chgrp: () => user.chown(`${here}/program`, KEEP_ID, 2000),
    };
    for (const [what, change] of Object.entries(changes)) {
      await host.chmod(`${there}/program`, 0o6755);
      await change();
      expect(`${what} ${(await host.stat(`${there}/program`)).mode & PERMISSIONS}`).toBe(`${what} ${0o755}`);
    }
  });
  test('capabilities of a file go when it is written (CVE-2021-20263)', async () => {
    const { here, there, host, inside } = place();
    const user = await inside({ uid: 1000, gid: 1000 });
    await user.writeFile(`${here}/capable`, 'x');
    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW.
    const capability = Buffer.alloc(20);
    capability.writeUInt32LE(0x0200_0001, 0);
    capability.writeUInt32LE(1 << 13, 4);
    await host.setxattr(`${there}/capable`, 'security.capability', capability);
    const fd = await user.open(`${here}/capable`, O_WRONLY);
    await user.write(fd, 'y');
    expect(await errnoOf(host.getxattr(`${there}/capable`, 'security.capability'))).toBe('ENODATA');
    await user.close(fd);
  });
  test('the ids of an ACL are shifted both ways', async () => {
    const { here, there, host, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    const spec = { owner: 6, users: { 1000: 4, 1001: 6 }, group: 0, groups: { 2000: 4 }, mask: 6, others: 0 };
    await root.writeFile(`${here}/listed`, 'x');
    await root.setxattr(`${here}/listed`, ACL_ACCESS, acl(spec));
    expect(readAcl(await root.getxattr(`${here}/listed`, ACL_ACCESS))).toEqual(readAcl(acl(spec)));
    expect(readAcl(await host.getxattr(`${there}/listed`, ACL_ACCESS))).toEqual(readAcl(acl(spec)));
    const shifted = readAcl(await host.getxattr(`${here}/listed`, ACL_ACCESS));
    expect(shifted.filter(([, , id]) => id < 0xffff_ffff).map(([, , id]) => id)).toEqual([101_000, 101_001, 102_000]);
    const named = await inside({ uid: 1001, gid: 1001 });
    await named.close(await named.open(`${here}/listed`, O_RDWR));
    const unnamed = await inside({ uid: 1002, gid: 1002 });
    expect(await errnoOf(unnamed.open(`${here}/listed`, O_RDWR))).toBe('EACCES');
  });
});

describeMapped('several ranges', ['0:100000:1000', '1000:1000:1', '1001:101001:64535'], (place) => {
  test('every range is its own, and the ends are exact', async () => {
    const { here, there, host } = place();
    for (const [underlay, view] of [
      [0, 100_000],
      [999, 100_999],
      [1000, 1000],
      [1001, 101_001],
      [65_535, 165_535],
      [65_536, OVERFLOW_ID],
    ] as const) {
      const name = `range-${underlay}`;
      await host.writeFile(`${there}/${name}`, '');
      await host.chown(`${there}/${name}`, underlay, underlay);
      expect(await host.stat(`${here}/${name}`)).toMatchObject({ uid: view, gid: view });
    }
  });
  test('the id that is passed through belongs to the host user of that number', async () => {
    const { here, there, host, outside, inside } = place();
    const hostUser = await outside({ uid: 1000, gid: 1000 });
    await hostUser.writeFile(`${here}/through`, 'x');
    expect(await host.stat(`${there}/through`)).toMatchObject({ uid: 1000, gid: 1000 });
    const containerUser = await inside({ uid: 1000, gid: 1000 });
    await containerUser.writeFile(`${here}/through`, 'y');
    await containerUser.writeFile(`${here}/new`, 'y');
    expect(await host.stat(`${there}/new`)).toMatchObject({ uid: 1000, gid: 1000 });
  });
});

describeMapped('a single id', ['1000:101000:1'], (place) => {
  test('only that id has a place', async () => {
    const { here, there, host, inside, outside } = place();
    // An idmapped mount lets nobody write to what has an unmapped owner, directories included.
    await host.chown(there, 1000, 1000);
    const user = await inside({ uid: 1000, gid: 1000 });
    await user.writeFile(`${here}/mine`, 'x');
    expect(await host.stat(`${there}/mine`)).toMatchObject({ uid: 1000, gid: 1000 });
    await host.writeFile(`${there}/roots`, 'x');
    expect(await user.stat(`${here}/roots`)).toMatchObject({ uid: OVERFLOW_ID, gid: OVERFLOW_ID });
    expect(await errnoOf(user.open(`${here}/roots`, O_WRONLY))).toBe('EACCES');
    const containerRoot = await outside({ uid: 100_000, gid: 100_000 });
    expect(await errnoOf(containerRoot.open(`${here}/new`, O_CREAT | O_RDWR))).toBe('EOVERFLOW');
  });
});

describeMapped('different maps for users and groups', ['u:0:100000:65536', 'g:0:300000:65536'], (place) => {
  test('each kind of id goes through its own map', async () => {
    const { here, there, host, inside } = place();
    const user = await inside({ uid: 7, gid: 8 });
    await user.writeFile(`${here}/both`, 'x');
    expect(await host.stat(`${there}/both`)).toMatchObject({ uid: 7, gid: 8 });
    expect(await host.stat(`${here}/both`)).toMatchObject({ uid: 100_007, gid: 300_008 });
    expect(await errnoOf(host.chown(`${here}/both`, KEEP_ID, 100_008))).toBe('EOVERFLOW');
    await host.chown(`${here}/both`, 100_009, 300_010);
    expect(await host.stat(`${there}/both`)).toMatchObject({ uid: 9, gid: 10 });
    expect(await user.stat(`${here}/both`)).toMatchObject({ uid: 9, gid: 10 });
  });
  test('an ACL takes both maps', async () => {
    const { here, there, host, inside } = place();
    const root = await inside({ uid: 0, gid: 0 });
    await root.writeFile(`${here}/listed`, 'x');
    const spec = { owner: 6, users: { 5: 4 }, group: 0, groups: { 6: 4 }, mask: 4, others: 0 };
    await root.setxattr(`${here}/listed`, ACL_ACCESS, acl(spec));
    expect(readAcl(await host.getxattr(`${there}/listed`, ACL_ACCESS))).toEqual(readAcl(acl(spec)));
    const ids = readAcl(await host.getxattr(`${here}/listed`, ACL_ACCESS)).map(([, , id]) => id);
    expect(ids.filter((id) => id < 0xffff_ffff)).toEqual([100_005, 300_006]);
  });
});
