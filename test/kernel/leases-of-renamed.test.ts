// The kernel moves what it has cached of a name along when the view renames it, so the lease goes to the new name without
// a look at it (fs/fuse/dir.c, fuse_rename_common): what the host does to the new name has to be seen all the same.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Container, withContainer } from '../regressions/harness.js';
import { errnoOf } from '../support/actor.js';
import { RENAME_EXCHANGE } from '../support/constants.js';
import { soonWithin } from './soon.js';

const LEASE = { options: ['--coherence', 'lease'] };
const BOUND = 5000;

const soon = <T>(ask: () => Promise<T>, wanted: T): Promise<void> => soonWithin(BOUND, ask, wanted);

/** Files and a directory that the kernel has leases on. */
async function prepare(c: Container): Promise<void> {
  await c.host.mkdir(c.under('d'));
  for (const name of ['a', 'b', 'd/f']) await c.host.writeFile(c.under(name), name);
  await sleep(50);
  for (let twice = 0; twice < 2; twice++) {
    for (const name of ['a', 'b', 'd', 'd/f']) await c.root.stat(c.in(name));
  }
}

test.each([
  ['a', 'new'],
  ['a', 'b'],
  ['d', 'new'],
])('after a rename of %s to %s in the view the host moves it away', async (from, to) => {
  await withContainer(async (c) => {
    await prepare(c);
    await c.root.rename(c.in(from), c.in(to));
    await c.host.rename(c.under(to), c.under('away'));
    await soon(async () => errnoOf(c.root.open(c.in(to), 0)), 'ENOENT');
    expect((await c.root.readdir(c.in())).map(String)).toContain('away');
  }, LEASE);
});

test('after an exchange in the view the host replaces both', async () => {
  await withContainer(async (c) => {
    await prepare(c);
    await c.root.rename(c.in('a'), c.in('b'), RENAME_EXCHANGE);
    for (const name of ['a', 'b']) {
      await c.host.writeFile(c.under('t'), `new ${name}`);
      await c.host.rename(c.under('t'), c.under(name));
    }
    for (const name of ['a', 'b']) {
      await soon(async () => (await c.root.readFile(c.in(name))).toString(), `new ${name}`);
    }
  }, LEASE);
});
