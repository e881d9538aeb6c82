import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configJsonSchema, readConfigFile } from '../../../src/config/config-file.js';
import { describeOptions } from '../../../src/config/schema.js';
import type { ShiftfsError } from '../../../src/errors.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/config-`);
});
afterAll(() => rmSync(directory, { recursive: true }));

const PATHS = { source: '/srv/data', mountpoint: '/srv/view' };

function read(content: unknown): ReturnType<typeof readConfigFile> {
  const file = `${directory}/view.json`;
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return readConfigFile(file);
}

function refusal(content: unknown): ShiftfsError {
  try {
    read(content);
  } catch (error) {
    return error as ShiftfsError;
  }
  throw new Error('it was accepted');
}

describe('readConfigFile()', () => {
  it('gives paths, and options as if they had been written on the command line', () => {
    expect(read({ ...PATHS, $schema: 'x', map: ['0:1:2'], workers: 3, 'read-only': true, coherence: 'ttl=1' })).toEqual(
      {
        ...PATHS,
        written: { map: ['0:1:2'], workers: '3', 'read-only': true, coherence: 'ttl=1' },
      },
    );
  });

  it('reads the example that is shipped', () => {
    const example = readFileSync(new URL('../../../packaging/config/example.json', import.meta.url), 'utf8');
    expect(read(example).written.map).toEqual(['0:100000:65536']);
  });

  it.each([
    ['a missing path', { source: '/srv/data' }, 'mountpoint: missing', undefined],
    ['a relative path', { ...PATHS, source: 'data' }, 'source: must be an absolute path', undefined],
    ['an unknown key', { ...PATHS, mpa: [] }, 'mpa: unknown key', 'Did you mean "map"?'],
    ['a text for a number', { ...PATHS, workers: '3' }, 'workers: must be a whole number from 1 to 1024', undefined],
    ['a number out of range', { ...PATHS, workers: 0 }, 'workers: must be a whole number from 1 to 1024', undefined],
    ['a text for a flag', { ...PATHS, trace: 'yes' }, 'trace: must be true or false', undefined],
    ['a text for a list', { ...PATHS, map: '0:1:2' }, 'map: must be a list of texts', undefined],
    ['a list of numbers', { ...PATHS, map: [7] }, 'map.0: must be a text', undefined],
    ['another word', { ...PATHS, driver: 'x' }, 'driver: must be one of kernel, fuse-native', undefined],
    ['a value of the wrong form', { ...PATHS, coherence: 'x' }, 'coherence=x: must be lease, strict or', undefined],
    ['a list as the file', [], 'the file: must be an object', undefined],
    ['no JSON', '{\n  "source": "/a",\n}', 'line 3, column 1: not JSON', 'JSON wants double quotes'],
    ['an empty file', '', 'line 1, column 1: not JSON', undefined],
  ])('refuses %s with the file and the key', (_, content, message, hint) => {
    const error = refusal(content);
    expect(error.code).toBe('BAD_CONFIG');
    expect(error.message).toContain(`${directory}/view.json: ${message}`);
    if (hint !== undefined) expect(error.hint).toContain(hint);
  });

  it('names a file that is not there', () => {
    expect(() => readConfigFile(`${directory}/none.json`)).toThrow(`${directory}/none.json: no such file`);
  });
});

describe('configJsonSchema()', () => {
  it('has every option of mount with its description, and allows no other key', () => {
    const schema = configJsonSchema() as {
      required: string[];
      additionalProperties: boolean;
      properties: Record<string, { description: string; type: string; enum?: string[] }>;
    };
    expect(schema.required).toEqual(['source', 'mountpoint']);
    expect(schema.additionalProperties).toBe(false);
    for (const { name, description } of describeOptions()) {
      expect(schema.properties[name]!.description).toContain(description);
    }
    expect(schema.properties['workers']!.type).toBe('integer');
    expect(schema.properties['driver']!.enum).toEqual(['kernel', 'fuse-native']);
  });
});
