// What is measured: the bare directory, the kernel's idmapped mount, the peers as Debian packages them, and ours. Each
// says what it does with ids and how its caches agree with the underlay, because speed alone compares nothing.

import { basename, join } from 'node:path';

/** Owner of everything in the underlay, and what it must show as in a view shifted by SHIFT. */
export const UNDERLAY_ID = 1000;
export const SHIFT = 100_000;

/** Long enough that nothing expires during a run. */
const LONG = 3600;

export interface MountPaths {
  readonly source: string;
  readonly mountpoint: string;
  /** Empty directories of the target's own, on the file system of the source (fuse-overlayfs). */
  readonly lower: string;
  readonly work: string;
  /** Where our own compiled program is. */
  readonly main: string;
  readonly mountArguments: readonly string[];
}

export interface Target {
  readonly id: string;
  readonly title: string;
  readonly kind: 'native' | 'kernel' | 'peer' | 'ours';
  /** The uid and gid of the caller, which is also what the tree must show as its owner. */
  readonly caller: number;
  readonly ids: string;
  readonly coherence: string;
  /** Debian package with the program, if it needs one. */
  readonly package: string | null;
  /** The daemon in the foreground, so that its process is ours to measure and to end. Null: no daemon. */
  daemon(paths: MountPaths): readonly string[] | null;
  /** The bars are what this one is held to. */
  readonly judged: boolean;
  readonly needsUring: boolean;
}

const none = (): null => null;

function peer(
  id: string,
  title: string,
  words: {
    package: string;
    shifts: boolean;
    ids: string;
    coherence: string;
    daemon: (paths: MountPaths) => readonly string[];
  },
): Target {
  const caller = words.shifts ? UNDERLAY_ID + SHIFT : UNDERLAY_ID;
  const { package: debianPackage, ids, coherence, daemon } = words;
  return {
    id,
    title,
    kind: 'peer',
    caller,
    ids,
    coherence,
    package: debianPackage,
    daemon,
    judged: false,
    needsUring: false,
  };
}

function bindfs(paths: MountPaths, more: readonly string[]): readonly string[] {
  return ['bindfs', '-f', `--uid-offset=${SHIFT}`, `--gid-offset=${SHIFT}`, ...more, paths.source, paths.mountpoint];
}

function ours(
  id: string,
  title: string,
  coherence: 'lease' | 'strict',
  switches: { passthrough: 'auto' | 'off'; ioUring: 'on' | 'off' },
): Target {
  return {
    id,
    title,
    kind: 'ours',
    caller: UNDERLAY_ID + SHIFT,
    ids: 'shifts users and groups',
    coherence:
      coherence === 'lease' ? 'coherent: caches are taken back on every host edit' : 'coherent: nothing is cached',
    package: null,
    daemon: (paths) => [
      process.execPath,
      paths.main,
      'mount',
      paths.source,
      paths.mountpoint,
      '--foreground',
      '--map',
      `u:0:${SHIFT}:65536`,
      '--map',
      `g:0:${SHIFT}:65536`,
      '--coherence',
      coherence,
      '--passthrough',
      switches.passthrough,
      '--io-uring',
      switches.ioUring,
      ...paths.mountArguments,
    ],
    judged: id === 'ours' || id === 'ours-uring',
    needsUring: switches.ioUring === 'on',
  };
}

export const TARGETS: readonly Target[] = [
  {
    id: 'native',
    title: 'the bare directory',
    kind: 'native',
    caller: UNDERLAY_ID,
    ids: 'no shift',
    coherence: 'is the underlay',
    package: null,
    daemon: none,
    judged: false,
    needsUring: false,
  },
  {
    id: 'idmapped',
    title: 'kernel idmapped mount',
    kind: 'kernel',
    caller: UNDERLAY_ID + SHIFT,
    ids: 'shifts users and groups, in the kernel',
    coherence: 'coherent: the same inodes',
    package: null,
    daemon: none,
    judged: false,
    needsUring: false,
  },
  peer('bindfs', 'bindfs, defaults', {
    package: 'bindfs',
    shifts: true,
    ids: 'shifts users and groups (--uid-offset, --gid-offset)',
    coherence: 'not coherent: caches for 1 s',
    daemon: (paths) => bindfs(paths, []),
  }),
  peer('bindfs-long', 'bindfs, threads, long timeouts', {
    package: 'bindfs',
    shifts: true,
    ids: 'shifts users and groups; its man page warns of a race between create and chown with --multithreaded',
    coherence: `not coherent: host edits stay unseen for ${LONG} s`,
    daemon: (paths) =>
      bindfs(paths, ['--multithreaded', '-o', `entry_timeout=${LONG},attr_timeout=${LONG},negative_timeout=${LONG}`]),
  }),
  peer('fuse-overlayfs', 'fuse-overlayfs, the underlay as its upper layer', {
    package: 'fuse-overlayfs',
    shifts: true,
    ids: 'shifts users and groups (uidmapping, gidmapping); leaves its whiteouts and other marks in the underlay',
    coherence: 'not coherent: host edits stay unseen without limit',
    daemon: (paths) => [
      'fuse-overlayfs',
      '-f',
      '-o',
      `lowerdir=${paths.lower},upperdir=${paths.source},workdir=${paths.work},` +
        `uidmapping=0:${SHIFT}:65536,gidmapping=0:${SHIFT}:65536,allow_other`,
      paths.mountpoint,
    ],
  }),
  peer('mergerfs', 'mergerfs, one branch', {
    package: 'mergerfs',
    shifts: false,
    ids: 'cannot shift: measured with the unshifted caller',
    coherence: 'not coherent: caches for 1 s',
    daemon: (paths) => [
      'mergerfs',
      '-f',
      '-o',
      'allow_other,use_ino,cache.files=auto-full,dropcacheonclose=false',
      paths.source,
      paths.mountpoint,
    ],
  }),
  ours('ours', 'fuse-shiftfs, lease', 'lease', { passthrough: 'auto', ioUring: 'off' }),
  ours('ours-uring', 'fuse-shiftfs, lease, io_uring', 'lease', { passthrough: 'auto', ioUring: 'on' }),
  ours('ours-copy', 'fuse-shiftfs, lease, no passthrough', 'lease', { passthrough: 'off', ioUring: 'off' }),
  ours('ours-strict', 'fuse-shiftfs, strict', 'strict', { passthrough: 'auto', ioUring: 'off' }),
];

export const TARGET_IDS: readonly string[] = TARGETS.map((target) => target.id);

export function targetById(id: string): Target {
  const found = TARGETS.find((target) => target.id === id);
  if (found === undefined) throw new Error(`there is no target ${id}`);
  return found;
}

export function mountPaths(
  base: string,
  source: string,
  target: Target,
  main: string,
  mountArguments: readonly string[],
): MountPaths {
  // Of another name in each run, like the scratch directories of run.ts.
  const layers = join(base, `layers-${basename(base)}`);
  return {
    source,
    mountpoint: join(base, 'mnt', target.id),
    lower: join(layers, target.id, 'lower'),
    work: join(layers, target.id, 'work'),
    main,
    mountArguments,
  };
}
