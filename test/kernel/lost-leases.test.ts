// What leases rest on is taken away: the watcher breaks, watches run out, the kernel does not take absences back. The view
// stays right, says what happened, and what a container has mounted below a directory stays where it is.

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Container, withContainer } from '../regressions/harness.js';
import { errnoOf } from '../support/actor.js';
import { run, runOk } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI } from '../support/view.js';
import { soonWithin } from './soon.js';

const WATCHERS = ['fanotify', 'chokidar'];
const BOUND = 1000;
const DIST = new URL('.', `file://${CLI}`).href;

const soon = <T>(ask: () => Promise<T>, wanted: T): Promise<void> => soonWithin(BOUND, ask, wanted);

/** Waits, for as long as a busy machine may need, until the log of the daemon says something. */
async function said({ view }: Container, what: string): Promise<void> {
  for (let i = 0; i < 2000 && !view.output().includes(what); i++) await sleep(10);
  expect(view.output()).toContain(what);
}

/** Everything about a directory of five files is known to the kernel. */
async function warm({ root, host, in: here, under }: Container): Promise<void> {
  await host.mkdir(under('d'));
  for (let i = 0; i < 5; i++) await host.writeFile(under('d', `f${i}`), `${i}`);
  await sleep(100);
  for (let twice = 0; twice < 3; twice++) {
    await root.readdir(here('d'));
    for (let i = 0; i < 5; i++) await root.readFile(here('d', `f${i}`));
    expect(await errnoOf(root.stat(here('d', 'absent')))).toBe('ENOENT');
  }
}

/** The host changes all that `warm` made known. */
async function expectRight({ root, host, in: here, under }: Container): Promise<void> {
  await host.writeFile(under('d', 'f0'), 'changed');
  await host.writeFile(under('new'), 'replaced');
  await host.rename(under('new'), under('d', 'f1'));
  await host.unlink(under('d', 'f2'));
  await host.rename(under('d', 'f3'), under('d', 'absent'));
  await host.chmod(under('d', 'f4'), 0o600);
  await soon(async () => (await root.readFile(here('d', 'f0'))).toString(), 'changed');
  await soon(async () => (await root.readFile(here('d', 'f1'))).toString(), 'replaced');
  await soon(() => errnoOf(root.stat(here('d', 'f2'))), 'ENOENT');
  await soon(() => errnoOf(root.stat(here('d', 'f3'))), 'ENOENT');
  await soon(() => errnoOf(root.stat(here('d', 'absent'))), 'no error');
  await soon(async () => (await root.stat(here('d', 'f4'))).mode & 0o777, 0o600);
  await soon(async () => (await root.readdir(here('d'))).map(String).sort(), ['absent', 'f0', 'f1', 'f4']);
  await host.rename(under('d'), under('e'));
  await soon(() => errnoOf(root.stat(here('d'))), 'ENOENT');
  await soon(() => errnoOf(root.stat(here('e', 'f0'))), 'no error');
}

/** A module that every thread of the daemon loads first. */
async function withFault(
  source: string,
  fn: (env: Record<string, string>, armed: string) => Promise<void>,
): Promise<void> {
  const made = makeTempDirectory('fault');
  const armed = `${made}/armed`;
  writeFileSync(
    `${made}/fault.mjs`,
    `import { existsSync } from 'node:fs';\nconst armed = ${JSON.stringify(armed)};\n${source}`,
  );
  try {
    await fn({ NODE_OPTIONS: `--import ${made}/fault.mjs` }, armed);
  } finally {
    removeTempDirectory(made);
  }
}

test.each(WATCHERS)('the watcher breaks, %s: nothing is cached any more, and the view is right', async (watcher) => {
  // The thread ends with an exception while it handles events.
  const fault = `const { Breaker } = await import('${DIST}coherence/breaker.js');
    const { begin } = Breaker.prototype;
    Breaker.prototype.begin = function () {
      if (existsSync(armed) && !this.recalling) throw new Error('injected');
      begin.call(this);
    };`;
  await withFault(fault, async (env, armed) => {
    const options = ['--coherence', 'lease', '--watcher', watcher];
    let output = '';
    await withContainer(
      async (container) => {
        await warm(container);
        expect((await statusOf(container.view)).coherence).toBe('lease');
        writeFileSync(armed, '');
        await container.host.writeFile(container.under('d', 'f0'), 'the event that breaks it');
        await said(container, 'the watcher of the underlay broke');
        await expectRight(container);
        expect((await statusOf(container.view)).coherence).toContain('suspended');
        output = container.view.output();
      },
      { options, env, complains: true },
    );
    expect(output.split('\n').filter((line) => line.includes('"level":"error"')).length).toBe(1);
  });
});

test('a kernel that cannot be told to drop an absent name is not given any to keep', async () => {
  // As Linux 6.19 to 7.1 do: ENOENT for what is absent, and it stays cached. Which names are absent is known by their names.
  const fault = `const { Notifier } = await import('${DIST}coherence/notifier.js');
    const { invalEntry } = Notifier.prototype;
    Notifier.prototype.invalEntry = function (parent, generation, name, offset, length) {
      const text = Buffer.from(name.subarray(offset, offset + length)).toString();
      if (/^(absent|\\.fuse-shiftfs-probe)/.test(text)) return -2;
      return invalEntry.call(this, parent, generation, name, offset, length);
    };`;
  await withFault(fault, async (env) => {
    await withContainer(
      async (container) => {
        const { root, host, in: here, under } = container;
        expect(container.view.output()).toContain('absences are not cached');
        await host.mkdir(under('d'));
        for (let i = 0; i < 30; i++) {
          const name = `absent${i}`;
          for (let twice = 0; twice < 3; twice++) expect(await errnoOf(root.stat(here('d', name)))).toBe('ENOENT');
          await host.writeFile(under('d', name), name);
          await soon(() => errnoOf(root.stat(here('d', name))), 'no error');
        }
      },
      { options: ['--coherence', 'lease', '--watcher', 'fanotify'], env },
    );
  });
});

test('watches run out: what is not watched is not cached, and the log says so', async () => {
  const limit = '/proc/sys/fs/inotify/max_user_watches';
  const before = readFileSync(limit, 'utf8');
  await withContainer(
    async (container) => {
      const { root, host, in: here, under } = container;
      const names = Array.from({ length: 300 }, (_, i) => `d${i}`);
      for (const name of names) {
        await host.mkdir(under(name));
        await host.writeFile(under(name, 'f'), 'old');
      }
      writeFileSync(limit, '100');
      try {
        for (let twice = 0; twice < 2; twice++) for (const name of names) await root.readFile(here(name, 'f'));
        await said(container, 'no more directories can be watched');
      } finally {
        writeFileSync(limit, before);
      }
      for (const name of names) await root.readFile(here(name, 'f'));
      for (const name of names) {
        await host.writeFile(under(name, 'new'), name);
        await host.rename(under(name, 'new'), under(name, 'f'));
      }
      for (const name of names) await soon(async () => (await root.readFile(here(name, 'f'))).toString(), name);
    },
    { options: ['--coherence', 'lease', '--watcher', 'chokidar'] },
  );
});

test.each(WATCHERS)(
  'what a container has mounted below a directory survives what the host does beside it, %s',
  async (watcher) => {
    await withContainer(
      async ({ view, under, host }) => {
        for (const name of ['top', 'top/place', 'top/other']) await host.mkdir(under(name));
        await host.writeFile(under('top', 'file'), 'file');
        // Told by a file when to look: the mount is in a namespace of its own.
        const script = `cd "$1" && mount -t tmpfs inside top/place && echo inside > top/place/f
ls top top/place top/other > /dev/null; cat top/file top/place/f
for i in $(seq 3000); do [ ! -e "$2" ] || break; stat top top/place top/file > /dev/null 2>&1; sleep 0.01; done
sleep 1.5
cat top/place/f && mountpoint -q top/place && echo still`;
        const done = under('..', 'done');
        const container = run(['sh', '-c', script, 'sh', view.mountpoint, done], {
          uid: 0,
          gid: 0,
          userns: [CONTAINER_MAP],
          mountNamespace: true,
        });
        await sleep(500);
        for (let i = 0; i < 20; i++) {
          await host.writeFile(under('top', 'file'), `${i}`);
          await host.writeFile(under('top', 'new'), 'new');
          await host.rename(under('top', 'new'), under('top', 'file'));
          await host.chmod(under('top', 'place'), 0o700 + (i % 8));
          await host.chmod(under('top'), 0o750 + (i % 8));
          await host.writeFile(under('top', 'place', `below${i}`), 'below');
          await host.mkdir(under('top', `d${i}`));
          await host.rename(under('top', 'other'), under('top', 'other2'));
          await host.rename(under('top', 'other2'), under('top', 'other'));
          await host.utimens(under('top', 'place'), ['now', 'now']);
        }
        await host.chmod(under('top'), 0o755);
        await host.writeFile(done, '');
        const { stdout, status } = await container;
        expect(stdout.toString()).toBe('fileinside\ninside\nstill\n');
        expect(status).toBe(0);
        await runOk(['rm', done]);
      },
      { options: ['--coherence', 'lease', '--watcher', watcher] },
    );
  },
);
