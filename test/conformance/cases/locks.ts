// Locks of all kinds, between processes of this place and between this place and the underlay.

import { expect } from 'vitest';
import { type Actor, errnoOf } from '../../support/actor.js';
import {
  F_GETLK,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_OFD_SETLKW,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../support/constants.js';
import { type Context, check, expectErrno } from '../suite.js';

const GIBIBYTE = 2 ** 30;
const SIGUSR2 = 12;

/** A file that both may open, opened by both sides of a pair. */
async function openBoth(
  t: Context,
  pair: 'here' | 'underlay',
): Promise<{ a: Actor; b: Actor; fdA: number; fdB: number }> {
  await t.user.writeFile(t.path('f'), 'content');
  await t.user.chmod(t.path('f'), 0o666);
  const a = t.user;
  const b = pair === 'here' ? t.other : t.host;
  const fdA = await a.open(t.path('f'), O_RDWR);
  const fdB = await b.open(pair === 'here' ? t.path('f') : t.there('f'), O_RDWR);
  return { a, b, fdA, fdB };
}

const PAIRS = [
  ['here', 'two processes here'],
  ['underlay', 'a process here and one in the underlay'],
] as const;

/** Resolves when the promise did not settle while the actor was seen to block. */
async function expectBlocked(actor: Actor, call: Promise<unknown>): Promise<void> {
  await Promise.race([
    actor.untilBlocked(),
    call.then(() => {
      throw new Error('the lock was granted although somebody holds it');
    }),
  ]);
}

const between = PAIRS.flatMap(([pair, description]) => [
  check(`POSIX locks exclude ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await a.lock(fdA, F_SETLK, { type: F_WRLCK });
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK }));
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_RDLCK }));
    expect((await b.lock(fdB, F_GETLK, { type: F_WRLCK })).type).toBe(F_WRLCK);
    await a.lock(fdA, F_SETLK, { type: F_UNLCK });
    expect((await b.lock(fdB, F_GETLK, { type: F_WRLCK })).type).toBe(F_UNLCK);
    await b.lock(fdB, F_SETLK, { type: F_WRLCK });
    await expectErrno('EAGAIN', a.lock(fdA, F_SETLK, { type: F_RDLCK }));
    await a.close(fdA);
    await b.close(fdB);
  }),
  check(`POSIX read locks are shared by ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await a.lock(fdA, F_SETLK, { type: F_RDLCK });
    await b.lock(fdB, F_SETLK, { type: F_RDLCK });
    await expectErrno('EAGAIN', a.lock(fdA, F_SETLK, { type: F_WRLCK }));
    await b.lock(fdB, F_SETLK, { type: F_UNLCK });
    await a.lock(fdA, F_SETLK, { type: F_WRLCK });
    await a.close(fdA);
    await b.close(fdB);
  }),
  check(`POSIX locks hold for their range only, for ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await a.lock(fdA, F_SETLK, { type: F_WRLCK, start: 100, length: 100 });
    await a.lock(fdA, F_SETLK, { type: F_WRLCK, start: 5 * GIBIBYTE, length: 10 });
    await b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 0, length: 100 });
    await b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 200, length: 100 });
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 199, length: 1 }));
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 5 * GIBIBYTE + 9, length: 1 }));
    await b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 5 * GIBIBYTE + 10, length: 1 });
    const found = await b.lock(fdB, F_GETLK, { type: F_WRLCK, start: 150, length: 10 });
    expect(found).toMatchObject({ type: F_WRLCK, start: 100, length: 100 });
    await a.close(fdA);
    await b.close(fdB);
  }),
  check(`flock excludes ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await a.flock(fdA, LOCK_SH);
    await b.flock(fdB, LOCK_SH | LOCK_NB);
    await expectErrno('EAGAIN', b.flock(fdB, LOCK_EX | LOCK_NB));
    await b.flock(fdB, LOCK_UN);
    await a.flock(fdA, LOCK_EX);
    await expectErrno('EAGAIN', b.flock(fdB, LOCK_SH | LOCK_NB));
    await a.flock(fdA, LOCK_UN);
    await b.flock(fdB, LOCK_EX | LOCK_NB);
    await a.close(fdA);
    await b.close(fdB);
  }),
  check(`OFD locks exclude ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await a.lock(fdA, F_OFD_SETLK, { type: F_WRLCK, start: 10, length: 10 });
    await expectErrno('EAGAIN', b.lock(fdB, F_OFD_SETLK, { type: F_RDLCK, start: 15, length: 1 }));
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 15, length: 1 }));
    expect((await b.lock(fdB, F_OFD_GETLK, { type: F_WRLCK })).type).toBe(F_WRLCK);
    await a.close(fdA);
    // FUSE releases a file after its last close has returned, so the lock goes a moment later: wait for it.
    await b.lock(fdB, F_OFD_SETLKW, { type: F_WRLCK, start: 15, length: 1 });
    await b.close(fdB);
  }),
  check(`a waiting POSIX lock is granted when the holder lets go, for ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await b.lock(fdB, F_SETLK, { type: F_WRLCK });
    const waiting = a.lock(fdA, F_SETLKW, { type: F_WRLCK });
    await expectBlocked(a, waiting);
    await b.lock(fdB, F_SETLK, { type: F_UNLCK });
    await waiting;
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK }));
    await a.close(fdA);
    await b.close(fdB);
  }),
  check(`a waiting flock is granted when the holder closes, for ${description}`, async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, pair);
    await b.flock(fdB, LOCK_EX);
    const waiting = a.flock(fdA, LOCK_EX);
    await expectBlocked(a, waiting);
    await b.close(fdB);
    await waiting;
    await a.close(fdA);
  }),
  check(`a waiting lock is interrupted by a signal, for ${description}`, async (t) => {
    const { b, fdB } = await openBoth(t, pair);
    const patient = await t.actor('user');
    await patient.catchSignal(SIGUSR2);
    const fd = await patient.open(t.path('f'), O_RDWR);
    await b.lock(fdB, F_SETLK, { type: F_WRLCK });
    for (const command of [F_SETLKW, F_OFD_SETLKW]) {
      const waiting = errnoOf(patient.lock(fd, command, { type: F_WRLCK }));
      await expectBlocked(patient, waiting);
      patient.signal('SIGUSR2');
      expect(await waiting).toBe('EINTR');
    }
    await b.lock(fdB, F_SETLK, { type: F_UNLCK });
    await b.flock(fdB, LOCK_EX);
    const waiting = errnoOf(patient.flock(fd, LOCK_EX));
    await expectBlocked(patient, waiting);
    patient.signal('SIGUSR2');
    expect(await waiting).toBe('EINTR');
    await b.close(fdB);
  }),
  check(`who waits for a lock can be killed, and leaves no lock behind, for ${description}`, async (t) => {
    const { b, fdB } = await openBoth(t, pair);
    const doomed = await t.actor('user');
    const fd = await doomed.open(t.path('f'), O_RDWR);
    await b.lock(fdB, F_SETLK, { type: F_WRLCK });
    const waiting = doomed.lock(fd, F_SETLKW, { type: F_WRLCK }).catch(() => 'killed');
    await expectBlocked(doomed, waiting);
    await doomed.stop();
    expect(await waiting).toBe('killed');
    await b.lock(fdB, F_SETLK, { type: F_UNLCK });
    await b.lock(fdB, F_SETLK, { type: F_WRLCK });
    await b.close(fdB);
  }),
  check(`a dead process holds no locks, for ${description}`, async (t) => {
    const { b, fdB } = await openBoth(t, pair);
    const doomed = await t.actor('user');
    const fd = await doomed.open(t.path('f'), O_RDWR);
    await doomed.lock(fd, F_SETLK, { type: F_WRLCK, start: 0, length: 10 });
    await doomed.lock(fd, F_OFD_SETLK, { type: F_WRLCK, start: 20, length: 10 });
    await doomed.flock(fd, LOCK_EX);
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK }));
    await doomed.stop();
    // As above: they go a moment later.
    await b.lock(fdB, F_SETLKW, { type: F_WRLCK });
    await b.flock(fdB, LOCK_EX);
    await b.close(fdB);
  }),
]);

export const locks = [
  ...between,
  check('closing any descriptor of a file drops the POSIX locks of the process, but not OFD locks', async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, 'here');
    await a.lock(fdA, F_SETLK, { type: F_WRLCK, start: 0, length: 10 });
    await a.lock(fdA, F_OFD_SETLK, { type: F_WRLCK, start: 20, length: 10 });
    await a.close(await a.open(t.path('f'), O_RDONLY));
    await b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 0, length: 10 });
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 20, length: 10 }));
    await a.close(fdA);
    await b.close(fdB);
  }),
  check('OFD and flock locks last until the last duplicate is closed', async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, 'here');
    await a.lock(fdA, F_OFD_SETLK, { type: F_WRLCK });
    await a.flock(fdA, LOCK_EX);
    const duplicate = await a.dup(fdA);
    await a.close(fdA);
    await expectErrno('EAGAIN', b.lock(fdB, F_OFD_SETLK, { type: F_WRLCK }));
    await expectErrno('EAGAIN', b.flock(fdB, LOCK_EX | LOCK_NB));
    await a.close(duplicate);
    await b.lock(fdB, F_OFD_SETLKW, { type: F_WRLCK });
    await b.flock(fdB, LOCK_EX);
    await b.close(fdB);
  }),
  check('two descriptions of one process exclude each other by OFD locks and flock, not by POSIX locks', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    const one = await t.user.open(t.path('f'), O_RDWR);
    const two = await t.user.open(t.path('f'), O_RDWR);
    await t.user.lock(one, F_OFD_SETLK, { type: F_WRLCK });
    await expectErrno('EAGAIN', t.user.lock(two, F_OFD_SETLK, { type: F_WRLCK }));
    await t.user.lock(one, F_OFD_SETLK, { type: F_UNLCK });
    await t.user.flock(one, LOCK_EX);
    await expectErrno('EAGAIN', t.user.flock(two, LOCK_EX | LOCK_NB));
    await t.user.lock(one, F_SETLK, { type: F_WRLCK });
    await t.user.lock(two, F_SETLK, { type: F_WRLCK });
    await t.user.close(one);
    await t.user.close(two);
  }),
  check('F_GETLK names the process that holds the lock', async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, 'here');
    await a.lock(fdA, F_SETLK, { type: F_WRLCK, start: 7, length: 3 });
    expect(await b.lock(fdB, F_GETLK, { type: F_RDLCK })).toMatchObject({
      type: F_WRLCK,
      start: 7,
      length: 3,
      pid: a.processId,
    });
    await a.close(fdA);
    await b.close(fdB);
  }),
  check('unlocking the middle leaves two locks', async (t) => {
    const { a, b, fdA, fdB } = await openBoth(t, 'here');
    await a.lock(fdA, F_SETLK, { type: F_WRLCK, start: 0, length: 30 });
    await a.lock(fdA, F_SETLK, { type: F_UNLCK, start: 10, length: 10 });
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 9, length: 1 }));
    await b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 10, length: 10 });
    await expectErrno('EAGAIN', b.lock(fdB, F_SETLK, { type: F_WRLCK, start: 20, length: 1 }));
    await a.close(fdA);
    await b.close(fdB);
  }),
  check('a lock needs a descriptor open for what it locks', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    const reading = await t.user.open(t.path('f'), O_RDONLY);
    const writing = await t.user.open(t.path('f'), O_WRONLY);
    await expectErrno('EBADF', t.user.lock(reading, F_SETLK, { type: F_WRLCK }));
    await expectErrno('EBADF', t.user.lock(writing, F_SETLK, { type: F_RDLCK }));
    await t.user.lock(reading, F_SETLK, { type: F_RDLCK });
    await t.user.flock(reading, LOCK_EX);
    await t.user.close(reading);
    await t.user.close(writing);
  }),
];
