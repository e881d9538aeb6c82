// Locks where the protocol makes them hard: a close(2) that no FLUSH tells, a lock to the end of the file, and a
// process that is killed after it has waited for a while.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { errnoOf, startActor } from '../support/actor.js';
import {
  F_GETLK,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../support/constants.js';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';

const WHOLE = { type: F_WRLCK, start: 0, length: 0 } as const;

test('the close of a file opened for writing alone ends its lock while the process lives on', async () => {
  await withContainer(async (c) => {
    await c.root.writeFile(c.in('lock'), '');
    const other = await c.user(1000);
    await c.root.chmod(c.in('lock'), 0o666);
    for (let round = 0; round < 3; round++) {
      const fd = await c.root.open(c.in('lock'), O_WRONLY);
      await c.root.lock(fd, F_SETLK, WHOLE);
      const waiting = await other.open(c.in('lock'), O_RDWR);
      expect(await errnoOf(other.lock(waiting, F_SETLK, WHOLE))).toBe('EAGAIN');
      await c.root.close(fd);
      await other.lock(waiting, F_SETLKW, WHOLE);
      await other.close(waiting);
    }
  });
});

test('a lock that was waited for ends with the close, too', async () => {
  await withContainer(async (c) => {
    await c.root.writeFile(c.in('lock'), '');
    const host = await c.host.open(c.under('lock'), O_RDWR);
    await c.host.lock(host, F_SETLK, WHOLE);
    const fd = await c.root.open(c.in('lock'), O_WRONLY);
    const granted = c.root.lock(fd, F_SETLKW, WHOLE);
    await c.root.untilBlocked();
    await c.host.close(host);
    await granted;
    await c.root.close(fd);
    const again = await c.host.open(c.under('lock'), O_RDWR);
    await c.host.lock(again, F_SETLKW, WHOLE);
  });
});

test('F_GETLK tells of a lock of the whole file', async () => {
  await withContainer(async (c) => {
    await c.root.writeFile(c.in('lock'), '');
    const host = await c.host.open(c.under('lock'), O_RDWR);
    await c.host.lock(host, F_SETLK, WHOLE);
    const fd = await c.root.open(c.in('lock'), O_RDWR);
    expect(await c.root.lock(fd, F_GETLK, WHOLE)).toMatchObject({ type: F_WRLCK, start: 0, length: 0 });
  });
});

test('a process that has waited for a lock for a while can be killed', async () => {
  await withContainer(async (c) => {
    await c.root.writeFile(c.in('lock'), '');
    const host = await c.host.open(c.under('lock'), O_RDWR);
    await c.host.lock(host, F_SETLK, WHOLE);
    const victim = await startActor({ uid: 0, gid: 0, userns: [CONTAINER_MAP] });
    const fd = await victim.open(c.in('lock'), O_RDWR);
    const refused = victim.lock(fd, F_SETLKW, WHOLE).catch((error: unknown) => error);
    await victim.untilBlocked();
    // Long enough to be tried again, which is when it stopped being found.
    await sleep(200);
    await victim.stop();
    expect(await refused).toBeInstanceOf(Error);
  });
});

test('a program can be run by the host while the view has it locked', async () => {
  await withContainer(async (c) => {
    await runOk(['cp', '/bin/sleep', c.under('program')]);
    await c.host.chown(c.under('program'), 0, 0);
    await c.host.chmod(c.under('program'), 0o755);
    const fd = await c.root.open(c.in('program'), O_RDONLY);
    await c.root.flock(fd, LOCK_EX);
    await c.root.lock(fd, F_SETLK, { ...WHOLE, type: F_RDLCK });
    await runOk([c.under('program'), '0']);
    await runOk([c.in('program'), '0']);
    const host = await c.host.open(c.under('program'), O_RDONLY);
    expect(await errnoOf(c.host.flock(host, LOCK_EX | LOCK_NB))).toBe('EAGAIN');
    await c.root.close(fd);
  });
});
