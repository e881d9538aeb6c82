// An underlay that does not answer (bindfs, stopped, below a directory of the source): who waits for it can be killed, and
// everybody else goes on.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../robustness/figures.js';
import { type Actor, startActor } from '../support/actor.js';
import { O_CREAT, O_RDWR } from '../support/constants.js';
import { isIoUringOn } from '../support/io-uring.js';
import { detachMountsBelow, mountAt } from '../support/mounts.js';
import { startProgram } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { childEnvironment, makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { mountView, type View } from '../support/view.js';

let made: string;
let stalling: ChildProcess;
let view: View;
let actor: Actor;
const callers: ChildProcess[] = [];

beforeEach(async () => {
  made = makeTempDirectory('stalled');
  for (const name of ['underlay', 'underlay/slow', 'underlay/other', 'behind', 'view']) mkdirSync(`${made}/${name}`);
  stalling = spawn(
    'bindfs',
    ['-f', '-o', 'attr_timeout=0,entry_timeout=0', `${made}/behind`, `${made}/underlay/slow`],
    {
      env: childEnvironment(),
      stdio: 'ignore',
    },
  );
  while (mountAt(`${made}/underlay/slow`) === undefined) await sleep(20);
  view = await mountView({ source: `${made}/underlay`, mountpoint: `${made}/view` });
  actor = await startActor({ uid: 0, gid: 0 });
  await actor.writeFile(`${view.mountpoint}/fast`, 'fast');
  for (let file = 0; file < 100; file++) await actor.writeFile(`${made}/behind/f${file}`, 'slow');
  expect(String(await actor.readFile(`${view.mountpoint}/slow/f0`))).toBe('slow');
});

afterEach(async () => {
  stalling.kill('SIGCONT');
  for (const caller of callers.splice(0)) caller.kill('SIGKILL');
  await actor?.stop();
  await view?.destroy();
  detachMountsBelow(made);
  stalling.kill('SIGKILL');
  removeTempDirectory(made);
});

const isBlocked = (pid: number | undefined) => {
  try {
    return readFileSync(`/proc/${pid}/wchan`, 'latin1') === 'request_wait_answer';
  } catch {
    return false;
  }
};

/** Programs that look at one file each behind the stalled underlay; resolves when all of them wait for an answer. */
async function blockCallers(count: number): Promise<ChildProcess[]> {
  for (let file = 0; file < count; file++)
    callers.push(await startProgram(['stat', `${view.mountpoint}/slow/f${file}`]));
  while (!callers.every(({ pid }) => isBlocked(pid))) await sleep(20);
  return callers;
}

test('a caller that waits for a stalled underlay can be killed', async (context) => {
  if (isIoUringOn()) context.skip('over io_uring, nobody but the thread that is stuck can answer (docs/decisions.md)');
  stalling.kill('SIGSTOP');
  const [caller] = await blockCallers(1);
  const ended = new Promise((resolve) => caller?.once('exit', (_, signal) => resolve(signal)));
  caller?.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
}, 20_000);

test('a caller that is alone with its stuck thread gets the daemon no more threads', async (context) => {
  if (!isIoUringOn()) context.skip('of the device, a thread has to be free to hear of callers that are killed');
  const { alive } = (await statusOf(view)).workers;
  stalling.kill('SIGSTOP');
  await blockCallers(1);
  await sleep(500);
  expect((await statusOf(view)).workers.alive).toBe(alive);
  await blockCallers(20);
  await eventually(20_000, async () => (await statusOf(view)).workers.alive > alive);
}, 60_000);

test('forty blocked callers hold up nobody else', async () => {
  stalling.kill('SIGSTOP');
  await blockCallers(40);
  // The daemon grows by a thread for each; on a busy machine that takes its time.
  expect(String(await actor.within(30_000).readFile(`${view.mountpoint}/fast`))).toBe('fast');
  for (let round = 0; round < 20; round++) {
    expect(String(await actor.readFile(`${view.mountpoint}/fast`))).toBe('fast');
    const fd = await actor.open(`${view.mountpoint}/other/new${round}`, O_CREAT | O_RDWR);
    await actor.write(fd, 'x');
    await actor.close(fd);
  }
  expect((await actor.readdir(`${view.mountpoint}/other`)).length).toBe(20);
}, 60_000);

test('the callers get their answers when the underlay goes on', async () => {
  stalling.kill('SIGSTOP');
  const blocked = await blockCallers(40);
  const ended = blocked.map((caller) => new Promise((resolve) => caller.once('exit', resolve)));
  stalling.kill('SIGCONT');
  expect(await Promise.all(ended)).toEqual(blocked.map(() => 0));
  expect(String(await actor.readFile(`${view.mountpoint}/slow/f50`))).toBe('slow');
}, 60_000);
