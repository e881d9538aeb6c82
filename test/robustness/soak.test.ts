// The soak: everything at once, for as long as wanted (`npm run soak -- --hours N`), and shortly with the suite.
//
// - A view whose host and container change and read one tree at random, every look judged (test/coherence), while its events
//   overflow now and then.
// - A view of a file system that is filled up again and again, whose daemon is killed and started anew on its mount point.
// - A view of an underlay that fails and stalls, with callers that are killed.
//
// What is asked: nothing seen that was never true, both sides alike at rest, nothing lost that was synced, and memory,
// descriptors and nodes of a daemon where they were. The figures are printed.

import { rmSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { runRound } from '../coherence/random.js';
import { complaintsOf } from '../regressions/harness.js';
import { type Actor, errnoOf, startActor } from '../support/actor.js';
import { S_IFREG } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { statusOf } from '../support/status.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView, type View } from '../support/view.js';
import { startCrowd } from './crowd.js';
import { withFaultyUnderlay } from './faulty-underlay.js';
import { descriptorsOf, eventually, mebibytes, statusField } from './figures.js';

const minutes = Number(process.env['FUSE_SHIFTFS_SOAK_MINUTES'] ?? '0.4');
const firstSeed = Number(process.env['FUSE_SHIFTFS_SOAK_SEED'] ?? Math.floor(Math.random() * 1e9));
const ROUND_SECONDS = 4;
/** Every so many rounds events are lost. */
const FLOOD_EVERY = 3;
/** More than fs.fanotify.max_queued_events allows by default (16,384). */
const FLOOD = 17_000;
/** A daemon that stands still for longer is taken for one that hangs, ms. On a busy machine it may be less of a flood. */
const FLOOD_PATIENCE = 8000;
/** A daemon is killed every so many times that its underlay was filled. */
const KILL_EVERY = 3;
const FULL_MEBIBYTES = 24;
/** For answers of an actor, ms: judging a round takes this process for seconds at a time. */
const PATIENCE = 120_000;
const CONTAINER_ROOT = { uid: 0, gid: 0, userns: [CONTAINER_MAP], timeout: PATIENCE } as const;
const HOST = { uid: 0, gid: 0, timeout: PATIENCE } as const;
const DROP_CACHES = '/proc/sys/vm/drop_caches';
/** Beyond what a daemon had after its first rounds, when the code of everything has been compiled. */
const MEMORY_SLACK_KIB = 64 << 10;

/** What a daemon holds when nobody uses its view. */
interface Rest {
  readonly nodes: number;
  readonly descriptors: number;
  readonly memory: number;
}

async function rest(view: View, host: Actor): Promise<Rest> {
  let nodes = 0;
  await eventually(
    30_000,
    async () => {
      await host.writeFile(DROP_CACHES, '2');
      const status = await statusOf(view);
      nodes = status.nodes;
      return nodes <= 8 && status.openFiles === 0 && status.openDirectories === 0;
    },
    async () => `nobody uses ${view.mountpoint}: ${JSON.stringify(await statusOf(view))}`,
  );
  return { nodes, descriptors: descriptorsOf(view.pid), memory: statusField(view.pid, 'VmRSS') };
}

/** Events are lost: more of them than the queue holds while the daemon stands still. False: not in time for that. */
async function flood(view: View, host: Actor): Promise<boolean> {
  const directory = `${view.source}/flood`;
  await host.mkdir(directory);
  let start = 0;
  process.kill(view.pid, 'SIGSTOP');
  try {
    const begun = performance.now();
    for (; start < FLOOD && performance.now() - begun < FLOOD_PATIENCE; start += 500) {
      const calls = Array.from({ length: 500 }, (_, i) => ['mknod', `${directory}/${start + i}`, S_IFREG | 0o644]);
      await host.batch(calls as never);
    }
  } finally {
    process.kill(view.pid, 'SIGCONT');
  }
  rmSync(directory, { recursive: true });
  return start >= FLOOD;
}

interface Scene {
  readonly name: string;
  run(until: () => boolean): Promise<string>;
}

const coherence: Scene = {
  name: 'random changes from both sides, events lost now and then',
  async run(more) {
    const logs = makeTempDirectory('soak');
    await chmod(logs, 0o777);
    const view = await mountView({
      map: [CONTAINER_MAP],
      options: ['--coherence', 'lease', '--watcher', 'fanotify'],
    });
    const host = await startActor(HOST);
    try {
      await chmod(view.source, 0o777);
      const rests: Rest[] = [];
      let looks = 0;
      let changes = 0;
      let refused = 0;
      let floods = 0;
      let round = 0;
      for (; more() || round < 2; round++) {
        const seed = firstSeed + round;
        const overflow = round % FLOOD_EVERY === 1;
        const running = runRound(view, {
          seed,
          seconds: ROUND_SECONDS,
          // A daemon that stands still takes nothing back meanwhile.
          bound: overflow ? 30_000 : 1000,
          mmapStores: true,
          logs,
        });
        const [result, flooded] = await Promise.all([running, overflow ? flood(view, host) : false]);
        if (flooded) floods++;
        refused += result.refused;
        expect(result.violations.slice(0, 5), `seed ${seed}${overflow ? ', events lost' : ''}`).toEqual([]);
        expect(result.differences, `seed ${seed}`).toEqual([]);
        looks += result.observations;
        changes += result.mutations;
        rmSync(`${view.source}/round-${seed}`, { recursive: true });
        for (let index = 0; index < 5; index++) rmSync(`${logs}/round-${seed}-${index}.jsonl`, { force: true });
        rests.push(await rest(view, host));
      }
      const overflows = (await statusOf(view)).counters['overflows'] ?? 0;
      expect(overflows).toBeGreaterThanOrEqual(floods);
      expect(complaintsOf(view)).toEqual([]);
      const summary = bounded(rests);
      await view.close();
      return `${round} rounds, ${changes} changes, ${looks} looks, 0 wrong, ${overflows} overflows, ${refused} ESTALE of moved directories; ${summary}`;
    } finally {
      await host.stop();
      await view.destroy();
      removeTempDirectory(logs);
    }
  },
};

/** Figures of a daemon at rest, from first to last. Throws when they grew. */
function bounded(rests: readonly Rest[]): string {
  const of = (pick: (rest: Rest) => number): { first: number; last: number; most: number } => {
    const all = rests.map(pick);
    // The first is after one round: warm enough for descriptors, and the slack is for memory.
    return { first: all[Math.min(1, all.length - 1)]!, last: all.at(-1)!, most: Math.max(...all) };
  };
  const memory = of((each) => each.memory);
  const descriptors = of((each) => each.descriptors);
  const nodes = of((each) => each.nodes);
  expect(memory.last - memory.first).toBeLessThan(MEMORY_SLACK_KIB);
  expect(descriptors.last - descriptors.first).toBeLessThan(16 * 8);
  return (
    `at rest: memory ${mebibytes(memory.first)} first, ${mebibytes(memory.last)} last, ${mebibytes(memory.most)} most; ` +
    `descriptors ${descriptors.first}, ${descriptors.last}, ${descriptors.most}; ` +
    `nodes ${nodes.first}, ${nodes.last}, ${nodes.most}`
  );
}

const full: Scene = {
  name: 'an underlay that fills up, under a daemon that is killed',
  async run(more) {
    const image = await makeImage('ext4', { mebibytes: FULL_MEBIBYTES });
    const made = makeTempDirectory('soak-view');
    const mountpoint = `${made}/view`;
    await mkdir(mountpoint);
    const source = `${image.directory}/source`;
    await mkdir(source);
    const root = await startActor(CONTAINER_ROOT);
    const mount = () => mountView({ source, mountpoint, map: [CONTAINER_MAP] });
    let view = await mount();
    try {
      let fills = 0;
      let kills = 0;
      let files = 0;
      for (; more() || fills < KILL_EVERY; fills++) {
        const done: [string, Buffer][] = [];
        let error = 'no error';
        for (let index = 0; error === 'no error'; index++) {
          const name = `f${fills}-${index}`;
          const content = Buffer.alloc(200_000 + index, `${name} `);
          const write = async (): Promise<void> => {
            await root.writeFile(`${mountpoint}/.staged`, content);
            const fd = await root.open(`${mountpoint}/.staged`, 0);
            await root.fsync(fd);
            await root.close(fd);
            await root.rename(`${mountpoint}/.staged`, `${mountpoint}/${name}`);
          };
          error = await errnoOf(write());
          if (error === 'no error') done.push([name, content]);
        }
        expect(error).toBe('ENOSPC');
        files += done.length;
        if (fills % KILL_EVERY === KILL_EVERY - 1) {
          await view.kill();
          // The former while a call meets the end of the connection, which io_uring puts off a little.
          expect(['ECONNABORTED', 'ENOTCONN']).toContain(await errnoOf(root.stat(mountpoint)));
          view = await mount();
          kills++;
        }
        for (const [name, content] of done) {
          expect((await root.readFile(`${mountpoint}/${name}`)).equals(content), name).toBe(true);
          await root.unlink(`${mountpoint}/${name}`);
        }
        await errnoOf(root.unlink(`${mountpoint}/.staged`));
      }
      await view.close();
      return `${fills} times full, ${files} synced files all intact, ${kills} times killed and mounted again in place`;
    } finally {
      await root.stop();
      await view.destroy();
      removeTempDirectory(made);
      image.remove();
    }
  },
};

const failing: Scene = {
  name: 'an underlay that fails and stalls, and callers that are killed',
  run: (more) =>
    withFaultyUnderlay(async (underlay) => {
      const view = await mountView({
        source: underlay.directory,
        map: [CONTAINER_MAP],
        options: ['--passthrough', 'off', '--max-workers', '8'],
      });
      const root = await startActor(CONTAINER_ROOT);
      const host = await startActor(HOST);
      try {
        const here = (index: number): string => `${view.mountpoint}/slow/${index}`;
        await host.mkdir(`${underlay.backing}/slow`);
        for (let index = 0; index < 20; index++) {
          await host.writeFile(`${underlay.backing}/slow/${index}`, `content ${index}`);
        }
        const rests: Rest[] = [];
        let cycles = 0;
        let errors = 0;
        for (; more() || cycles < 2; cycles++) {
          await underlay.set({ path: 'slow', ops: ['OPEN', 'READ', 'GETATTR'], errno: 'EIO' });
          for (let index = 0; index < 20; index++) {
            if ((await errnoOf(root.readFile(here(index)))) === 'EIO') errors++;
          }
          await underlay.set({ path: 'slow', ops: ['OPEN', 'READ'], stall: true });
          const crowd = await startCrowd(Array.from({ length: 20 }, (_, index) => here(index)));
          await underlay.untilStalled(8);
          await crowd.kill();
          await underlay.set();
          for (let index = 0; index < 20; index++) {
            expect((await root.readFile(here(index))).toString()).toBe(`content ${index}`);
          }
          rests.push(await rest(view, host));
        }
        expect(errors).toBeGreaterThan(0);
        expect(complaintsOf(view)).toEqual([]);
        const summary = bounded(rests);
        await view.close();
        return `${cycles} cycles, ${errors} I/O errors, ${cycles * 20} callers killed; ${summary}`;
      } finally {
        await Promise.all([root.stop(), host.stop()]);
        await view.destroy();
      }
    }),
};

test('the soak', { retry: 0, timeout: minutes * 60_000 + 240_000 }, async () => {
  const end = performance.now() + minutes * 60_000;
  const more = (): boolean => performance.now() < end;
  console.log(`soak: ${minutes} minutes, seed ${firstSeed}`);
  const results = await Promise.allSettled(
    [coherence, full, failing].map(async ({ name, run }) => `${name}: ${await run(more)}`),
  );
  for (const result of results) if (result.status === 'fulfilled') console.log(result.value);
  // All that failed: one that hangs has the connections of the others aborted.
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  if (failed.length > 0) throw new AggregateError(failed, failed.map(String).join('\n\n'));
});
