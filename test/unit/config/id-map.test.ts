import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { buildIdMap, describeIdMap } from '../../../src/config/id-map.js';
import { checkOptions, type WrittenOptions } from '../../../src/config/schema.js';
import { ShiftfsError } from '../../../src/errors.js';

const build = (written: WrittenOptions) => buildIdMap(checkOptions(written));

function refusal(written: WrittenOptions): ShiftfsError {
  try {
    build(written);
  } catch (error) {
    expect(error).toBeInstanceOf(ShiftfsError);
    return error as ShiftfsError;
  }
  throw new Error(`accepted: ${JSON.stringify(written)}`);
}

const range = { underlay: 0, view: 100000, count: 65536 };

describe('buildIdMap()', () => {
  it('is the identity without a map', () => {
    const kind = { ranges: [], overflow: 65534, squash: null };
    expect(build({})).toEqual({ uid: kind, gid: kind });
  });

  it('joins --map, X-mount.idmap and the overflow ids', () => {
    const spec = build({ map: ['u:0:100000:65536'], idmap: 'g:0:100000:65536 b:70000:70000:1', 'overflow-gid': '7' });
    expect(spec.uid).toEqual({
      ranges: [{ underlay: 70000, view: 70000, count: 1 }, range],
      overflow: 65534,
      squash: null,
    });
    expect(spec.gid).toEqual({
      ranges: [range, { underlay: 70000, view: 70000, count: 1 }],
      overflow: 7,
      squash: null,
    });
  });

  it('finds overlaps between the sources', () => {
    expect(refusal({ map: ['0:100000:65536'], idmap: 'u:5:300000:1' }).code).toBe('BAD_MAP');
  });

  it('squashes one kind and maps the other, but never both', () => {
    const spec = build({ 'squash-uid': '1000:101000', map: ['g:0:100000:65536'] });
    expect(spec.uid).toEqual({ ranges: [], overflow: 65534, squash: { underlay: 1000, view: 101000 } });
    expect(spec.gid.ranges).toEqual([range]);
    expect(refusal({ 'squash-uid': '0', map: ['0:100000:65536'] }).code).toBe('BAD_MAP');
  });

  it('reads the map of a user namespace, by pid and by its file', async () => {
    const child = spawn('unshare', ['--user', '--map-root-user', 'sh', '-c', 'echo ready; read -r _'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      await once(child.stdout, 'data');
      const expected = { underlay: 0, view: process.getuid?.() ?? 0, count: 1 };
      expect(build({ userns: String(child.pid) }).uid.ranges).toEqual([expected]);
      expect(build({ idmap: `/proc/${child.pid}/ns/user` }).gid.ranges).toHaveLength(1);
    } finally {
      child.stdin.end('\n');
      await once(child, 'close');
    }
    expect(refusal({ userns: String(child.pid) })).toMatchObject({
      code: 'NO_USERNS',
      message: `there is no process ${child.pid}`,
    });
  });
});

describe('describeIdMap()', () => {
  it.each([
    [{}, 'identity'],
    [{ map: ['0:100000:65536'] }, 'b:0:100000:65536'],
    [{ map: ['u:0:100000:65536'] }, 'u:0:100000:65536 gid unchanged'],
    [{ 'squash-uid': '0:5', 'squash-gid': '7' }, 'uid squashed to 0:5 gid squashed to 7:7'],
  ] as [WrittenOptions, string][])('says %j as "%s"', (written, text) => {
    expect(describeIdMap(build(written))).toBe(text);
  });
});
