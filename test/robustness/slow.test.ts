// An underlay that does not answer, and one that answers with errors. One slow operation must hold up nobody else, whoever
// waits for it can be killed, and an error of the underlay is the caller's error, never the daemon's.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { type Actor, errnoOf } from '../support/actor.js';
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../support/constants.js';
import { statusOf } from '../support/status.js';
import { startCrowd } from './crowd.js';
import { withFaultyUnderlay } from './faulty-underlay.js';
import { eventually } from './figures.js';

/** So that data stalls in the daemon, and not in the kernel. */
const THROUGH_US = ['--passthrough', 'off'];

/** A thread takes its time to start, and so do 64 of them on a busy machine. */
const WORKERS = 16;
const FEWER = 12;

test('I/O errors reach the caller as they are, for every operation, and go when they go', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, in: here }) => {
        await root.mkdir(here('bad'));
        await root.writeFile(here('bad/f'), 'content');
        await root.mkdir(here('bad/d'));
        const held = await root.open(here('bad/f'), O_RDWR);
        await underlay.set({ path: 'bad', errno: 'EIO' });
        const operations: Record<string, () => Promise<unknown>> = {
          stat: () => root.stat(here('bad/f')),
          open: () => root.open(here('bad/f'), O_RDONLY),
          create: () => root.open(here('bad/new'), O_CREAT | O_WRONLY),
          read: () => root.pread(held, 10, 0),
          write: () => root.pwrite(held, 'x', 0),
          fstat: () => root.fstat(held),
          truncate: () => root.ftruncate(held, 0),
          mkdir: () => root.mkdir(here('bad/new')),
          symlink: () => root.symlink('x', here('bad/new')),
          unlink: () => root.unlink(here('bad/f')),
          rmdir: () => root.rmdir(here('bad/d')),
          rename: () => root.rename(here('bad/f'), here('bad/g')),
          link: () => root.link(here('bad/f'), here('bad/g')),
          chmod: () => root.chmod(here('bad/f'), 0o600),
          chown: () => root.chown(here('bad/f'), 1, 1),
          utimens: () => root.utimens(here('bad/f'), null),
          readdir: () => root.readdir(here('bad')),
          fsync: () => root.fsync(held),
        };
        for (const [name, operation] of Object.entries(operations)) {
          expect([name, await errnoOf(operation())]).toEqual([name, 'EIO']);
        }
        // Next to it nothing is wrong.
        await root.writeFile(here('good'), 'fine');
        expect((await root.readFile(here('good'))).toString()).toBe('fine');
        await underlay.set();
        expect((await root.pread(held, 10, 0)).toString()).toBe('content');
        expect((await root.readdir(here('bad'))).map(String).sort()).toEqual(['d', 'f']);
        await root.close(held);
      },
      { source: underlay.directory },
    );
  });
});

test('an underlay that takes less than it is given loses nothing', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, in: here }) => {
        await underlay.set({ path: 'f', ops: ['WRITE'], short: 1000 });
        const data = Buffer.alloc(100_000, 'abcdefghij');
        const fd = await root.open(here('f'), O_CREAT | O_RDWR);
        let done = 0;
        while (done < data.length) done += await root.pwrite(fd, data.subarray(done), done);
        await root.close(fd);
        expect((await root.readFile(here('f'))).equals(data)).toBe(true);
      },
      { source: underlay.directory },
    );
  });
});

test('one directory stalls: everything else goes on, and who waits there can be killed', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, user, in: here }) => {
        await root.mkdir(here('slow'), 0o777);
        await root.writeFile(here('slow/f'), 'slow');
        await root.chmod(here('slow'), 0o777);
        await root.mkdir(here('fast'));
        await underlay.set({ path: 'slow/f', stall: true });
        const waiting = await user(1000);
        const read = waiting.within(60_000).readFile(here('slow/f'));
        const killed = await user(1000);
        const dying = killed.within(60_000).readFile(here('slow/f'));
        dying.catch(() => {});
        await underlay.untilStalled(1);
        await Promise.all([waiting.untilBlocked(), killed.untilBlocked()]);

        for (let index = 0; index < 50; index++) {
          await root.within(2_000).writeFile(here(`fast/${index}`), 'quick');
          expect((await root.within(2_000).readFile(here(`fast/${index}`))).toString()).toBe('quick');
        }
        expect((await root.within(2_000).readdir(here('fast'))).length).toBe(50);

        const start = performance.now();
        await killed.stop();
        // Against the timeout of the actor, which would abort the connection: the caller went by itself.
        expect(performance.now() - start).toBeLessThan(4_000);
        await expect(dying).rejects.toThrow(/SIGKILL/);

        await underlay.set();
        expect((await read).toString()).toBe('slow');
      },
      { source: underlay.directory },
    );
  });
});

test('who waits for the underlay in the kernel itself (passthrough) can be killed', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, in: here }) => {
        await root.batch(Array.from({ length: 20 }, (_, index) => ['writeFile', here(`${index}`), 'slow']));
        await underlay.set({ path: '', ops: ['READ'], stall: true });
        const crowd = await startCrowd(Array.from({ length: 20 }, (_, index) => here(`${index}`)));
        await underlay.untilStalled(20);
        await root.within(3_000).writeFile(here('other'), 'quick');
        await crowd.kill();
        await underlay.set();
      },
      { source: underlay.directory },
    );
  });
});

test('more blocked callers than serving threads: 100 wait, others are served, and all 100 can be killed', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, view, in: here }) => {
        await root.mkdir(here('slow'));
        await root.mkdir(here('fast'));
        // Each its own file: the kernel lets only one lookup of a name go at a time.
        await root.batch(Array.from({ length: 100 }, (_, index) => ['writeFile', here(`slow/${index}`), 'slow']));
        await underlay.set({ path: 'slow', ops: ['OPEN', 'READ'], stall: true });
        const crowd = await startCrowd(Array.from({ length: 100 }, (_, index) => here(`slow/${index}`)));
        try {
          await underlay.untilStalled(WORKERS);
          const { workers } = await statusOf(view);
          expect(workers.busy).toBe(workers.max);
          const start = performance.now();
          await crowd.kill();
          expect(performance.now() - start).toBeLessThan(5_000);
        } finally {
          await underlay.set();
          await crowd.kill();
        }
        await root.within(5_000).writeFile(here('fast/after'), 'served');
        await eventually(
          10_000,
          async () => (await statusOf(view)).openFiles === 0,
          async () => `no open files: ${(await statusOf(view)).openFiles}`,
        );
      },
      { source: underlay.directory, options: [...THROUGH_US, '--max-workers', `${WORKERS}`] },
    );
  });
});

test('fewer blocked callers than serving threads: others are served meanwhile', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, view, in: here }) => {
        await root.mkdir(here('slow'));
        await root.mkdir(here('fast'));
        await root.batch(Array.from({ length: FEWER }, (_, index) => ['writeFile', here(`slow/${index}`), 'slow']));
        await underlay.set({ path: 'slow', ops: ['OPEN', 'READ'], stall: true });
        const crowd = await startCrowd(Array.from({ length: FEWER }, (_, index) => here(`slow/${index}`)));
        try {
          await underlay.untilStalled(FEWER);
          for (let index = 0; index < 20; index++) {
            await root.within(3_000).writeFile(here(`fast/${index}`), 'quick');
            expect((await root.within(3_000).readFile(here(`fast/${index}`))).toString()).toBe('quick');
          }
          expect((await statusOf(view)).workers.busy).toBeGreaterThanOrEqual(FEWER);
        } finally {
          await underlay.set();
        }
        expect(await crowd.finish()).toBe(FEWER);
      },
      { source: underlay.directory, options: [...THROUGH_US, '--max-workers', `${WORKERS}`] },
    );
  });
});

test('a write whose caller was killed touches no other file when it goes on', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, user, in: here }) => {
        await root.chmod(here(), 0o777);
        const victim = await user(1000);
        const fd = await victim.open(here('f'), O_CREAT | O_RDWR);
        await victim.write(fd, 'x');
        // The underlay takes a part of the write, late: the thread will go on with the rest.
        await underlay.set({ path: 'f', ops: ['WRITE'], stall: true, short: 1000 });
        victim
          .within(60_000)
          .pwrite(fd, Buffer.alloc(64_000, 'A'), 0)
          .catch(() => {});
        await underlay.untilStalled(1);
        await victim.stop();
        await sleep(200);
        // The kernel released the file; its descriptor would be given to the next that is opened.
        const others: number[] = [];
        for (let index = 0; index < 20; index++) others.push(await root.open(here(`other${index}`), O_CREAT | O_RDWR));
        await underlay.set({ path: 'f', ops: ['WRITE'], short: 1000 });
        await eventually(
          10_000,
          async () => (await root.stat(here('f'))).size > 1,
          () => 'the write to go on',
        );
        await sleep(200);
        for (let index = 0; index < 20; index++) expect((await root.stat(here(`other${index}`))).size).toBe(0);
        for (const other of others) await root.close(other);
      },
      { source: underlay.directory, options: THROUGH_US },
    );
  });
});

test('a directory whose caller was killed is not mixed up with another when it goes on', async () => {
  await withFaultyUnderlay(async (underlay) => {
    await withContainer(
      async ({ root, host, user, view, in: here, under }) => {
        await root.chmod(here(), 0o777);
        await root.mkdir(here('a'), 0o777);
        await root.chmod(here('a'), 0o777);
        const victim: Actor = await user(1000);
        await underlay.set({ path: 'a/new', ops: ['LOOKUP', 'MKDIR'], stall: true });
        victim
          .within(60_000)
          .mkdir(here('a/new'))
          .catch(() => {});
        await underlay.untilStalled(1);
        await victim.stop();
        // The kernel may forget "a" now, while a thread still works in it.
        await host.writeFile('/proc/sys/vm/drop_caches', '2');
        for (let index = 0; index < 20; index++) await root.mkdir(here(`b${index}`));
        await underlay.set();
        await eventually(10_000, async () => (await statusOf(view)).workers.busy === 0);
        for (let index = 0; index < 20; index++) expect(await host.readdir(under(`b${index}`))).toEqual([]);
        await root.within(3_000).writeFile(here('a/after'), 'x');
      },
      { source: underlay.directory },
    );
  });
});
