// The -o string of mount(8) and /etc/fstab: our own long options, the generic words every file system is given, and the
// words that users of bindfs and fuse-overlayfs know, all turned into our long options. Pure.

import { ShiftfsError } from '../errors.js';
import { parseFuseOverlayfsMapping, parseOffset } from '../idmap/parse.js';
import { formatRange } from '../idmap/validate.js';
import { nearest } from './nearest.js';
import { describeOptions, type OptionName, type WrittenOptions } from './schema.js';

/**
 * Words that change nothing here: what they ask for is always so, or is not for us but for mount(8), systemd and fsck.
 *
 * `dev` and `suid` are among them: mount.fuse3 adds both by itself, so they cannot be taken for a wish. `allow-dev` and
 * `allow-suid` are.
 */
const NOTHING_TO_DO: ReadonlySet<string> = new Set(
  (
    'defaults auto noauto nofail _netdev nouser nousers noowner nogroup async nomand noiversion nolazytime silent loud ' +
    'diratime nodiratime norelatime allow_other default_permissions nonempty dev suid'
  ).split(' '),
);

/** Words with a value that is not for us (mount(8), systemd, udisks; the subtype is always ours). */
const VALUES_IGNORED: ReadonlySet<string> = new Set(['subtype', 'comment', 'helper', 'uhelper']);

/** Words that ask for something a view cannot be: better an error than a mount that is not what was asked for. */
const REFUSED: Readonly<Record<string, string>> = {
  remount: 'A view cannot be remounted: unmount it and mount it again.',
  bind: 'Bind-mount the view after it is mounted: mount --bind VIEW PLACE.',
  rbind: 'Bind-mount the view after it is mounted: mount --rbind VIEW PLACE.',
  allow_root: 'Use allow_other (the default), or no-allow-other for the mounting user alone.',
  sync: 'Synchronous writing is up to the underlay: mount that with sync.',
  dirsync: 'Synchronous writing is up to the underlay: mount that with dirsync.',
  mand: 'Linux has had no mandatory locks since 5.15.',
  lazytime: 'Time stamps are kept by the underlay: mount that with lazytime.',
  iversion: 'Change counters are kept by the underlay: mount that with iversion.',
  drop_privileges: 'The daemon drops what it does not need by itself; it opens /dev/fuse itself, too.',
};

interface State {
  readonly written: Record<string, string | boolean | string[] | undefined>;
  /** Whether nosuid (nodev) was the last word about set-id bits (devices): it then beats allow-suid (allow-dev). */
  noSuid: boolean;
  noDev: boolean;
}

/** mount(8)'s words with a meaning. Where two contradict each other the later one wins, as it does there. */
const GENERIC: Readonly<Record<string, (state: State) => void>> = {
  ro: ({ written }) => {
    written['read-only'] = true;
  },
  rw: ({ written }) => {
    written['read-only'] = false;
  },
  exec: ({ written }) => {
    written['noexec'] = false;
  },
  atime: accessTimes,
  relatime: accessTimes,
  strictatime: accessTimes,
  nosuid: (state) => {
    state.noSuid = true;
  },
  nodev: (state) => {
    state.noDev = true;
  },
  // An ordinary user's mount must not hand out rights: mount(8), "user".
  user: unprivileged,
  users: unprivileged,
  owner: untrusted,
  group: untrusted,
  squash_to_root: ({ written }) => {
    written['squash-uid'] = '0:0';
    written['squash-gid'] = '0:0';
  },
  noallow_other: ({ written }) => {
    written['no-allow-other'] = true;
  },
};

function accessTimes({ written }: State): void {
  written['noatime'] = false;
}

function untrusted(state: State): void {
  state.noSuid = true;
  state.noDev = true;
}

function unprivileged(state: State): void {
  untrusted(state);
  state.written['noexec'] = true;
}

/** Words of mount(8), bindfs and fuse-overlayfs that take a value. */
const TRANSLATED: Readonly<Record<string, (value: string, state: State) => void>> = {
  'X-mount.idmap': (value, { written }) => {
    written['idmap'] = value;
  },
  'uid-offset': (value, state) => addMap(state, formatRange('u', parseOffset(value))),
  'gid-offset': (value, state) => addMap(state, formatRange('g', parseOffset(value))),
  uidmapping: (value, state) =>
    addMap(state, ...parseFuseOverlayfsMapping('uid', value).map((range) => formatRange('u', range))),
  gidmapping: (value, state) =>
    addMap(state, ...parseFuseOverlayfsMapping('gid', value).map((range) => formatRange('g', range))),
  squash_to_uid: (value, { written }) => {
    written['squash-uid'] = value;
  },
  squash_to_gid: (value, { written }) => {
    written['squash-gid'] = value;
  },
  'force-user': (value, { written }) => {
    written['squash-uid'] = value;
  },
  'force-group': (value, { written }) => {
    written['squash-gid'] = value;
  },
};

function addMap({ written }: State, ...maps: string[]): void {
  const before = written['map'];
  written['map'] = [...(Array.isArray(before) ? before : []), ...maps];
}

/**
 * Splits at commas. As in libmount, a comma inside double quotes does not separate; as in libfuse, neither does one after
 * a backslash. Quotes and backslashes are taken off.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === '\\' && at + 1 < text.length) word += text[++at]!;
    else if (character === '"') quoted = !quoted;
    else if (character === ',' && !quoted) {
      words.push(word);
      word = '';
    } else word += character;
  }
  words.push(word);
  return words.filter((each) => each !== '');
}

/**
 * Our long options for a -o string. Throws ShiftfsError BAD_OPTION for a word that is unknown, that misses its value or
 * has one too many, or that asks for what a view cannot be. Values themselves are checked later, by the schema.
 */
export function parseMountWords(text: string): WrittenOptions {
  const state: State = { written: {}, noSuid: false, noDev: false };
  const own = new Map(describeOptions().map((option) => [option.name as string, option]));
  for (const word of splitWords(text)) {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    const value = equals < 0 ? undefined : word.slice(equals + 1);

    if (name === 'suid') state.noSuid = false;
    if (name === 'dev') state.noDev = false;
    if (NOTHING_TO_DO.has(name) || (VALUES_IGNORED.has(name) && value !== undefined)) continue;
    const generic = lookUp(GENERIC, name);
    const translated = lookUp(TRANSLATED, name);
    const option = own.get(name.replaceAll('_', '-'));
    if (generic && value !== undefined) throw new ShiftfsError('BAD_OPTION', `${word}: ${name} takes no value`);
    if (generic) generic(state);
    else if (translated) translated(needValue(name, value), state);
    else if (option?.repeatable) addMap(state, needValue(name, value));
    else if (option?.argument) state.written[option.name] = needValue(name, value);
    else if (option) {
      if (value !== undefined)
        throw new ShiftfsError('BAD_OPTION', `${word}: ${name} takes no value`, option.description);
      state.written[option.name] = true;
    } else if (name.startsWith('x-') || name.startsWith('X-')) {
      // Comments for other programs: mount(8), "x-*".
    } else throw unknownWord(name, [...own.keys()]);
  }
  if (state.noSuid) state.written['allow-suid'] = false;
  if (state.noDev) state.written['allow-dev'] = false;
  return state.written as { [name in OptionName]?: string | boolean | string[] };
}

/** What was given on the command line itself beats -o; maps add up; nosuid and nodev beat --allow-suid and --allow-dev. */
export function mergeOptions(fromWords: WrittenOptions, fromCommandLine: WrittenOptions): WrittenOptions {
  const merged: WrittenOptions = { ...fromWords, ...fromCommandLine };
  const maps = [fromWords.map, fromCommandLine.map].flatMap((map) => (Array.isArray(map) ? map : []));
  if (maps.length > 0) merged.map = maps;
  if (fromWords['allow-suid'] === false) merged['allow-suid'] = false;
  if (fromWords['allow-dev'] === false) merged['allow-dev'] = false;
  return merged;
}

function lookUp<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function needValue(name: string, value: string | undefined): string {
  if (value === undefined || value === '') {
    throw new ShiftfsError('BAD_OPTION', `${name}: needs a value`, `Write ${name}=VALUE.`);
  }
  return value;
}

function unknownWord(name: string, own: readonly string[]): ShiftfsError {
  const refusal = lookUp(REFUSED, name);
  if (refusal !== undefined) return new ShiftfsError('BAD_OPTION', `${name}: not possible for a view`, refusal);
  const known = [...own, ...NOTHING_TO_DO, ...VALUES_IGNORED, ...Object.keys(GENERIC), ...Object.keys(TRANSLATED)];
  const guess = nearest(name, known);
  return new ShiftfsError(
    'BAD_OPTION',
    `unknown option "${name}"`,
    guess ? `Did you mean "${guess}"?` : '"fuse-shiftfs mount --help" lists every option.',
  );
}
