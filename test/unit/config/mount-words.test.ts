import { describe, expect, it } from 'vitest';
import { mergeOptions, parseMountWords, splitWords } from '../../../src/config/mount-words.js';
import { checkOptions, describeOptions } from '../../../src/config/schema.js';
import { ShiftfsError } from '../../../src/errors.js';

function refusal(words: string): ShiftfsError {
  try {
    parseMountWords(words);
  } catch (error) {
    expect(error).toBeInstanceOf(ShiftfsError);
    return error as ShiftfsError;
  }
  throw new Error(`accepted: ${words}`);
}

describe('splitWords()', () => {
  it('splits at commas, but not inside quotes or after a backslash', () => {
    expect(splitWords('ro,,fsname="a,b",log-file=/a\\,b,x-c="d\\"e",')).toEqual([
      'ro',
      'fsname=a,b',
      'log-file=/a,b',
      'x-c=d"e',
    ]);
    expect(splitWords('')).toEqual([]);
  });
});

describe('parseMountWords()', () => {
  it('knows every long option, with dashes or underscores', () => {
    for (const { name, argument, repeatable } of describeOptions()) {
      const value = argument === undefined ? true : repeatable ? ['v'] : 'v';
      for (const word of [name, name.replaceAll('-', '_')]) {
        const written = parseMountWords(argument === undefined ? word : `${word}=v`);
        expect(written, word).toEqual({ [name]: value });
      }
    }
  });

  it('takes several maps, whose colons need no quoting', () => {
    expect(parseMountWords('map=u:0:100000:65536,ro,map=g:0:200000:65536')).toEqual({
      map: ['u:0:100000:65536', 'g:0:200000:65536'],
      'read-only': true,
    });
  });

  it('takes coherence with its own equals sign', () => {
    expect(parseMountWords('coherence=ttl=2')).toEqual({ coherence: 'ttl=2' });
  });

  it.each([
    ['X-mount.idmap=u:0:1:2 g:3:4:5', { idmap: 'u:0:1:2 g:3:4:5' }],
    ['uid-offset=100000', { map: ['u:0:100000:4294867295'] }],
    ['uid_offset=100000', null],
    ['gid-offset=-100000', { map: ['g:100000:0:4294867295'] }],
    ['uidmapping=0:100000:1000:5000:5000:1', { map: ['u:0:100000:1000', 'u:5000:5000:1'] }],
    ['gidmapping=0:100000:65536', { map: ['g:0:100000:65536'] }],
    ['squash_to_uid=1000,squash_to_gid=33', { 'squash-uid': '1000', 'squash-gid': '33' }],
    ['squash_to_root', { 'squash-uid': '0:0', 'squash-gid': '0:0' }],
    ['force-user=1000,force-group=1000', { 'squash-uid': '1000', 'squash-gid': '1000' }],
    ['chown-ignore', { 'chown-ignore': true }],
    ['auto_unmount', { 'auto-unmount': true }],
    ['noallow_other', { 'no-allow-other': true }],
    ['noatime', { noatime: true }],
    ['noexec', { noexec: true }],
    ['fsname=my data', { fsname: 'my data' }],
  ])('understands %s', (words, expected) => {
    if (expected === null) expect(refusal(words).hint).toBe('Did you mean "uid-offset"?');
    else expect(parseMountWords(words)).toEqual(expected);
  });

  it('lets the words pass that are for mount(8), systemd and fsck, or are always so', () => {
    const words =
      'defaults,auto,noauto,nofail,_netdev,nouser,async,nomand,relatime,allow_other,default_permissions,nonempty,' +
      'x-systemd.automount,x-gvfs-name=n,X-mount.mkdir,x-,comment=hello,subtype=fuse-shiftfs,silent,loud';
    expect(parseMountWords(words)).toEqual({ noatime: false });
  });

  it('does not take the bare dev and suid that mount.fuse3 adds for a wish', () => {
    expect(parseMountWords('rw,dev,suid')).toEqual({ 'read-only': false });
  });

  it.each([
    ['ro,rw', { 'read-only': false }],
    ['rw,ro', { 'read-only': true }],
    ['noexec,exec', { noexec: false }],
    ['noatime,atime', { noatime: false }],
    ['relatime,noatime', { noatime: true }],
    ['user', { 'allow-suid': false, 'allow-dev': false, noexec: true }],
    ['users,exec', { 'allow-suid': false, 'allow-dev': false, noexec: false }],
    ['owner', { 'allow-suid': false, 'allow-dev': false }],
    ['user,suid,dev,exec,allow-suid', { 'allow-suid': true, noexec: false }],
  ])('lets the later of contradicting words win: %s', (words, expected) => {
    expect(parseMountWords(words)).toEqual(expected);
  });

  it.each([
    ['allow-suid,nosuid', 'allow-suid'],
    ['nosuid,allow-suid', 'allow-suid'],
    ['nodev,allow_dev', 'allow-dev'],
  ] as const)('lets %s refuse, in either order', (words, name) => {
    expect(parseMountWords(words)[name]).toBe(false);
  });

  it.each([
    ['coherense=strict', 'unknown option "coherense"', 'Did you mean "coherence"?'],
    ['alow_other', 'unknown option "alow_other"', 'Did you mean "allow_other"?'],
    ['raed-only', 'unknown option "raed-only"', 'Did you mean "read-only"?'],
    ['frobnicate', 'unknown option "frobnicate"', '"fuse-shiftfs mount --help" lists every option.'],
    ['ro=1', 'ro=1: ro takes no value', undefined],
    ['constructor', 'unknown option "constructor"', '"fuse-shiftfs mount --help" lists every option.'],
    ['map', 'map: needs a value', 'Write map=VALUE.'],
    ['coherence=', 'coherence: needs a value', 'Write coherence=VALUE.'],
    ['X-mount.idmap', 'X-mount.idmap: needs a value', 'Write X-mount.idmap=VALUE.'],
    ['remount', 'remount: not possible for a view', 'A view cannot be remounted: unmount it and mount it again.'],
    ['sync', 'sync: not possible for a view', 'Synchronous writing is up to the underlay: mount that with sync.'],
  ])('refuses %s', (words, message, hint) => {
    expect(refusal(words)).toMatchObject({ code: 'BAD_OPTION', message, hint });
  });

  it('refuses a value where none belongs', () => {
    expect(refusal('xdev=yes')).toMatchObject({ code: 'BAD_OPTION', message: 'xdev=yes: xdev takes no value' });
  });

  it.each(['uid-offset=x', 'uidmapping=0:1', 'uidmapping=0:1:2:3', 'gid-offset=4294967295'])(
    'refuses the ids of %s as a bad map',
    (words) => {
      expect(refusal(words).code).toBe('BAD_MAP');
    },
  );
});

describe('mergeOptions()', () => {
  it('prefers what is outside of -o and adds maps up', () => {
    const merged = mergeOptions(
      { map: ['a'], coherence: 'strict', 'read-only': true },
      { map: ['b'], coherence: 'lease' },
    );
    expect(merged).toEqual({ map: ['a', 'b'], coherence: 'lease', 'read-only': true });
  });
  it('lets nosuid and nodev beat --allow-suid and --allow-dev', () => {
    const merged = mergeOptions(parseMountWords('nosuid,nodev'), { 'allow-suid': true, 'allow-dev': true });
    expect(checkOptions(merged)).toMatchObject({ 'allow-suid': false, 'allow-dev': false });
    expect(checkOptions(mergeOptions({}, { 'allow-suid': true }))).toMatchObject({ 'allow-suid': true });
  });
});
