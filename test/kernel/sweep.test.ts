// The promise of the suites themselves: what a killed run left is taken away by the next one, whatever state it is in, and
// what belongs to a run that is alive is left alone.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { mountAt, mountsBelow } from '../support/mounts.js';
import { OWNER_VARIABLE, sweep } from '../support/temp.js';

const directoryOf = (pid: number) => `/var/tmp/fuse-shiftfs-test-${pid}`;
const startTimeOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19];

function isAlive(pid: number): boolean {
  try {
    // A zombie of ours is as good as gone.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

test('a hung view, a mount, a process and the files of a dead run are removed', async () => {
  const owner = spawn('sleep', ['infinity']);
  const pid = owner.pid ?? 0;
  const directory = directoryOf(pid);
  for (const name of ['', '/source', '/view', '/tmpfs']) mkdirSync(`${directory}${name}`);
  writeFileSync(`${directory}/owner`, `${pid} ${startTimeOf(pid)}\n`);
  const env = { ...process.env, [OWNER_VARIABLE]: directory };
  const left = spawn('sleep', ['infinity'], { env });
  const server = spawn('bindfs', ['-f', `${directory}/source`, `${directory}/view`], { env, stdio: 'ignore' });
  spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', `${directory}/tmpfs`]);
  while (mountAt(`${directory}/view`) === undefined) await sleep(20);
  server.kill('SIGSTOP');
  const caller = spawn('ls', [`${directory}/view`], { env, stdio: 'ignore' });

  expect(await sweep()).not.toContain(directory);
  expect(mountsBelow(directory).length).toBe(2);
  expect(isAlive(left.pid ?? 0)).toBe(true);

  owner.kill('SIGKILL');
  await once(owner, 'exit');
  // Another run on this machine may be the one that sweeps it.
  await sweep();
  expect(mountsBelow(directory)).toEqual([]);
  expect(existsSync(directory)).toBe(false);
  for (const process of [left, server, caller]) {
    if (process.exitCode === null && process.signalCode === null) await once(process, 'exit');
    expect(isAlive(process.pid ?? 0)).toBe(false);
  }
}, 30_000);

test('a pid that was given to another process does not save what the dead one left', async () => {
  const other = spawn('sleep', ['infinity']);
  const directory = directoryOf(other.pid ?? 0);
  try {
    mkdirSync(directory);
    writeFileSync(`${directory}/owner`, `${other.pid} 1\n`);
    await sweep();
    expect(existsSync(directory)).toBe(false);
    expect(isAlive(other.pid ?? 0)).toBe(true);
  } finally {
    other.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
});
