// Small file systems of other kinds for underlays: on a loop device over a sparse file, or tmpfs.

import { mkdirSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { runOk } from './programs.js';
import { makeTempDirectory, removeTempDirectory } from './temp.js';

export type ImageKind = 'ext4' | 'xfs' | 'btrfs' | 'tmpfs';

const MKFS: Record<Exclude<ImageKind, 'tmpfs'>, readonly string[]> = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
};

/** The smallest that mkfs.xfs takes is 300 MiB; the files are sparse. */
const DEFAULT_MEBIBYTES: Record<ImageKind, number> = { ext4: 128, xfs: 320, btrfs: 256, tmpfs: 128 };

export interface Image {
  /** Where it is mounted; its root belongs to root, mode 0755. */
  readonly directory: string;
  unmount(): Promise<void>;
  /** Removes it, mounted or not. */
  remove(): void;
}

/** Makes and mounts a file system. `options` are those of mount(8). */
export async function makeImage(
  kind: ImageKind,
  { mebibytes = DEFAULT_MEBIBYTES[kind], options = [] }: { mebibytes?: number; options?: readonly string[] } = {},
): Promise<Image> {
  const made = makeTempDirectory(kind);
  const directory = `${made}/mnt`;
  mkdirSync(directory);
  try {
    if (kind === 'tmpfs') {
      await runOk([
        'mount',
        '-t',
        'tmpfs',
        '-o',
        [`size=${mebibytes}m`, 'mode=755', ...options].join(','),
        'tmpfs',
        directory,
      ]);
    } else {
      const file = `${made}/image`;
      await writeFile(file, '');
      await truncate(file, mebibytes * 1024 * 1024);
      await runOk([...MKFS[kind], file]);
      // The kernel frees the loop device with the mount.
      await runOk(['mount', '-t', kind, '-o', ['loop', ...options].join(','), file, directory]);
    }
  } catch (error) {
    removeTempDirectory(made);
    throw error;
  }
  return {
    directory,
    unmount: async () => {
      await runOk(['umount', '--', directory]);
    },
    remove: () => removeTempDirectory(made),
  };
}
