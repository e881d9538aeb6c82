// FUSE threads: FUSE_NOTIFY_INVAL_ENTRY for a cached absence fails on some kernels (6.19 to 7.1 answer ENOENT and keep it),
// and it can race with move and unlink: ENOENT, EINVAL, ENOTEMPTY and EBUSY from a notification must be survived.
//
// This test: names are looked up while they are absent, then the host makes them in every way; and names are made, moved and
// removed by the container at the very time at which the host does the same. Nothing stays absent, nothing stays there, and
// the daemon serves on.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Actor, errnoOf } from '../support/actor.js';
import { S_IFIFO } from '../support/constants.js';
import { withContainer } from './harness.js';

const BOUND = 1000;

/** The first right answer within the bound. */
async function until(wanted: string, ask: () => Promise<string>): Promise<string> {
  const start = performance.now();
  for (;;) {
    const begun = performance.now() - start;
    const answer = await ask();
    if (answer === wanted || begun > BOUND) return answer;
    await sleep(2);
  }
}

const makers: Readonly<Record<string, (host: Actor, at: (name: string) => string) => Promise<unknown>>> = {
  create: (host, at) => host.writeFile(at('name'), 'x'),
  mkdir: (host, at) => host.mkdir(at('name')),
  symlink: (host, at) => host.symlink('other', at('name')),
  mknod: (host, at) => host.mknod(at('name'), S_IFIFO | 0o600),
  link: (host, at) => host.link(at('other'), at('name')),
  'rename within': (host, at) => host.rename(at('other'), at('name')),
  'rename from elsewhere': (host, at) => host.rename(at('../elsewhere'), at('name')),
};

test.each(['strict', 'lease'])('what was absent appears, %s', async (coherence) => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      for (const [how, make] of Object.entries(makers)) {
        const directory = how.replace(' ', '-');
        await host.mkdir(under(directory));
        await host.writeFile(under(directory, 'other'), 'other');
        await host.writeFile(under('elsewhere'), 'elsewhere');
        for (let i = 0; i < 3; i++) expect(await errnoOf(root.lstat(here(directory, 'name')))).toBe('ENOENT');
        await make(host, (name) => under(directory, name));
        expect([how, await until('no error', () => errnoOf(root.lstat(here(directory, 'name'))))]).toEqual([
          how,
          'no error',
        ]);
        expect((await root.readdir(here(directory))).map(String)).toContain('name');
      }
    },
    { options: ['--coherence', coherence] },
  );
});

test.each(['strict', 'lease'])('both sides make, move and remove the same names at once, %s', async (coherence) => {
  await withContainer(
    async ({ root, host, user, in: here, under }) => {
      await host.chmod(under(), 0o777);
      const expected = new Set(['no error', 'ENOENT', 'EEXIST', 'ENOTEMPTY', 'EISDIR', 'ENOTDIR', 'EACCES', 'EPERM']);
      const unexpected: string[] = [];
      const hammer = async (actor: Actor, at: (name: string) => string): Promise<void> => {
        for (let i = 0; i < 300; i++)
          for (const call of [
            actor.mkdir(at('a')),
            actor.rename(at('a'), at('b')),
            actor.writeFile(at('c'), 'x'),
            actor.rename(at('c'), at('d')),
            actor.stat(at('b')),
            actor.rmdir(at('b')),
            actor.unlink(at('d')),
            actor.stat(at('a')),
          ]) {
            const error = await errnoOf(call);
            if (!expected.has(error)) unexpected.push(error);
          }
      };
      await Promise.all([hammer(host, under), hammer(root, here), hammer(await user(1000), here)]);
      expect(unexpected).toEqual([]);
      for (const name of ['a', 'b', 'c', 'd']) {
        const real = await errnoOf(host.lstat(under(name)));
        expect([name, await until(real, () => errnoOf(root.lstat(here(name))))]).toEqual([name, real]);
      }
      expect(
        await until((await host.readdir(under())).sort().join(), async () =>
          (await root.readdir(here())).sort().join(),
        ),
      ).toBe((await host.readdir(under())).sort().join());
    },
    { options: ['--coherence', coherence] },
  );
});
