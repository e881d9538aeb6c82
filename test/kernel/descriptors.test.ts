// More files than descriptors: the daemon must serve trees far larger than its limit of open files, and must answer with
// an errno, and not die, when callers hold more files open than it can.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Actor, errnoOf, type Stat, startActor, withActor } from '../support/actor.js';
import { O_RDONLY, S_IFREG } from '../support/constants.js';
import { type Image, makeImage } from '../support/images.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withView } from '../support/view.js';

const FILES = 100_000;
const DIRECTORIES = 100;
const PER_DIRECTORY = FILES / DIRECTORIES;
/** Soft and hard: a daemon cannot raise it again. */
const LIMIT = ['prlimit', '--nofile=1024:1024'];
const BATCH = 500;

const fileName = (directory: number, file: number) => `d${directory}/f${file}`;

let image: Image;
let host: Actor;

beforeAll(async () => {
  // On tmpfs, where an inode costs little; every file has content of its own.
  image = await makeImage('tmpfs', { mebibytes: 1024, options: ['nr_inodes=300000'] });
  host = await startActor({ uid: 0, gid: 0, timeout: 60_000 });
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    await host.mkdir(`${image.directory}/d${directory}`);
    for (let start = 0; start < PER_DIRECTORY; start += BATCH) {
      await host.batch(
        Array.from({ length: BATCH }, (_, index) => [
          'mknod',
          `${image.directory}/${fileName(directory, start + index)}`,
          S_IFREG | 0o644,
        ]),
      );
    }
    await host.writeFile(`${image.directory}/${fileName(directory, 0)}`, `content ${directory}`);
  }
}, 180_000);

afterAll(async () => {
  await host?.stop();
  image?.remove();
});

/** The inode numbers of all files, in order. */
async function statAll(actor: Actor, root: string): Promise<bigint[]> {
  const found: bigint[] = [];
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    for (let start = 0; start < PER_DIRECTORY; start += BATCH) {
      const stats = await actor.batch(
        Array.from({ length: BATCH }, (_, index) => ['stat', `${root}/${fileName(directory, start + index)}`]),
      );
      for (const stat of stats) found.push((stat as Stat).ino);
    }
  }
  return found;
}

test('100,000 files are looked up, held by the kernel and looked at again with 1024 descriptors', async () => {
  await withView({ source: image.directory, map: [CONTAINER_MAP], wrapper: LIMIT }, (view) =>
    withActor({ uid: 0, gid: 0, userns: [CONTAINER_MAP], timeout: 60_000 }, async (actor) => {
      const expected = await statAll(host, image.directory);
      expect(new Set(expected).size).toBe(FILES);
      expect(await statAll(actor, view.mountpoint)).toEqual(expected);
      // Every node is known by now, most of them without a descriptor.
      for (let directory = 0; directory < DIRECTORIES; directory++)
        expect(String(await actor.readFile(`${view.mountpoint}/${fileName(directory, 0)}`))).toBe(
          `content ${directory}`,
        );
      // What was known longest ago is changed, renamed and removed through its node.
      await actor.writeFile(`${view.mountpoint}/d0/f1`, 'changed');
      await actor.rename(`${view.mountpoint}/d0/f1`, `${view.mountpoint}/d1/moved`);
      expect(String(await host.readFile(`${image.directory}/d1/moved`))).toBe('changed');
      await host.rename(`${image.directory}/d1/moved`, `${image.directory}/d0/f1`);
      expect(await statAll(actor, view.mountpoint)).toEqual(expected);
    }),
  );
}, 240_000);

test('a directory that lost its descriptor is still the same after its parents were renamed', async () => {
  await withView({ source: image.directory, wrapper: LIMIT }, (view) =>
    withActor({ uid: 0, gid: 0, timeout: 60_000 }, async (actor) => {
      await host.mkdir(`${image.directory}/a`);
      await host.mkdir(`${image.directory}/a/b`);
      await host.writeFile(`${image.directory}/a/b/f`, 'x');
      await actor.chdir(`${view.mountpoint}/a/b`);
      for (let directory = 0; directory < 3; directory++) {
        for (let start = 0; start < PER_DIRECTORY; start += BATCH) {
          await actor.batch(
            Array.from({ length: BATCH }, (_, index) => [
              'stat',
              `${view.mountpoint}/${fileName(directory, start + index)}`,
            ]),
          );
        }
      }
      await host.rename(`${image.directory}/a`, `${image.directory}/z`);
      expect(String(await actor.readFile('f'))).toBe('x');
      await actor.writeFile('new', 'y');
      expect(String(await host.readFile(`${image.directory}/z/b/new`))).toBe('y');
    }),
  );
}, 60_000);

test('callers that hold more files open than the daemon may are refused, and the daemon lives on', async () => {
  await withView({ source: image.directory, wrapper: LIMIT }, (view) =>
    withActor({ uid: 0, gid: 0 }, async (actor) => {
      const open: number[] = [];
      let refused = '';
      for (let file = 0; file < 3000 && refused === ''; file++) {
        const path = `${view.mountpoint}/${fileName(5, file % PER_DIRECTORY)}`;
        const result = await errnoOf(actor.open(path, O_RDONLY).then((fd) => open.push(fd)));
        if (result !== 'no error') refused = result;
      }
      expect(['EMFILE', 'ENFILE']).toContain(refused);
      expect(open.length).toBeGreaterThan(500);
      for (const fd of open) await actor.close(fd);
      expect(String(await actor.readFile(`${view.mountpoint}/${fileName(7, 0)}`))).toBe('content 7');
    }),
  );
}, 60_000);
