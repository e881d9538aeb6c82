import { describe, expect, it } from 'vitest';
import {
  fileSystemPath,
  isInside,
  mountAt,
  mountContaining,
  mountsBelow,
  parseMountinfo,
  readMounts,
} from '../../../src/linux/mountinfo.js';

const table = [
  '21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro',
  '30 21 0:26 / /mnt/with\\040space\\011tab\\134back rw,nosuid,nodev - tmpfs tmpfs rw,size=4k',
  '31 21 254:1 /srv/data /srv/bind rw,relatime shared:1 master:3 - ext4 /dev/vda1 rw,errors=remount-ro',
  '32 21 0:40 / /srv/view ro,nosuid,nodev,relatime - fuse.fuse-shiftfs /srv/data\\040x ro,user_id=0',
  '33 32 0:41 / /srv/view rw - tmpfs none rw',
  '34 33 0:42 / /srv/view/sub rw - tmpfs none rw',
  '35 21 0:43 / /srv/viewer rw - tmpfs none rw',
  '36 32 0:44 / /srv/view/hidden rw - tmpfs none rw',
].join('\n');
const mounts = parseMountinfo(`${table}\nnonsense\n40 21 0:9 / /short\n`);

describe('parseMountinfo()', () => {
  it('takes every field, with or without optional ones, and skips what is no line', () => {
    expect(mounts.map((mount) => mount.id)).toEqual([21, 30, 31, 32, 33, 34, 35, 36]);
    const bind = mounts[2]!;
    expect(bind).toMatchObject({ parentId: 21, device: '254:1', root: '/srv/data', mountpoint: '/srv/bind' });
    expect(bind).toMatchObject({ fstype: 'ext4', source: '/dev/vda1', propagation: ['shared:1', 'master:3'] });
    expect([...bind.options]).toEqual(['rw', 'relatime']);
    expect([...bind.superOptions]).toEqual(['rw', 'errors=remount-ro']);
    expect(mounts[1]!.propagation).toEqual([]);
  });

  it('undoes the octal escapes', () => {
    expect(mounts[1]!.mountpoint).toBe('/mnt/with space\ttab\\back');
    expect(mounts[3]!.source).toBe('/srv/data x');
  });

  it('reads the table of this machine', () => {
    const root = mountContaining(readMounts(), '/proc/self');
    expect(root?.fstype).toBe('proc');
  });
});

describe('mountContaining()', () => {
  it('does not take a longer name for something below', () => {
    expect(mountContaining(mounts, '/srv/viewed')?.id).toBe(21);
    expect(mountContaining(mounts, '/srv/viewer/x')?.id).toBe(35);
  });
  it('answers with the topmost of stacked mounts and ignores what a later mount hides', () => {
    expect(mountContaining(mounts, '/srv/view/x')?.id).toBe(33);
    expect(mountContaining(mounts, '/srv/view/sub/x')?.id).toBe(34);
    expect(mountContaining(mounts, '/srv/view/hidden')?.id).toBe(33);
  });
});

describe('mountAt()', () => {
  it('wants the mount point itself', () => {
    expect(mountAt(mounts, '/srv/view')?.id).toBe(33);
    expect(mountAt(mounts, '/srv/view/x')).toBeUndefined();
    expect(mountAt(mounts, '/srv')).toBeUndefined();
  });
});

describe('mountsBelow()', () => {
  it('lists what is strictly below', () => {
    expect(mountsBelow(mounts, '/srv/view').map((mount) => mount.id)).toEqual([34, 36]);
    expect(mountsBelow(mounts, '/').map((mount) => mount.id)).toEqual([30, 31, 32, 33, 34, 35, 36]);
  });
});

describe('fileSystemPath()', () => {
  it('sees through bind mounts', () => {
    expect(fileSystemPath(mounts, '/srv/bind/a')).toEqual({ device: '254:1', path: '/srv/data/a' });
    expect(fileSystemPath(mounts, '/srv/data/a')).toEqual({ device: '254:1', path: '/srv/data/a' });
    expect(fileSystemPath(mounts, '/srv/viewer')).toEqual({ device: '0:43', path: '/' });
    expect(fileSystemPath(mounts, '/')).toEqual({ device: '254:1', path: '/' });
  });
});

describe('isInside()', () => {
  it('knows the root directory', () => {
    expect(isInside('/a', '/')).toBe(true);
    expect(isInside('/', '/')).toBe(true);
    expect(isInside('/ab', '/a')).toBe(false);
  });
});
