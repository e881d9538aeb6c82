// The options of a mount: one zod schema that checks them, gives them their defaults and holds their documentation. The
// command line, its help text and mount(8)'s -o string are all made from it, so that a word means the same everywhere.
// Keys are the long options without the dashes. `description` says what an option does, why one would want it and what
// it does when it is wrong; the default comes from the schema itself.

import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { ShiftfsError } from '../errors.js';
import type { Coherence } from './mount-options.js';

export const OPTION_GROUPS = ['Ids', 'Coherence', 'Rights', 'Transport', 'Daemon'] as const;

/** What the help text needs to know of an option beyond its description. */
export interface OptionMeta {
  readonly group: (typeof OPTION_GROUPS)[number];
  /** Name of the value in the help text; a flag has none. */
  readonly argument?: string;
  /** One-letter form. */
  readonly short?: string;
  /** What the default is in general, where it depends on the machine. */
  readonly defaultIs?: string;
}

/** Ids are 32 bits; 4294967295 (-1) is not an id (credentials(7)). */
const MAX_ID = 4294967294;
/** The kernel's own overflow id (/proc/sys/kernel/overflowuid). */
const OVERFLOW_ID = '65534';
const MAX_WORKERS = 1024;
/** Two at least, so that one slow request never holds up every other. */
const DEFAULT_WORKERS = Math.min(Math.max(availableParallelism(), 2), 16);
/** ttl is kept in seconds by the kernel too; a year is as good as for ever. */
const MAX_TTL = 31_536_000;

/** What a value may be, for those that know more types than text: config files, shells that complete words. */
export type ValueShape =
  | { readonly kind: 'flag' }
  | { readonly kind: 'number'; readonly minimum: number; readonly maximum: number }
  | { readonly kind: 'choice'; readonly words: readonly string[] }
  | { readonly kind: 'path' }
  | { readonly kind: 'text' };

const shapes = z.registry<ValueShape>();

function shaped<T extends z.ZodType>(schema: T, shape: ValueShape): T {
  shapes.add(schema, shape);
  return schema;
}

/** A value read from text. `read` answers undefined for what it cannot read, and the message says what it must be. */
function text<T>(mustBe: string, read: (value: string) => T | undefined) {
  return z.string().transform((value, context): T => {
    const result = read(value);
    if (result !== undefined) return result;
    context.issues.push({ code: 'custom', message: `must be ${mustBe}`, input: value });
    return z.NEVER;
  });
}

function wholeNumber(value: string, minimum: number, maximum: number): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(value)) return undefined;
  const number = Number(value);
  return number >= minimum && number <= maximum ? number : undefined;
}

const number = (minimum: number, maximum: number) =>
  shaped(
    text(`a whole number from ${minimum} to ${maximum}`, (value) => wholeNumber(value, minimum, maximum)),
    { kind: 'number', minimum, maximum },
  );

const choice = <const T extends readonly string[]>(...words: T) =>
  shaped(
    text<T[number]>(orList(words), (value) => (words.includes(value) ? value : undefined)),
    { kind: 'choice', words },
  );

const switchWord = () => choice('auto', 'on', 'off');

const flag = () => shaped(z.boolean(), { kind: 'flag' }).prefault(false);

const path = () =>
  shaped(
    text('an absolute path', (value) => (value.startsWith('/') ? value : undefined)),
    { kind: 'path' },
  );

const squash = () =>
  text(`ID or UNDERLAY:VIEW, ids from 0 to ${MAX_ID}`, (value) => {
    const ids = value.split(':').map((id) => wholeNumber(id, 0, MAX_ID));
    const [underlay, view = underlay] = ids;
    return ids.length > 2 || underlay === undefined || view === undefined || ids.includes(undefined)
      ? undefined
      : { underlay, view };
  });

const owner = () =>
  text(`UID:GID, ids from 0 to ${MAX_ID}`, (value) => {
    const ids = value.split(':').map((id) => wholeNumber(id, 0, MAX_ID));
    const [uid, gid] = ids;
    return ids.length !== 2 || uid === undefined || gid === undefined ? undefined : { uid, gid };
  });

const coherence = () =>
  text('lease, strict or ttl=SECONDS', (value): Coherence | undefined => {
    if (value === 'lease' || value === 'strict') return { mode: value };
    const digits = /^ttl=([0-9]+(?:\.[0-9]+)?)$/.exec(value)?.[1];
    if (digits === undefined) return undefined;
    const seconds = Number(digits);
    return seconds <= MAX_TTL ? { mode: 'ttl', seconds } : undefined;
  });

const optionMeta = z.registry<OptionMeta>();

function described<T extends z.ZodType>(schema: T, meta: OptionMeta, description: string): T {
  const result = schema.describe(description);
  optionMeta.add(result, meta);
  return result;
}

export const mountSchema = z.strictObject({
  map: described(
    z.array(z.string()).prefault([]),
    { group: 'Ids', argument: 'MAP' },
    '[u:|g:|b:]UNDERLAY:VIEW:COUNT: COUNT ids starting at UNDERLAY on the host show as ids starting at VIEW, for users ' +
      '(u), groups (g) or both (b, the default). The same triple as a line of /proc/PID/uid_map. May be repeated; ' +
      'ranges must not overlap. Ids outside every range show as the overflow id and nobody can create files with ' +
      'them. Without any map, ids are served unchanged.',
  ),
  userns: described(
    number(1, 4194304).optional(),
    { group: 'Ids', argument: 'PID' },
    'Take the map from the user namespace of process PID, as /proc/PID/uid_map and gid_map have it: id 0 on the host ' +
      'becomes root of that container. It is read once, at the start; the process may end afterwards.',
  ),
  idmap: described(
    z.string().optional(),
    { group: 'Ids', argument: 'MAPS' },
    'mount(8)\'s X-mount.idmap: maps separated by spaces, e.g. "b:0:100000:65536", or the path of a user namespace ' +
      '(/proc/PID/ns/user). In /etc/fstab write idmap=MAPS: mount(8) keeps words that begin with X- to itself.',
  ),
  'overflow-uid': described(
    number(0, MAX_ID).prefault(OVERFLOW_ID),
    { group: 'Ids', argument: 'UID' },
    'The view uid that shows for an underlay uid that no range maps. The kernel shows 65534 (nobody) by itself for an ' +
      'id that the container does not have, so this matters only for those who look from the host.',
  ),
  'overflow-gid': described(
    number(0, MAX_ID).prefault(OVERFLOW_ID),
    { group: 'Ids', argument: 'GID' },
    'The same for groups.',
  ),
  'squash-uid': described(
    squash().optional(),
    { group: 'Ids', argument: 'ID' },
    'ID or UNDERLAY:VIEW. Every file shows as owned by VIEW, and what is created belongs to UNDERLAY: one owner for ' +
      'all, as for a directory shared with a single user. Cannot be joined with a map of users. Chown to anybody else is EOVERFLOW.',
  ),
  'squash-gid': described(squash().optional(), { group: 'Ids', argument: 'ID' }, 'The same for groups.'),
  'chown-ignore': described(
    flag(),
    { group: 'Ids' },
    'Succeed without doing anything where a chown is refused because an id does not map, instead of EOVERFLOW. For ' +
      'programs (tar, cp -a, rsync) that give up otherwise; files then keep an owner that the program did not mean.',
  ),
  'create-owner': described(
    owner().optional(),
    { group: 'Ids', argument: 'UID:GID' },
    'The view ids that own what is created. Only for --driver fuse-native, whose requests do not say who asks; it ' +
      'takes the owner of the directory otherwise.',
  ),

  coherence: described(
    coherence().prefault('lease'),
    { group: 'Coherence', argument: 'MODE' },
    'How the cache of the view is kept in step with changes made on the host. lease: cache until the underlay reports ' +
      'a change, then take it back; strict where the underlay cannot be watched (network file systems). strict: cache ' +
      'nothing; slower, never wrong. ttl=SECONDS: plain timeouts; a host edit may stay unseen for that long.',
  ),
  watcher: described(
    choice('auto', 'fanotify', 'chokidar').prefault('auto'),
    { group: 'Coherence', argument: 'KIND' },
    'What reports changes of the underlay. fanotify needs root and sees every name of a hard link; chokidar (inotify) ' +
      'works without, and its leases start later. auto takes the first that works.',
  ),
  'forward-events': described(
    switchWord().prefault('auto'),
    { group: 'Coherence', argument: 'SWITCH' },
    'Let inotify watchers inside the container see changes made on the host; it needs fanotify and a view that is not ' +
      'read-only. auto is on where that is so, and starts a process (40 MB) with the first such change.',
  ),

  'read-only': described(
    flag(),
    { group: 'Rights' },
    'Nothing can be changed through the view (EROFS). A source mounted read-only makes the view read-only anyway.',
  ),
  'allow-suid': described(
    flag(),
    { group: 'Rights' },
    'Honour set-user-id bits and file capabilities of programs on the view. Containers that run sudo from the view ' +
      'need it. With an id mapped onto root of the host, a container can then leave a setuid-root file there.',
  ),
  'allow-dev': described(
    flag(),
    { group: 'Rights' },
    'Honour device nodes on the view. Whoever can create or rename one reaches that device of the host.',
  ),
  'no-allow-other': described(
    flag(),
    { group: 'Rights' },
    'Only the user who mounts may reach the view. Other users, and every container, get EACCES.',
  ),
  xdev: described(
    flag(),
    { group: 'Rights' },
    'Leave out file systems mounted below the source, and btrfs subvolumes: their mount points show as empty ' +
      'directories. Without it they are part of the view.',
  ),

  driver: described(
    choice('kernel', 'fuse-native').prefault('kernel'),
    { group: 'Transport', argument: 'DRIVER' },
    'kernel speaks the FUSE protocol on /dev/fuse. fuse-native goes through libfuse 2, which does not say who asks and ' +
      'cannot take cached names back: what needs that is refused, see --create-owner.',
  ),
  passthrough: described(
    switchWord().prefault('auto'),
    { group: 'Transport', argument: 'SWITCH' },
    'Let the kernel read and write the underlay files by itself (Linux 6.9): native speed. on: refuse to mount where ' +
      'it is not to be had. off: every read and write passes through the daemon, and its counters see them.',
  ),
  'io-uring': described(
    switchWord().prefault('auto'),
    { group: 'Transport', argument: 'SWITCH' },
    'Take requests by io_uring (Linux 6.14 with /sys/module/fuse/parameters/enable_uring set to Y): several times ' +
      'faster on virtual machines. on: refuse to mount where it is not to be had.',
  ),
  workers: described(
    number(1, MAX_WORKERS).prefault(String(DEFAULT_WORKERS)),
    { group: 'Transport', argument: 'N', defaultIs: 'the number of cores, from 2 to 16' },
    'Serving threads that are always there.',
  ),
  'max-workers': described(
    number(1, MAX_WORKERS).prefault('64'),
    { group: 'Transport', argument: 'N' },
    'Serving threads there may be when all are blocked in a slow underlay. Further requests then wait.',
  ),

  foreground: described(
    flag(),
    { group: 'Daemon', short: 'f' },
    'Stay in the foreground with the log on stderr; unmount on SIGINT and SIGTERM. For systemd (Type=notify) and for ' +
      'looking on. Otherwise the command returns when the view serves.',
  ),
  'auto-unmount': described(
    flag(),
    { group: 'Daemon' },
    'Unmount when the daemon is killed, so that users find the empty mount point instead of ENOTCONN. Programs may then ' +
      'write into the mount point itself; without it, the next mount takes a dead view away.',
  ),
  'log-level': described(
    choice('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent').prefault('info'),
    { group: 'Daemon', argument: 'LEVEL' },
    'The least severe lines that are logged: fatal, error, warn, info, debug, trace, or silent for none at all.',
  ),
  'log-file': described(
    path().optional(),
    { group: 'Daemon', argument: 'FILE' },
    'Append the log to FILE as JSON lines; SIGHUP opens it anew. Without it: stderr in the foreground, syslog ' +
      '(/dev/log) in the background. A full disk loses lines and never stops the view.',
  ),
  trace: described(
    flag(),
    { group: 'Daemon' },
    'Log every request and reply, with names and ids, at level trace. Very slow, and the log shows what users do.',
  ),

  noexec: described(flag(), { group: 'Rights' }, 'Do not let programs on the view be executed.'),
  noatime: described(flag(), { group: 'Rights' }, 'Do not update access times.'),
  fsname: described(
    z.string().optional(),
    { group: 'Daemon', argument: 'NAME' },
    'The first column of /proc/mounts. The source unless given.',
  ),
});

export type OptionName = keyof typeof mountSchema.shape;
/** Options after checking, with their defaults. */
export type RequestedOptions = z.output<typeof mountSchema>;
/** Options as they were written: text, true for a flag, all the texts of one that may be repeated. */
export type WrittenOptions = { [name in OptionName]?: string | boolean | string[] | undefined };

export interface OptionDescription {
  readonly name: OptionName;
  readonly description: string;
  readonly argument: string | undefined;
  readonly short: string | undefined;
  readonly group: OptionMeta['group'];
  readonly repeatable: boolean;
  readonly shape: ValueShape;
  /** As it would be written; undefined for flags and where there is none. */
  readonly default: string | undefined;
  /** The same for documents that hold for every machine. */
  readonly defaultIs: string | undefined;
}

/** Every option, in the order of the schema, as the help text and the -o parser need it. */
export function describeOptions(): OptionDescription[] {
  return Object.entries(mountSchema.shape).map(([name, schema]) => {
    const meta = optionMeta.get(schema)!;
    const definition = schema._zod.def as { type: string; defaultValue?: unknown; innerType: z.ZodType };
    const byDefault = definition.type === 'prefault' ? definition.defaultValue : undefined;
    return {
      name: name as OptionName,
      description: schema.description!,
      argument: meta.argument,
      short: meta.short,
      group: meta.group,
      repeatable: Array.isArray(byDefault),
      shape: shapes.get(definition.innerType) ?? { kind: 'text' },
      default: typeof byDefault === 'string' ? byDefault : undefined,
      defaultIs: meta.defaultIs ?? (typeof byDefault === 'string' ? byDefault : undefined),
    };
  });
}

/**
 * Checks what was written. Throws ShiftfsError BAD_OPTION: the message names each bad option and what it must be, the hint
 * is the first one's description.
 */
export function checkOptions(written: WrittenOptions): RequestedOptions {
  const result = mountSchema.safeParse(written);
  if (!result.success) {
    const messages = result.error.issues.map((issue) => {
      const name = String(issue.path[0] ?? '');
      const value = written[name as OptionName];
      return `${name}${typeof value === 'string' ? `=${value}` : ''}: ${issue.message}`;
    });
    const first = describeOptions().find((option) => option.name === result.error.issues[0]?.path[0]);
    throw new ShiftfsError('BAD_OPTION', messages.join('; '), first?.description);
  }
  const options = result.data;
  if (options['max-workers'] < options.workers && written['max-workers'] !== undefined) {
    throw new ShiftfsError(
      'BAD_OPTION',
      `max-workers=${options['max-workers']}: must not be less than workers (${options.workers})`,
      'Raise --max-workers or lower --workers.',
    );
  }
  if (options['create-owner'] && options.driver !== 'fuse-native') {
    throw new ShiftfsError(
      'BAD_OPTION',
      `create-owner: only for --driver fuse-native`,
      'The kernel driver knows who asks: what a caller creates belongs to that caller.',
    );
  }
  if (options.driver !== 'fuse-native') return options;
  for (const name of ['workers', 'max-workers'] as const) {
    if (written[name] === undefined) continue;
    throw new ShiftfsError(
      'BAD_OPTION',
      `${name}=${String(written[name])}: not for --driver fuse-native`,
      'The package fuse-native hands every request to one thread.',
    );
  }
  // What is asked for in words is the driver's to refuse.
  return written.coherence === undefined ? { ...options, coherence: { mode: 'strict' } } : options;
}

function orList(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
