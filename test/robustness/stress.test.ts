// Programs that were made to break file systems: stress-ng's filesystem class and fio with verification, as the container's root.
// Only what the kernel's own idmapped mount passes in the same run is asked of the view.

import { mkdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { mountIdmapped } from '../support/idmapped.js';
import { detachMountsBelow } from '../support/mounts.js';
import { run } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withView } from '../support/view.js';

const CONTAINER_ROOT = { uid: 0, gid: 0, userns: [CONTAINER_MAP] } as const;
const SECONDS = Number(process.env['FUSE_SHIFTFS_STRESS_SECONDS'] ?? 6);

/**
 * `stress-ng --class filesystem?` of Debian 12, without those that work on other things than a directory (bind-mount, binderfs,
 * eventfd, ioprio, procfs), watch all of the machine (fanotify, inotify, dnotify), or need more than a container's root has
 * (handle: open_by_handle_at).
 */
const STRESSORS =
  'access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl fiemap file-ioctl filename ' +
  'flock fpunch fsize fstat getdent hdd inode-flags io iomix lease link locka lockf lockofd mknod open rename symlink ' +
  'sync-file touch utime verity xattr';
const SMALL = '--hdd-bytes 16m --fallocate-bytes 16m --iomix-bytes 16m --copy-file-bytes 128m --sync-file-bytes 16m';

interface Place {
  readonly source: string;
  readonly directory: string;
}

async function withIdmapped(fn: (place: Place) => Promise<void>): Promise<void> {
  const made = makeTempDirectory('stress');
  const [source, directory] = [`${made}/underlay`, `${made}/idmapped`];
  mkdirSync(source);
  mkdirSync(directory);
  try {
    await mountIdmapped(source, directory, [CONTAINER_MAP]);
    await fn({ source, directory });
  } finally {
    detachMountsBelow(directory);
    removeTempDirectory(made);
  }
}

const withPlain =
  (...options: string[]) =>
  (fn: (place: Place) => Promise<void>): Promise<void> =>
    withView({ map: [CONTAINER_MAP], options }, async (view) => {
      await fn({ source: view.source, directory: view.mountpoint });
      expect(
        view
          .output()
          .split('\n')
          .filter((line) => /"level":"(?:error|fatal)"/.test(line)),
      ).toEqual([]);
    });

describe.each([
  ["the kernel's idmapped mount", withIdmapped],
  ['a view', withPlain()],
  ['a view through which all data goes', withPlain('--passthrough', 'off', '--coherence', 'strict')],
] as const)('%s', (_, withPlace) => {
  test("stress-ng's filesystem class finds nothing wrong", { timeout: SECONDS * 1000 + 120_000 }, () =>
    withPlace(async ({ directory }) => {
      const stressors = STRESSORS.split(' ').flatMap((name) => [`--${name}`, '1']);
      const { status, stdout, stderr } = await run(
        // Its own directory and files below the one given.
        [
          'stress-ng',
          '--temp-path',
          directory,
          '--timeout',
          `${SECONDS}s`,
          '--verify',
          ...stressors,
          ...SMALL.split(' '),
        ],
        { ...CONTAINER_ROOT, timeout: SECONDS * 1000 + 90_000 },
      );
      const text = `${stdout.toString()}${stderr}`;
      expect(text.split('\n').filter((line) => /\b(fail|error):/.test(line))).toEqual([]);
      expect(status, text).toBe(0);
      expect(text).toContain('successful run completed');
    }),
  );

  test.each([
    ['libaio', '--direct=1', '--iodepth=16'],
    ['psync', '--direct=0', '--iodepth=1'],
    ['mmap', '--direct=0', '--iodepth=1'],
  ])('fio reads what it wrote: %s', async (engine, direct, depth) => {
    await withPlace(async ({ directory }) => {
      const { status, stdout, stderr } = await run(
        [
          'fio',
          '--name=verify',
          `--directory=${directory}`,
          `--ioengine=${engine}`,
          direct,
          depth,
          '--rw=randwrite',
          '--bs=4k',
          '--verify_state_save=0',
          '--size=24m',
          '--numjobs=2',
          '--verify=crc32c',
          '--do_verify=1',
          '--verify_fatal=1',
          '--fsync=200',
          '--end_fsync=1',
          '--group_reporting',
        ],
        { ...CONTAINER_ROOT, cwd: '/', timeout: 90_000 },
      );
      expect([status, stderr], stdout.toString()).toEqual([0, '']);
    });
  });
});
