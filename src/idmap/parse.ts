// Reads id maps in the notations that users already have, and writes them in ours.
//
// Everything becomes ranges of underlay and view ids. A view id is an id of the initial user namespace: what the kernel
// compares with a container's uid_map, not what `id` prints inside the container. Every parser throws ShiftfsError
// BAD_MAP, with the text at fault and what to write instead; what it returns has no overlaps and can be given to `IdMap`.

import { ShiftfsError } from '../errors.js';
import { MAX_ID } from './ids.js';
import type { IdRange } from './spec.js';
import { checkOverlap, checkRange, formatRange, type IdKind, MAP_HINT } from './validate.js';

/** The ranges of both kinds. A kind without ranges is the identity. */
export interface IdRanges {
  readonly uid: readonly IdRange[];
  readonly gid: readonly IdRange[];
}

/** Parses the values of `--map`, one `[u:|g:|b:]UNDERLAY:VIEW:COUNT` each; `b` when the letter is left out. */
export function parseMaps(texts: readonly string[]): IdRanges {
  const builder = new RangesBuilder();
  for (const text of texts) {
    const fields = text.split(':');
    const letter = fields[0]!;
    const prefix = isPrefix(letter) ? letter : 'b';
    const numbers = isPrefix(letter) ? fields.slice(1) : fields;
    if (numbers.length !== 3) {
      throw new ShiftfsError('BAD_MAP', `"${text}" is not a map range.`, MAP_HINT);
    }
    builder.add(prefix, triple(numbers, text), text);
  }
  return builder.finish();
}

/**
 * Parses mount(8)'s `X-mount.idmap`: the same triples, several of them separated by spaces. mount(8) also takes the path
 * of a user namespace there; that is `--userns` here.
 */
export function parseXMountIdmap(text: string): IdRanges {
  if (text.startsWith('/')) {
    throw new ShiftfsError(
      'BAD_MAP',
      `X-mount.idmap=${text} names a user namespace file.`,
      'Use --userns with the process id, or write the ranges: X-mount.idmap=b:0:100000:65536.',
    );
  }
  const texts = text.split(/\s+/).filter((part) => part !== '');
  if (texts.length === 0) throw new ShiftfsError('BAD_MAP', 'X-mount.idmap has no map range.', MAP_HINT);
  return parseMaps(texts);
}

/**
 * Parses /proc/PID/uid_map or gid_map (user_namespaces(7)): lines of INSIDE OUTSIDE COUNT, OUTSIDE as seen by who reads
 * the file. For a view made for that container the underlay stores what the container means (INSIDE) and the view shows
 * what the kernel turns back into it (OUTSIDE): `0 100000 65536` shows underlay id 0 as view id 100000.
 *
 * An empty file is an error, not the identity: it is a namespace whose map has not been written yet.
 */
export function parseProcIdMap(kind: IdKind, text: string): readonly IdRange[] {
  const ranges: IdRange[] = [];
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (fields.length === 1 && fields[0] === '') continue;
    if (fields.length !== 3) {
      throw new ShiftfsError(
        'BAD_MAP',
        `"${line.trim()}" is not a line of a ${kind}_map.`,
        'A line holds three numbers: the first id inside the user namespace, the first id outside, and how many.',
      );
    }
    if (fields[1] === '4294967295') {
      throw new ShiftfsError(
        'BAD_MAP',
        `The ids in line "${line.trim()}" of the ${kind}_map do not exist in this user namespace.`,
        'Run fuse-shiftfs in the initial user namespace, or in the one that started the container.',
      );
    }
    ranges.push(triple(fields, line.trim()));
  }
  if (ranges.length === 0) {
    throw new ShiftfsError(
      'BAD_MAP',
      `The user namespace has an empty ${kind}_map.`,
      'Wait until the container has started, or write its ranges with --map.',
    );
  }
  checkOverlap(kind, ranges);
  return ranges;
}

/**
 * Parses LXD's and Incus' `raw.idmap`: lines of `both|uid|gid HOST CONTAINER`, each one id or FIRST-LAST.
 *
 * Their first column is an id of the host, which is what the underlay stores; their second is an id *inside* the
 * container. A view needs the latter as an id of the initial namespace, and the line alone cannot tell it: that is in the
 * container's uid_map. `userns` is that map (parseProcIdMap of both kinds). It also tells the two cases apart that look
 * alike here: a container that was itself started with the raw.idmap line has `1000 1000 1` in its uid_map, one that was
 * not has only `0 1000000 ...`; both come out right. With null the container's ids are taken for view ids, which holds
 * for privileged containers and for those started with the very lines.
 */
export function parseLxdIdmap(text: string, userns: IdRanges | null): IdRanges {
  const hint =
    'Write one "both HOST CONTAINER", "uid HOST CONTAINER" or "gid HOST CONTAINER" a line, for example: both 1000 1000.';
  const builder = new RangesBuilder();
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line === '') continue;
    const [word = '', host = '', container = '', ...rest] = line.split(/\s+/);
    const prefix = LXD_PREFIXES.get(word);
    if (prefix === undefined || container === '' || rest.length > 0) {
      throw new ShiftfsError('BAD_MAP', `"${line}" is not a line of raw.idmap.`, hint);
    }
    const underlay = span(host, line);
    const inside = span(container, line);
    if (underlay.count !== inside.count) {
      throw new ShiftfsError(
        'BAD_MAP',
        `"${line}" maps ${underlay.count} host ids to ${inside.count} container ids.`,
        'Both sides must have the same number of ids.',
      );
    }
    builder.add(prefix, { underlay: underlay.first, view: inside.first, count: inside.count }, line);
  }
  const ranges = builder.finish();
  if (ranges.uid.length + ranges.gid.length === 0) throw new ShiftfsError('BAD_MAP', 'raw.idmap has no line.', hint);
  if (userns === null) return ranges;
  return {
    uid: ranges.uid.flatMap((range) => throughUserns('uid', range, userns.uid)),
    gid: ranges.gid.flatMap((range) => throughUserns('gid', range, userns.gid)),
  };
}

/**
 * Parses fuse-overlayfs' `uidmapping=` and `gidmapping=`: HOST:TO:COUNT, repeated with colons between. Its HOST is what
 * the layers store and TO what its mount shows, so the order is ours.
 */
export function parseFuseOverlayfsMapping(kind: IdKind, text: string): readonly IdRange[] {
  const fields = text.split(':');
  if (fields.length % 3 !== 0) {
    throw new ShiftfsError(
      'BAD_MAP',
      `"${text}" is not a ${kind}mapping.`,
      `Write HOST:TO:COUNT, repeated with colons between, for example ${kind}mapping=0:100000:65536.`,
    );
  }
  const ranges: IdRange[] = [];
  for (let i = 0; i < fields.length; i += 3) {
    const part = fields.slice(i, i + 3);
    ranges.push(triple(part, part.join(':')));
  }
  checkOverlap(kind, ranges);
  return ranges;
}

/** Parses bindfs' `--uid-offset` and `--gid-offset`: the view shows every underlay id plus N, which may be negative. */
export function parseOffset(text: string): IdRange {
  const negative = text.startsWith('-');
  const offset = number(negative ? text.slice(1) : text, text);
  if (offset > MAX_ID) {
    throw new ShiftfsError('BAD_MAP', `The offset ${text} moves every id out of range.`, `Ids go from 0 to ${MAX_ID}.`);
  }
  const count = MAX_ID - offset + 1;
  return negative ? { underlay: offset, view: 0, count } : { underlay: 0, view: offset, count };
}

/** The canonical text: one `--map` value a range, sorted by underlay id, `b:` where both kinds have the same range. */
export function formatMaps(ranges: IdRanges): string[] {
  const both = ranges.uid.filter((range) => ranges.gid.some((other) => same(range, other)));
  const inBoth = (range: IdRange) => both.some((other) => same(range, other));
  const tagged = [
    ...both.map((range) => ({ prefix: 'b' as const, range })),
    ...ranges.uid.filter((range) => !inBoth(range)).map((range) => ({ prefix: 'u' as const, range })),
    ...ranges.gid.filter((range) => !inBoth(range)).map((range) => ({ prefix: 'g' as const, range })),
  ];
  // Stable: at one underlay id the order is b, u, g.
  tagged.sort((a, b) => a.range.underlay - b.range.underlay);
  return tagged.map(({ prefix, range }) => formatRange(prefix, range));
}

type Prefix = 'u' | 'g' | 'b';

const LXD_PREFIXES: ReadonlyMap<string, Prefix> = new Map([
  ['both', 'b'],
  ['uid', 'u'],
  ['gid', 'g'],
]);

class RangesBuilder {
  readonly #uid: IdRange[] = [];
  readonly #gid: IdRange[] = [];

  add(prefix: Prefix, range: IdRange, text: string): void {
    checkRange(range, text);
    if (prefix !== 'g') this.#uid.push(range);
    if (prefix !== 'u') this.#gid.push(range);
  }

  finish(): IdRanges {
    checkOverlap('uid', this.#uid);
    checkOverlap('gid', this.#gid);
    return { uid: this.#uid, gid: this.#gid };
  }
}

/** `range` with view ids that were ids inside a user namespace, cut where the namespace's map has an edge. */
function throughUserns(kind: IdKind, range: IdRange, userns: readonly IdRange[]): IdRange[] {
  if (userns.length === 0) return [range];
  const pieces: IdRange[] = [];
  let done = 0;
  while (done < range.count) {
    const inside = range.view + done;
    const line = userns.find((each) => inside >= each.underlay && inside < each.underlay + each.count);
    if (line === undefined) {
      throw new ShiftfsError(
        'BAD_MAP',
        `The container has no ${kind} ${inside}, which raw.idmap maps to ${kind} ${range.underlay + done} of the host.`,
        `Its ${kind}_map is: ${userns.map((each) => `${each.underlay} ${each.view} ${each.count}`).join(', ')}.`,
      );
    }
    const count = Math.min(range.count - done, line.underlay + line.count - inside);
    pieces.push({ underlay: range.underlay + done, view: line.view + (inside - line.underlay), count });
    done += count;
  }
  return pieces;
}

/** Three fields, already split, as a checked range. */
function triple(fields: readonly string[], text: string): IdRange {
  const [underlay = '', view = '', count = ''] = fields;
  const range = { underlay: number(underlay, text), view: number(view, text), count: number(count, text) };
  checkRange(range, text);
  return range;
}

/** `1000` or `50-60`. */
function span(field: string, text: string): { first: number; count: number } {
  const [low = '', high = low, ...rest] = field.split('-');
  const first = number(low, text);
  const last = number(high, text);
  if (rest.length > 0 || last < first) {
    throw new ShiftfsError(
      'BAD_MAP',
      `"${field}" in "${text}" is not a range of ids.`,
      'Write FIRST-LAST, for example 50-60.',
    );
  }
  return { first, count: last - first + 1 };
}

/** Decimal digits only: 0x10, 1e5, +1 and 010 each mean something else to somebody. */
function number(field: string, text: string): number {
  if (/^(0|[1-9][0-9]*)$/.test(field)) return Number(field);
  throw new ShiftfsError('BAD_MAP', `"${field}" in "${text}" is not a decimal number.`, MAP_HINT);
}

function isPrefix(text: string): text is Prefix {
  return text === 'u' || text === 'g' || text === 'b';
}

function same(a: IdRange, b: IdRange): boolean {
  return a.underlay === b.underlay && a.view === b.view && a.count === b.count;
}
