import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import {
  checkOptions,
  describeOptions,
  mountSchema,
  OPTION_GROUPS,
  type OptionName,
  type WrittenOptions,
} from '../../../src/config/schema.js';
import { ShiftfsError } from '../../../src/errors.js';

function refusal(written: WrittenOptions): ShiftfsError {
  try {
    checkOptions(written);
  } catch (error) {
    expect(error).toBeInstanceOf(ShiftfsError);
    return error as ShiftfsError;
  }
  throw new Error(`accepted: ${JSON.stringify(written)}`);
}

describe('checkOptions() with nothing written', () => {
  it('gives the documented defaults', () => {
    expect(checkOptions({})).toEqual({
      map: [],
      'overflow-uid': 65534,
      'overflow-gid': 65534,
      'chown-ignore': false,
      coherence: { mode: 'lease' },
      watcher: 'auto',
      'forward-events': 'auto',
      'read-only': false,
      'allow-suid': false,
      'allow-dev': false,
      'no-allow-other': false,
      xdev: false,
      noexec: false,
      noatime: false,
      driver: 'kernel',
      passthrough: 'auto',
      'io-uring': 'auto',
      workers: Math.min(Math.max(availableParallelism(), 2), 16),
      'max-workers': 64,
      foreground: false,
      'auto-unmount': false,
      'log-level': 'info',
      trace: false,
    });
  });
});

/** Every option that takes a value: what is accepted and becomes what, and what is refused with which words. */
const VALUES: readonly [OptionName, readonly [string, unknown][], readonly string[], string][] = [
  [
    'userns',
    [
      ['1', 1],
      ['4194304', 4194304],
    ],
    ['0', '-1', '4194305', 'self', '', ' 1', '01', '1.0', '0x10', '1e3', '99999999999999999999'],
    'must be a whole number from 1 to 4194304',
  ],
  ...(['overflow-uid', 'overflow-gid'] as const).map(
    (name) =>
      [
        name,
        [
          ['0', 0],
          ['4294967294', 4294967294],
        ],
        ['4294967295', '-1', 'nobody', ''],
        'must be a whole number from 0 to 4294967294',
      ] as [OptionName, [string, unknown][], string[], string],
  ),
  ...(['squash-uid', 'squash-gid'] as const).map(
    (name) =>
      [
        name,
        [
          ['1000', { underlay: 1000, view: 1000 }],
          ['0:100000', { underlay: 0, view: 100000 }],
        ],
        ['', ':', '1:', ':1', '1:2:3', 'root', '4294967295', '1:4294967295', '-1'],
        'must be ID or UNDERLAY:VIEW, ids from 0 to 4294967294',
      ] as [OptionName, [string, unknown][], string[], string],
  ),
  [
    'coherence',
    [
      ['lease', { mode: 'lease' }],
      ['strict', { mode: 'strict' }],
      ['ttl=0', { mode: 'ttl', seconds: 0 }],
      ['ttl=1.5', { mode: 'ttl', seconds: 1.5 }],
      ['ttl=31536000', { mode: 'ttl', seconds: 31536000 }],
    ],
    ['', 'Lease', 'ttl', 'ttl=', 'ttl=-1', 'ttl=1s', 'ttl=.5', 'ttl=1e3', 'ttl=Infinity', 'ttl=31536001', 'none'],
    'must be lease, strict or ttl=SECONDS',
  ],
  [
    'watcher',
    [
      ['auto', 'auto'],
      ['fanotify', 'fanotify'],
      ['chokidar', 'chokidar'],
    ],
    ['', 'inotify', 'AUTO'],
    'must be auto, fanotify or chokidar',
  ],
  ...(['forward-events', 'passthrough', 'io-uring'] as const).map(
    (name) =>
      [
        name,
        [
          ['auto', 'auto'],
          ['on', 'on'],
          ['off', 'off'],
        ],
        ['', 'yes', 'true', '1'],
        'must be auto, on or off',
      ] as [OptionName, [string, unknown][], string[], string],
  ),
  ['driver', [['kernel', 'kernel']], ['', 'fuse', 'libfuse'], 'must be kernel or fuse-native'],
  ...(['workers', 'max-workers'] as const).map(
    (name) =>
      [name, [['64', 64]], ['0', '1025', '-1', 'many', '', '1.5'], 'must be a whole number from 1 to 1024'] as [
        OptionName,
        [string, unknown][],
        string[],
        string,
      ],
  ),
  [
    'log-level',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level): [string, unknown] => [level, level]),
    ['', 'warning', 'INFO', '3'],
    'must be fatal, error, warn, info, debug, trace or silent',
  ],
  ['log-file', [['/var/log/x.log', '/var/log/x.log']], ['', 'x.log', './x', '~/x'], 'must be an absolute path'],
  ['fsname', [['a name', 'a name']], [], ''],
  ['idmap', [['b:0:100000:65536', 'b:0:100000:65536']], [], ''],
];

describe.each(VALUES)('option %s', (name, accepted, refused, mustBe) => {
  it.each(accepted)('takes "%s"', (text, value) => {
    expect(checkOptions({ [name]: text })[name]).toEqual(value);
  });
  it.each(refused.map((text) => [text]))('refuses "%s"', (text) => {
    const error = refusal({ [name]: text });
    expect(error.code).toBe('BAD_OPTION');
    expect(error.message).toBe(`${name}=${text}: ${mustBe}`);
    expect(error.hint).toBe(describeOptions().find((option) => option.name === name)?.description);
  });
});

describe('option create-owner', () => {
  const written = { driver: 'fuse-native' };
  it('takes UID:GID for the driver that needs it', () => {
    expect(checkOptions({ ...written, 'create-owner': '100000:100033' })['create-owner']).toEqual({
      uid: 100000,
      gid: 100033,
    });
  });
  it.each(['', '1', '1:', ':1', '1:2:3', 'root:root', '0:4294967295'])('refuses "%s"', (text) => {
    expect(refusal({ ...written, 'create-owner': text }).message).toBe(
      `create-owner=${text}: must be UID:GID, ids from 0 to 4294967294`,
    );
  });
  it('is refused, not ignored, where the driver knows the caller', () => {
    expect(refusal({ 'create-owner': '0:0' })).toMatchObject({
      code: 'BAD_OPTION',
      message: 'create-owner: only for --driver fuse-native',
    });
  });
});

describe('options together', () => {
  it('are all complained about at once', () => {
    expect(refusal({ workers: 'x', watcher: 'y' }).message).toBe(
      'watcher=y: must be auto, fanotify or chokidar; workers=x: must be a whole number from 1 to 1024',
    );
  });
  it('may raise workers above the default of max-workers, but not above a given one', () => {
    expect(checkOptions({ workers: '100' }).workers).toBe(100);
    expect(refusal({ workers: '8', 'max-workers': '4' }).message).toBe(
      'max-workers=4: must not be less than workers (8)',
    );
  });
  it('keep every map in order', () => {
    expect(checkOptions({ map: ['u:0:1:1', 'g:0:1:1'] }).map).toEqual(['u:0:1:1', 'g:0:1:1']);
  });
});

describe('describeOptions()', () => {
  it('has a full description, a group and an argument name for each', () => {
    const options = describeOptions();
    expect(options.map(({ name }) => name)).toEqual(Object.keys(mountSchema.shape));
    for (const { name, description, group, argument } of options) {
      expect(description, name).toMatch(/\.$/);
      expect(OPTION_GROUPS, name).toContain(group);
      const takesValue = VALUES.some(([each]) => each === name) || name === 'map' || name === 'create-owner';
      expect(argument !== undefined, name).toBe(takesValue);
    }
  });
  it('gives every default as it would be written', () => {
    for (const { name, default: text } of describeOptions()) {
      if (text !== undefined) expect(checkOptions({ [name]: text })[name], name).toEqual(checkOptions({})[name]);
    }
  });
});
