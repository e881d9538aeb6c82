// Read in shiftfs's source: it dropped the flags of renameat2, so that NOREPLACE and EXCHANGE became a plain rename and
// destroyed the target.
//
// This test: all flags, on files and directories, seen from both sides; what cannot be done is EINVAL and changes nothing.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../support/constants.js';
import { withContainer } from './harness.js';

test('NOREPLACE, EXCHANGE, WHITEOUT and what is none of them', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await root.writeFile(here('a'), 'a');
    await root.writeFile(here('b'), 'b');
    await root.mkdir(here('d'));
    await root.writeFile(here('d', 'inner'), 'inner');
    const contents = async (...names: string[]): Promise<string> => {
      const all = [];
      for (const name of names) {
        const [seen, real] = [await root.readFile(here(name)), await host.readFile(under(name))];
        expect(seen.equals(real)).toBe(true);
        all.push(seen.toString());
      }
      return all.join(' ');
    };

    expect(await errnoOf(root.rename(here('a'), here('b'), RENAME_NOREPLACE))).toBe('EEXIST');
    expect(await contents('a', 'b')).toBe('a b');
    await root.rename(here('a'), here('c'), RENAME_NOREPLACE);
    expect(await contents('c', 'b')).toBe('a b');

    expect(await errnoOf(root.rename(here('c'), here('absent'), RENAME_EXCHANGE))).toBe('ENOENT');
    await root.rename(here('c'), here('b'), RENAME_EXCHANGE);
    expect(await contents('b', 'c')).toBe('a b');
    await root.rename(here('c'), here('d'), RENAME_EXCHANGE);
    expect(await contents('d', 'c/inner')).toBe('b inner');

    for (const flags of [RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_WHITEOUT | RENAME_EXCHANGE, 8, 1 << 31])
      expect(await errnoOf(root.rename(here('b'), here('d'), flags))).toBe('EINVAL');
    expect(await contents('b', 'd')).toBe('a b');

    // As on the file system itself: it leaves a character device 0:0 where the name was.
    await root.rename(here('b'), here('e'), RENAME_WHITEOUT);
    expect(await contents('e')).toBe('a');
    expect(await host.lstat(under('b'))).toMatchObject({ mode: 0o020000, rdev: { major: 0, minor: 0 }, uid: 0 });
  });
});
