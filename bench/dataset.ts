// The underlay that all targets show, and what is known of it beforehand, so that every workload can be checked.
//
//   tree/dNNN/fNNNNNN   text; the first line of a file is its own path, every 100th holds the needle
//   repo.git            a repository whose work tree is `tree`
//   data/big            a pattern that loadgen knows
//   scratch/            what workloads change; a directory for each target and row, new each time
//
// Everything belongs to UNDERLAY_ID. Archives and sources that are copied into scratch are kept outside the underlay.

import { execFile } from 'node:child_process';
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Loadgen, LoadResult } from './loadgen.js';
import type { BenchOptions } from './options.js';
import { UNDERLAY_ID } from './targets.js';
import { spreadDirectories } from './workspace.js';

export const NEEDLE = 'needle in the haystack';
const NEEDLE_EVERY = 100;
/** Headers that every source of the built program includes, from the last of three -I directories. */
const HEADERS = 40;
const FILES_PER_PACKAGE = 20;

export interface Dataset {
  /** The underlay. */
  readonly source: string;
  /** Files for loadgen's --list. */
  readonly lists: { readonly files: string; readonly absent: string; readonly dirs: string };
  /** Sum of st_size of the tree's files, and of the hashes of their names. */
  readonly sizes: bigint;
  readonly nameHashes: bigint;
  /** What the commands print on the underlay itself. */
  readonly expected: {
    readonly find: LoadResult['facts'];
    readonly grep: LoadResult['facts'];
    readonly tar: LoadResult['facts'];
  };
  readonly archive: string;
  readonly program: string;
  readonly project: string;
  /** What npm leaves in node_modules. */
  readonly installedFiles: number;
}

export const COMMANDS = {
  find: ['find', 'tree', '-printf', '%p %s %m %y %T@\\n'],
  grep: ['grep', '-r', NEEDLE, 'tree'],
  tar: ['tar', '-cf', '-', 'tree'],
} as const;

/** The environment of every git: nobody's configuration, nobody's hooks. */
export const GIT_ENV = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'bench',
  GIT_AUTHOR_EMAIL: 'bench@localhost',
  GIT_COMMITTER_NAME: 'bench',
  GIT_COMMITTER_EMAIL: 'bench@localhost',
  HOME: '/nonexistent',
} as const;

/** FNV-1a, 64 bit, as loadgen hashes names. */
export function hashName(name: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(name)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** Between 200 and 8200 bytes, 4200 on average, the same in every run. */
export function fileSize(index: number): number {
  return 200 + ((index * 2_654_435_761) % 8001);
}

export function fileContent(path: string, index: number): string {
  const head = `${path}\n${index % NEEDLE_EVERY === 0 ? `${NEEDLE}\n` : ''}`;
  const line = `${'the quick brown fox jumps over the lazy dog '.repeat(2).trim()} ${index}\n`;
  const size = fileSize(index);
  return (head + line.repeat(Math.ceil(size / line.length))).slice(0, size);
}

interface Tree {
  readonly files: readonly string[];
  readonly dirs: readonly string[];
}

/** Paths relative to the underlay. Files are spread over the directories as evenly as numbers allow. */
export function treePaths(files: number, dirs: number): Tree {
  const dirNames = Array.from({ length: dirs }, (_, i) => `tree/d${String(i).padStart(3, '0')}`);
  const fileNames = Array.from(
    { length: files },
    (_, i) => `${dirNames[Math.floor((i * dirs) / files)]}/f${String(i).padStart(6, '0')}`,
  );
  return { files: fileNames, dirs: dirNames };
}

/** A directory of the owner of the underlay. */
export function makeDirectory(path: string): void {
  mkdirSync(path);
  chownSync(path, UNDERLAY_ID, UNDERLAY_ID);
}

function makeFile(path: string, content: string): void {
  const fd = openSync(path, 'wx', 0o644);
  writeSync(fd, content);
  closeSync(fd);
  chownSync(path, UNDERLAY_ID, UNDERLAY_ID);
}

const run = promisify(execFile);

/** Runs as the owner of the underlay. */
async function asOwner(signal: AbortSignal, cwd: string, program: string, ...words: string[]): Promise<void> {
  const env = { PATH: process.env['PATH'], ...GIT_ENV };
  await run(program, words, { uid: UNDERLAY_ID, gid: UNDERLAY_ID, cwd, env, signal, maxBuffer: 1 << 26 });
}

function makeProgram(directory: string, sources: number): void {
  makeDirectory(directory);
  // Two directories without headers are searched first, as in most real builds: absent names are looked up.
  for (const name of ['a', 'b', 'c']) makeDirectory(join(directory, name));
  const includes: string[] = [];
  for (let i = 0; i < HEADERS; i++) {
    makeFile(join(directory, 'c', `h${i}.h`), `#ifndef H${i}\n#define H${i}\nenum { value${i} = ${i} };\n#endif\n`);
    includes.push(`#include <h${i}.h>`);
  }
  const units = Array.from({ length: sources }, (_, i) => i);
  for (const i of units) {
    makeFile(join(directory, `u${i}.c`), `${includes.join('\n')}\nint f${i}(void) { return value${i % HEADERS}; }\n`);
  }
  makeFile(
    join(directory, 'main.c'),
    `int printf(const char *, ...);\n${units.map((i) => `int f${i}(void);`).join('\n')}\n` +
      `int main(void) { return printf("%d\\n", ${units.map((i) => `f${i}()`).join(' + ')}) < 0; }\n`,
  );
}

/** What the built program prints. */
export function programOutput(sources: number): string {
  let sum = 0;
  for (let i = 0; i < sources; i++) sum += i % HEADERS;
  return `${sum}\n`;
}

async function makeProject(directory: string, packages: number, signal: AbortSignal): Promise<void> {
  makeDirectory(directory);
  makeDirectory(join(directory, 'tarballs'));
  const dependencies: Record<string, string> = {};
  for (let i = 0; i < packages; i++) {
    const stage = join(directory, 'package');
    makeDirectory(stage);
    makeFile(join(stage, 'package.json'), JSON.stringify({ name: `bench-p${i}`, version: '1.0.0', main: 'm0.js' }));
    for (let m = 1; m < FILES_PER_PACKAGE; m++) makeFile(join(stage, `m${m}.js`), `exports.m = ${m};\n`.repeat(50));
    const tarball = join('tarballs', `bench-p${i}-1.0.0.tgz`);
    await asOwner(signal, directory, 'tar', '-czf', tarball, 'package');
    await asOwner(signal, directory, 'rm', '-r', 'package');
    dependencies[`bench-p${i}`] = `file:${tarball}`;
  }
  makeFile(
    join(directory, 'package.json'),
    JSON.stringify({ name: 'bench', version: '1.0.0', private: true, dependencies }),
  );
}

/** Makes the underlay `base`/source and what else the workloads need. */
export async function makeDataset(
  base: string,
  options: BenchOptions,
  loadgen: Loadgen,
  signal: AbortSignal,
): Promise<Dataset> {
  const source = join(base, 'source');
  const assets = join(base, 'assets');
  for (const directory of [source, assets, ...['tree', 'data', 'scratch'].map((name) => join(source, name))]) {
    makeDirectory(directory);
  }
  spreadDirectories(join(source, 'scratch'));
  const tree = treePaths(options.files, options.dirs);
  for (const directory of tree.dirs) makeDirectory(join(source, directory));
  let sizes = 0n;
  let nameHashes = 0n;
  for (const [index, path] of tree.files.entries()) {
    makeFile(join(source, path), fileContent(path, index));
    sizes += BigInt(fileSize(index));
    nameHashes = BigInt.asUintN(64, nameHashes + hashName(path.slice(path.lastIndexOf('/') + 1)));
    if (index % 1000 === 0) signal.throwIfAborted();
  }
  const lists = {
    files: join(assets, 'files'),
    absent: join(assets, 'absent'),
    dirs: join(assets, 'dirs'),
  };
  writeFileSync(lists.files, tree.files.map((path) => `${path}\n`).join(''));
  writeFileSync(lists.absent, tree.files.map((path) => `${path}.absent\n`).join(''));
  writeFileSync(lists.dirs, tree.dirs.map((path) => `${path}\n`).join(''));
  for (const list of Object.values(lists)) chmodSync(list, 0o644);

  const owner = { user: UNDERLAY_ID, signal };
  const wants = (...rows: string[]): boolean => rows.some((row) => options.rows.includes(row));

  if (wants('read', 'mmap', 'random-read')) {
    await loadgen.run(['fill', '--root', source, '--file', 'data/big', '--size', `${options.readBytes}`], owner);
  }
  if (wants('git-status', 'git-clone')) {
    const git = (...words: string[]) =>
      asOwner(signal, source, 'git', '--git-dir=repo.git', '--work-tree=tree', '-c', 'gc.auto=0', ...words);
    await asOwner(signal, source, 'git', 'init', '-q', '--bare', '-b', 'main', 'repo.git');
    await git('add', '.');
    await git('commit', '-q', '-m', 'The tree');
    await git('repack', '-a', '-d', '-q');
  }
  const archive = join(assets, 'archive.tar');
  if (wants('untar')) {
    const staged = join(assets, 'staged');
    makeDirectory(staged);
    const paths = treePaths(options.archiveFiles, Math.max(1, Math.floor(options.archiveFiles / 100)));
    makeDirectory(join(staged, 'tree'));
    for (const directory of paths.dirs) makeDirectory(join(staged, directory));
    for (const [index, path] of paths.files.entries()) makeFile(join(staged, path), fileContent(path, index));
    await asOwner(signal, staged, 'tar', '-cf', '../archive.tar', 'tree');
    await asOwner(signal, assets, 'rm', '-r', 'staged');
  }
  const program = join(assets, 'program');
  if (wants('cc-build')) makeProgram(program, options.sources);
  const project = join(assets, 'project');
  if (wants('npm-install')) await makeProject(project, options.packages, signal);

  const factsOf = async (words: readonly string[], bytesOnly: boolean): Promise<LoadResult['facts']> => {
    const mode = bytesOnly ? ['--expect-sum', '1'] : [];
    return (await loadgen.run(['exec', '--root', source, ...mode, '--', ...words], owner)).facts;
  };
  const expected = {
    find: await factsOf(COMMANDS.find, false),
    grep: await factsOf(COMMANDS.grep, false),
    tar: await factsOf(COMMANDS.tar, true),
  };
  return {
    source,
    lists,
    sizes,
    nameHashes,
    expected,
    archive,
    program,
    project,
    installedFiles: options.packages * FILES_PER_PACKAGE,
  };
}
