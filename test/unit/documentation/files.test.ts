import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../src/cli/arguments.js';
import { generatedFiles } from '../../../src/documentation/files.js';
import { brief, documentation } from '../../../src/documentation/model.js';

const files = await generatedFiles();
const PACKAGING = new URL('../../../packaging/', import.meta.url);

describe('packaging/', () => {
  it.each(Object.keys(files))('has %s as the command table makes it (npm run packaging)', (name) => {
    const present = readFileSync(new URL(name, PACKAGING), 'utf8');
    // Its layout is the formatter's.
    if (name.endsWith('.json')) expect(JSON.parse(present)).toEqual(JSON.parse(files[name]!));
    else expect(present).toBe(files[name]);
  });
});

describe('documentation()', () => {
  it('has every command, each with a summary and a description', async () => {
    const { commands } = await documentation();
    expect(commands.map(({ name }) => name).sort()).toEqual([...COMMANDS].sort());
    for (const { summary, description } of commands) {
      expect(summary).not.toBe('');
      expect(description).toMatch(/\.$/);
    }
  });

  it('knows the words of options that take one of a few', async () => {
    const { commands } = await documentation();
    const mount = commands.find(({ name }) => name === 'mount')!;
    const driver = mount.options.find(({ long }) => long === '--driver')!;
    expect(driver.shape).toEqual({ kind: 'choice', words: ['kernel', 'fuse-native'] });
    expect(mount.options.find(({ long }) => long === '--workers')!.default).not.toMatch(/^[0-9]+$/);
  });
});

describe('manPage()', () => {
  it('has no line that roff would take for a request it does not know', () => {
    const requests = files['man/fuse-shiftfs.8']!.split('\n').filter((line) => /^[.']/.test(line));
    const known = /^\.(\\"|TH|SH|SS|TP|PP|B|br|nf|fi|nh|ad)( |$)/;
    expect(requests.filter((line) => !known.test(line))).toEqual([]);
  });
});

describe('brief()', () => {
  it.each([
    ['One. Two.', 'One'],
    ['See e.g. this; that.', 'See e.g. this'],
    [`${'word '.repeat(30)}.`, `${'word '.repeat(14).trim()} ...`],
  ])('%j -> %j', (text, expected) => {
    expect(brief(text)).toBe(expected);
  });
});
