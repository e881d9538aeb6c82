// Who waits for whom when directories were moved between directories that are being looked up in (src/coherence/aliases.ts).
// Real threads; the locks of directories, which are the kernel's, are counters here.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Aliases, CURRENT, createAliases } from '../../../src/coherence/aliases.js';

const WORKERS = 8;
/** ms: longer than a test may take, for a lookup that must not have to give up. */
const ENDLESS = 60_000;
/** A directory that keeps the thread busy. */
const BUSY = 15;
const program = (name: string): string => fileURLToPath(new URL(`aliases-${name}.mjs`, import.meta.url));

let shared: SharedArrayBuffer;
let holders: Int32Array;
let server: Worker;
let dropped: string[];
const lookups: Worker[] = [];

beforeEach(async () => {
  shared = createAliases(WORKERS);
  holders = new Int32Array(new SharedArrayBuffer(64));
  dropped = [];
  server = new Worker(program('server'), { workerData: { shared, holders } });
  server.on('message', (entry: string) => dropped.push(entry));
  await once(server, 'online');
});

afterEach(async () => {
  await Promise.all([server, ...lookups.splice(0)].map((thread) => thread.terminate()));
});

/**
 * A lookup in the directory `held` that found what is still cached as `name` of `parent`; it lets go when it is answered.
 * Whether the entry was gone by then.
 */
async function lookUp(
  worker: number,
  held: number,
  parent: number,
  name: string,
  patience = ENDLESS,
): Promise<boolean> {
  const thread = new Worker(program('waiter'), { workerData: { shared, patience, worker, held, parent, name } });
  lookups.push(thread);
  Atomics.add(holders, held, 1);
  const [gone] = (await once(thread, 'message')) as [boolean];
  letGo(held);
  return gone;
}

function letGo(directory: number): void {
  Atomics.sub(holders, directory, 1);
  Atomics.notify(holders, directory);
}

/** Begins all of them while the thread is busy, so that each finds the others waiting. */
async function meanwhile(...begin: readonly (() => Promise<boolean>)[]): Promise<boolean[]> {
  Atomics.add(holders, BUSY, 1);
  const aliases = new Aliases(shared);
  aliases.drop(BUSY, 1, Buffer.from('busy'), 4);
  // Not before: those who wait come first, and the first of them would be served without the others.
  while (aliases['words'][CURRENT] !== BUSY) await sleep(5);
  let answered = 0;
  const all = begin.map((each) =>
    each().finally(() => {
      answered++;
    }),
  );
  while (aliases['waiting']().length + answered < begin.length) await sleep(5);
  letGo(BUSY);
  const outcomes = await Promise.all(all);
  await drops(1);
  expect(dropped.shift()).toBe(`${BUSY}/busy`);
  return outcomes;
}

async function drops(count: number): Promise<void> {
  while (dropped.length < count) await sleep(5);
}

test('a lookup is answered when the old entry is gone', async () => {
  expect(await lookUp(0, 1, 2, 'moved')).toBe(true);
  await drops(1);
  expect(dropped).toEqual(['2/moved']);
});

test('what nobody waits for is dropped, too', async () => {
  new Aliases(shared).drop(3, 1, Buffer.from('moved'), 5);
  await drops(1);
  expect(dropped).toEqual(['3/moved']);
});

test('the directory of a lookup that waits is not waited for before that lookup had its turn', async () => {
  const outcomes = await meanwhile(
    () => lookUp(0, 1, 2, 'a'),
    () => lookUp(1, 2, 3, 'b'),
    () => lookUp(2, 3, 4, 'c'),
  );
  expect(outcomes).toEqual([true, true, true]);
  await drops(3);
  expect(dropped).toEqual(['4/c', '3/b', '2/a']);
});

test('of two lookups that wait for each other one is answered at once, and its entry goes afterwards', async () => {
  const outcomes = await meanwhile(
    () => lookUp(0, 1, 2, 'a'),
    () => lookUp(1, 2, 1, 'b'),
  );
  expect(outcomes.sort()).toEqual([false, true]);
  await drops(2);
  expect(dropped.sort()).toEqual(['1/b', '2/a']);
});

test('a lookup in the directory that is being waited for is answered at once', async () => {
  const outcomes = await meanwhile(() => lookUp(0, BUSY, 2, 'a'));
  expect(outcomes).toEqual([false]);
  await drops(1);
  expect(dropped).toEqual(['2/a']);
});

test('where somebody unknown holds the directory a lookup is answered all the same, and may try again', async () => {
  Atomics.add(holders, 2, 1);
  expect(await lookUp(0, 1, 2, 'moved', 20)).toBe(false);
  const again = lookUp(0, 1, 2, 'moved');
  letGo(2);
  expect(await again).toBe(true);
});

test('all that wait for one entry are answered together', async () => {
  const outcomes = await meanwhile(...[0, 1, 2, 3].map((worker) => () => lookUp(worker, worker + 1, 7, 'moved')));
  expect(outcomes).toEqual([true, true, true, true]);
  await drops(1);
  await sleep(50);
  expect(dropped).toEqual(['7/moved']);
});
