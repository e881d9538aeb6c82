// Exhausting the daemon: descriptors, nodes, memory, locks. Whoever takes all he can get must not take it from the others: they
// go on being served, and what was taken comes back when he lets go.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { DESCRIPTORS_A_THREAD } from '../../src/driver/source.js';
import { type Container, withContainer } from '../regressions/harness.js';
import { type Actor, errnoOf } from '../support/actor.js';
import { F_OFD_SETLK, F_WRLCK, O_CREAT, O_PATH, O_RDONLY, O_RDWR, S_IFIFO, S_IFREG } from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { descriptorsOf, eventually, mebibytes, statusField } from './figures.js';

/** Soft and hard: the daemon cannot raise it again. */
const limit = (descriptors: number): readonly string[] => ['prlimit', `--nofile=${descriptors}:${descriptors}`];
const DROP_CACHES = '/proc/sys/vm/drop_caches';

async function inBatches(actor: Actor, total: number, call: (index: number) => readonly [string, ...unknown[]]) {
  for (let start = 0; start < total; start += 500) {
    const length = Math.min(500, total - start);
    await actor.batch(Array.from({ length }, (_, index) => call(start + index)) as never);
  }
}

/** Repeats a call until it fails; what it returned, and the error that ended it. */
async function untilRefused(most: number, call: (index: number) => Promise<number>): Promise<[number[], string]> {
  const got: number[] = [];
  for (let index = 0; index < most; index++) {
    const error = await errnoOf(call(index).then((fd) => got.push(fd)));
    if (error !== 'no error') return [got, error];
  }
  return [got, 'no error'];
}

/** Everything that somebody does who holds next to nothing. */
async function expectService(actor: Actor, path: (...names: string[]) => string, tag: string): Promise<void> {
  await actor.mkdir(path(`service-${tag}`));
  await actor.writeFile(path(`service-${tag}`, 'f'), 'content');
  expect((await actor.readFile(path(`service-${tag}`, 'f'))).toString()).toBe('content');
  await actor.rename(path(`service-${tag}`, 'f'), path(`service-${tag}`, 'g'));
  expect((await actor.readdir(path(`service-${tag}`))).map(String)).toEqual(['g']);
  await actor.chmod(path(`service-${tag}`, 'g'), 0o600);
  await actor.unlink(path(`service-${tag}`, 'g'));
  await actor.rmdir(path(`service-${tag}`));
}

test('5000 files with 256 descriptors', async () => {
  await withContainer(
    async ({ root, host, view, in: here, under }) => {
      const file = (index: number) => `d${index % 50}/f${index}`;
      await inBatches(host, 50, (index) => ['mkdir', under(`d${index}`)]);
      await inBatches(host, 5000, (index) => ['mknod', under(file(index)), S_IFREG | 0o644]);
      await inBatches(root, 5000, (index) => ['stat', here(file(index))]);
      await inBatches(root, 5000, (index) => ['writeFile', here(file(index)), `${index}`]);
      expect(descriptorsOf(view.pid)).toBeLessThanOrEqual(256);
      for (let index = 0; index < 5000; index += 499) {
        expect((await root.readFile(here(file(index)))).toString()).toBe(`${index}`);
      }
      expect((await statusOf(view)).nodes).toBeGreaterThan(5000);
    },
    { wrapper: limit(256) },
  );
});

test('who opens all files he can is refused; the others are served; all comes back', async () => {
  await withContainer(
    async ({ root, user, view, in: here }) => {
      await root.chmod(here(), 0o777);
      const greedy = await user(1000);
      await inBatches(greedy, 2000, (index) => ['mknod', here(`f${index}`), S_IFREG | 0o644]);
      const idle = descriptorsOf(view.pid);
      const [open, error] = await untilRefused(2000, (index) => greedy.open(here(`f${index}`), O_RDWR));
      console.log(`${open.length} files open with 512 descriptors, then ${error}`);
      expect(error).toBe('ENFILE');
      expect(open.length).toBeGreaterThan(100);
      await expectService(root, here, 'files');
      for (const fd of open) await greedy.close(fd);
      await eventually(10_000, () => descriptorsOf(view.pid) <= idle + 100);
      const [again] = await untilRefused(100, (index) => greedy.open(here(`f${index}`), O_RDWR));
      expect(again.length).toBe(100);
    },
    { wrapper: limit(512) },
  );
});

test('the same with directories', async () => {
  await withContainer(
    async ({ root, user, in: here }) => {
      await root.chmod(here(), 0o777);
      const greedy = await user(1000);
      await inBatches(greedy, 1000, (index) => ['mkdir', here(`d${index}`)]);
      const [open, error] = await untilRefused(1000, (index) => greedy.open(here(`d${index}`), O_RDONLY));
      expect(error).toBe('ENFILE');
      expect(open.length).toBeGreaterThan(50);
      await expectService(root, here, 'directories');
      for (const fd of open) await greedy.close(fd);
    },
    { wrapper: limit(512) },
  );
});

test('the same with locks, each of an owner of its own', async () => {
  await withContainer(
    async ({ root, user, view, in: here }) => {
      await root.chmod(here(), 0o777);
      const greedy = await user(1000);
      const idle = descriptorsOf(view.pid);
      await greedy.writeFile(here('f'), '');
      const [locked, error] = await untilRefused(1000, async (index) => {
        const fd = await greedy.open(here('f'), O_RDWR);
        await greedy.lock(fd, F_OFD_SETLK, { type: F_WRLCK, start: index, length: 1 });
        return fd;
      });
      console.log(`${locked.length} lock owners with 512 descriptors, then ${error}`);
      expect(['ENOLCK', 'ENFILE']).toContain(error);
      await expectService(root, here, 'locks');
      await greedy.stop();
      await eventually(10_000, () => descriptorsOf(view.pid) <= idle + 100);
    },
    { wrapper: limit(512) },
  );
});

test('the same with FIFOs, which are looked at and never opened', async () => {
  await withContainer(
    async ({ root, user, in: here }) => {
      await root.chmod(here(), 0o777);
      const greedy = await user(1000);
      await inBatches(greedy, 2000, (index) => ['mknod', here(`p${index}`), S_IFIFO | 0o644]);
      await inBatches(greedy, 2000, (index) => ['stat', here(`p${index}`)]);
      await expectService(root, here, 'fifos');
    },
    { wrapper: limit(512) },
  );
});

test('the same with files that are deleted and held by O_PATH descriptors', async () => {
  await withContainer(
    async ({ root, user, view, host, in: here }) => {
      await root.chmod(here(), 0o777);
      const greedy = await user(1000);
      const idle = descriptorsOf(view.pid);
      await inBatches(greedy, 1000, (index) => ['mknod', here(`f${index}`), S_IFREG | 0o644]);
      await inBatches(greedy, 1000, (index) => ['open', here(`f${index}`), O_PATH]);
      await inBatches(greedy, 1000, (index) => ['unlink', here(`f${index}`)]);
      await expectService(root, here, 'deleted');
      await greedy.stop();
      await host.writeFile(DROP_CACHES, '2');
      await eventually(10_000, () => descriptorsOf(view.pid) <= idle + 100);
    },
    { wrapper: limit(512) },
  );
});

/** `FUSE_SHIFTFS_TEST_ABSENT_NAMES=10000000` by hand: docs/figures.md. */
const ABSENT_NAMES = Number(process.env['FUSE_SHIFTFS_TEST_ABSENT_NAMES'] ?? 300_000);

test(
  'absent names by the hundred thousand: memory is bounded, and comes to rest',
  async () => {
    const work = async ({ view, in: here }: Container): Promise<void> => {
      const look = async (from: number, to: number) => {
        const program = `for (let i = ${from}; i < ${to}; i++) {
        if (fs.statSync(${JSON.stringify(here('absent-'))} + i, { throwIfNoEntry: false }) !== undefined) throw new Error('there');
      }`;
        await runOk([process.execPath, '-e', program], {
          uid: 0,
          userns: [CONTAINER_MAP],
          timeout: 60_000 + (to - from),
        });
      };
      await look(0, 4000);
      const before = statusField(view.pid, 'VmRSS');
      await look(4000, ABSENT_NAMES / 2);
      const middle = statusField(view.pid, 'VmRSS');
      await look(ABSENT_NAMES / 2, ABSENT_NAMES);
      const after = statusField(view.pid, 'VmRSS');
      const { counters, nodes } = await statusOf(view);
      console.log(
        `${ABSENT_NAMES} absent names: ${mebibytes(before)} before, ${mebibytes(middle)} at half, ${mebibytes(after)} after; ` +
          `${counters['names']} names kept, ${nodes} nodes`,
      );
      expect(nodes).toBeLessThan(100);
      // What one name costs is what the table of names needs for it, not a node.
      expect(((after - before) * 1024) / ABSENT_NAMES).toBeLessThan(300);
    };
    // Absences are kept only under a lease.
    await withContainer(work, { options: ['--coherence', 'lease'] });
  },
  180_000 + ABSENT_NAMES * 2,
);

test.each([
  ['strict', ['--coherence', 'strict']],
  ['fanotify', ['--coherence', 'lease', '--watcher', 'fanotify']],
  // A watch of inotify has a path, and so holds a descriptor.
  ['chokidar', ['--coherence', 'lease', '--watcher', 'chokidar']],
])('everything that was looked up is forgotten with the caches, and nothing is held: %s', async (_mode, options) => {
  const work = async ({ root, host, view, in: here, under }: Container): Promise<void> => {
    await root.stat(here());
    // Of all but the threads that may be started meanwhile, and then stay.
    const descriptors = async () =>
      descriptorsOf(view.pid) - DESCRIPTORS_A_THREAD * (await statusOf(view)).workers.alive;
    const idle = await descriptors();
    await inBatches(host, 100, (index) => ['mkdir', under(`d${index}`)]);
    await inBatches(host, 5000, (index) => ['mknod', under(`d${index % 100}/f${index}`), S_IFREG | 0o644]);
    const fds: number[] = [];
    for (let index = 0; index < 200; index++) fds.push(await root.open(here(`d${index % 100}/f${index}`), O_RDWR));
    await inBatches(root, 5000, (index) => ['stat', here(`d${index % 100}/f${index}`)]);
    const held = await statusOf(view);
    expect(held.nodes).toBeGreaterThan(5000);
    expect(held.openFiles).toBe(200);
    for (const fd of fds) await root.close(fd);
    await eventually(
      20_000,
      async () => {
        await host.writeFile(DROP_CACHES, '2');
        const { nodes, openFiles, openDirectories } = await statusOf(view);
        return nodes <= 2 && openFiles === 0 && openDirectories === 0 && (await descriptors()) <= idle + 4;
      },
      async () => `${JSON.stringify(await statusOf(view))}, ${await descriptors()} descriptors, ${idle} when idle`,
    );
  };
  await withContainer(work, { options });
});

test('files created and removed for a long time leave nothing behind', async () => {
  await withContainer(async ({ root, host, view, in: here }) => {
    const round = async (): Promise<void> => {
      for (let index = 0; index < 20; index++) {
        const calls = Array.from({ length: 100 }, (_, file) => [
          ['open', here(`f${file}`), O_CREAT | O_RDWR],
          ['unlink', here(`f${file}`)],
        ]).flat();
        const results = (await root.batch(calls as never)) as (number | undefined)[];
        for (const fd of results) if (typeof fd === 'number') await root.close(fd);
      }
    };
    await round();
    await host.writeFile(DROP_CACHES, '2');
    const descriptors = descriptorsOf(view.pid);
    await round();
    await eventually(
      20_000,
      async () => {
        await host.writeFile(DROP_CACHES, '2');
        const { nodes, openFiles } = await statusOf(view);
        return openFiles === 0 && nodes <= 1 && descriptorsOf(view.pid) <= descriptors + 4;
      },
      async () =>
        `${JSON.stringify(await statusOf(view))}, ${descriptorsOf(view.pid)} descriptors, before ${descriptors}`,
    );
  });
});

test('more directories than can be watched: what is in the others is not cached, and right all the same', async () => {
  const directories = 300;
  await withContainer(
    async ({ root, user, host, view, in: here, under }) => {
      await inBatches(host, directories, (index) => ['mkdir', under(`d${index}`)]);
      const write = (text: string) =>
        inBatches(host, directories, (index) => ['writeFile', under(`d${index}/f`), `${text} ${index}`]);
      const expectAll = async (text: string) => {
        for (let index = 0; index < directories; index++) {
          expect((await root.readFile(here(`d${index}/f`))).toString()).toBe(`${text} ${index}`);
        }
      };
      await write('first');
      await expectAll('first');
      await eventually(
        20_000,
        () => view.output().includes('no more directories can be watched'),
        () => `the warning in: ${view.output()}`,
      );
      for (let index = 0; index < directories; index++) {
        await host.writeFile(under('staged'), `second ${index}`);
        await host.rename(under('staged'), under(`d${index}/f`));
      }
      // What this watcher promises.
      await sleep(1000);
      await expectAll('second');
      expect(descriptorsOf(view.pid)).toBeLessThanOrEqual(256);
      await root.chmod(here(), 0o777);
      await expectService(await user(1000), here, 'watched');
    },
    { wrapper: limit(256), options: ['--coherence', 'lease', '--watcher', 'chokidar'] },
  );
});
