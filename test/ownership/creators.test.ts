// Many creators at once: no file may be seen with an owner that is not its maker's, on either side, even for a moment.
// (bindfs creates first and gives away afterwards; a daemon that lends one thread's credentials to another mixes them up.)

import { expect, test } from 'vitest';
import type { Actor, BatchedCall, Stat } from '../support/actor.js';
import { O_CREAT, O_EXCL, O_RDWR } from '../support/constants.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { describeMapped } from './places.js';

const CREATORS = [0, 1, 1000, 1001, 65_000];
const ROUNDS = 30;
const FILES_A_ROUND = 20;

/** Kinds of creation, each by another road through the daemon. */
function creation(path: string, number: number): BatchedCall {
  switch (number % 4) {
    case 0:
      return ['mkdir', path, 0o755];
    case 1:
      return ['symlink', 'x', path];
    case 2:
      return ['mknod', path, 0o100644];
    default:
      return ['open', path, O_CREAT | O_EXCL | O_RDWR, 0o644];
  }
}

describeMapped('concurrent creators', [CONTAINER_MAP], (place) => {
  test('no file ever shows a wrong owner', async () => {
    const { here, there, host, inside, outside } = place();
    const creators = await Promise.all(CREATORS.map((uid) => inside({ uid, gid: uid + 10 })));
    const watchers: readonly (readonly [Actor, string, number])[] = [
      [await outside({ uid: 0, gid: 0 }), there, 0],
      [await outside({ uid: 0, gid: 0 }), here, 100_000],
    ];
    let creating = true;
    const wrong: string[] = [];
    let looked = 0;

    const watch = async (watcher: Actor, directory: string, shift: number) => {
      // A name says who makes it, so that any look at any time can be judged.
      const judge = (name: string, { uid, gid }: Stat) => {
        looked++;
        const maker = Number(name.split('-')[0]);
        if (uid !== maker + shift || gid !== maker + 10 + shift) wrong.push(`${directory}/${name}: ${uid}:${gid}`);
      };
      for (let last = false; !last; ) {
        last = !creating;
        const names = (await watcher.readdir(directory)).map(String).filter((name) => /^\d+-/.test(name));
        for (let start = 0; start < names.length; start += 100) {
          const part = names.slice(start, start + 100);
          const stats = await watcher.batch(part.map((name) => ['lstat', `${directory}/${name}`]));
          part.forEach((name, index) => {
            judge(name, stats[index] as Stat);
          });
        }
      }
    };
    const create = async (creator: Actor, uid: number) => {
      for (let round = 0; round < ROUNDS; round++) {
        const calls = Array.from({ length: FILES_A_ROUND }, (_, number) =>
          creation(`${here}/${uid}-${round}-${number}`, number),
        );
        const results = await creator.batch(calls);
        await creator.batch(results.filter((fd) => typeof fd === 'number').map((fd) => ['close', fd]));
      }
    };

    const watching = watchers.map(([watcher, directory, shift]) => watch(watcher, directory, shift));
    await Promise.all(creators.map((creator, index) => create(creator, CREATORS[index] ?? 0)));
    creating = false;
    await Promise.all(watching);
    expect(wrong).toEqual([]);
    const all = CREATORS.length * ROUNDS * FILES_A_ROUND;
    expect((await host.readdir(there)).length).toBe(all);
    expect(looked).toBeGreaterThanOrEqual(2 * all);
  });
});
