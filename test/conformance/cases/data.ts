// Content: reading, writing, holes, allocation, copying, memory maps, and files that have lost their name.

import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import type { Actor } from '../../support/actor.js';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  MAP_PRIVATE,
  MAP_SHARED,
  MS_SYNC,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
} from '../../support/constants.js';
import { type Context, check, expectErrno } from '../suite.js';

const GIBIBYTE = 2 ** 30;
const BLOCK = 4096;
const EARLIER = 981_173_106_123_456_789n;

/** Bytes that differ everywhere, so that a shifted or repeated part shows. */
function pattern(length: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let offset = 0; offset + 4 <= length; offset += 4)
    bytes.writeUInt32LE((offset * 2_654_435_761 + seed) >>> 0, offset);
  return bytes;
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** A new file of four blocks 'aaaa', 'bbbb', 'cccc', 'dddd'. */
async function fourBlocks(t: Context): Promise<number> {
  const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR | O_TRUNC);
  await t.user.write(fd, Buffer.concat(['a', 'b', 'c', 'd'].map((letter) => Buffer.alloc(BLOCK, letter))));
  return fd;
}

/** The first byte of every block. */
async function letters(actor: Actor, fd: number): Promise<string> {
  const { size } = await actor.fstat(fd);
  let found = '';
  for (let offset = 0; offset < size; offset += BLOCK)
    found += String(await actor.pread(fd, 1, offset)).replace('\0', '.');
  return found;
}

async function unlinkedFile(t: Context, content: string): Promise<number> {
  const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
  await t.user.write(fd, content);
  await t.user.unlink(t.path('f'));
  return fd;
}

export const data = [
  check('what was written is read, at any offset and of any length', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    const content = pattern(300_001);
    for (let offset = 0, length = 1; offset < content.length; offset += length, length = (length * 3) % 40_009)
      await t.user.pwrite(fd, content.subarray(offset, offset + length), offset);
    expect(digest(await t.user.readFile(t.path('f')))).toBe(digest(content));
    for (const [offset, length] of [
      [0, 1],
      [4095, 2],
      [8191, 8193],
      [299_999, 100],
    ] as const)
      expect(await t.user.pread(fd, length, offset)).toEqual(content.subarray(offset, offset + length));
    expect(digest(await t.host.readFile(t.there('f')))).toBe(digest(content));
    await t.user.close(fd);
  }),
  check('reads stop at the end and are empty behind it', async (t) => {
    await t.user.writeFile(t.path('f'), 'abc');
    const fd = await t.user.open(t.path('f'), O_RDONLY);
    expect(String(await t.user.pread(fd, 100, 1))).toBe('bc');
    expect((await t.user.pread(fd, 100, 3)).length).toBe(0);
    expect((await t.user.pread(fd, 100, 10 * GIBIBYTE)).length).toBe(0);
    await t.user.close(fd);
  }),
  check('a large file goes through whole', async (t) => {
    const content = pattern(5 * 1024 * 1024 + 17, 7);
    await t.user.writeFile(t.path('f'), content);
    expect(digest(await t.host.readFile(t.there('f')))).toBe(digest(content));
    await t.host.writeFile(t.there('g'), content);
    expect(digest(await t.user.readFile(t.path('g')))).toBe(digest(content));
  }),
  check('offsets beyond 2 and 4 GiB are kept apart', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    const offsets = [0, 2 * GIBIBYTE - 2, 2 * GIBIBYTE + BLOCK, 4 * GIBIBYTE - 2, 4 * GIBIBYTE + BLOCK, 10 * GIBIBYTE];
    for (const [index, offset] of offsets.entries()) await t.user.pwrite(fd, `mark${index}`, offset);
    for (const [index, offset] of offsets.entries())
      expect(String(await t.user.pread(fd, 5, offset))).toBe(`mark${index}`);
    expect((await t.user.fstat(fd)).size).toBe(10 * GIBIBYTE + 5);
    const hostFd = await t.host.open(t.there('f'), O_RDONLY);
    for (const [index, offset] of offsets.entries())
      expect(String(await t.host.pread(hostFd, 5, offset))).toBe(`mark${index}`);
    await t.host.close(hostFd);
    await t.user.close(fd);
  }),
  check('a file cannot grow beyond what the file system holds', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await expectErrno('EFBIG', t.user.pwrite(fd, 'x', 2n ** 63n - 2n));
    await expectErrno('EFBIG', t.user.ftruncate(fd, 2n ** 62n));
    await expectErrno('EINVAL', t.user.pread(fd, 1, -1));
    await t.user.close(fd);
  }),
  check('descriptors carry their own position, duplicates share it', async (t) => {
    await t.user.writeFile(t.path('f'), 'abcdef');
    const one = await t.user.open(t.path('f'), O_RDONLY);
    const two = await t.user.open(t.path('f'), O_RDONLY);
    const same = await t.user.dup(one);
    expect(String(await t.user.read(one, 2))).toBe('ab');
    expect(String(await t.user.read(two, 2))).toBe('ab');
    expect(String(await t.user.read(same, 2))).toBe('cd');
    expect(await t.user.lseek(one, 0, SEEK_CUR)).toBe(4);
    expect(await t.user.lseek(one, -1, SEEK_END)).toBe(5);
    expect(await t.user.lseek(one, 100, SEEK_SET)).toBe(100);
    await expectErrno('EINVAL', t.user.lseek(one, -1, SEEK_SET));
    for (const fd of [one, two, same]) await t.user.close(fd);
  }),
  check('a descriptor does only what it was opened for', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    const reading = await t.user.open(t.path('f'), O_RDONLY);
    const writing = await t.user.open(t.path('f'), O_WRONLY);
    await expectErrno('EBADF', t.user.write(reading, 'x'));
    await expectErrno('EBADF', t.user.read(writing, 1));
    await expectErrno('EBADF', t.user.fallocate(reading, 0, 0, 1));
    await t.user.close(reading);
    await t.user.close(writing);
  }),
  check('O_APPEND writes go to the end, from either side', async (t) => {
    const here = await t.user.open(t.path('f'), O_CREAT | O_WRONLY | O_APPEND);
    const there = await t.host.open(t.there('f'), O_WRONLY | O_APPEND);
    let expected = '';
    for (let round = 0; round < 30; round++) {
      await t.user.write(here, `view ${round}\n`);
      await t.host.write(there, `host ${round}\n`);
      expected += `view ${round}\nhost ${round}\n`;
    }
    expect(String(await t.host.readFile(t.there('f')))).toBe(expected);
    expect(String(await t.user.readFile(t.path('f')))).toBe(expected);
    expect(await t.user.lseek(here, 0, SEEK_END)).toBe(expected.length);
    await t.user.close(here);
    await t.host.close(there);
  }),
  check('two appending processes lose nothing', async (t) => {
    await t.user.writeFile(t.path('f'), '');
    await t.user.chmod(t.path('f'), 0o666);
    const line = (who: string, number: number) => `${who}${String(number).padStart(5, '0')}\n`;
    const append = async (actor: Actor, path: string, who: string) => {
      const fd = await actor.open(path, O_WRONLY | O_APPEND);
      await actor.batch(Array.from({ length: 500 }, (_, number) => ['write', fd, line(who, number)] as const));
      await actor.close(fd);
    };
    await Promise.all([
      append(t.user, t.path('f'), 'u'),
      append(t.other, t.path('f'), 'o'),
      append(t.host, t.there('f'), 'h'),
    ]);
    const lines = String(await t.user.readFile(t.path('f')))
      .trimEnd()
      .split('\n');
    expect(lines.length).toBe(1500);
    expect(new Set(lines).size).toBe(1500);
  }),

  check('holes read as zeros and SEEK_DATA and SEEK_HOLE find them', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.pwrite(fd, Buffer.alloc(BLOCK, 'x'), 16 * BLOCK);
    await t.user.ftruncate(fd, 32 * BLOCK);
    expect(await t.user.lseek(fd, 0, SEEK_DATA)).toBe(16 * BLOCK);
    expect(await t.user.lseek(fd, 0, SEEK_HOLE)).toBe(0);
    expect(await t.user.lseek(fd, 16 * BLOCK, SEEK_HOLE)).toBe(17 * BLOCK);
    expect(await t.user.lseek(fd, 16 * BLOCK + 5, SEEK_DATA)).toBe(16 * BLOCK + 5);
    await expectErrno('ENXIO', t.user.lseek(fd, 17 * BLOCK, SEEK_DATA));
    await expectErrno('ENXIO', t.user.lseek(fd, 32 * BLOCK, SEEK_HOLE));
    expect((await t.user.pread(fd, BLOCK, 3 * BLOCK)).equals(Buffer.alloc(BLOCK))).toBe(true);
    expect((await t.user.fstat(fd)).blocks).toBe(BLOCK / 512);
    await t.user.close(fd);
  }),
  check('SEEK_HOLE of a full file is its end', async (t) => {
    await t.user.writeFile(t.path('f'), Buffer.alloc(3 * BLOCK, 'x'));
    const fd = await t.user.open(t.path('f'), O_RDONLY);
    expect(await t.user.lseek(fd, 0, SEEK_HOLE)).toBe(3 * BLOCK);
    expect(await t.user.lseek(fd, BLOCK, SEEK_DATA)).toBe(BLOCK);
    await t.user.close(fd);
  }),
  check('fallocate allocates and grows', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.fallocate(fd, 0, 0, 10 * BLOCK);
    const stat = await t.user.fstat(fd);
    expect(stat.size).toBe(10 * BLOCK);
    expect(stat.blocks).toBeGreaterThanOrEqual((10 * BLOCK) / 512);
    expect(await t.user.lseek(fd, 0, SEEK_END)).toBe(10 * BLOCK);
    await t.user.close(fd);
  }),
  check('fallocate with KEEP_SIZE allocates behind the end', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.write(fd, 'abc');
    await t.user.fallocate(fd, FALLOC_FL_KEEP_SIZE, 5 * GIBIBYTE, BLOCK);
    expect((await t.user.fstat(fd)).size).toBe(3);
    expect((await t.user.fstat(fd)).blocks).toBeGreaterThan(BLOCK / 512);
    await t.user.close(fd);
  }),
  check('fallocate goes past 4 GiB', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.fallocate(fd, 0, 4 * GIBIBYTE + BLOCK, BLOCK);
    expect((await t.host.stat(t.there('f'))).size).toBe(4 * GIBIBYTE + 2 * BLOCK);
    await t.user.close(fd);
  }),
  check('fallocate punches holes and zeroes', async (t) => {
    const fd = await fourBlocks(t);
    await t.user.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, BLOCK);
    expect(await letters(t.user, fd)).toBe('a.cd');
    expect(await t.user.lseek(fd, 0, SEEK_HOLE)).toBe(BLOCK);
    await t.user.fallocate(fd, FALLOC_FL_ZERO_RANGE, 2 * BLOCK, BLOCK);
    expect(await letters(t.user, fd)).toBe('a..d');
    expect(await letters(t.host, await t.host.open(t.there('f'), O_RDONLY))).toBe('a..d');
    await t.user.close(fd);
  }),
  check('fallocate takes out and puts in, where the kernel lets it through', async (t) => {
    const fd = await fourBlocks(t);
    if (t.place.isView) {
      // fs/fuse/file.c, fuse_file_fallocate(): the kernel does not pass these modes on.
      await expectErrno('EOPNOTSUPP', t.user.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, 2 * BLOCK));
      await expectErrno('EOPNOTSUPP', t.user.fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK, BLOCK));
      expect(await letters(t.user, fd)).toBe('abcd');
    } else {
      await t.user.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, 2 * BLOCK);
      expect(await letters(t.user, fd)).toBe('ad');
      await t.user.fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK, BLOCK);
      expect(await letters(t.user, fd)).toBe('a.d');
      expect((await t.user.stat(t.path('f'))).size).toBe(3 * BLOCK);
    }
    await t.user.close(fd);
  }),
  check('fallocate refuses what it must', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await expectErrno('EINVAL', t.user.fallocate(fd, 0, 0, 0));
    await expectErrno('EINVAL', t.user.fallocate(fd, 0, -1, 10));
    await expectErrno('EOPNOTSUPP', t.user.fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, BLOCK));
    await expectErrno('EFBIG', t.user.fallocate(fd, 0, 2n ** 62n, BLOCK));
    await t.user.close(fd);
  }),
  check('copy_file_range copies with and without given offsets', async (t) => {
    const content = pattern(200_000, 3);
    await t.user.writeFile(t.path('from'), content);
    const from = await t.user.open(t.path('from'), O_RDONLY);
    const to = await t.user.open(t.path('to'), O_CREAT | O_RDWR);
    let copied = 0;
    while (copied < content.length) {
      const step = await t.user.copyFileRange(from, null, to, null, content.length - copied);
      expect(step).toBeGreaterThan(0);
      copied += step;
    }
    expect(await t.user.copyFileRange(from, null, to, null, 100)).toBe(0);
    expect(digest(await t.user.readFile(t.path('to')))).toBe(digest(content));
    expect(await t.user.copyFileRange(from, 1000, to, 10, 100)).toBe(100);
    expect(await t.user.pread(to, 100, 10)).toEqual(content.subarray(1000, 1100));
    expect(await t.user.lseek(to, 0, SEEK_CUR)).toBe(content.length);
    expect(digest(await t.host.readFile(t.there('to')))).toBe(digest(await t.user.readFile(t.path('to'))));
    await t.user.close(from);
    await t.user.close(to);
  }),
  check('copy_file_range refuses overlap and directories, and copies within a file', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.write(fd, 'abcdefgh');
    await expectErrno('EINVAL', t.user.copyFileRange(fd, 0, fd, 2, 4));
    expect(await t.user.copyFileRange(fd, 0, fd, 8, 4)).toBe(4);
    expect(String(await t.user.readFile(t.path('f')))).toBe('abcdefghabcd');
    const dir = await t.user.open(t.directory, O_RDONLY | O_DIRECTORY);
    await expectErrno('EISDIR', t.user.copyFileRange(dir, 0, fd, 0, 4));
    const readOnly = await t.user.open(t.path('f'), O_RDONLY);
    await expectErrno('EBADF', t.user.copyFileRange(fd, 0, readOnly, 100, 4));
    for (const open of [fd, dir, readOnly]) await t.user.close(open);
  }),
  check('sendfile reads from here and writes here', async (t) => {
    const content = pattern(100_000, 9);
    await t.user.writeFile(t.path('from'), content);
    const from = await t.user.open(t.path('from'), O_RDONLY);
    const to = await t.user.open(t.path('to'), O_CREAT | O_WRONLY);
    for (let sent = 0; sent < content.length; ) sent += await t.user.sendfile(to, from, content.length - sent);
    expect(digest(await t.user.readFile(t.path('to')))).toBe(digest(content));
    await t.user.close(from);
    await t.user.close(to);
  }),
  check('fsync, fdatasync, syncfs and fsync of a directory work', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.write(fd, 'x');
    await t.user.fsync(fd);
    await t.user.fdatasync(fd);
    await t.user.syncfs(fd);
    const dir = await t.user.open(t.directory, O_RDONLY | O_DIRECTORY);
    await t.user.fsync(dir);
    await t.user.fdatasync(dir);
    await t.user.syncfs(dir);
    const pathOnly = await t.user.open(t.path('f'), O_PATH);
    await expectErrno('EBADF', t.user.fsync(pathOnly));
    for (const open of [fd, dir, pathOnly]) await t.user.close(open);
  }),
  check('a write drops suid and sgid, unless root of the host writes to its own file system', async (t) => {
    for (const [who, left] of [
      ['user', 0o755],
      // A view cannot know for whom the kernel writes to a backing file, so there the bits always go.
      ['root', t.privileged && !t.place.isView ? 0o6755 : 0o755],
    ] as const) {
      await t.root.writeFile(t.path(who), 'x');
      await t.root.chown(t.path(who), 1000, 1000);
      await t.root.chmod(t.path(who), 0o6755);
      const fd = await t[who].open(t.path(who), O_WRONLY);
      await t[who].write(fd, 'y');
      expect((await t.root.stat(t.path(who))).mode & 0o7777).toBe(left);
      await t[who].close(fd);
    }
  }),
  check('a truncate by a user drops suid and sgid', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    for (const truncate of [
      () => t.user.truncate(t.path('f'), 0),
      async () => t.user.close(await t.user.open(t.path('f'), O_WRONLY | O_TRUNC)),
    ]) {
      await t.user.chmod(t.path('f'), 0o6755);
      await truncate();
      expect((await t.user.stat(t.path('f'))).mode & 0o7777).toBe(0o755);
    }
  }),
  check('sgid without x for the group is not a right and stays', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    await t.user.chmod(t.path('f'), 0o2745);
    const fd = await t.user.open(t.path('f'), O_WRONLY);
    await t.user.write(fd, 'y');
    // A view writes as nobody in particular, who is no member of the group: there the bit may go (README, differences).
    const kept = t.place.isView ? [0o2745, 0o745] : [0o2745];
    expect(kept).toContain((await t.user.stat(t.path('f'))).mode & 0o7777);
    await t.user.close(fd);
  }),

  check('a shared memory map and read and write see each other', async (t) => {
    const fd = await t.user.open(t.path('f'), O_CREAT | O_RDWR);
    await t.user.ftruncate(fd, 3 * BLOCK);
    const map = await t.user.mmap(fd, 3 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED);
    await t.user.mapWrite(map, BLOCK + 5, 'through the map');
    expect(String(await t.user.pread(fd, 15, BLOCK + 5))).toBe('through the map');
    await t.user.pwrite(fd, 'through write', 2 * BLOCK);
    expect(String(await t.user.mapRead(map, 2 * BLOCK, 13))).toBe('through write');
    await t.user.msync(map, MS_SYNC);
    await t.user.munmap(map);
    await t.user.close(fd);
    expect(String((await t.host.readFile(t.there('f'))).subarray(BLOCK + 5, BLOCK + 20))).toBe('through the map');
  }),
  check('a private map keeps its changes to itself', async (t) => {
    await t.user.writeFile(t.path('f'), 'original');
    const fd = await t.user.open(t.path('f'), O_RDONLY);
    const map = await t.user.mmap(fd, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    expect(String(await t.user.mapRead(map, 0, 8))).toBe('original');
    await t.user.mapWrite(map, 0, 'changed!');
    expect(String(await t.user.readFile(t.path('f')))).toBe('original');
    await t.user.munmap(map);
    await t.user.close(fd);
  }),
  check('a map lives on after close and unlink', async (t) => {
    await t.user.writeFile(t.path('f'), 'content');
    const fd = await t.user.open(t.path('f'), O_RDWR);
    const map = await t.user.mmap(fd, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED);
    await t.user.close(fd);
    await t.user.unlink(t.path('f'));
    await t.user.mapWrite(map, 0, 'C');
    expect(String(await t.user.mapRead(map, 0, 7))).toBe('Content');
    await t.user.msync(map, MS_SYNC);
    await t.user.munmap(map);
  }),
  check('a shared map needs a descriptor open for writing to be writable', async (t) => {
    await t.user.writeFile(t.path('f'), 'x');
    const fd = await t.user.open(t.path('f'), O_RDONLY);
    await expectErrno('EACCES', t.user.mmap(fd, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED));
    const map = await t.user.mmap(fd, BLOCK, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    await t.user.munmap(map);
    await t.user.close(fd);
  }),
  check('maps of both sides share their memory', async (t) => {
    await t.user.writeFile(t.path('f'), Buffer.alloc(2 * BLOCK, '-'));
    const here = await t.user.open(t.path('f'), O_RDWR);
    const there = await t.host.open(t.there('f'), O_RDWR);
    const hereMap = await t.user.mmap(here, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED);
    const thereMap = await t.host.mmap(there, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (let round = 0; round < 5; round++) {
      await t.user.mapWrite(hereMap, round, `h${round}`);
      expect(String(await t.host.mapRead(thereMap, round, 2))).toBe(`h${round}`);
      await t.host.mapWrite(thereMap, BLOCK + round, `t${round}`);
      expect(String(await t.user.mapRead(hereMap, BLOCK + round, 2))).toBe(`t${round}`);
    }
    await t.user.munmap(hereMap);
    await t.host.munmap(thereMap);
    await t.user.close(here);
    await t.host.close(there);
  }),
  check('what the host writes into an open, mapped file is seen at once', async (t) => {
    await t.user.writeFile(t.path('f'), 'before');
    const fd = await t.user.open(t.path('f'), O_RDONLY);
    const map = await t.user.mmap(fd, BLOCK, PROT_READ, MAP_SHARED);
    expect(String(await t.user.mapRead(map, 0, 6))).toBe('before');
    const there = await t.host.open(t.there('f'), O_WRONLY);
    await t.host.pwrite(there, 'after!', 0);
    expect(String(await t.user.mapRead(map, 0, 6))).toBe('after!');
    expect(String(await t.user.pread(fd, 6, 0))).toBe('after!');
    await t.host.close(there);
    await t.user.munmap(map);
    await t.user.close(fd);
  }),
  check('/proc/PID/maps and /proc/PID/fd show the path in this place', async (t) => {
    await t.user.writeFile(t.path('library'), Buffer.alloc(BLOCK));
    const fd = await t.user.open(t.path('library'), O_RDONLY);
    const map = await t.user.mmap(fd, BLOCK, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    expect(readlinkSync(`/proc/${t.user.processId}/fd/${fd}`)).toBe(t.path('library'));
    expect(readFileSync(`/proc/${t.user.processId}/maps`, 'latin1')).toContain(` ${t.path('library')}\n`);
    await t.user.munmap(map);
    await t.user.close(fd);
  }),

  check('an unlinked open file can be read, written, cut and stat', async (t) => {
    const fd = await unlinkedFile(t, 'still here');
    expect(await t.user.fstat(fd)).toMatchObject({ nlink: 0, size: 10 });
    expect(String(await t.user.pread(fd, 100, 0))).toBe('still here');
    await t.user.pwrite(fd, 'STILL', 0);
    await t.user.ftruncate(fd, 5);
    expect(String(await t.user.pread(fd, 100, 0))).toBe('STILL');
    await t.user.fsync(fd);
    expect((await t.user.fstat(fd)).size).toBe(5);
    await t.user.close(fd);
  }),
  check('an unlinked open file can be reopened through /proc/PID/fd', async (t) => {
    const fd = await unlinkedFile(t, 'found again');
    const reading = await t.user.open(`/proc/self/fd/${fd}`, O_RDONLY);
    expect(String(await t.user.read(reading, 100))).toBe('found again');
    const writing = await t.user.open(`/proc/self/fd/${fd}`, O_RDWR);
    await t.user.write(writing, 'FOUND');
    expect(String(await t.user.pread(reading, 100, 0))).toBe('FOUND again');
    const cut = await t.user.open(`/proc/self/fd/${fd}`, O_WRONLY | O_TRUNC);
    expect(await t.user.fstat(fd)).toMatchObject({ size: 0, nlink: 0 });
    expect((await t.user.stat(`/proc/self/fd/${fd}`)).nlink).toBe(0);
    for (const open of [fd, reading, writing, cut]) await t.user.close(open);
  }),
  check('attributes of an unlinked open file can be changed', async (t) => {
    const fd = await unlinkedFile(t, 'x');
    await t.user.fchmod(fd, 0o600);
    await t.user.futimens(fd, [EARLIER, EARLIER]);
    await t.user.fsetxattr(fd, 'user.note', 'kept');
    expect(await t.user.fstat(fd)).toMatchObject({ mtime: EARLIER });
    expect((await t.user.fstat(fd)).mode & 0o777).toBe(0o600);
    expect(String(await t.user.fgetxattr(fd, 'user.note'))).toBe('kept');
    await t.user.chmod(`/proc/self/fd/${fd}`, 0o640);
    expect((await t.user.fstat(fd)).mode & 0o777).toBe(0o640);
    await expectErrno('ENOENT', t.user.linkFd(fd, t.path('again')));
    await t.user.close(fd);
  }),
  check('an unlinked open file stays when its name is used again', async (t) => {
    const fd = await unlinkedFile(t, 'the old one');
    await t.user.writeFile(t.path('f'), 'the new one');
    expect(String(await t.user.pread(fd, 100, 0))).toBe('the old one');
    expect((await t.user.fstat(fd)).ino).not.toBe((await t.user.stat(t.path('f'))).ino);
    await t.user.close(fd);
    expect(String(await t.user.readFile(t.path('f')))).toBe('the new one');
  }),
  check('a file that the host unlinked goes on for who has it open', async (t) => {
    await t.user.writeFile(t.path('f'), 'content');
    const fd = await t.user.open(t.path('f'), O_RDWR);
    await t.host.unlink(t.there('f'));
    await t.afterHostChange(async () => {
      await expectErrno('ENOENT', t.user.stat(t.path('f')));
      expect((await t.user.fstat(fd)).nlink).toBe(0);
    });
    expect(String(await t.user.pread(fd, 100, 0))).toBe('content');
    const again = await t.user.open(`/proc/self/fd/${fd}`, O_RDWR);
    await t.user.write(again, 'C');
    expect(String(await t.user.pread(fd, 100, 0))).toBe('Content');
    await t.user.close(again);
    await t.user.close(fd);
  }),
];
