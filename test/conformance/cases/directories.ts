// Listings, and directories that are removed under somebody's feet.

import { expect } from 'vitest';
import type { Actor, BatchedCall, DirectoryEntry } from '../../support/actor.js';
import {
  DT_DIR,
  DT_FIFO,
  DT_LNK,
  DT_REG,
  DT_SOCK,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  S_IFIFO,
  S_IFREG,
  S_IFSOCK,
  SEEK_SET,
} from '../../support/constants.js';
import { check, expectErrno } from '../suite.js';

const openDirectory = (actor: Actor, path: string) => actor.open(path, O_RDONLY | O_DIRECTORY);

/** To the end of the directory, `size` bytes a call. */
async function listAll(actor: Actor, fd: number, size: number): Promise<DirectoryEntry[]> {
  const all: DirectoryEntry[] = [];
  for (;;) {
    const entries = await actor.getdents(fd, size);
    if (entries.length === 0) return all;
    all.push(...entries);
  }
}

const nameOf = ({ name }: DirectoryEntry) => name.toString('latin1');
const isDot = (name: string) => name === '.' || name === '..';

/**
 * Makes names `PREFIX0`, `PREFIX1` ... of a few files: a new inode costs an ext4 many times what a new name does, and an
 * inode takes at most 65,000 names.
 */
async function makeMany(actor: Actor, directory: string, prefix: string, count: number): Promise<void> {
  // Small batches: the time of a message between processes grows faster than its size.
  const step = 200;
  for (let start = 0; start < count; start += step) {
    const calls: BatchedCall[] = [];
    for (let number = start; number < Math.min(start + step, count); number++)
      calls.push(
        number % 10_000 === 0
          ? ['mknod', `${directory}/${prefix}${number}`, S_IFREG | 0o644]
          : ['link', `${directory}/${prefix}${number - (number % 10_000)}`, `${directory}/${prefix}${number}`],
      );
    await actor.within(60_000).batch(calls);
  }
}

export const directories = [
  check('a listing has every name once, with . and .., types and inode numbers', async (t) => {
    await t.user.mkdir(t.path('dir'));
    await t.user.writeFile(t.path('file'), '');
    await t.user.symlink('x', t.path('link'));
    await t.user.mknod(t.path('fifo'), S_IFIFO);
    await t.user.mknod(t.path('socket'), S_IFSOCK);
    const fd = await openDirectory(t.user, t.directory);
    const entries = await listAll(t.user, fd, 32_768);
    expect(entries.map(nameOf).sort()).toEqual(['.', '..', 'dir', 'fifo', 'file', 'link', 'socket']);
    const types: Record<string, number> = { dir: DT_DIR, file: DT_REG, link: DT_LNK, fifo: DT_FIFO, socket: DT_SOCK };
    for (const entry of entries) {
      const name = nameOf(entry);
      if (name === '..') continue;
      expect(entry.ino).toBe((await t.user.lstat(t.path(name))).ino);
      expect(entry.type).toBe(types[name] ?? DT_DIR);
    }
    await t.user.close(fd);
  }),
  check('an empty directory lists . and .. only', async (t) => {
    const fd = await openDirectory(t.user, t.directory);
    expect((await listAll(t.user, fd, 4096)).map(nameOf).sort()).toEqual(['.', '..']);
    await t.user.close(fd);
  }),
  check('any size of buffer gives the same listing, and one too small is EINVAL', async (t) => {
    await makeMany(t.user, t.directory, 'n', 300);
    const all = (await t.host.readdir(t.there())).map(String).sort();
    for (const size of [280, 1000, 32_768, 1 << 20]) {
      const fd = await openDirectory(t.user, t.directory);
      const names = (await listAll(t.user, fd, size)).map(nameOf).filter((name) => !isDot(name));
      expect(names.sort()).toEqual(all);
      await t.user.close(fd);
    }
    const fd = await openDirectory(t.user, t.directory);
    await expectErrno('EINVAL', t.user.getdents(fd, 10));
    await t.user.close(fd);
  }),
  check('seeking to the place behind any entry goes on from there', async (t) => {
    await makeMany(t.user, t.directory, 'entry-', 500);
    const fd = await openDirectory(t.user, t.directory);
    const entries = await listAll(t.user, fd, 1024);
    const order = entries.map(nameOf);
    for (const index of [0, 1, 7, 250, order.length - 2, order.length - 1]) {
      await t.user.lseek(fd, entries[index]?.off ?? 0n, SEEK_SET);
      const rest = (await listAll(t.user, fd, 4096)).map(nameOf);
      expect(rest).toEqual(order.slice(index + 1));
    }
    await t.user.lseek(fd, 0, SEEK_SET);
    expect((await listAll(t.user, fd, 512)).map(nameOf)).toEqual(order);
    await t.user.close(fd);
  }),
  check('rewinding shows what was made and removed meanwhile', async (t) => {
    await t.user.writeFile(t.path('old'), '');
    const fd = await openDirectory(t.user, t.directory);
    expect((await listAll(t.user, fd, 4096)).map(nameOf).sort()).toEqual(['.', '..', 'old']);
    await t.user.writeFile(t.path('new'), '');
    await t.user.unlink(t.path('old'));
    await t.user.lseek(fd, 0, SEEK_SET);
    expect((await listAll(t.user, fd, 4096)).map(nameOf).sort()).toEqual(['.', '..', 'new']);
    await t.user.close(fd);
  }),
  check('a directory emptied while it is read can be removed', async (t) => {
    await t.user.mkdir(t.path('d'));
    await makeMany(t.user, t.path('d'), 'f', 3000);
    const fd = await openDirectory(t.user, t.path('d'));
    for (;;) {
      const entries = await t.user.getdents(fd, 2048);
      if (entries.length === 0) break;
      await t.user.batch(
        entries
          .filter((entry) => !isDot(nameOf(entry)))
          .map((entry) => ['unlink', { dir: fd, name: entry.name }] as const),
      );
    }
    await t.user.close(fd);
    await t.user.rmdir(t.path('d'));
  }),
  check('two readers of one directory do not disturb each other', async (t) => {
    await makeMany(t.user, t.directory, 'f', 1000);
    const one = await openDirectory(t.user, t.directory);
    const two = await openDirectory(t.user, t.directory);
    const first: string[] = [];
    const second: string[] = [];
    for (let done = false; !done; ) {
      const [a, b] = await Promise.all([t.user.getdents(one, 700), t.user.getdents(two, 1100)]);
      first.push(...a.map(nameOf));
      second.push(...b.map(nameOf));
      done = a.length === 0 && b.length === 0;
    }
    expect(first.sort()).toEqual(second.sort());
    expect(new Set(first).size).toBe(1002);
  }),
  check(
    'every stable name of a great, changing directory is listed exactly once',
    async (t) => {
      // The kernel's own file systems are asked with fewer: they are here to show that the suite is right.
      const stable = t.place.isView ? 100_000 : 10_000;
      await t.user.mkdir(t.path('d'));
      await t.user.chmod(t.path('d'), 0o777);
      await makeMany(t.host, t.there('d'), 'stable-', stable);
      await makeMany(t.host, t.there('d'), 'removed-', 2000);
      let reading = true;
      const churn = (async () => {
        for (let round = 0; reading; round++) {
          const calls: BatchedCall[] = [];
          for (let number = 0; number < 50; number++) {
            const name = t.there('d', `churn-${round}-${number}`);
            calls.push(['link', t.there('d', 'stable-0'), name], ['rename', name, `${name}x`], ['unlink', `${name}x`]);
            if (round < 40) calls.push(['unlink', t.there('d', `removed-${round * 50 + number}`)]);
          }
          await t.host.within(60_000).batch(calls);
        }
      })();
      try {
        const seen = new Map<string, number>();
        const fd = await openDirectory(t.user, t.path('d'));
        for (const entry of await listAll(t.user.within(60_000), fd, 32_768)) {
          const name = nameOf(entry);
          if (name.startsWith('stable-')) seen.set(name, (seen.get(name) ?? 0) + 1);
        }
        await t.user.close(fd);
        expect(seen.size).toBe(stable);
        expect([...seen].filter(([, count]) => count !== 1)).toEqual([]);
      } finally {
        reading = false;
        await churn;
      }
    },
    180_000,
  ),

  check('a removed directory lists as ENOENT for who has it open', async (t) => {
    await t.user.mkdir(t.path('d'));
    const fd = await openDirectory(t.user, t.path('d'));
    await t.user.rmdir(t.path('d'));
    await expectErrno('ENOENT', t.user.getdents(fd));
    expect((await t.user.fstat(fd)).nlink).toBe(0);
    await expectErrno('ENOENT', t.user.open({ dir: fd, name: 'f' }, O_CREAT | O_RDWR));
    await expectErrno('ENOENT', t.user.mkdir({ dir: fd, name: 'e' }));
    await t.user.close(fd);
  }),
  check('a directory removed by the host lists as ENOENT too', async (t) => {
    await t.user.mkdir(t.path('d'));
    const fd = await openDirectory(t.user, t.path('d'));
    await t.host.rmdir(t.there('d'));
    await t.afterHostChange(async () => {
      await expectErrno('ENOENT', t.user.stat(t.path('d')));
      await expectErrno('ENOENT', t.user.getdents(fd));
    });
    await t.user.close(fd);
  }),
  check('a removed working directory has no path, makes nothing and can be left', async (t) => {
    const actor = await t.actor('user');
    await actor.mkdir(t.path('d'));
    await actor.chdir(t.path('d'));
    await t.user.rmdir(t.path('d'));
    await expectErrno('ENOENT', actor.getcwd());
    await expectErrno('ENOENT', actor.writeFile('f', ''));
    expect((await actor.stat('.')).nlink).toBe(0);
    await actor.chdir('..');
    expect(String(await actor.getcwd())).toBe(t.directory);
  }),
  check('a working directory that was removed and made again is not the same', async (t) => {
    const actor = await t.actor('user');
    await actor.mkdir(t.path('d'));
    await actor.chdir(t.path('d'));
    await t.host.rmdir(t.there('d'));
    await t.host.mkdir(t.there('d'), 0o777);
    await t.host.writeFile(t.there('d', 'f'), 'new');
    await t.afterHostChange(async () => {
      expect(String(await actor.readFile(t.path('d', 'f')))).toBe('new');
      await expectErrno('ENOENT', actor.stat('f'));
    });
  }),
  check('what the host makes, renames and removes shows in listings and lookups', async (t) => {
    await expectErrno('ENOENT', t.user.stat(t.path('a')));
    await t.host.writeFile(t.there('a'), 'one');
    await t.afterHostChange(async () => {
      expect(String(await t.user.readFile(t.path('a')))).toBe('one');
    });
    await t.host.writeFile(t.there('.a.tmp'), 'two, longer');
    await t.host.rename(t.there('.a.tmp'), t.there('a'));
    await t.afterHostChange(async () => {
      expect(String(await t.user.readFile(t.path('a')))).toBe('two, longer');
    });
    await t.host.rename(t.there('a'), t.there('b'));
    await t.afterHostChange(async () => {
      expect((await t.user.readdir(t.directory)).map(String)).toEqual(['b']);
      await expectErrno('ENOENT', t.user.stat(t.path('a')));
    });
    await t.host.unlink(t.there('b'));
    await t.afterHostChange(async () => {
      await expectErrno('ENOENT', t.user.stat(t.path('b')));
      expect(await t.user.readdir(t.directory)).toEqual([]);
    });
  }),
  check('attributes that the host changes show here', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    await t.user.stat(t.path('f'));
    const steps = [
      [() => t.host.chmod(t.there('f'), 0o600), { mode: S_IFREG | 0o600 }],
      [() => t.host.truncate(t.there('f'), 12_345), { size: 12_345 }],
      [
        () => t.host.utimens(t.there('f'), [1_000_000_000n, 2_000_000_000n]),
        { atime: 1_000_000_000n, mtime: 2_000_000_000n },
      ],
    ] as const;
    for (const [change, shown] of steps) {
      await change();
      await t.afterHostChange(async () => {
        expect(await t.user.stat(t.path('f'))).toMatchObject(shown);
      });
    }
  }),
];
