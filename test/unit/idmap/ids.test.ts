import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  DEFAULT_OVERFLOW_ID,
  INVALID_ID,
  MAX_ID,
  type UnderlayGid,
  type UnderlayUid,
  underlayGid,
  underlayUid,
  type ViewGid,
  type ViewUid,
  viewGid,
  viewUid,
} from '../../../src/idmap/ids.js';
import { IdMap, UNMAPPED } from '../../../src/idmap/map.js';
import { spec } from './random.js';

const makers = { underlayUid, underlayGid, viewUid, viewGid };

describe('ids', () => {
  test.each(Object.entries(makers))('%s() keeps the id when given an unsigned one', (_name, make) => {
    expect(make(0)).toBe(0);
    expect(make(2 ** 31)).toBe(2 ** 31);
    expect(make(MAX_ID)).toBe(4294967294);
  });

  test.each(Object.entries(makers))('%s() gives the unsigned id when given a signed field', (_name, make) => {
    expect(make(-1)).toBe(INVALID_ID);
    expect(make(-2)).toBe(MAX_ID);
    expect(make(-(2 ** 31))).toBe(2 ** 31);
  });

  test('DEFAULT_OVERFLOW_ID is an id when compared with the limits', () => {
    expect(DEFAULT_OVERFLOW_ID).toBeLessThanOrEqual(MAX_ID);
  });

  // Compiled by `npx tsc -p tsconfig.test.json`: a line below that compiles makes its @ts-expect-error an error.
  test('IdMap refuses to compile when a shift is forgotten or two kinds are mixed up', () => {
    const map = new IdMap(spec([{ underlay: 0, view: 100000, count: 65536 }]));
    const under: UnderlayUid = underlayUid(1000);
    const view: ViewUid = viewUid(101000);

    // @ts-expect-error a raw number has no side
    const raw: UnderlayUid = 1000;
    // @ts-expect-error an underlay uid is not a view uid
    const forgotten: ViewUid = under;
    // @ts-expect-error a view uid is not an underlay uid
    const forgottenBack: UnderlayUid = view;
    // @ts-expect-error a uid is not a gid
    const mixed: UnderlayGid = under;
    // @ts-expect-error nor on the view
    const mixedView: ViewGid = view;
    // @ts-expect-error arithmetic makes a raw number
    const sum: ViewUid = view + 1;
    // @ts-expect-error shifted twice
    const twice = map.uidToView(map.uidToView(under));
    // @ts-expect-error shifted in the wrong direction
    const backwards = map.uidToUnderlay(under);
    // @ts-expect-error a gid through the map for uids
    const wrongKind = map.uidToView(underlayGid(1));
    // @ts-expect-error a raw number is not looked up
    const lookedUpRaw = map.gidToUnderlay(5);
    // @ts-expect-error UNMAPPED was not ruled out
    const unchecked: UnderlayUid = map.uidToUnderlay(view);

    const checked = map.uidToUnderlay(view);
    if (checked === UNMAPPED) throw new Error('101000 maps');
    expectTypeOf(checked).toEqualTypeOf<UnderlayUid>();
    const plain: number = checked;
    expect([plain, under, view]).toEqual([1000, 1000, 101000]);
    expect([raw, forgotten, forgottenBack, mixed, mixedView, sum, unchecked]).toHaveLength(7);
    // What the type system stopped above is just as wrong at run time.
    expect([twice, backwards, wrongKind, lookedUpRaw]).toEqual([65534, UNMAPPED, 100001, UNMAPPED]);
  });
});
