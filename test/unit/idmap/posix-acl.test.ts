import { describe, expect, test } from 'vitest';
import { IdMap } from '../../../src/idmap/map.js';
import { aclToUnderlay, aclToView } from '../../../src/idmap/posix-acl.js';
import type { IdRange } from '../../../src/idmap/spec.js';
import { EINVAL, EOPNOTSUPP, EOVERFLOW } from '../../../src/linux/errno.js';
import { below, kind, randomRanges, seeded, spec } from './random.js';

/** e_tag of include/uapi/linux/posix_acl.h. */
const USER_OBJ = 1;
const USER = 2;
const GROUP_OBJ = 4;
const GROUP = 8;
const MASK = 16;
const OTHER = 32;
const NO_ID = 0xffffffff;

type Entry = readonly [tag: number, perm: number, id: number];

function encode(entries: readonly Entry[], version = 2): Uint8Array {
  const bytes = new Uint8Array(4 + entries.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, version, true);
  entries.forEach(([tag, perm, id], i) => {
    view.setUint16(4 + i * 8, tag, true);
    view.setUint16(6 + i * 8, perm, true);
    view.setUint32(8 + i * 8, id, true);
  });
  return bytes;
}

function decode(bytes: Uint8Array): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Entry[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    entries.push([view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true)]);
  }
  return entries;
}

/** `setfacl -m u:1000:rw,u:70000:r,g:50:rx,g:60:r` on a 0640 file, with ids put through two functions. */
function acl(uid: (id: number) => number, gid: (id: number) => number): Entry[] {
  return [
    [USER_OBJ, 6, NO_ID],
    [USER, 6, uid(1000)],
    [USER, 4, uid(1001)],
    [GROUP_OBJ, 4, NO_ID],
    [GROUP, 5, gid(50)],
    [GROUP, 4, gid(60)],
    [MASK, 7, NO_ID],
    [OTHER, 0, NO_ID],
  ];
}

const same = (id: number) => id;
const map = new IdMap(
  spec([{ underlay: 0, view: 100000, count: 65536 }], [{ underlay: 0, view: 200000, count: 65536 }]),
);
const both = [
  ['aclToView()', aclToView],
  ['aclToUnderlay()', aclToUnderlay],
] as const;

/** Read with getxattr(2) on Linux 6.18, tmpfs, after `setfacl -m u:1000:rw,g:50:r`: the file, and an idmapped mount of it. */
const KERNEL_UNDERLAY =
  '0200000001000600ffffffff02000600e803000004000400ffffffff080004003200000010000600ffffffff20000400ffffffff';
const KERNEL_IDMAPPED =
  '0200000001000600ffffffff02000600888a010004000400ffffffff08000400d286010010000600ffffffff20000400ffffffff';
const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

describe('aclToView()', () => {
  test('shows what an idmapped mount of the kernel shows, and back, when the map is 0:100000:65536', () => {
    const container = new IdMap(spec([{ underlay: 0, view: 100000, count: 65536 }]));
    const bytes = hex(KERNEL_UNDERLAY);
    expect(aclToView(container, bytes, 0, bytes.length)).toBe(0);
    expect(bytes).toEqual(hex(KERNEL_IDMAPPED));
    expect(aclToUnderlay(container, bytes, 0, bytes.length)).toBe(0);
    expect(bytes).toEqual(hex(KERNEL_UNDERLAY));
  });

  test('shifts uids and gids, each by its own map, when they are mapped', () => {
    const bytes = encode(acl(same, same));
    expect(aclToView(map, bytes, 0, bytes.length)).toBe(0);
    expect(decode(bytes)).toEqual(
      acl(
        (uid) => uid + 100000,
        (gid) => gid + 200000,
      ),
    );
  });

  test('keeps every entry in its place when several ids become the overflow id', () => {
    const bytes = encode([
      [USER_OBJ, 6, NO_ID],
      [USER, 7, 70000],
      [USER, 0, 70001],
      [USER, 5, 5],
      [GROUP_OBJ, 4, NO_ID],
      [GROUP, 1, 70000],
      [MASK, 7, NO_ID],
      [OTHER, 0, NO_ID],
    ]);
    expect(aclToView(map, bytes, 0, bytes.length)).toBe(0);
    expect(decode(bytes)).toEqual([
      [USER_OBJ, 6, NO_ID],
      [USER, 7, 65534],
      [USER, 0, 65534],
      [USER, 5, 100005],
      [GROUP_OBJ, 4, NO_ID],
      [GROUP, 1, 65534],
      [MASK, 7, NO_ID],
      [OTHER, 0, NO_ID],
    ]);
  });

  test('shows the overflow id when the kernel could not express the id', () => {
    for (const each of [map, new IdMap(spec([]))]) {
      const bytes = encode([[USER, 7, NO_ID]]);
      expect(aclToView(each, bytes, 0, bytes.length)).toBe(0);
      expect(decode(bytes)).toEqual([[USER, 7, 65534]]);
    }
  });
});

describe('aclToUnderlay()', () => {
  test('shifts uids and gids back when they are mapped', () => {
    const bytes = encode(
      acl(
        (uid) => uid + 100000,
        (gid) => gid + 200000,
      ),
    );
    expect(aclToUnderlay(map, bytes, 0, bytes.length)).toBe(0);
    expect(decode(bytes)).toEqual(acl(same, same));
  });

  test.each([
    ['a user', [USER, 7, 65534]],
    ['a group', [GROUP, 7, 65534]],
    ['a group with an id that only users have', [GROUP, 7, 100001]],
    ['a user without an id', [USER, 7, NO_ID]],
  ] as [string, Entry][])('answers EOVERFLOW and changes nothing when %s does not map', (_what, entry) => {
    const entries: Entry[] = [[USER_OBJ, 6, NO_ID], [USER, 6, 100000], entry, [OTHER, 0, NO_ID]];
    const bytes = encode(entries);
    expect(aclToUnderlay(map, bytes, 0, bytes.length)).toBe(-EOVERFLOW);
    expect(decode(bytes)).toEqual(entries);
  });

  test('stores squash.underlay for every user when users are squashed', () => {
    const squashed = new IdMap({ uid: kind([], { squash: { underlay: 1000, view: 100000 } }), gid: kind([]) });
    const bytes = encode([
      [USER, 7, 100000],
      [USER, 7, 5],
      [GROUP, 7, 5],
    ]);
    expect(aclToUnderlay(squashed, bytes, 0, bytes.length)).toBe(0);
    expect(decode(bytes)).toEqual([
      [USER, 7, 1000],
      [USER, 7, 1000],
      [GROUP, 7, 5],
    ]);
  });
});

describe.each(both)('%s', (_name, translate) => {
  test('answers 0 when there is a header without entries, which removes an ACL', () => {
    expect(translate(map, encode([]), 0, 4)).toBe(0);
  });

  test.each([
    ['is empty', encode([]), 0],
    ['is shorter than a header', encode([]), 3],
    ['ends inside an entry', encode([[USER, 7, 100000]]), 11],
    ['has half an entry more', Uint8Array.from([...encode([[USER_OBJ, 7, NO_ID]]), 1, 2, 3, 4]), 16],
    ['claims more bytes than there are', encode([[USER_OBJ, 7, NO_ID]]), 20],
    ['has an id beyond the end of the buffer', encode([[USER, 7, 100000]]).slice(0, 10), 12],
    ['has tag 0', encode([[0, 7, NO_ID]]), 12],
    ['has a tag of two bits', encode([[USER | GROUP, 7, 100000]]), 12],
    ['has a tag in the high byte', encode([[0x102, 7, 100000]]), 12],
  ])('answers EINVAL and changes nothing when the value %s', (_what, bytes, length) => {
    const before = Uint8Array.from(bytes);
    expect(translate(map, bytes, 0, length)).toBe(-EINVAL);
    expect(bytes).toEqual(before);
  });

  test('changes nothing when a bad tag follows good entries', () => {
    const bytes = encode([
      [USER, 7, 100000],
      [64, 7, 0],
    ]);
    const before = Uint8Array.from(bytes);
    expect(translate(map, bytes, 0, bytes.length)).toBe(-EINVAL);
    expect(bytes).toEqual(before);
  });

  test.each([0, 1, 3, 0x02000000])('answers EOPNOTSUPP when the version is %i', (version) => {
    expect(translate(map, encode([[USER_OBJ, 7, NO_ID]], version), 0, 12)).toBe(-EOPNOTSUPP);
  });

  test('leaves the bytes around the value alone when it lies inside a larger buffer', () => {
    const value = encode([
      [USER, 7, 100000],
      [OTHER, 0, NO_ID],
    ]);
    const buffer = new Uint8Array(64).fill(0xaa);
    buffer.set(value, 13);
    expect(translate(map, buffer, 13, value.length)).toBe(0);
    expect([...buffer.subarray(0, 13), ...buffer.subarray(13 + value.length)].every((byte) => byte === 0xaa)).toBe(
      true,
    );
    expect(decode(buffer.slice(13, 13 + value.length))[0]![2]).not.toBe(100000);
  });

  test('answers with an errno or 0 and keeps the length when the bytes are random', () => {
    const random = seeded('random ACL bytes');
    let translated = 0;
    for (let round = 0; round < 1000; round++) {
      const bytes = Uint8Array.from({ length: below(random, 40) }, () => below(random, 256));
      if (bytes.length >= 4) bytes.set([2, 0, 0, 0]);
      for (let at = 4; at + 1 < bytes.length; at += 8) if (random() < 0.9) bytes.set([1 << below(random, 6), 0], at);
      const before = Uint8Array.from(bytes);
      const result = translate(map, bytes, 0, bytes.length);
      if (![0, -EINVAL, -EOVERFLOW].includes(result)) expect.fail(`${before}: ${result}`);
      if (result === 0) translated++;
      else expect(bytes).toEqual(before);
    }
    expect(translated).toBeGreaterThan(10);
  });
});

describe('aclToUnderlay() after aclToView()', () => {
  test('gives the value back when all ids are mapped', () => {
    const random = seeded('ACL round trip');
    const pick = (ranges: readonly IdRange[]) => {
      const range = ranges[below(random, ranges.length)]!;
      return range.underlay + below(random, range.count);
    };
    for (let round = 0; round < 300; round++) {
      const uids = randomRanges(random, 1 + below(random, 12));
      const gids = randomRanges(random, 1 + below(random, 12));
      const each = new IdMap(spec(uids, gids));
      const entries = Array.from({ length: below(random, 30) }, (): Entry => {
        const tag = 1 << below(random, 6);
        return [tag, below(random, 8), tag === USER ? pick(uids) : tag === GROUP ? pick(gids) : NO_ID];
      });
      const bytes = encode(entries);
      expect(aclToView(each, bytes, 0, bytes.length)).toBe(0);
      expect(aclToUnderlay(each, bytes, 0, bytes.length)).toBe(0);
      expect(decode(bytes)).toEqual(entries);
    }
  });
});
