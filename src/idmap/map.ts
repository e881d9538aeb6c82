// Turns ids of one side into ids of the other, for every request: no allocation, no failure, pure.
//
// What it promises, for each kind of id:
// - no ranges: the identity;
// - ranges: an underlay id outside all of them shows as the overflow id, a view id outside all of them is UNMAPPED (the
//   caller answers EOVERFLOW, as an idmapped mount does);
// - squash: every underlay id shows as `squash.view`, every view id creates as `squash.underlay`;
// - 4294967295 is not an id: it shows as the overflow id (also under squash) and is UNMAPPED.

import { INVALID_ID, type UnderlayGid, type UnderlayUid, type ViewGid, type ViewUid } from './ids.js';
import type { IdKindSpec, IdMapSpec } from './spec.js';
import { checkSpec } from './validate.js';

/** Answer for an id that has no counterpart. Outside the u32 ids, so it can be no id. */
export const UNMAPPED = -1;
export type Unmapped = typeof UNMAPPED;

export class IdMap {
  readonly #uid: KindMap;
  readonly #gid: KindMap;
  /**
   * Whether a process on the view can make files that belong to uid 0 or gid 0 of the underlay. With set-id bits or file
   * capabilities those would be privileged programs on the host.
   */
  readonly reachesUnderlayRoot: { readonly uid: boolean; readonly gid: boolean };

  /** Throws ShiftfsError BAD_MAP for a specification that is not well formed. */
  constructor(spec: IdMapSpec) {
    checkSpec(spec);
    this.#uid = new KindMap(spec.uid);
    this.#gid = new KindMap(spec.gid);
    this.reachesUnderlayRoot = { uid: this.#uid.reaches(0), gid: this.#gid.reaches(0) };
  }

  /** The owner that every file shows under squash, which no chown can change; null when owners are not squashed. */
  get squashedUid(): ViewUid | null {
    return this.#uid.squashView as ViewUid | null;
  }

  get squashedGid(): ViewGid | null {
    return this.#gid.squashView as ViewGid | null;
  }

  uidToView(uid: UnderlayUid): ViewUid {
    return this.#uid.show(uid) as ViewUid;
  }

  gidToView(gid: UnderlayGid): ViewGid {
    return this.#gid.show(gid) as ViewGid;
  }

  uidToUnderlay(uid: ViewUid): UnderlayUid | Unmapped {
    return this.#uid.store(uid) as UnderlayUid | Unmapped;
  }

  gidToUnderlay(gid: ViewGid): UnderlayGid | Unmapped {
    return this.#gid.store(gid) as UnderlayGid | Unmapped;
  }

  /**
   * Like `uidToView`, for where a wrong id would grant something: no overflow id, and under squash only
   * `squash.underlay` has a counterpart.
   */
  uidToViewExact(uid: UnderlayUid): ViewUid | Unmapped {
    return this.#uid.toView.find(uid) as ViewUid | Unmapped;
  }

  /** The inverse of `uidToViewExact`. */
  uidToUnderlayExact(uid: ViewUid): UnderlayUid | Unmapped {
    return this.#uid.toUnderlay.find(uid) as UnderlayUid | Unmapped;
  }
}

class KindMap {
  readonly toView: RangeTable;
  readonly toUnderlay: RangeTable;
  readonly #overflow: number;
  /** UNMAPPED when ids are not squashed. */
  readonly #squashView: number;
  readonly #squashUnderlay: number;

  constructor(spec: IdKindSpec) {
    const triples: Triple[] = spec.ranges.map((range) => [range.underlay, range.view, range.count]);
    if (spec.squash !== null) triples.push([spec.squash.underlay, spec.squash.view, 1]);
    else if (triples.length === 0) triples.push([0, 0, INVALID_ID]);
    this.toView = new RangeTable(triples);
    this.toUnderlay = new RangeTable(triples.map(([underlay, view, count]) => [view, underlay, count]));
    this.#overflow = spec.overflow;
    this.#squashView = spec.squash?.view ?? UNMAPPED;
    this.#squashUnderlay = spec.squash?.underlay ?? UNMAPPED;
  }

  show(underlay: number): number {
    if (this.#squashView !== UNMAPPED && underlay !== INVALID_ID) return this.#squashView;
    const view = this.toView.find(underlay);
    return view === UNMAPPED ? this.#overflow : view;
  }

  store(view: number): number {
    if (this.#squashUnderlay !== UNMAPPED && view !== INVALID_ID) return this.#squashUnderlay;
    return this.toUnderlay.find(view);
  }

  get squashView(): number | null {
    return this.#squashView === UNMAPPED ? null : this.#squashView;
  }

  reaches(underlay: number): boolean {
    return this.toView.find(underlay) !== UNMAPPED;
  }
}

/** [first id looked up, first id it becomes, how many]. */
type Triple = readonly [from: number, to: number, count: number];

/** Up to here a walk over the ranges beats a binary search: a container has one to three of them. */
const LINEAR_LIMIT = 8;

/** One direction of one kind: ranges that do not overlap, sorted, in one block. */
class RangeTable {
  /** Per range: first id, last id, the id that the first becomes. */
  readonly #words: Uint32Array;

  constructor(triples: readonly Triple[]) {
    const sorted = [...triples].sort((a, b) => a[0] - b[0]);
    this.#words = new Uint32Array(sorted.length * 3);
    sorted.forEach(([from, to, count], i) => {
      this.#words.set([from, from + count - 1, to], i * 3);
    });
  }

  /** What `id` becomes, or UNMAPPED. */
  find(id: number): number {
    const words = this.#words;
    let low = 0;
    let high = words.length / 3;
    while (high - low > LINEAR_LIMIT) {
      const middle = (low + high) >>> 1;
      if (words[middle * 3]! <= id) low = middle;
      else high = middle;
    }
    for (let at = low * 3; at < high * 3; at += 3) {
      if (id >= words[at]! && id <= words[at + 1]!) return id - words[at]! + words[at + 2]!;
    }
    return UNMAPPED;
  }
}
