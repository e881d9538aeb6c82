// The judge of the coherence check, judged: histories by hand, with looks that are right and looks that are not. (That it
// raises no false alarm on what really happens is shown by the `idmapped` mode of random.test.ts.)

import { describe, expect, test } from 'vitest';
import { BLOCK, check } from './check.js';
import type { LogRecord, Side, Sided } from './records.js';

const BOUND = 100;

/** Records in words: sides, and times in a unit that the bound is a hundred of. */
function violations(records: readonly (readonly [Side, LogRecord])[], bound = BOUND): number[] {
  const sided = records.map(([side, record]): Sided<LogRecord> => ({ ...record, side }));
  const result = check(sided, { bound, realtimeOffset: 0, uid: { host: 0, view: 100_000 } });
  return result.violations.map(({ lag }) => lag);
}

const set = (s: number, e: number, name: string, id: string | null): LogRecord => ({
  o: 'set',
  s,
  e,
  dir: 'R',
  name,
  to: id === null ? { k: 'none' } : { k: 'file', id },
});
const file = (s: number, e: number, name: string, id: string): LogRecord => ({ o: 'file', s, e, path: [name], id });
const gone = (s: number, e: number, name: string): LogRecord => ({ o: 'gone', s, e, path: [name] });
const birth = (id: string, blocks = 1): LogRecord => ({ o: 'birth', s: 1, e: 1, id, ino: '1', mode: 0o644, blocks });
const write = (s: number, e: number, id: string, from: number, word: string): LogRecord => ({
  o: 'write',
  s,
  e,
  id,
  from,
  count: 1,
  word,
});
const read = (s: number, e: number, name: string, words: readonly (string | string[])[]): LogRecord => ({
  o: 'read',
  s,
  e,
  path: [name],
  kind: 'file',
  ino: '1',
  mode: 0o644,
  size: words.length * BLOCK,
  mtime: 0,
  uid: 100_000,
  length: words.length * BLOCK,
  words,
});

describe('names', () => {
  const host = (record: LogRecord) => ['host', record] as const;
  const view = (record: LogRecord) => ['view', record] as const;

  test('a look after a replacement sees the new file, one during it either', () => {
    const history = [host(set(100, 110, 'f', 'one')), host(set(200, 210, 'f', 'two'))];
    expect(violations([...history, view(file(250, 260, 'f', 'two'))])).toEqual([]);
    expect(violations([...history, view(file(190, 205, 'f', 'two')), view(file(190, 205, 'f', 'one'))])).toEqual([]);
    expect(violations([...history, view(file(150, 160, 'f', 'two'))])).toEqual([Number.POSITIVE_INFINITY]);
  });
  test('the old file is late by the time since the replacement had ended', () => {
    const history = [host(set(100, 110, 'f', 'one')), host(set(200, 210, 'f', 'two'))];
    expect(violations([...history, view(file(310, 320, 'f', 'one'))])).toEqual([]);
    expect(violations([...history, view(file(311, 320, 'f', 'one'))])).toEqual([101]);
    expect(violations([...history, view(file(211, 220, 'f', 'one'))], 0)).toEqual([1]);
    // The host is the truth: it is never late.
    expect(violations([...history, host(file(211, 220, 'f', 'one'))])).toEqual([1]);
  });
  test('writes that overlap are in either order', () => {
    const history = [host(set(100, 200, 'f', 'one')), host(set(150, 160, 'f', 'two'))];
    expect(violations([...history, view(file(900, 910, 'f', 'one'))], 0)).toEqual([]);
    expect(violations([...history, view(file(900, 910, 'f', 'two'))], 0)).toEqual([]);
    expect(violations([...history, view(gone(900, 910, 'f'))], 0)).toEqual([700 + 40]);
  });
  test('what the view itself changed shows at once, whatever the bound', () => {
    const history = [host(set(100, 110, 'f', 'one')), view(set(200, 210, 'f', 'two'))];
    expect(violations([...history, view(file(211, 212, 'f', 'one'))])).toEqual([101]);
  });
  test('a name that was never made is absent', () => {
    expect(violations([view(gone(5, 6, 'f'))])).toEqual([]);
    expect(violations([view(file(5, 6, 'f', 'one'))])).toEqual([Number.POSITIVE_INFINITY]);
  });
  test('a rename moves what had the name, even where several renames overlap', () => {
    const move = (
      s: number,
      e: number,
      name: string,
      name2: string,
      how: 'rename' | 'exchange' = 'rename',
    ): LogRecord => ({
      o: 'move',
      s,
      e,
      dir: 'R',
      name,
      dir2: 'R',
      name2,
      how,
    });
    const start = [host(set(100, 110, 'a', 'one')), host(set(100, 110, 'b', 'two'))];
    expect(
      violations(
        [...start, host(move(200, 210, 'a', 'c')), view(file(300, 310, 'c', 'one')), view(gone(300, 310, 'a'))],
        0,
      ),
    ).toEqual([]);
    expect(violations([...start, host(move(200, 210, 'a', 'c')), view(file(300, 310, 'c', 'two'))], 0)).toEqual([
      Number.POSITIVE_INFINITY,
    ]);
    // The name it left is gone.
    expect(violations([...start, host(move(200, 210, 'a', 'c')), view(file(300, 310, 'a', 'one'))], 0)).toEqual([90]);
    const both = [...start, host(move(200, 250, 'a', 'b', 'exchange')), host(move(220, 260, 'b', 'c'))];
    for (const id of ['one', 'two']) expect(violations([...both, view(file(300, 310, 'c', id))], 0)).toEqual([]);
    expect(violations([...both, view(file(300, 310, 'a', 'two'))], 0)).toEqual([]);
    expect(violations([...both, view(gone(300, 310, 'a'))], 0)).not.toEqual([]);
    // Two names of one file: nothing happens, and that is a success.
    const linked = [
      ...start,
      host({ ...move(150, 160, 'a', 'c'), how: 'link' } as LogRecord),
      host(move(200, 210, 'a', 'c')),
    ];
    expect(violations([...linked, view(file(300, 310, 'a', 'one'))], 0)).toEqual([]);
  });
  test('a view that is late moves what it believes, and shows that for no longer than the bound', () => {
    const history = [
      host(set(100, 110, 'a', 'old')),
      host(set(1000, 1010, 'a', 'new')),
      view({ o: 'move', s: 1050, e: 1060, dir: 'R', name: 'a', dir2: 'R', name2: 'b', how: 'rename' }),
    ];
    expect(violations([...history, view(file(1100, 1110, 'b', 'new'))])).toEqual([]);
    expect(violations([...history, view(file(1100, 1110, 'b', 'old'))])).toEqual([]);
    expect(violations([...history, view(file(1200, 1210, 'b', 'old'))])).toEqual([140]);
    // Not in a view that is never late.
    expect(violations([...history, view(file(1100, 1110, 'b', 'old'))], 0)).toEqual([Number.POSITIVE_INFINITY]);
    // What it believed to be one file under two names it leaves alone.
    const linked = [
      host(set(100, 110, 'a', 'one')),
      host({ o: 'move', s: 200, e: 210, dir: 'R', name: 'a', dir2: 'R', name2: 'b', how: 'link' }),
      host(set(1000, 1010, 'a', 'two')),
      view({ o: 'move', s: 1050, e: 1060, dir: 'R', name: 'a', dir2: 'R', name2: 'b', how: 'rename' }),
    ];
    expect(violations([...linked, host(file(2000, 2010, 'b', 'one')), host(file(2000, 2010, 'a', 'two'))])).toEqual([]);
    expect(violations([...linked, host(file(2000, 2010, 'b', 'one'))], 0)).not.toEqual([]);
    const moved = [
      host(set(100, 110, 'a', 'one')),
      host({ o: 'move', s: 1000, e: 1010, dir: 'R', name: 'a', dir2: 'R', name2: 'b', how: 'rename' }),
      view({ o: 'move', s: 1050, e: 1060, dir: 'R', name: 'a', dir2: 'R', name2: 'b', how: 'exchange' }),
    ];
    expect(violations([...moved, host(gone(2000, 2010, 'a')), host(file(2000, 2010, 'b', 'one'))])).toEqual([]);
    expect(violations([...moved, host(gone(2000, 2010, 'a'))], 0)).not.toEqual([]);
  });
  test('a path below a directory that was moved', () => {
    const history = [
      host({ o: 'set', s: 100, e: 110, dir: 'R', name: 'd', to: { k: 'dir', id: 'D' } }),
      host({ o: 'set', s: 120, e: 130, dir: 'D', name: 'f', to: { k: 'file', id: 'one' } }),
      host({ o: 'move', s: 200, e: 210, dir: 'R', name: 'd', dir2: 'R', name2: 'e', how: 'rename' }),
    ];
    const below = (name: string): LogRecord => ({ o: 'file', s: 300, e: 310, path: [name, 'f'], id: 'one' });
    expect(violations([...history, view(below('e'))], 0)).toEqual([]);
    expect(violations([...history, view(below('d'))], 0)).toEqual([90]);
    expect(violations([...history, view({ o: 'gone', s: 300, e: 310, path: ['d', 'f'] })], 0)).toEqual([]);
    expect(violations([...history, view({ o: 'gone', s: 300, e: 310, path: ['e', 'f'] })], 0)).toEqual([90]);
  });
  test('a listing has what is there, once, and nothing else', () => {
    const history = [host(set(100, 110, 'a', 'one')), host(set(200, 210, 'b', 'two')), host(set(300, 310, 'a', null))];
    const list = (s: number, ...names: string[]): LogRecord => ({
      o: 'list',
      s,
      e: s + 5,
      path: [],
      entries: names.map((name) => [name, 'file'] as const),
    });
    expect(violations([...history, view(list(250, 'a', 'b')), view(list(400, 'b'))], 0)).toEqual([]);
    expect(violations([...history, view(list(400, 'a', 'b'))], 0)).toEqual([90]);
    expect(violations([...history, view(list(250, 'a', 'b', '.tmp'))], 0)).toEqual([Number.POSITIVE_INFINITY]);
    expect(violations([...history, view(list(250, 'a', 'b', 'b'))], 0)).toEqual([Number.POSITIVE_INFINITY]);
    expect(violations([...history, view(list(250, 'a'))], 0)).toEqual([40]);
  });
});

describe('content', () => {
  const start = [
    ['host', birth('one')],
    ['host', set(100, 110, 'f', 'one')],
  ] as const;
  const seen = (...words: (string | string[])[]) => ['view', read(900, 910, 'f', words)] as const;

  test('the last write to each block', () => {
    const history = [
      ...start,
      ['host', write(200, 210, 'one', 0, 'w1')],
      ['host', write(300, 310, 'one', 2, 'w2')],
    ] as const;
    expect(violations([...history, seen('w1', '', 'w2')], 0)).toEqual([]);
    expect(violations([...history, seen('one', '', 'w2')], 0)).toEqual([690]);
    expect(violations([...history, seen('w1')], 0)).toEqual([590]);
    expect(violations([...history, seen('w1', '', 'w2', '')], 0)).toEqual([Number.POSITIVE_INFINITY]);
    // Through a mapping there is no end to be seen.
    const mapped = { o: 'read', s: 900, e: 910, path: ['f'], kind: 'file', length: BLOCK, words: ['w1'] } as const;
    expect(violations([...history, ['view', mapped]], 0)).toEqual([]);
    expect(violations([...history, seen(['w1', 'one'], '', 'w2')], 0)).toEqual([690]);
  });
  test('words of another file are never right', () => {
    const history = [...start, ['host', birth('two')], ['host', write(200, 210, 'two', 0, 'w2')]] as const;
    expect(violations([...history, seen('w2')], 0)).toEqual([Number.POSITIVE_INFINITY]);
  });
  test('truncation cuts, and leaves zeros where the file grows again', () => {
    const cut: LogRecord = { o: 'truncate', s: 400, e: 410, id: 'one', blocks: 0 };
    const history = [...start, ['host', write(200, 210, 'one', 0, 'w1')], ['host', cut]] as const;
    expect(violations([...history, seen()], 0)).toEqual([]);
    expect(violations([...history, seen('w1')], 0)).toEqual([490]);
    const grown = [...history, ['host', write(500, 510, 'one', 1, 'w3')]] as const;
    expect(violations([...grown, seen('', 'w3')], 0)).toEqual([]);
    expect(violations([...grown, seen('w1', 'w3')], 0)).toEqual([490]);
    expect(violations([...grown, seen()], 0)).toEqual([390]);
  });
  test('size, mode, inode number and owner of stat', () => {
    const chmod: LogRecord = { o: 'chmod', s: 400, e: 410, id: 'one', mode: 0o600 };
    const history = [...start, ['host', write(200, 210, 'one', 1, 'w1')], ['host', chmod]] as const;
    const right = {
      o: 'stat',
      s: 900,
      e: 910,
      path: ['f'],
      kind: 'file',
      ino: '1',
      mode: 0o600,
      size: 2 * BLOCK,
      mtime: 0,
      uid: 100_000,
    } as const;
    expect(violations([...history, ['view', right]], 0)).toEqual([]);
    expect(violations([...history, ['view', { ...right, size: BLOCK }]], 0)).toEqual([690]);
    expect(violations([...history, ['view', { ...right, mode: 0o644 }]], 0)).toEqual([490]);
    expect(violations([...history, ['view', { ...right, ino: '2' }]], 0)).toEqual([Number.POSITIVE_INFINITY]);
    expect(violations([...history, ['view', { ...right, uid: 0 }]], 0)).toEqual([Number.POSITIVE_INFINITY]);
  });
  test('the time of last change is not before the last change', () => {
    const second = 1e9;
    const history = [...start, ['host', write(5 * second, 5 * second + 1, 'one', 0, 'w1')]] as const;
    const stat = (mtime: number) =>
      [
        'view',
        {
          o: 'stat',
          s: 6 * second,
          e: 6 * second + 1,
          path: ['f'],
          kind: 'file',
          ino: '1',
          mode: 0o644,
          size: BLOCK,
          mtime,
          uid: 100_000,
        },
      ] as const;
    expect(violations([...history, stat(5_000_000)], 0)).toEqual([]);
    expect(violations([...history, stat(4_000_000)], 0)).toEqual([second - 1]);
    expect(violations([...history, stat(7_000_000)], 0)).toEqual([Number.POSITIVE_INFINITY]);
  });
});

test('an error that nothing explains is a violation', () => {
  expect(violations([['view', { o: 'bad', s: 1, e: 2, what: 'read', code: 'ESTALE', path: ['f'] }]])).toEqual([
    Number.POSITIVE_INFINITY,
  ]);
});

test("ESTALE is the kernel's own while a rename between directories goes on and the host has just moved a directory", () => {
  const dir = (s: number, name: string, id: string): LogRecord => ({
    o: 'set',
    s,
    e: s + 1,
    dir: 'R',
    name,
    to: { k: 'dir', id },
  });
  const move: LogRecord = { o: 'move', s: 100, e: 110, dir: 'a', name: 's', dir2: 'b', name2: 's', how: 'rename' };
  const failed: LogRecord = {
    o: 'bad',
    s: 120,
    e: 130,
    what: 'rename',
    code: 'ESTALE',
    path: ['a', 'x'],
    path2: ['b', 's'],
  };
  const { path2: _, ...within } = failed;
  const history = [['host', dir(10, 'a', 'a')] as const, ['host', dir(20, 'b', 'b')] as const];
  const dead = Number.POSITIVE_INFINITY;
  expect(violations([...history, ['host', move], ['view', failed]])).toEqual([]);
  // Nothing was moved there, or by the view; another error; no rename between directories; on the host.
  expect(violations([...history, ['view', failed]])).toEqual([dead]);
  expect(violations([...history, ['view', move], ['view', failed]])).toEqual([dead]);
  expect(violations([...history, ['host', move], ['view', { ...failed, code: 'EIO' }]])).toEqual([dead]);
  expect(violations([...history, ['host', move], ['view', within]])).toEqual([dead]);
  // A path that leads through it, with a rename at the same time, or without.
  const walk = { ...within, path: ['b', 's', 'f'] };
  expect(violations([...history, ['host', move], ['view', walk], ['view', { o: 'tried', s: 125, e: 126 }]])).toEqual(
    [],
  );
  expect(violations([...history, ['host', move], ['view', walk], ['view', { o: 'tried', s: 131, e: 132 }]])).toEqual([
    dead,
  ]);
  expect(violations([...history, ['host', move], ['view', walk], ['host', { o: 'tried', s: 125, e: 126 }]])).toEqual([
    dead,
  ]);
  // With a rename that was itself told so.
  expect(violations([...history, ['host', move], ['view', walk], ['view', failed]])).toEqual([]);
  expect(violations([...history, ['host', move], ['view', walk], ['view', { ...failed, s: 131, e: 132 }]])).toEqual([
    dead,
  ]);
  expect(violations([...history, ['host', move], ['host', failed]])).toEqual([dead]);
  expect(violations([...history, ['host', move], ['view', { ...failed, s: 2e9, e: 2e9 + 1 }]])).toEqual([dead]);
});

test('a lease counts from when the call that brought it came back, and only the host may be overlooked for longer', () => {
  const history = [['host', set(100, 110, 'f', 'one')] as const, ['host', set(200, 210, 'f', 'two')] as const];
  // It may have looked before the second, and came back late.
  const slow = ['view', gone(195, 245, 'g')] as const;
  expect(violations([...history, slow, ['view', file(340, 345, 'f', 'one')]])).toEqual([]);
  expect(violations([...history, slow, ['view', file(361, 365, 'f', 'one')]])).toEqual([151]);
  expect(violations([...history, ['view', file(340, 345, 'f', 'one')]])).toEqual([130]);
  const own = ['view', set(200, 210, 'f', 'two')] as const;
  expect(violations([history[0]!, own, slow, ['view', file(220, 225, 'f', 'one')]])).toEqual([110]);
});
