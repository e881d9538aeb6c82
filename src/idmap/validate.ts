// What makes a map well formed, whatever text or file it came from. Every check throws ShiftfsError BAD_MAP with the
// range at fault in its message, in the words of `--map`.

import { ShiftfsError } from '../errors.js';
import { MAX_ID } from './ids.js';
import type { IdKindSpec, IdMapSpec, IdRange } from './spec.js';

export type IdKind = 'uid' | 'gid';

export const MAP_HINT = 'Write [u:|g:|b:]UNDERLAY:VIEW:COUNT, for example b:0:100000:65536.';

/** `u:0:100000:65536`: a range in the canonical text of `--map`. */
export function formatRange(prefix: 'u' | 'g' | 'b', range: IdRange): string {
  return `${prefix}:${range.underlay}:${range.view}:${range.count}`;
}

/**
 * Checks one range by itself: ids from 0 to 4294967294, a count of at least 1, and an end that is still an id.
 * `text` is what the user wrote.
 */
export function checkRange(range: IdRange, text: string): void {
  checkId(range.underlay, `underlay id of map range "${text}"`);
  checkId(range.view, `view id of map range "${text}"`);
  if (!Number.isInteger(range.count) || range.count < 1) {
    throw new ShiftfsError(
      'BAD_MAP',
      `The count of map range "${text}" is ${range.count}; it must be at least 1.`,
      MAP_HINT,
    );
  }
  checkEnd('underlay', range.underlay, range.count, text);
  checkEnd('view', range.view, range.count, text);
}

/**
 * Checks the ranges of one kind together: no underlay id and no view id is in two of them, because either would make one
 * direction of the map ambiguous.
 */
export function checkOverlap(kind: IdKind, ranges: readonly IdRange[]): void {
  checkSide(kind, ranges, 'underlay');
  checkSide(kind, ranges, 'view');
}

/** Checks a whole specification, for those that did not come through a parser (a config file, another process). */
export function checkSpec(spec: IdMapSpec): void {
  checkKind('uid', spec.uid);
  checkKind('gid', spec.gid);
}

function checkKind(kind: IdKind, spec: IdKindSpec): void {
  checkId(spec.overflow, `overflow ${kind}`);
  if (spec.squash !== null) {
    checkId(spec.squash.underlay, `underlay ${kind} to squash to`);
    checkId(spec.squash.view, `view ${kind} to squash to`);
    if (spec.ranges.length > 0) {
      throw new ShiftfsError(
        'BAD_MAP',
        `Both squashing and map ranges are asked for the ${kind}s.`,
        `Leave out --squash-${kind}, or the map ranges for ${kind}s.`,
      );
    }
  }
  for (const range of spec.ranges) checkRange(range, formatRange(kind === 'uid' ? 'u' : 'g', range));
  checkOverlap(kind, spec.ranges);
}

function checkId(id: number, what: string): void {
  if (Number.isInteger(id) && id >= 0 && id <= MAX_ID) return;
  throw new ShiftfsError('BAD_MAP', `The ${what} is ${id}; ids go from 0 to ${MAX_ID}.`, MAP_HINT);
}

function checkEnd(side: 'underlay' | 'view', start: number, count: number, text: string): void {
  const last = start + count - 1;
  if (last <= MAX_ID) return;
  throw new ShiftfsError(
    'BAD_MAP',
    `Map range "${text}" runs up to ${side} id ${last}; the largest id is ${MAX_ID}.`,
    `Write a count of at most ${MAX_ID - start + 1}.`,
  );
}

function checkSide(kind: IdKind, ranges: readonly IdRange[], side: 'underlay' | 'view'): void {
  const sorted = [...ranges].sort((a, b) => a[side] - b[side]);
  for (let i = 1; i < sorted.length; i++) {
    // Neighbours are enough: up to here no two ranges overlap, so the one before reaches furthest.
    const before = sorted[i - 1]!;
    const range = sorted[i]!;
    const first = range[side];
    const last = Math.min(before[side] + before.count, range[side] + range.count) - 1;
    if (last < first) continue;
    const prefix = kind === 'uid' ? 'u' : 'g';
    const ids = first === last ? `${side} ${kind} ${first} is` : `${side} ${kind}s ${first} to ${last} are`;
    throw new ShiftfsError(
      'BAD_MAP',
      `Map ranges ${formatRange(prefix, before)} and ${formatRange(prefix, range)} overlap: ${ids} in both.`,
      `Every ${side} ${kind} may be in one range only: split the larger range around the smaller one.`,
    );
  }
}
