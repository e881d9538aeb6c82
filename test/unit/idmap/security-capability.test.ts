import { describe, expect, test } from 'vitest';
import { IdMap } from '../../../src/idmap/map.js';
import { CAPABILITY_SIZE_MAX, capabilityToUnderlay, capabilityToView } from '../../../src/idmap/security-capability.js';
import { EINVAL, EOVERFLOW, ERANGE } from '../../../src/linux/errno.js';
import { below, interestingIds, kind, randomRanges, seeded, spec } from './random.js';

const REVISION_1 = 0x01000000;
const REVISION_2 = 0x02000000;
const REVISION_3 = 0x03000000;
const EFFECTIVE = 1;
/** cap_net_raw, and one above bit 31: cap_bpf (39). */
const DATA = [0x2000, 0, 0x80, 0];

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return bytes;
}

const v2 = (flags = EFFECTIVE) => words(REVISION_2 | flags, ...DATA);
const v3 = (rootid: number, flags = EFFECTIVE) => words(REVISION_3 | flags, ...DATA, rootid);

/** Translates a copy in a buffer with room; the new value, or the negative errno and proof that nothing changed. */
function run(translate: typeof capabilityToView, map: IdMap, value: Uint8Array): Uint8Array | number {
  const buffer = new Uint8Array(64).fill(0xaa);
  buffer.set(value, 8);
  const before = Uint8Array.from(buffer);
  const result = translate(map, buffer, 8, value.length);
  if (result < 0) {
    expect(buffer).toEqual(before);
    return result;
  }
  expect(buffer.subarray(0, 8)).toEqual(before.subarray(0, 8));
  expect(buffer.subarray(8 + result)).toEqual(before.subarray(8 + result));
  return buffer.slice(8, 8 + result);
}

const container = new IdMap(spec([{ underlay: 0, view: 100000, count: 65536 }]));
const identity = new IdMap(spec([]));
const shifted = new IdMap(spec([{ underlay: 5000, view: 0, count: 1000 }]));
const both = [
  ['capabilityToView()', capabilityToView],
  ['capabilityToUnderlay()', capabilityToUnderlay],
] as const;

/** Read with getxattr(2) on Linux 6.18, tmpfs, beside an idmapped mount with 0:100000:65536. */
const KERNEL: readonly [name: string, underlay: string, idmapped: string][] = [
  [
    'cap_net_raw+ep set on the underlay',
    '0100000200200000000000000000000000000000',
    '0100000300200000000000000000000000000000a0860100',
  ],
  [
    'capabilities of namespace root 1000',
    '0100000300200000000000000000000000000000e8030000',
    '0100000300200000000000000000000000000000888a0100',
  ],
];
const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

describe('capabilityToView()', () => {
  test.each(KERNEL)(
    'shows what an idmapped mount of the kernel shows when there is %s',
    (_name, underlay, idmapped) => {
      expect(run(capabilityToView, container, hex(underlay))).toEqual(hex(idmapped));
    },
  );

  test('makes revision 2 a revision 3 of the root of the container when uid 0 is shifted', () => {
    expect(run(capabilityToView, container, v2())).toEqual(v3(100000));
  });

  test('keeps the effective flag as it was when revision 2 becomes revision 3', () => {
    expect(run(capabilityToView, container, v2(0))).toEqual(v3(100000, 0));
  });

  test('keeps revision 2 when underlay uid 0 is view uid 0', () => {
    expect(run(capabilityToView, identity, v2())).toEqual(v2());
  });

  test('shifts rootid when it is revision 3', () => {
    expect(run(capabilityToView, container, v3(1000))).toEqual(v3(101000));
    expect(run(capabilityToView, shifted, v3(5000))).toEqual(v3(0));
    expect(run(capabilityToView, identity, v3(1000, 0))).toEqual(v3(1000, 0));
  });

  test('answers EOVERFLOW when rootid has no view id', () => {
    expect(run(capabilityToView, container, v3(65536))).toBe(-EOVERFLOW);
    expect(run(capabilityToView, shifted, v2())).toBe(-EOVERFLOW);
    expect(run(capabilityToView, identity, v3(0xffffffff))).toBe(-EOVERFLOW);
  });
});

describe('capabilityToUnderlay()', () => {
  test('gives the rootid of the underlay when setcap ran in a container and the kernel made it revision 3', () => {
    expect(run(capabilityToUnderlay, container, v3(100000))).toEqual(v3(0));
    expect(run(capabilityToUnderlay, container, v3(101000))).toEqual(v3(1000));
  });

  test('refuses revision 2 when it comes from root of the host, who has no id in the underlay', () => {
    expect(run(capabilityToUnderlay, container, v2())).toBe(-EOVERFLOW);
  });

  test('makes revision 2 a revision 3 when view uid 0 is another uid of the underlay', () => {
    expect(run(capabilityToUnderlay, shifted, v2())).toEqual(v3(5000));
    expect(run(capabilityToUnderlay, shifted, v2(0))).toEqual(v3(5000, 0));
  });

  test('keeps the value when the map is the identity', () => {
    expect(run(capabilityToUnderlay, identity, v2())).toEqual(v2());
    expect(run(capabilityToUnderlay, identity, v3(100000))).toEqual(v3(100000));
  });

  test('answers EOVERFLOW when rootid has no underlay id', () => {
    expect(run(capabilityToUnderlay, container, v3(99999))).toBe(-EOVERFLOW);
    expect(run(capabilityToUnderlay, container, v3(165536))).toBe(-EOVERFLOW);
    expect(run(capabilityToUnderlay, identity, v3(0xffffffff))).toBe(-EOVERFLOW);
  });
});

describe.each(both)('%s', (_name, translate) => {
  test('does not lend capabilities of other namespaces to the container when users are squashed', () => {
    const squash = { underlay: 1000, view: 100000 };
    const squashed = new IdMap({ uid: kind([], { squash }), gid: kind([]) });
    const toView = translate === capabilityToView;
    expect(run(translate, squashed, v3(toView ? 1000 : 100000))).toEqual(v3(toView ? 100000 : 1000));
    expect(run(translate, squashed, v3(2000))).toBe(-EOVERFLOW);
    expect(run(translate, squashed, v2())).toBe(-EOVERFLOW);
  });

  test.each([
    ['is empty', new Uint8Array(0)],
    ['is revision 1', words(REVISION_1, 0x2000, 0)],
    ['is revision 2 with the length of 3', words(REVISION_2, ...DATA, 100000)],
    ['is revision 3 with the length of 2', words(REVISION_3, ...DATA)],
    ['is revision 4', words(0x04000000, ...DATA, 100000)],
    ['has unknown flags', words(REVISION_3 | 2, ...DATA, 100000)],
    ['is one byte short', v3(100000).subarray(0, 23)],
    ['is longer', words(REVISION_3, ...DATA, 100000, 0)],
    ['is big-endian', words(0x03, ...DATA, 100000)],
  ])('answers EINVAL when the value %s', (_what, value) => {
    expect(run(translate, container, value)).toBe(-EINVAL);
    expect(run(translate, identity, value)).toBe(-EINVAL);
  });

  test('answers EINVAL when the buffer ends before the value does', () => {
    expect(translate(identity, v3(0).slice(0, 22), 0, 24)).toBe(-EINVAL);
    expect(translate(identity, v2(), 4, 20)).toBe(-EINVAL);
  });

  test('answers ERANGE and changes nothing when there is no room for revision 3', () => {
    const map = translate === capabilityToView ? container : shifted;
    const bytes = v2();
    expect(translate(map, bytes, 0, bytes.length)).toBe(-ERANGE);
    expect(bytes).toEqual(v2());
  });

  test('needs no room when nothing grows', () => {
    const bytes = v2();
    expect(translate(identity, bytes, 0, bytes.length)).toBe(bytes.length);
  });

  test('never answers a length above CAPABILITY_SIZE_MAX when the bytes are random', () => {
    const random = seeded('random capability bytes');
    let translated = 0;
    for (let round = 0; round < 1000; round++) {
      const value = Uint8Array.from({ length: [20, 24, below(random, 40)][below(random, 3)]! }, () =>
        below(random, 256),
      );
      if (value.length >= 4) value.set([below(random, 3), 0, 0, below(random, 5)]);
      const result = run(translate, identity, value);
      if (typeof result === 'number') {
        if (result !== -EINVAL) expect.fail(`${value}: ${result}`);
      } else {
        translated++;
        expect(result.length).toBeLessThanOrEqual(CAPABILITY_SIZE_MAX);
      }
    }
    expect(translated).toBeGreaterThan(10);
  });
});

describe('capabilityToUnderlay() after capabilityToView()', () => {
  test('gives the same capabilities and rootid back when the map is random', () => {
    const random = seeded('capability round trip');
    let translated = 0;
    for (let round = 0; round < 200; round++) {
      const ranges = randomRanges(random, 1 + below(random, 12));
      const map = new IdMap(spec(ranges));
      for (const rootid of interestingIds(ranges, 'underlay')) {
        const flags = below(random, 2);
        // What the kernel gives: revision 2 stands for rootid 0.
        const shown = run(capabilityToView, map, rootid === 0 ? v2(flags) : v3(rootid, flags));
        if (typeof shown === 'number') {
          expect(ranges.some((range) => rootid >= range.underlay && rootid < range.underlay + range.count)).toBe(false);
          continue;
        }
        translated++;
        const stored = run(capabilityToUnderlay, map, shown);
        // Revision 3 with rootid 0 and revision 2 mean the same to the kernel.
        const expected = rootid === 0 && shown.length === 20 ? v2(flags) : v3(rootid, flags);
        expect(stored).toEqual(expected);
      }
    }
    expect(translated).toBeGreaterThan(200);
  });
});
