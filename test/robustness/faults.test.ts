// What can go wrong around the daemon, each tried for real: events lost, quota, a full log disk, little memory, an error in a
// serving thread, and an end under load. Nobody may be shown old data afterwards, and nothing that was promised may be lost.
// A full, failing, slow or vanished underlay, kill -9 and double mounts: slow.test.ts, test/kernel, test/cli, test/regressions.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { type Actor, errnoOf, startActor } from '../support/actor.js';
import { O_CREAT, O_RDONLY, O_RDWR, S_IFREG } from '../support/constants.js';
import { makeImage } from '../support/images.js';
import { runOk, startProgram } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { makeTempDirectory, removeTempDirectory, withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView, type View, withView } from '../support/view.js';
import { eventually, mebibytes, statusField } from './figures.js';

const CONTAINER_ROOT = { uid: 0, gid: 0, userns: [CONTAINER_MAP] } as const;

async function inBatches(actor: Actor, total: number, call: (index: number) => readonly [string, ...unknown[]]) {
  for (let start = 0; start < total; start += 500) {
    const length = Math.min(500, total - start);
    await actor.batch(Array.from({ length }, (_, index) => call(start + index)) as never);
  }
}

describe('lost events', () => {
  /** More than fs.fanotify.max_queued_events allows by default (16,384). */
  const FLOOD = 18_000;
  const FILES = 200;

  test('when the queue of events overflows nothing stays stale', async () => {
    await withContainer(
      async ({ root, host, view, in: here, under }) => {
        await host.mkdir(under('flood'));
        await inBatches(host, FILES, (index) => ['writeFile', under(`f${index}`), `old ${index}`]);
        const lookAll = () =>
          root.batch(
            Array.from({ length: FILES }, (_, index) => [
              ['stat', here(`f${index}`)],
              ['readFile', here(`f${index}`)],
            ]).flat() as never,
          );
        await lookAll();
        for (let index = 0; index < FILES; index++) await errnoOf(root.stat(here(`absent${index}`)));
        // The kernel has all of it from here on, and is told of changes by a daemon that does not run.
        process.kill(view.pid, 'SIGSTOP');
        try {
          await inBatches(host, FLOOD, (index) => ['mknod', under(`flood/${index}`), S_IFREG | 0o644]);
          for (let index = 0; index < FILES; index++) {
            if (index % 2 === 0) {
              await host.writeFile(under('staged'), `new ${index}`);
              await host.rename(under('staged'), under(`f${index}`));
            } else if (index % 4 === 1) await host.unlink(under(`f${index}`));
            await host.writeFile(under(`absent${index}`), 'appeared');
          }
        } finally {
          process.kill(view.pid, 'SIGCONT');
        }
        await eventually(
          20_000,
          async () => ((await statusOf(view)).counters['overflows'] ?? 0) > 0,
          async () => `an overflow: ${JSON.stringify((await statusOf(view)).counters)}`,
        );
        const wrong = async (): Promise<string[]> => {
          const found: string[] = [];
          for (let index = 0; index < FILES; index++) {
            const expected = index % 2 === 0 ? `new ${index}` : index % 4 === 1 ? 'ENOENT' : `old ${index}`;
            let shown = '';
            const error = await errnoOf(root.readFile(here(`f${index}`)).then((bytes) => (shown = bytes.toString())));
            if ((error === 'no error' ? shown : error) !== expected) found.push(`f${index}: ${shown} ${error}`);
            const appeared = await errnoOf(root.stat(here(`absent${index}`)));
            if (appeared !== 'no error') found.push(`absent${index}: ${appeared}`);
          }
          return found;
        };
        await eventually(
          20_000,
          async () => (await wrong()).length === 0,
          async () => (await wrong()).join('\n'),
        );
        const { counters, coherence } = await statusOf(view);
        expect(coherence).toBe('lease');
        console.log(`${FLOOD} events while it stood still: ${JSON.stringify(counters)}`);
        // And leases work again.
        await host.writeFile(under('f0'), 'newest');
        await eventually(5_000, async () => (await root.readFile(here('f0'))).toString() === 'newest');
      },
      { options: ['--coherence', 'lease', '--watcher', 'fanotify'] },
    );
  }, 120_000);
});

describe.each([
  ['passed through', 'auto'],
  ['through the daemon', 'off'],
])('quota, data %s', (_, passthrough) => {
  test('a btrfs limit is EDQUOT, and room comes back', async () => {
    const image = await makeImage('btrfs', { mebibytes: 256 });
    try {
      const source = `${image.directory}/volume`;
      await runOk(['btrfs', 'subvolume', 'create', source]);
      await runOk(['btrfs', 'quota', 'enable', image.directory]);
      await runOk(['btrfs', 'qgroup', 'limit', '16M', source]);
      await withContainer(
        async ({ root, in: here, under }) => {
          const block = Buffer.alloc(64 * 1024, 'q');
          const fill = async (name: string): Promise<[number, string]> => {
            const fd = await root.open(here(name), O_CREAT | O_RDWR);
            let written = 0;
            let error = 'no error';
            while (error === 'no error' && written < 64 << 20) {
              error = await errnoOf(root.pwrite(fd, block, written).then((count) => (written += count)));
            }
            if (error === 'no error') error = await errnoOf(root.fsync(fd));
            await root.close(fd);
            return [written, error];
          };
          const [written, error] = await fill('big');
          expect(error).toBe('EDQUOT');
          expect(written).toBeGreaterThan(4 << 20);
          // What was taken is there, on both sides.
          expect((await root.readFile(here('big'))).equals(readFileSync(under('big')))).toBe(true);
          await root.unlink(here('big'));
          await runOk(['sync', '-f', source]);
          await runOk(['btrfs', 'subvolume', 'sync', image.directory]);
          await root.writeFile(here('small'), block);
          expect((await root.readFile(here('small'))).equals(block)).toBe(true);
        },
        { source, options: ['--passthrough', passthrough] },
      );
    } finally {
      image.remove();
    }
  }, 120_000);
});

describe('errors of the daemon itself', () => {
  test('an exception while a request is served is EIO for it, in the log with the request, and nothing else', async () => {
    const made = makeTempDirectory('fault');
    const armed = `${made}/armed`;
    // Replies to READLINK are copied with this, and only in serving threads.
    writeFileSync(
      `${made}/fault.cjs`,
      `const { existsSync } = require('node:fs');
      if (!require('node:worker_threads').isMainThread) {
        const copyWithin = Uint8Array.prototype.copyWithin;
        Uint8Array.prototype.copyWithin = function (...args) {
          if (existsSync(${JSON.stringify(armed)})) throw new Error('injected');
          return copyWithin.apply(this, args);
        };
      }`,
    );
    try {
      await withView(
        {
          map: [CONTAINER_MAP],
          options: ['--coherence', 'strict'],
          env: { NODE_OPTIONS: `--require ${made}/fault.cjs` },
        },
        async (view) => {
          const root = await startActor(CONTAINER_ROOT);
          try {
            await root.symlink('target', `${view.mountpoint}/link`);
            expect((await root.readlink(`${view.mountpoint}/link`)).toString()).toBe('target');
            writeFileSync(armed, '');
            for (let i = 0; i < 20; i++) expect(await errnoOf(root.readlink(`${view.mountpoint}/link`))).toBe('EIO');
            await root.writeFile(`${view.mountpoint}/file`, 'others are served');
            rmSync(armed);
            expect((await root.readlink(`${view.mountpoint}/link`)).toString()).toBe('target');
          } finally {
            await root.stop();
          }
          const complaints = view
            .output()
            .split('\n')
            .filter((line) => line.includes('"level":"error"'))
            .map((line) => JSON.parse(line) as Record<string, unknown>);
          expect(complaints.length).toBe(20);
          expect(complaints[0]).toMatchObject({
            opcode: 'READLINK',
            uid: 100_000,
            cause: expect.stringContaining('Error: injected'),
            msg: expect.stringContaining('please report this'),
          });
        },
      );
    } finally {
      removeTempDirectory(made);
    }
  });

  test('a full disk for the log loses lines, and says how many when there is room', async () => {
    const image = await makeImage('tmpfs', { mebibytes: 1 });
    const log = `${image.directory}/log`;
    try {
      const view = await mountView({
        map: [CONTAINER_MAP],
        // Not `withContainer`: the log is not on stderr.
        options: ['--trace', '--coherence', 'strict', '--log-file', log],
      });
      try {
        const root = await startActor(CONTAINER_ROOT);
        try {
          await eventually(10_000, () => existsSync(log) && readFileSync(log, 'utf8').includes('serving'));
          const path = `${view.mountpoint}/file`;
          await root.writeFile(path, 'content');
          // Every look is a line of half a kilobyte.
          for (let i = 0; i < 3000; i++) await root.stat(path);
          expect((await root.readFile(path)).toString()).toBe('content');
          expect(readFileSync(log).length).toBeGreaterThan(900 << 10);
          // As whoever made room would, without a new file: the daemon appends.
          await runOk(['truncate', '-s', '0', log]);
          await root.stat(path);
          await eventually(10_000, () =>
            /"lines":[1-9]\d*,"msg":"log lines were lost"/.test(readFileSync(log, 'utf8')),
          );
        } finally {
          await root.stop();
        }
        await view.close();
      } finally {
        await view.destroy();
      }
    } finally {
      image.remove();
    }
  });
});

/** A memory control group of the daemon: version 1, or 2 where that is what there is. */
class MemoryGroup {
  private readonly directory: string;
  private readonly limitFile: string;

  constructor() {
    const version1 = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');
    const parent = version1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
    this.directory = `${parent}/fuse-shiftfs-test-${process.pid}`;
    this.limitFile = `${this.directory}/${version1 ? 'memory.limit_in_bytes' : 'memory.max'}`;
    mkdirSync(this.directory);
  }

  static get available(): boolean {
    if (existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes')) return true;
    return (
      existsSync('/sys/fs/cgroup/cgroup.subtree_control') &&
      readFileSync('/sys/fs/cgroup/cgroup.subtree_control', 'utf8').includes('memory')
    );
  }

  enter(pid: number, bytes: number): void {
    writeFileSync(`${this.directory}/cgroup.procs`, `${pid}`);
    writeFileSync(this.limitFile, `${bytes}`);
  }

  async remove(): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) {
      try {
        rmdirSync(this.directory);
        return;
      } catch {
        await sleep(50);
      }
    }
  }
}

test('with little memory left it goes on: files beyond number, long listings, large data', async ({ skip }) => {
  if (!MemoryGroup.available) skip('no memory control group');
  const group = new MemoryGroup();
  try {
    await withContainer(
      async ({ root, host, view, in: here, under }) => {
        await root.stat(here());
        // What it had before counts for where it was then: this is all it may have from here on, its page cache included.
        group.enter(view.pid, 40 << 20);
        const before = statusField(view.pid, 'VmRSS');
        await inBatches(host, 20_000, (index) => ['mknod', under(`f${index}`), S_IFREG | 0o644]);
        await inBatches(root, 20_000, (index) => ['stat', here(`f${index}`)]);
        expect((await root.readdir(here())).length).toBe(20_000);
        // More than the limit.
        const block = Buffer.alloc(1 << 20, 'm');
        const fd = await root.open(here('big'), O_CREAT | O_RDWR);
        for (let index = 0; index < 96; index++) await root.pwrite(fd, block, index << 20);
        await root.close(fd);
        const again = await root.open(here('big'), O_RDONLY);
        for (let index = 0; index < 96; index += 5) {
          expect((await root.pread(again, 1 << 20, index << 20)).equals(block)).toBe(true);
        }
        await root.close(again);
        const after = statusField(view.pid, 'VmRSS');
        console.log(`40 MiB to spare: ${mebibytes(before)} before, ${mebibytes(after)} after`);
      },
      { options: ['--passthrough', 'off'] },
    );
  } finally {
    await group.remove();
  }
}, 120_000);

/**
 * Makes files as careful programs do (all of it, fsync, rename) until that fails; prints the number of each that is done
 * and at last the error.
 */
const CAREFUL = `
const fs = require('node:fs');
const [directory, tag] = process.argv.slice(1);
const say = (text) => fs.writeSync(1, text + '\\n');
for (let i = 0; ; i++) {
  try {
    const staged = directory + '/.' + tag + '-' + i;
    const fd = fs.openSync(staged, 'wx');
    const content = Buffer.alloc(20000, tag + '-' + i + ' ');
    fs.writeSync(fd, content, 0, 10000);
    fs.writeSync(fd, content, 10000);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fs.renameSync(staged, directory + '/' + tag + '-' + i);
    say(String(i));
  } catch (error) {
    say(error.code);
    break;
  }
}`;

test.each([
  ['SIGTERM', 'auto'],
  ['SIGTERM', 'off'],
  ['SIGINT', 'off'],
] as const)('%s under load, passthrough %s: nothing is lost, nothing half done', async (signal, passthrough) => {
  await withTempTree(async (tree) => {
    const source = `${tree}/source`;
    mkdirSync(source);
    const view: View = await mountView({
      source,
      mountpoint: makeDirectory(`${tree}/view`),
      map: [CONTAINER_MAP],
      options: ['--passthrough', passthrough],
    });
    try {
      const writers = await Promise.all(
        ['a', 'b', 'c'].map(async (tag) => {
          const child = await startProgram([process.execPath, '-e', CAREFUL, view.mountpoint, tag], {
            uid: 0,
            userns: [CONTAINER_MAP],
          });
          let text = '';
          child.stdout!.setEncoding('utf8').on('data', (part: string) => {
            text += part;
          });
          const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
          return { tag, lines: () => text.trimEnd().split('\n'), ended };
        }),
      );
      await eventually(20_000, () => writers.every(({ lines }) => lines().length > 20));
      process.kill(view.pid, signal);
      expect(await view.ended).toBe(0);
      await Promise.all(writers.map(({ ended }) => ended));
      for (const { tag, lines } of writers) {
        const said = lines();
        // Unmounted before its next file, or its connection cut: the directory is another one, or there is none.
        expect(['ENOTCONN', 'ECONNABORTED', 'EACCES', 'ENOENT']).toContain(said.at(-1));
        const done = said.filter((line) => /^\d+$/.test(line));
        for (const i of done) {
          const content = readFileSync(`${source}/${tag}-${i}`);
          expect(content.equals(Buffer.alloc(20000, `${tag}-${i} `))).toBe(true);
        }
        // A name that was not acknowledged is either absent or whole.
        const names = readdirSync(source).filter((name) => name.startsWith(`${tag}-`));
        expect(names.length - done.length).toBeLessThanOrEqual(1);
        for (const name of names) expect(readFileSync(`${source}/${name}`).length).toBe(20_000);
      }
    } finally {
      await view.destroy();
    }
  });
});

function makeDirectory(path: string): string {
  // A container's root may not write there when the view is gone.
  mkdirSync(path, { mode: 0o755 });
  return path;
}
