import { describe, expect, test } from 'vitest';
import { INVALID_ID, MAX_ID, underlayGid, underlayUid, viewGid, viewUid } from '../../../src/idmap/ids.js';
import { IdMap, UNMAPPED } from '../../../src/idmap/map.js';
import type { IdMapSpec, IdRange } from '../../../src/idmap/spec.js';
import { below, interestingIds, kind, randomRanges, seeded, spec } from './random.js';

const CONTAINER: IdRange = { underlay: 0, view: 100000, count: 65536 };

type Lookup = (id: number) => number;

/** The four directions as functions of raw numbers, to test them alike. */
function directions(map: IdMap): Record<'uid' | 'gid', { show: Lookup; store: Lookup }> {
  return {
    uid: {
      show: (id: number) => map.uidToView(underlayUid(id)),
      store: (id: number) => map.uidToUnderlay(viewUid(id)),
    },
    gid: {
      show: (id: number) => map.gidToView(underlayGid(id)),
      store: (id: number) => map.gidToUnderlay(viewGid(id)),
    },
  };
}

/** What the ranges mean, in the plainest way. */
function naive(ranges: readonly IdRange[], from: 'underlay' | 'view', id: number): number {
  const to = from === 'underlay' ? 'view' : 'underlay';
  const range = ranges.find((each) => id >= each[from] && id < each[from] + each.count);
  return range === undefined ? UNMAPPED : id - range[from] + range[to];
}

describe.each(['uid', 'gid'] as const)('IdMap, %s', (which) => {
  const { show, store } = directions(new IdMap(spec([CONTAINER])))[which];

  test(`${which}ToView() shifts when a range maps the id`, () => {
    expect(show(0)).toBe(100000);
    expect(show(1000)).toBe(101000);
    expect(show(65535)).toBe(165535);
  });

  test(`${which}ToView() gives the overflow id when no range maps the id`, () => {
    expect(show(65536)).toBe(65534);
    expect(show(100000)).toBe(65534);
    expect(show(MAX_ID)).toBe(65534);
  });

  test(`${which}ToView() gives the overflow id asked for when it is not 65534`, () => {
    const map = new IdMap({ uid: kind([CONTAINER], { overflow: 7 }), gid: kind([CONTAINER], { overflow: 8 }) });
    expect(directions(map)[which].show(70000)).toBe(which === 'uid' ? 7 : 8);
  });

  test(`${which}ToUnderlay() shifts back when a range maps the id`, () => {
    expect(store(100000)).toBe(0);
    expect(store(165535)).toBe(65535);
  });

  test(`${which}ToUnderlay() says UNMAPPED when no range maps the id`, () => {
    expect(store(99999)).toBe(UNMAPPED);
    expect(store(165536)).toBe(UNMAPPED);
    expect(store(0)).toBe(UNMAPPED);
    expect(store(65534)).toBe(UNMAPPED);
  });

  test(`${which}ToView() is the identity when there are no ranges`, () => {
    const identity = directions(new IdMap(spec([])))[which];
    for (const id of [0, 1000, 65534, 2 ** 31, MAX_ID]) {
      expect(identity.show(id)).toBe(id);
      expect(identity.store(id)).toBe(id);
    }
  });

  test(`${which}ToUnderlay() never takes 4294967295 for an id when the map is identity, ranges or squash`, () => {
    const squash = { underlay: 5, view: 6 };
    const maps: IdMapSpec[] = [
      spec([]),
      spec([CONTAINER]),
      spec([{ underlay: 0, view: 0, count: INVALID_ID }]),
      { uid: kind([], { squash }), gid: kind([], { squash }) },
    ];
    for (const each of maps) {
      const { show, store } = directions(new IdMap(each))[which];
      expect(show(INVALID_ID)).toBe(65534);
      expect(store(INVALID_ID)).toBe(UNMAPPED);
      expect(show(-1)).toBe(65534);
      expect(store(-1)).toBe(UNMAPPED);
    }
  });

  test(`${which}ToView() shows squash.view for every id when squashing`, () => {
    const squash = { underlay: 1000, view: 100000 };
    const { show, store } = directions(new IdMap({ uid: kind([], { squash }), gid: kind([], { squash }) }))[which];
    for (const id of [0, 1, 1000, 65534, MAX_ID]) {
      expect(show(id)).toBe(100000);
      expect(store(id)).toBe(1000);
    }
  });

  test(`${which}ToView() keeps ranges that touch apart when their views are far apart`, () => {
    // What LXD writes for raw.idmap "both 1000 1000".
    const ranges = [
      { underlay: 0, view: 1000000, count: 1000 },
      { underlay: 1000, view: 1000, count: 1 },
      { underlay: 1001, view: 1001001, count: 64535 },
    ];
    const { show, store } = directions(new IdMap(spec(ranges)))[which];
    expect([999, 1000, 1001].map((id) => show(id))).toEqual([1000999, 1000, 1001001]);
    expect([1000999, 1000, 1001001, 1001000].map((id) => store(id))).toEqual([999, 1000, 1001, UNMAPPED]);
  });

  test.each([1, 2, 3, 7, 8, 9, 10, 16, 17, 100, 340])(
    `${which}ToView() agrees with the ranges when there are %i`,
    (count) => {
      const random = seeded(`${which}ToView ${count}`);
      for (let round = 0; round < 5; round++) {
        const ranges = randomRanges(random, count);
        const { show, store } = directions(new IdMap(which === 'uid' ? spec(ranges, []) : spec([], ranges)))[which];
        const underlays = interestingIds(ranges, 'underlay');
        const views = interestingIds(ranges, 'view');
        for (let i = 0; i < 200; i++) {
          underlays.push(below(random, INVALID_ID));
          views.push(below(random, INVALID_ID));
        }
        for (const id of underlays) {
          const expected = naive(ranges, 'underlay', id);
          const shown = show(id);
          if (shown !== (expected === UNMAPPED ? 65534 : expected)) expect.fail(`${which} ${id} shows as ${shown}`);
          if (expected !== UNMAPPED && store(shown) !== id) expect.fail(`${which} ${id} comes back as ${store(shown)}`);
        }
        for (const id of views) {
          const expected = naive(ranges, 'view', id);
          const stored = store(id);
          if (stored !== expected) expect.fail(`view ${which} ${id} is stored as ${stored}, not ${expected}`);
          if (stored !== UNMAPPED && show(stored) !== id)
            expect.fail(`view ${which} ${id} comes back as ${show(stored)}`);
        }
      }
    },
  );
});

describe('IdMap', () => {
  test('uidToView() and gidToView() use their own ranges when these differ', () => {
    const map = new IdMap(spec([{ underlay: 0, view: 100, count: 10 }], [{ underlay: 0, view: 200, count: 10 }]));
    expect(map.uidToView(underlayUid(3))).toBe(103);
    expect(map.gidToView(underlayGid(3))).toBe(203);
    expect(map.uidToUnderlay(viewUid(203))).toBe(UNMAPPED);
    expect(map.gidToUnderlay(viewGid(103))).toBe(UNMAPPED);
  });

  test('uidToViewExact() says UNMAPPED when uidToView() would say the overflow id', () => {
    const map = new IdMap(spec([CONTAINER]));
    expect(map.uidToViewExact(underlayUid(0))).toBe(100000);
    expect(map.uidToViewExact(underlayUid(65536))).toBe(UNMAPPED);
    expect(map.uidToUnderlayExact(viewUid(100000))).toBe(0);
    expect(map.uidToUnderlayExact(viewUid(0))).toBe(UNMAPPED);
  });

  test('uidToViewExact() maps squash.underlay and nothing else when squashing', () => {
    const map = new IdMap({ uid: kind([], { squash: { underlay: 1000, view: 100000 } }), gid: kind([]) });
    expect(map.uidToViewExact(underlayUid(1000))).toBe(100000);
    expect(map.uidToViewExact(underlayUid(0))).toBe(UNMAPPED);
    expect(map.uidToUnderlayExact(viewUid(100000))).toBe(1000);
    expect(map.uidToUnderlayExact(viewUid(1000))).toBe(UNMAPPED);
  });

  test.each([
    ['the identity', spec([]), true, true],
    ['a container from 0', spec([CONTAINER]), true, true],
    ['ranges that leave 0 out', spec([{ underlay: 1, view: 100001, count: 65535 }]), false, false],
    ['only the uids reach it', spec([CONTAINER], [{ underlay: 1000, view: 1000, count: 1 }]), true, false],
    ['only the gids reach it', spec([{ underlay: 1000, view: 1000, count: 1 }], [CONTAINER]), false, true],
    ['view id 0 is another id', spec([{ underlay: 1000, view: 0, count: 1 }]), false, false],
    [
      'squash to root and to another',
      { uid: kind([], { squash: { underlay: 0, view: 100000 } }), gid: kind([], { squash: { underlay: 9, view: 0 } }) },
      true,
      false,
    ],
  ])('reachesUnderlayRoot tells whether 0 can be reached when the map is %s', (_name, each, uid, gid) => {
    expect(new IdMap(each).reachesUnderlayRoot).toEqual({ uid, gid });
  });

  test.each([
    [
      'a count of 0',
      spec([{ underlay: 0, view: 0, count: 0 }]),
      'The count of map range "u:0:0:0" is 0; it must be at least 1.',
    ],
    [
      'a fraction',
      spec([], [{ underlay: 0.5, view: 0, count: 1 }]),
      'The underlay id of map range "g:0.5:0:1" is 0.5; ids go from 0 to 4294967294.',
    ],
    [
      'NaN',
      spec([{ underlay: 0, view: Number.NaN, count: 1 }]),
      'The view id of map range "u:0:NaN:1" is NaN; ids go from 0 to 4294967294.',
    ],
    [
      'an overlap',
      spec([CONTAINER, { underlay: 5, view: 5, count: 1 }]),
      'Map ranges u:0:100000:65536 and u:5:5:1 overlap: underlay uid 5 is in both.',
    ],
    [
      'a bad overflow id',
      { uid: kind([]), gid: kind([], { overflow: INVALID_ID }) },
      'The overflow gid is 4294967295; ids go from 0 to 4294967294.',
    ],
    [
      'a bad squash id',
      { uid: kind([], { squash: { underlay: -1, view: 0 } }), gid: kind([]) },
      'The underlay uid to squash to is -1; ids go from 0 to 4294967294.',
    ],
    [
      'squash and ranges',
      { uid: kind([CONTAINER], { squash: { underlay: 1, view: 0 } }), gid: kind([]) },
      'Both squashing and map ranges are asked for the uids.',
    ],
  ])('constructor throws BAD_MAP when there is %s', (_name, each, message) => {
    expect(() => new IdMap(each)).toThrow(expect.objectContaining({ code: 'BAD_MAP', message }));
  });
});
