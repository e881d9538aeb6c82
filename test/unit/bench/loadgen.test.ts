// The load generator's guards: work that was not done, or was done wrongly, must end in a reason and never in a number.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashName } from '../../../bench/dataset.js';
import { Loadgen, type LoadResult, WorkloadError } from '../../../bench/loadgen.js';
import { isSameProcess, processIdentity } from '../../../bench/process.js';

const base = mkdtempSync('/var/tmp/fuse-shiftfs-loadgen-test-');
const user = process.getuid!();
let loadgen: Loadgen;
let root: string;
let count = 0;

const run = (...words: string[]): Promise<LoadResult> =>
  loadgen.run(words, { user, signal: new AbortController().signal });
const names = (...paths: string[]): string => {
  const list = `${root}.list`;
  writeFileSync(list, paths.map((path) => `${path}\n`).join(''));
  return list;
};

beforeAll(async () => {
  loadgen = await Loadgen.compile(new URL('../../../bench/loadgen.c', import.meta.url).pathname, base);
}, 60_000);

afterAll(() => rmSync(base, { recursive: true, force: true }));

beforeEach(() => {
  root = join(base, `root${count++}`);
  mkdirSync(root);
});

describe('names', () => {
  beforeEach(() => {
    for (const name of ['a', 'b']) writeFileSync(join(root, name), `${name}\n${'x'.repeat(98)}`);
  });
  const lstat = (sum: number, owner = user): Promise<LoadResult> =>
    run('lstat', '--root', root, '--list', names('a', 'b'), '--expect-sum', `${sum}`, '--owner', `${owner}`);

  test('lstat measures what it checked', async () => {
    const { ns, operations } = await lstat(200);
    expect(operations).toBe(2);
    expect(ns).toBeGreaterThan(0);
  });
  test('a wrong size fails', async () => {
    await expect(lstat(201)).rejects.toThrow('sizes add up to 200');
  });
  test('a wrong owner fails', async () => {
    await expect(lstat(200, user + 1)).rejects.toThrow(`belongs to ${user}`);
  });
  test('a name that is there fails the absent row', async () => {
    await expect(run('absent', '--root', root, '--list', names('c', 'a'))).rejects.toThrow('a exists');
  });
  test('a listing is compared by its names', async () => {
    const sum = BigInt.asUintN(64, hashName('a') + hashName('b'));
    const readdir = (expected: bigint) =>
      run('readdir', '--root', root, '--list', names('.'), '--expect-sum', `${expected}`);
    expect((await readdir(sum)).operations).toBe(2);
    await expect(readdir(hashName('a'))).rejects.toThrow('listings');
  });
  test('another file’s content fails open-read, also in a child process', async () => {
    symlinkSync('a', join(root, 'z'));
    for (const procs of ['1', '4']) {
      await expect(run('open-read', '--root', root, '--list', names('a', 'z'), '--procs', procs)).rejects.toThrow(
        'another file',
      );
    }
  });
});

describe('data', () => {
  const size = 1 << 20;
  const words = (): string[] => ['--root', root, '--file', 'big', '--size', `${size}`];
  beforeEach(async () => {
    await run('fill', ...words());
  });
  test.each([['read'], ['mmap'], ['random-read', '--n', '500']])('%s reads what was filled in', async (...workload) => {
    const [name, ...more] = workload;
    expect((await run(name!, ...words(), ...more)).ns).toBeGreaterThan(0);
  });
  test.each([['read'], ['mmap'], ['random-read', '--n', '500']])('%s fails on wrong data', async (...workload) => {
    const [name, ...more] = workload;
    writeFileSync(join(root, 'big'), Buffer.alloc(size, 'wrong'));
    await expect(run(name!, ...words(), ...more)).rejects.toThrow('wrong data');
  });
  test('read fails on a short file', async () => {
    truncateSync(join(root, 'big'), size / 2);
    await expect(run('read', ...words())).rejects.toThrow(`instead of ${size}`);
  });
});

describe('what must be found in the underlay', () => {
  // A view that keeps everything to itself: the directory that is checked is another, empty one.
  const elsewhere = (): string[] => {
    const under = `${root}.under`;
    mkdirSync(under);
    return ['--root', root, '--under', under, '--n', '3', '--owner', `${user}`, '--under-owner', `${user}`];
  };
  const here = (): string[] => {
    const words = ['--root', root, '--under', root, '--n', '3'];
    return [...words, '--owner', `${user}`, '--under-owner', `${user}`];
  };

  test.each(['create', 'mkdir'])('%s is done, or fails', async (workload) => {
    expect((await run(workload, ...here())).operations).toBe(3);
    rmSync(root, { recursive: true });
    mkdirSync(root);
    await expect(run(workload, ...elsewhere())).rejects.toThrow('not in the underlay');
  });
  test.each(['chmod', 'setxattr', 'rename'])('%s is done, or fails', async (workload) => {
    await run('seed-files', '--root', root, '--n', '3');
    expect((await run(workload, ...here())).operations).toBe(3);
    rmSync(root, { recursive: true });
    mkdirSync(root);
    await run('seed-files', '--root', root, '--n', '3');
    await expect(run(workload, ...elsewhere())).rejects.toThrow('in the underlay');
  });
  test.each([
    ['unlink', 'seed-files'],
    ['rmdir', 'seed-dirs'],
  ])('%s is done, or fails', async (workload, seed) => {
    await run(seed, '--root', root, '--n', '3');
    expect((await run(workload, ...here())).operations).toBe(3);
    await run(seed, '--root', root, '--n', '3');
    const words = elsewhere();
    await run(seed, '--root', `${root}.under`, '--n', '3');
    await expect(run(workload, ...words)).rejects.toThrow('still in the underlay');
  });
  test('what is done to warm up is done on other names and not counted', async () => {
    await run('seed-files', '--root', root, '--n', '3', '--warmup', '2');
    expect(readdirSync(root)).toHaveLength(5);
    expect((await run('unlink', ...here(), '--warmup', '2')).operations).toBe(3);
    expect(readdirSync(root)).toEqual([]);
  });
  test('a new file that belongs to somebody else fails', async () => {
    const words = here();
    words[words.length - 1] = `${user + 1}`;
    await expect(run('create', ...words)).rejects.toThrow(`belongs to ${user} in the underlay`);
  });
  test('getxattr reads what was seeded, and fails without it', async () => {
    await run('seed-files', '--root', root, '--n', '3', '--expect-sum', '1');
    expect((await run('getxattr', ...here())).operations).toBe(3);
    rmSync(root, { recursive: true });
    mkdirSync(root);
    await run('seed-files', '--root', root, '--n', '3');
    await expect(run('getxattr', ...here())).rejects.toThrow('getxattr f0');
  });
  test.each([['append'], ['write'], ['random-write']])('%s is done, or fails', async (workload) => {
    const words = ['--file', 'file', '--size', `${1 << 20}`];
    if (workload === 'random-write') await run('fill', '--root', root, ...words);
    expect((await run(workload, ...here(), ...words)).ns).toBeGreaterThan(0);
    const apart = elsewhere();
    writeFileSync(join(`${root}.under`, 'file'), Buffer.alloc(1 << 20));
    await expect(run(workload, ...apart, ...words)).rejects.toThrow(WorkloadError);
  });
});

describe('a command', () => {
  const exec = (...command: string[]): Promise<LoadResult> => run('exec', '--root', root, '--', ...command);

  test('is summed up without regard to the order of its lines', async () => {
    const [one, two] = [await exec('printf', 'a\\nb\\n'), await exec('printf', 'b\\na\\n')];
    expect(one.facts).toEqual(two.facts);
    expect(one.facts).toMatchObject({ lines: '2', bytes: '4' });
    expect((await exec('printf', 'a\\nc\\n')).facts.hash).not.toBe(one.facts.hash);
  });
  test('that fails is reported with what it said', async () => {
    await expect(exec('sh', '-c', 'echo no luck >&2; exit 3')).rejects.toThrow('sh exited with 3 (no luck)');
  });
  test('that does not exist is reported', async () => {
    await expect(exec('no-such-program')).rejects.toThrow('no-such-program');
  });
  test('ends with the run', async () => {
    const abort = new AbortController();
    const file = join(root, 'pid');
    chmodSync(root, 0o777);
    const running = loadgen.run(
      ['exec', '--root', root, '--warm', '--', 'sh', '-c', `echo $$ >${file}; exec sleep 600`],
      { user, signal: abort.signal },
    );
    await expect.poll(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n')).toBe(true);
    const identity = processIdentity(Number(readFileSync(file, 'utf8')));
    expect(isSameProcess(identity)).toBe(true);
    abort.abort();
    await expect(running).rejects.toThrow(/abort/i);
    await expect.poll(() => isSameProcess(identity)).toBe(false);
  });
});
