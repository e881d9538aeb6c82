import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { parseOptions } from '../../../bench/options.js';
import { ROW_IDS, ROWS } from '../../../bench/rows.js';
import { TARGET_IDS } from '../../../bench/targets.js';

const quiet = (command: Command): void => {
  command.exitOverride().configureOutput({ writeErr: () => {} });
};
const parse = (...words: string[]) => parseOptions(words, quiet);

test('without words everything runs at full size', () => {
  expect(parse()).toMatchObject({
    rows: ROW_IDS,
    targets: TARGET_IDS,
    files: 18_000,
    dirs: 200,
    readBytes: 2 ** 30,
    writeBytes: 2 ** 29,
    archiveFiles: 20_000,
    sources: 200,
    allMounted: false,
  });
});

test('--only and --targets choose, in the order of the table', () => {
  expect(parse('--only', 'tar,lstat', '--targets', 'ours,native')).toMatchObject({
    rows: ['lstat', 'tar'],
    targets: ['native', 'ours'],
  });
});

test('what is asked for wins over --quick', () => {
  expect(parse('--quick', '--files', '50', '--dirs', '5', '--rounds', '1')).toMatchObject({
    files: 50,
    dirs: 5,
    rounds: 1,
    operations: 500,
  });
});

test.each([
  ['an unknown row', ['--only', 'lstat,nonsense'], /no "nonsense"/],
  ['an unknown target', ['--targets', 'nfs'], /no "nfs"/],
  ['no rounds', ['--rounds', '0'], /whole number/],
  ['more directories than files', ['--files', '3', '--dirs', '4'], /--dirs/],
  ['a stray word', ['lstat'], /too many arguments/],
])('%s is refused', (_, words, message) => {
  expect(() => parse(...words)).toThrow(message);
});

test('every row has a name of its own and a bar of its kind', () => {
  expect(new Set(ROW_IDS).size).toBe(ROWS.length);
  for (const row of ROWS) expect(row.bar.against).toBe(row.kind === 'kernel' ? 'native' : 'peer');
});
