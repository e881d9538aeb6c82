// Views of other file systems than the one the suite itself lies on (LP1990849: on some of them everything was EOVERFLOW),
// with a container's map and from its user namespace; and the kernel's own idmapped mounts of them, which say whether what
// is asked of the views is what Linux does.

import { mkdirSync } from 'node:fs';
import { mountIdmapped } from '../support/idmapped.js';
import { type ImageKind, makeImage } from '../support/images.js';
import { detachMountsBelow } from '../support/mounts.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView } from '../support/view.js';
import { without } from './cases/index.js';
import { conformance, type Place } from './suite.js';

/** Cases that do not hold on the file system itself, so that they cannot hold on a view of it. */
const DIFFERENT: Record<Exclude<ImageKind, 'ext4'>, readonly string[]> = {
  xfs: [
    // Links of at most 1024 bytes; EEXIST where others say ENOTEMPTY; files of up to 2^63-1 bytes.
    'a link keeps any text',
    'a directory replaces an empty one only',
    'a file cannot grow beyond what the file system holds',
    'fallocate refuses what it must',
  ],
  btrfs: [
    // The link count of a directory is 1; metadata counts as blocks; files of up to 2^63-1 bytes.
    'a new directory has two names and the mode that the umask leaves',
    'ftruncate goes past 2 and 4 GiB and leaves a hole',
    'calls relative to an open directory go on after it was renamed',
    'mkdir counts in its parent and rmdir counts it off',
    'a directory moves with what is in it, and the parents count',
    'RENAME_EXCHANGE between directories keeps their counts right',
    'a file cannot grow beyond what the file system holds',
    'fallocate refuses what it must',
  ],
  tmpfs: [
    // No FALLOC_FL_ZERO_RANGE; files of up to 2^63-1 bytes.
    'fallocate punches holes and zeroes',
    'a file cannot grow beyond what the file system holds',
    'fallocate refuses what it must',
  ],
};

/** What does not hold on the kernel's idmapped mounts of them, and does on the views. */
const DIFFERENT_IDMAPPED: Record<Exclude<ImageKind, 'ext4'>, readonly string[]> = {
  xfs: [],
  // No FALLOC_FL_COLLAPSE_RANGE, which FUSE refuses itself; listxattr(2) shows the names of trusted.* to everybody.
  btrfs: [
    'fallocate takes out and puts in, where the kernel lets it through',
    'trusted attributes are hidden from all but root of the host',
  ],
  tmpfs: ['fallocate takes out and puts in, where the kernel lets it through'],
};

const viewOf = (kind: ImageKind) => async (): Promise<Place> => {
  const image = await makeImage(kind);
  const made = makeTempDirectory('view');
  mkdirSync(`${made}/view`);
  const view = await mountView({ source: image.directory, mountpoint: `${made}/view`, map: [CONTAINER_MAP] });
  return {
    directory: view.mountpoint,
    underlay: image.directory,
    userns: [CONTAINER_MAP],
    isView: true,
    learnsByEvents: true,
    alive: () => view.running,
    log: () => view.output(),
    close: async () => {
      await view.close();
      removeTempDirectory(made);
      image.remove();
    },
  };
};

const idmappedOf = (kind: ImageKind) => async (): Promise<Place> => {
  const image = await makeImage(kind);
  const directory = makeTempDirectory('idmapped');
  await mountIdmapped(image.directory, directory, [CONTAINER_MAP]);
  return {
    directory,
    underlay: image.directory,
    userns: [CONTAINER_MAP],
    isView: false,
    learnsByEvents: false,
    alive: () => true,
    log: () => '',
    close: async () => {
      detachMountsBelow(directory);
      removeTempDirectory(directory);
      image.remove();
    },
  };
};

for (const kind of ['xfs', 'btrfs', 'tmpfs'] as const) {
  conformance(`a view of ${kind}`, viewOf(kind), without(DIFFERENT[kind]));
  conformance(
    `the kernel's idmapped mount of ${kind}`,
    idmappedOf(kind),
    without([...DIFFERENT[kind], ...DIFFERENT_IDMAPPED[kind]]),
  );
}
