// The rows of the table: every workload, what it is held to, and how it is checked.
//
// A row of kind `kernel` is one that the kernel could answer from its caches: it is compared with the bare directory.
// A row of kind `daemon` needs the file system's process: it is compared with the fastest peer of the same run.

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { COMMANDS, type Dataset, GIT_ENV, programOutput } from './dataset.js';
import { type Loadgen, type LoadResult, WorkloadError } from './loadgen.js';
import type { BenchOptions } from './options.js';
import type { Bar } from './stats.js';
import { type Target, UNDERLAY_ID } from './targets.js';

/** Where one sample of a row is taken. */
export interface Scene {
  readonly target: Target;
  /** The root of the view; the underlay itself for `native`, and while preparing. */
  readonly root: string;
  readonly dataset: Dataset;
  /** This sample's own directory, relative to the root; empty until `prepare`. */
  readonly scratch: string;
  readonly options: BenchOptions;
  readonly loadgen: Loadgen;
  readonly signal: AbortSignal;
  cpuSeconds(): number | null;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  /** Rows of a group share a mount. */
  readonly group: string;
  readonly kind: 'kernel' | 'daemon';
  readonly bar: Bar;
  /** Fills the scratch directory in the underlay before the target is mounted. */
  readonly prepare?: (scene: Scene) => Promise<void>;
  /** Throws WorkloadError when the work was not done. */
  readonly run: (scene: Scene) => Promise<LoadResult>;
}

const native = (limit: number): Bar => ({ against: 'native', limit });
const peer = (limit: number): Bar => ({ against: 'peer', limit });

const runProgram = promisify(execFile);

function load(scene: Scene, words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<LoadResult> {
  return scene.loadgen.run(words, {
    user: scene.target.caller,
    env,
    signal: scene.signal,
    cpuSeconds: scene.cpuSeconds,
  });
}

/** A preparation, in the underlay as its owner. */
function seed(scene: Scene, words: readonly string[]): Promise<LoadResult> {
  return scene.loadgen.run(words, { user: UNDERLAY_ID, signal: scene.signal });
}

async function copyIn(scene: Scene, from: string): Promise<void> {
  const to = join(scene.dataset.source, scene.scratch);
  await runProgram('cp', ['-r', `${from}/.`, to], { uid: UNDERLAY_ID, gid: UNDERLAY_ID, signal: scene.signal });
}

function expectFacts(result: LoadResult, expected: LoadResult['facts'], what: string): LoadResult {
  const { lines, hash, bytes } = result.facts;
  if (lines === expected.lines && hash === expected.hash && bytes === expected.bytes) return result;
  throw new WorkloadError(`${what}: ${lines} lines, ${bytes} bytes instead of ${expected.lines} and ${expected.bytes}`);
}

/** fuse-overlayfs's marks for deleted names and for directories that hide lower ones: they are not in its view. */
function isOverlayMark(name: string): boolean {
  return name.startsWith('.wh.');
}

/** Regular files below a directory of the underlay. */
function countFiles(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && !isOverlayMark(entry.name),
  ).length;
}

function expectFiles(scene: Scene, path: string, expected: number): void {
  const directory = join(scene.dataset.source, scene.scratch, path);
  const found = countFiles(directory);
  if (found !== expected) throw new WorkloadError(`${found} files in the underlay instead of ${expected}`);
  const owner = statSync(directory).uid;
  if (owner !== UNDERLAY_ID) throw new WorkloadError(`${path} belongs to ${owner} in the underlay`);
}

/** Words of loadgen for a workload that walks a list of the tree. */
function walk(scene: Scene, workload: string, list: keyof Dataset['lists'], ...more: string[]): string[] {
  return [workload, '--root', scene.root, '--list', scene.dataset.lists[list], ...more];
}

function lstat(scene: Scene, idleMs: number): Promise<LoadResult> {
  const { sizes } = scene.dataset;
  const owner = `${scene.target.caller}`;
  return load(
    scene,
    walk(scene, 'lstat', 'files', '--expect-sum', `${sizes}`, '--owner', owner, '--idle-ms', `${idleMs}`),
  );
}

/** Longer than the second that libfuse caches names and attributes by default. */
const IDLE_MS = 1300;

/** The rows whose files are large. */
export const DATA_GROUP = 'data';

function dataRow(id: string, title: string, limit: number, words: (scene: Scene) => string[]): Row {
  return {
    id,
    title,
    group: DATA_GROUP,
    kind: 'kernel',
    bar: native(limit),
    run: (scene) => load(scene, [id, '--root', scene.root, ...words(scene)]),
  };
}

const bigFile = (scene: Scene): string[] => ['--file', 'data/big', '--size', `${scene.options.readBytes}`];

/** The scratch directory in the view, and the same in the underlay to check against. */
function inScratch(scene: Scene): string[] {
  return ['--root', join(scene.root, scene.scratch), '--under', join(scene.dataset.source, scene.scratch)];
}

/** Appends and random writes of 4 KiB are faster than creations by two orders of magnitude. */
const manyOperations = (scene: Scene): string => `${scene.options.operations * 5}`;
const RANDOM_WRITE_BYTES = 64 * 1024 * 1024;

/** As many as the create row writes: a file with data has a block to free. */
const SEED_BYTES = 100;

/**
 * A row that does one small operation many times, after half as many on other names; `seeds` makes the names. Those that make
 * files come before those that delete some: ext4 passes over every inode that was deleted within the last minutes
 * (fs/ext4/ialloc.c, recently_deleted), which made a file of the bare directory cost 25 us or 600, depending on who had been measured before.
 */
function smallRow(id: string, title: string, seeds: 'files' | 'xattrs' | 'dirs' | null): Row {
  const count = ({ options: { operations } }: Scene): string[] => [
    ...['--n', `${operations}`],
    ...['--warmup', `${Math.floor(operations / 2)}`],
  ];
  const run = (scene: Scene): Promise<LoadResult> =>
    load(scene, [
      id,
      ...inScratch(scene),
      ...count(scene),
      '--owner',
      `${scene.target.caller}`,
      '--under-owner',
      `${UNDERLAY_ID}`,
    ]);
  const row = { id, title, kind: 'daemon', bar: peer(0.8), run } as const;
  if (seeds === null) return { ...row, group: 'make' };
  return {
    ...row,
    group: 'small',
    prepare: async (scene) => {
      const root = join(scene.dataset.source, scene.scratch);
      const workload = seeds === 'dirs' ? 'seed-dirs' : 'seed-files';
      await seed(scene, [
        workload,
        '--root',
        root,
        ...count(scene),
        ...(seeds === 'dirs' ? [] : ['--size', `${SEED_BYTES}`]),
        ...(seeds === 'xattrs' ? ['--expect-sum', '1'] : []),
      ]);
    },
  };
}

function openRead(scene: Scene, procs: number): Promise<LoadResult> {
  return load(scene, walk(scene, 'open-read', 'files', '--procs', `${procs}`));
}

/** A command that reads the whole tree, with the caches of the view cold and those of the underlay warm. */
function coldRow(id: 'find-cold' | 'grep' | 'tar', command: keyof typeof COMMANDS, title: string, limit: number): Row {
  return {
    id,
    title,
    group: id,
    kind: 'daemon',
    bar: peer(limit),
    run: async (scene) => {
      const mode = command === 'tar' ? ['--expect-sum', '1'] : [];
      const result = await load(scene, ['exec', '--root', scene.root, ...mode, '--', ...COMMANDS[command]]);
      return expectFacts(result, scene.dataset.expected[command], command);
    },
  };
}

function gitStatus(scene: Scene, optionalLocks: '0' | '1', ...mode: string[]): Promise<LoadResult> {
  // An index holds the uid, gid and inode number of every file: each target needs one of its own.
  const env = {
    ...GIT_ENV,
    GIT_INDEX_FILE: join(scene.root, scene.scratch, 'index'),
    GIT_OPTIONAL_LOCKS: optionalLocks,
  };
  const words = ['git', '--git-dir=repo.git', '--work-tree=tree', 'status', '--porcelain'];
  return load(scene, ['exec', '--root', scene.root, ...mode, '--', ...words], env);
}

export const ROWS: readonly Row[] = [
  {
    id: 'lstat',
    title: 'lstat of everything, warm',
    group: 'names',
    kind: 'kernel',
    bar: native(1.2),
    run: (scene) => lstat(scene, 0),
  },
  {
    id: 'lstat-idle',
    title: 'lstat of everything, after 1.3 s idle',
    group: 'names',
    kind: 'kernel',
    bar: native(1.2),
    run: (scene) => lstat(scene, IDLE_MS),
  },
  {
    id: 'absent',
    title: 'lstat of absent names, warm',
    group: 'names',
    kind: 'kernel',
    bar: native(1.3),
    run: (scene) => load(scene, walk(scene, 'absent', 'absent')),
  },
  {
    id: 'readdir',
    title: 'readdir of everything, warm (an entry)',
    group: 'names',
    kind: 'kernel',
    bar: native(2),
    run: (scene) => load(scene, walk(scene, 'readdir', 'dirs', '--expect-sum', `${scene.dataset.nameHashes}`)),
  },
  {
    id: 'find',
    title: 'find -printf, warm',
    group: 'names',
    kind: 'kernel',
    bar: native(1.4),
    run: async (scene) => {
      const result = await load(scene, ['exec', '--root', scene.root, '--warm', '--', ...COMMANDS.find]);
      return expectFacts(result, scene.dataset.expected.find, 'find');
    },
  },
  {
    id: 'git-status',
    title: 'git status, warm',
    group: 'names',
    kind: 'kernel',
    bar: native(1.4),
    prepare: async (scene) => {
      const { source } = scene.dataset;
      const words = [join(source, 'repo.git', 'index'), join(source, scene.scratch, 'index')];
      await runProgram('cp', words, { uid: UNDERLAY_ID, gid: UNDERLAY_ID, signal: scene.signal });
    },
    run: async (scene) => {
      // The first one may write what it saw to the index, as it does for anybody; the measured one only looks.
      await gitStatus(scene, '1');
      const result = await gitStatus(scene, '0', '--warm');
      if (result.facts.bytes !== '0') throw new WorkloadError(`git sees ${result.facts.lines} changes`);
      return result;
    },
  },
  dataRow('read', 'read a large file, warm', 1.1, bigFile),
  dataRow('mmap', 'read a large file through mmap, warm', 1.1, bigFile),
  dataRow('random-read', 'random read of 4 KiB, warm', 1.1, (scene) => [
    ...bigFile(scene),
    '--n',
    manyOperations(scene),
  ]),
  dataRow('append', 'append 100 B', 1.1, (scene) => [
    ...inScratch(scene),
    '--file',
    'file',
    '--n',
    manyOperations(scene),
  ]),
  dataRow('write', 'write a large file', 1.3, (scene) => [
    ...inScratch(scene),
    '--file',
    'file',
    '--size',
    `${scene.options.writeBytes}`,
  ]),
  {
    ...dataRow('random-write', 'random write of 4 KiB', 1.1, (scene) => [
      ...inScratch(scene),
      '--file',
      'file',
      '--size',
      `${RANDOM_WRITE_BYTES}`,
      '--n',
      manyOperations(scene),
    ]),
    prepare: async (scene) => {
      const root = join(scene.dataset.source, scene.scratch);
      await seed(scene, ['fill', '--root', root, '--file', 'file', '--size', `${RANDOM_WRITE_BYTES}`]);
    },
  },
  coldRow('find-cold', 'find', 'find -printf, mounted anew', 0.9),
  {
    id: 'open-read',
    title: 'open, read 4 KiB, close',
    group: 'open',
    kind: 'daemon',
    bar: peer(0.6),
    run: (scene) => openRead(scene, 1),
  },
  {
    id: 'open-read-4',
    title: 'open, read 4 KiB, close, 4 processes',
    group: 'open',
    kind: 'daemon',
    bar: peer(0.6),
    run: (scene) => openRead(scene, 4),
  },
  smallRow('create', 'create, write 100 B, close', null),
  smallRow('unlink', 'unlink', 'files'),
  smallRow('mkdir', 'mkdir', null),
  smallRow('rmdir', 'rmdir', 'dirs'),
  smallRow('rename', 'rename', 'files'),
  smallRow('chmod', 'chmod', 'files'),
  smallRow('setxattr', 'setxattr', 'files'),
  smallRow('getxattr', 'getxattr', 'xattrs'),
  coldRow('grep', 'grep', 'grep -r, mounted anew', 0.7),
  coldRow('tar', 'tar', 'tar of the tree, mounted anew', 0.7),
  {
    id: 'npm-install',
    title: 'npm install of local packages',
    group: 'jobs',
    kind: 'daemon',
    bar: peer(0.8),
    prepare: (scene) => copyIn(scene, scene.dataset.project),
    run: async (scene) => {
      const home = join(scene.root, scene.scratch);
      const flags = ['--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--no-update-notifier', '--silent'];
      const words = ['npm', 'install', ...flags, '--cache', join(home, '.npm')];
      const result = await load(scene, ['exec', '--root', home, '--', ...words], { HOME: home });
      // npm leaves an index of its own beside the packages.
      expectFiles(scene, 'node_modules', scene.dataset.installedFiles + 1);
      return result;
    },
  },
  {
    id: 'git-clone',
    title: 'git clone, local',
    group: 'jobs',
    kind: 'daemon',
    bar: peer(0.8),
    run: async (scene) => {
      const to = join(scene.scratch, 'clone');
      const words = ['git', 'clone', '-q', '--no-hardlinks', 'repo.git', to];
      const result = await load(scene, ['exec', '--root', scene.root, '--', ...words], GIT_ENV);
      const { length } = readdirSync(join(scene.dataset.source, to, '.git', 'objects', 'pack'));
      if (length === 0) throw new WorkloadError('the clone has no pack');
      for (const name of readdirSync(join(scene.dataset.source, to))) {
        if (name !== '.git' && !isOverlayMark(name) && !/^d\d+$/.test(name))
          throw new WorkloadError(`the clone has ${name}`);
      }
      const files = countFiles(join(scene.dataset.source, to)) - countFiles(join(scene.dataset.source, to, '.git'));
      if (files !== scene.options.files) throw new WorkloadError(`the clone has ${files} files`);
      return result;
    },
  },
  {
    id: 'cc-build',
    title: 'cc build of small files',
    group: 'jobs',
    kind: 'daemon',
    bar: peer(0.8),
    prepare: (scene) => copyIn(scene, scene.dataset.program),
    run: async (scene) => {
      const root = join(scene.root, scene.scratch);
      const script = 'for f in *.c; do cc -O0 -Ia -Ib -Ic -c "$f" || exit 1; done; cc -o program *.o';
      const result = await load(scene, ['exec', '--root', root, '--', 'sh', '-c', script]);
      const { stdout } = await runProgram(join(scene.dataset.source, scene.scratch, 'program'));
      if (stdout !== programOutput(scene.options.sources)) throw new WorkloadError('the program is wrong');
      return result;
    },
  },
  {
    id: 'untar',
    title: 'untar',
    group: 'jobs',
    kind: 'daemon',
    bar: peer(0.8),
    run: async (scene) => {
      const root = join(scene.root, scene.scratch);
      const result = await load(scene, ['exec', '--root', root, '--', 'tar', '-xf', scene.dataset.archive]);
      expectFiles(scene, 'tree', scene.options.archiveFiles);
      const first = readFileSync(join(scene.dataset.source, scene.scratch, 'tree/d000/f000000'), 'utf8');
      if (!first.startsWith('tree/d000/f000000\n')) throw new WorkloadError('the files are wrong');
      return result;
    },
  },
];

export const ROW_IDS: readonly string[] = ROWS.map((row) => row.id);
