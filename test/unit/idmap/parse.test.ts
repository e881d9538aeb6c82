import { describe, expect, test } from 'vitest';
import { IdMap } from '../../../src/idmap/map.js';
import {
  formatMaps,
  parseFuseOverlayfsMapping,
  parseLxdIdmap,
  parseMaps,
  parseOffset,
  parseProcIdMap,
  parseXMountIdmap,
} from '../../../src/idmap/parse.js';
import type { IdRange } from '../../../src/idmap/spec.js';
import { below, randomRanges, seeded, spec } from './random.js';

const CONTAINER: IdRange = { underlay: 0, view: 100000, count: 65536 };
const MAP_HINT = 'Write [u:|g:|b:]UNDERLAY:VIEW:COUNT, for example b:0:100000:65536.';

/** Matches a ShiftfsError BAD_MAP by its exact text. */
function badMap(message: string, hint?: string) {
  return expect.objectContaining({ code: 'BAD_MAP', message, ...(hint === undefined ? {} : { hint }) });
}

describe('parseMaps()', () => {
  test('gives both kinds the range when there is no letter or b', () => {
    expect(parseMaps(['0:100000:65536'])).toEqual({ uid: [CONTAINER], gid: [CONTAINER] });
    expect(parseMaps(['b:0:100000:65536'])).toEqual({ uid: [CONTAINER], gid: [CONTAINER] });
  });

  test('gives one kind the range when the letter is u or g', () => {
    expect(parseMaps(['u:1:2:3', 'g:4:5:6'])).toEqual({
      uid: [{ underlay: 1, view: 2, count: 3 }],
      gid: [{ underlay: 4, view: 5, count: 6 }],
    });
  });

  test('gives the identity when there is nothing', () => {
    expect(parseMaps([])).toEqual({ uid: [], gid: [] });
  });

  test('takes every id there is when the range is the whole of them', () => {
    expect(parseMaps(['0:0:4294967295']).uid).toEqual([{ underlay: 0, view: 0, count: 4294967295 }]);
    expect(parseMaps(['4294967294:0:1']).uid).toEqual([{ underlay: 4294967294, view: 0, count: 1 }]);
  });

  test.each(['', 'b', '0', '0:1', '0:1:2:3', 'x:0:1:2', 'B:0:1:2', 'bu:0:1:2', 'u:0:1', 'b:0:1:2:3', ':0:1:2'])(
    'throws when "%s" has not the form of a range',
    (text) => {
      expect(() => parseMaps([text])).toThrow(badMap(`"${text}" is not a map range.`, MAP_HINT));
    },
  );

  test.each([
    ['b:a:1:2', 'a'],
    ['b:-1:1:2', '-1'],
    ['b:+1:1:2', '+1'],
    ['b:0x10:1:2', '0x10'],
    ['b:1e5:1:2', '1e5'],
    ['b:1.5:1:2', '1.5'],
    ['b:010:1:2', '010'],
    ['b: 1:1:2', ' 1'],
    ['b::1:2', ''],
    ['0:1:', ''],
  ])('throws when "%s" has a field that is not a decimal number', (text, field) => {
    expect(() => parseMaps([text])).toThrow(badMap(`"${field}" in "${text}" is not a decimal number.`, MAP_HINT));
  });

  test.each([
    [
      '4294967295:0:1',
      'The underlay id of map range "4294967295:0:1" is 4294967295; ids go from 0 to 4294967294.',
      MAP_HINT,
    ],
    [
      '0:4294967295:1',
      'The view id of map range "0:4294967295:1" is 4294967295; ids go from 0 to 4294967294.',
      MAP_HINT,
    ],
    ['u:0:0:0', 'The count of map range "u:0:0:0" is 0; it must be at least 1.', MAP_HINT],
    [
      'g:10:0:4294967290',
      'Map range "g:10:0:4294967290" runs up to underlay id 4294967299; the largest id is 4294967294.',
      'Write a count of at most 4294967285.',
    ],
    [
      '0:4294967294:2',
      'Map range "0:4294967294:2" runs up to view id 4294967295; the largest id is 4294967294.',
      'Write a count of at most 1.',
    ],
    [
      '0:0:4294967296',
      'Map range "0:0:4294967296" runs up to underlay id 4294967295; the largest id is 4294967294.',
      'Write a count of at most 4294967295.',
    ],
  ])('throws when %s has ids out of range', (text, message, hint) => {
    expect(() => parseMaps([text])).toThrow(badMap(message, hint));
  });

  test('throws naming both ranges when they share underlay ids', () => {
    expect(() => parseMaps(['u:1000:1000:1', 'u:0:100000:65536'])).toThrow(
      badMap(
        'Map ranges u:0:100000:65536 and u:1000:1000:1 overlap: underlay uid 1000 is in both.',
        'Every underlay uid may be in one range only: split the larger range around the smaller one.',
      ),
    );
  });

  test('throws naming both ranges when they share view ids', () => {
    expect(() => parseMaps(['g:0:100000:10', 'g:50:100005:10'])).toThrow(
      badMap(
        'Map ranges g:0:100000:10 and g:50:100005:10 overlap: view gids 100005 to 100009 are in both.',
        'Every view gid may be in one range only: split the larger range around the smaller one.',
      ),
    );
  });

  test('throws when a b range and a g range overlap, but not a u range and a g range', () => {
    expect(() => parseMaps(['b:0:0:10', 'g:9:20:1'])).toThrow(
      badMap('Map ranges g:0:0:10 and g:9:20:1 overlap: underlay gid 9 is in both.'),
    );
    expect(parseMaps(['u:0:0:10', 'g:9:20:1']).gid).toHaveLength(1);
  });

  test('throws when one range is given twice', () => {
    expect(() => parseMaps(['u:0:5:1', 'u:0:5:1'])).toThrow(
      badMap('Map ranges u:0:5:1 and u:0:5:1 overlap: underlay uid 0 is in both.'),
    );
  });

  test('accepts ranges when they touch without overlapping', () => {
    expect(parseMaps(['0:10:10', '10:0:10', '20:20:1']).uid).toHaveLength(3);
  });
});

describe('parseXMountIdmap()', () => {
  test('gives all ranges when they are separated by spaces', () => {
    expect(parseXMountIdmap('b:0:100000:65536')).toEqual({ uid: [CONTAINER], gid: [CONTAINER] });
    expect(parseXMountIdmap(' u:0:100000:65536  g:1:2:3 ')).toEqual({
      uid: [CONTAINER],
      gid: [{ underlay: 1, view: 2, count: 3 }],
    });
  });

  test('throws when it is the path of a user namespace', () => {
    expect(() => parseXMountIdmap('/proc/1/ns/user')).toThrow(
      badMap(
        'X-mount.idmap=/proc/1/ns/user names a user namespace file.',
        'Use --userns with the process id, or write the ranges: X-mount.idmap=b:0:100000:65536.',
      ),
    );
  });

  test('throws when it is empty or separated by commas', () => {
    expect(() => parseXMountIdmap(' ')).toThrow(badMap('X-mount.idmap has no map range.', MAP_HINT));
    expect(() => parseXMountIdmap('u:0:1:2,g:0:1:2')).toThrow(
      badMap('"u:0:1:2,g:0:1:2" is not a map range.', MAP_HINT),
    );
  });
});

describe('parseProcIdMap()', () => {
  test('takes INSIDE for underlay and OUTSIDE for view when the text is of a container', () => {
    expect(parseProcIdMap('uid', '         0     100000      65536\n')).toEqual([CONTAINER]);
  });

  test('gives every line when there are several, and the whole identity of the initial namespace', () => {
    expect(parseProcIdMap('gid', '0 1000000 1000\n1000 1000 1\n1001 1001001 64535\n')).toEqual([
      { underlay: 0, view: 1000000, count: 1000 },
      { underlay: 1000, view: 1000, count: 1 },
      { underlay: 1001, view: 1001001, count: 64535 },
    ]);
    expect(parseProcIdMap('uid', '         0          0 4294967295\n')).toEqual([
      { underlay: 0, view: 0, count: 4294967295 },
    ]);
  });

  test.each(['', '\n'])('throws rather than give the identity when the map is empty (%j)', (text) => {
    expect(() => parseProcIdMap('uid', text)).toThrow(
      badMap(
        'The user namespace has an empty uid_map.',
        'Wait until the container has started, or write its ranges with --map.',
      ),
    );
  });

  test('throws when the ids are unknown to the namespace of the reader', () => {
    expect(() => parseProcIdMap('gid', '0 4294967295 65536\n')).toThrow(
      badMap(
        'The ids in line "0 4294967295 65536" of the gid_map do not exist in this user namespace.',
        'Run fuse-shiftfs in the initial user namespace, or in the one that started the container.',
      ),
    );
  });

  test('throws when a line has not three numbers', () => {
    expect(() => parseProcIdMap('uid', '0 100000\n')).toThrow(badMap('"0 100000" is not a line of a uid_map.'));
    expect(() => parseProcIdMap('uid', '0 x 1\n')).toThrow(badMap('"x" in "0 x 1" is not a decimal number.'));
  });
});

describe('parseLxdIdmap()', () => {
  const USERNS = { uid: parseProcIdMap('uid', '0 1000000 65536'), gid: parseProcIdMap('gid', '0 2000000 65536') };

  test('takes HOST for underlay and CONTAINER for view when there is no user namespace', () => {
    expect(parseLxdIdmap('both 1000 2000', null)).toEqual({
      uid: [{ underlay: 1000, view: 2000, count: 1 }],
      gid: [{ underlay: 1000, view: 2000, count: 1 }],
    });
  });

  test('gives ranges with both ends when a line has FIRST-LAST', () => {
    expect(parseLxdIdmap('uid 50-60 500-510\n\ngid 7  8\n', null)).toEqual({
      uid: [{ underlay: 50, view: 500, count: 11 }],
      gid: [{ underlay: 7, view: 8, count: 1 }],
    });
  });

  test('gives ids of the initial namespace when the container is mapped', () => {
    expect(parseLxdIdmap('both 1000 1000', USERNS)).toEqual({
      uid: [{ underlay: 1000, view: 1001000, count: 1 }],
      gid: [{ underlay: 1000, view: 2001000, count: 1 }],
    });
  });

  test('gives the host id itself when the container was started with the line', () => {
    const holed = parseProcIdMap('uid', '0 1000000 1000\n1000 1000 1\n1001 1001001 64535\n');
    expect(parseLxdIdmap('uid 1000 1000', { uid: holed, gid: holed }).uid).toEqual([
      { underlay: 1000, view: 1000, count: 1 },
    ]);
  });

  test('cuts a range when the map of the container has an edge in it', () => {
    const holed = parseProcIdMap('uid', '1000 1000 1\n0 1000000 1000\n1001 1001001 64535\n');
    expect(parseLxdIdmap('uid 5998-6003 998-1003', { uid: holed, gid: holed }).uid).toEqual([
      { underlay: 5998, view: 1000998, count: 2 },
      { underlay: 6000, view: 1000, count: 1 },
      { underlay: 6001, view: 1001001, count: 3 },
    ]);
  });

  test('leaves the ids when the container has the identity', () => {
    expect(parseLxdIdmap('both 1 2', { uid: [], gid: [] }).gid).toEqual([{ underlay: 1, view: 2, count: 1 }]);
  });

  test('throws when the container has no such id', () => {
    expect(() => parseLxdIdmap('gid 10-20 65530-65540', USERNS)).toThrow(
      badMap(
        'The container has no gid 65536, which raw.idmap maps to gid 16 of the host.',
        'Its gid_map is: 0 2000000 65536.',
      ),
    );
  });

  test.each(['both 1000', 'both 1000 1000 1', 'users 1 1', 'b 1 1', 'both'])(
    'throws when "%s" is not a line',
    (text) => {
      expect(() => parseLxdIdmap(text, null)).toThrow(
        badMap(
          `"${text}" is not a line of raw.idmap.`,
          'Write one "both HOST CONTAINER", "uid HOST CONTAINER" or "gid HOST CONTAINER" a line, for example: both 1000 1000.',
        ),
      );
    },
  );

  test('throws when the sides differ in size, a range runs backwards, or ranges overlap', () => {
    expect(() => parseLxdIdmap('uid 50-60 500-511', null)).toThrow(
      badMap(
        '"uid 50-60 500-511" maps 11 host ids to 12 container ids.',
        'Both sides must have the same number of ids.',
      ),
    );
    const backwards = 'is not a range of ids.';
    expect(() => parseLxdIdmap('uid 60-50 1-2', null)).toThrow(badMap(`"60-50" in "uid 60-50 1-2" ${backwards}`));
    expect(() => parseLxdIdmap('uid 1-2-3 1-2', null)).toThrow(badMap(`"1-2-3" in "uid 1-2-3 1-2" ${backwards}`));
    expect(() => parseLxdIdmap('both 1 1\nuid 2 1', null)).toThrow(
      badMap('Map ranges u:1:1:1 and u:2:1:1 overlap: view uid 1 is in both.'),
    );
  });

  test('throws rather than give the identity when there is no line', () => {
    expect(() => parseLxdIdmap('\n \n', null)).toThrow(badMap('raw.idmap has no line.'));
  });
});

describe('parseFuseOverlayfsMapping()', () => {
  test('gives every triple when several follow each other', () => {
    expect(parseFuseOverlayfsMapping('uid', '0:100000:65536')).toEqual([CONTAINER]);
    expect(parseFuseOverlayfsMapping('gid', '0:10:1:1:100000:65536')).toEqual([
      { underlay: 0, view: 10, count: 1 },
      { underlay: 1, view: 100000, count: 65536 },
    ]);
  });

  test.each(['', '0:1', '0:1:2:3'])('throws when "%s" is not made of triples', (text) => {
    expect(() => parseFuseOverlayfsMapping('gid', text)).toThrow(
      badMap(
        `"${text}" is not a gidmapping.`,
        'Write HOST:TO:COUNT, repeated with colons between, for example gidmapping=0:100000:65536.',
      ),
    );
  });

  test('throws when triples overlap', () => {
    expect(() => parseFuseOverlayfsMapping('uid', '0:0:2:1:5:1')).toThrow(
      badMap('Map ranges u:0:0:2 and u:1:5:1 overlap: underlay uid 1 is in both.'),
    );
  });
});

describe('parseOffset()', () => {
  test('maps as many ids as fit when the offset is positive, negative or 0', () => {
    expect(parseOffset('100000')).toEqual({ underlay: 0, view: 100000, count: 4294867295 });
    expect(parseOffset('-100000')).toEqual({ underlay: 100000, view: 0, count: 4294867295 });
    expect(parseOffset('0')).toEqual({ underlay: 0, view: 0, count: 4294967295 });
    expect(parseOffset('4294967294')).toEqual({ underlay: 0, view: 4294967294, count: 1 });
  });

  test('gives a range that IdMap accepts when the offset is at its limits', () => {
    for (const text of ['0', '1', '-1', '4294967294', '-4294967294']) new IdMap(spec([parseOffset(text)]));
  });

  test('throws when the offset is too large or not a number', () => {
    const hint = 'Ids go from 0 to 4294967294.';
    expect(() => parseOffset('4294967295')).toThrow(badMap('The offset 4294967295 moves every id out of range.', hint));
    expect(() => parseOffset('-4294967295')).toThrow(
      badMap('The offset -4294967295 moves every id out of range.', hint),
    );
    for (const text of ['', '-', '--1', '+1', '1k']) expect(() => parseOffset(text)).toThrow(/is not a decimal number/);
  });
});

describe('formatMaps()', () => {
  test('writes b when both kinds have the range and sorts by underlay id', () => {
    expect(formatMaps(parseMaps(['g:5:6:1', '1000:1000:1', 'u:5:7:1', '0:100000:5']))).toEqual([
      'b:0:100000:5',
      'u:5:7:1',
      'g:5:6:1',
      'b:1000:1000:1',
    ]);
  });

  test('writes nothing when the map is the identity', () => {
    expect(formatMaps({ uid: [], gid: [] })).toEqual([]);
  });

  test('writes what parseMaps() reads back when the ranges are random', () => {
    const random = seeded('formatMaps');
    const byUnderlay = (a: IdRange, b: IdRange) => a.underlay - b.underlay;
    for (let round = 0; round < 200; round++) {
      const all = randomRanges(random, below(random, 12));
      const uid = all.filter(() => random() < 0.8);
      const gid = all.filter(() => random() < 0.8);
      const texts = formatMaps({ uid, gid });
      expect(parseMaps(texts)).toEqual({ uid: uid.sort(byUnderlay), gid: gid.sort(byUnderlay) });
      expect(formatMaps(parseMaps([...texts].reverse()))).toEqual(texts);
      if (texts.length > 0) expect(parseXMountIdmap(texts.join(' '))).toEqual(parseMaps(texts));
    }
  });
});

describe('the parsers', () => {
  test('throw nothing but BAD_MAP when the text is random', () => {
    const random = seeded('random text');
    const alphabet = [
      '0',
      '1',
      '9',
      '4294967295',
      '65536',
      ':',
      ':',
      ':',
      '-',
      ' ',
      '\n',
      'b',
      'u',
      'both ',
      'uid ',
      '/',
      'é',
      '\0',
    ];
    const parsers: ((text: string) => unknown)[] = [
      (text) => parseMaps([text]),
      parseXMountIdmap,
      (text) => parseProcIdMap('uid', text),
      (text) => parseLxdIdmap(text, null),
      (text) => parseFuseOverlayfsMapping('gid', text),
      parseOffset,
    ];
    let accepted = 0;
    for (let round = 0; round < 3000; round++) {
      const text = Array.from({ length: below(random, 10) }, () => alphabet[below(random, alphabet.length)]).join('');
      for (const parse of parsers) {
        try {
          parse(text);
          accepted++;
        } catch (error) {
          if ((error as { code?: unknown }).code !== 'BAD_MAP') expect.fail(`${JSON.stringify(text)}: ${error}`);
        }
      }
    }
    // Otherwise the alphabet is too wild to test more than the first check of each.
    expect(accepted).toBeGreaterThan(50);
  });
});
