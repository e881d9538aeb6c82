// The manual page fuse-shiftfs(8), in man(7) macros.

import { OPTION_GROUPS } from '../config/schema.js';
import type { ErrorCode } from '../errors.js';
import { EXIT, exitCodeOf } from '../exit-codes.js';
import type { Documentation, DocumentedCommand, DocumentedOption } from './model.js';

const ERRORS: Readonly<Record<ErrorCode, string>> = {
  USAGE: 'The program was not called as it wants to be called.',
  BAD_MAP: 'A map does not parse, or its ranges overlap.',
  BAD_OPTION: 'An option is unknown, or its value is not one that it can have.',
  BAD_CONFIG: 'A config file cannot be read, is not JSON, or has a bad key or value.',
  NO_PERMISSION: 'Root, or a capability, is missing.',
  NO_FUSE: '/dev/fuse is missing or cannot be opened.',
  INTERNAL: 'A bug in fuse-shiftfs.',
  NO_SOURCE: 'The source is not there.',
  NO_MOUNTPOINT: 'The mount point is not there.',
  NOT_A_DIRECTORY: 'Source or mount point is not a directory.',
  NESTED: 'Source and mount point are the same, or one is inside the other.',
  BUSY: 'Something is mounted there already, or a view is in use.',
  NOT_MOUNTED: 'No view is mounted there.',
  NO_USERNS: 'A process or container whose map was wanted is not there.',
  UNSUPPORTED: 'This kernel, file system or container cannot do what was asked for.',
  DAEMON_DIED: 'The daemon ended before the view was served.',
};

const EXIT_STATUS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'Done. For \\fBmount\\fR the view serves; in the foreground it was unmounted.',
  usage: 'Usage, a bad option or config file, or no permission.',
  system: 'No FUSE on this system.',
  internal: 'A bug.',
  interrupted: 'Interrupted before the view served; nothing is mounted.',
  failed: 'Mounting, unmounting or another action failed.',
  daemonFailed: 'In the foreground: the daemon failed; the log says why.',
  aborted: 'In the foreground: the connection to the kernel was aborted.',
};

const FILES: readonly (readonly [string, string])[] = [
  ['/etc/fuse-shiftfs/NAME.json', 'The view that fuse-shiftfs@NAME.service serves.'],
  ['/run/fuse-shiftfs', 'What is being served, for \\fBstatus\\fR and \\fBumount\\fR.'],
  ['/var/lib/fuse-shiftfs', 'Mount points of \\fBshare\\fR, and by custom those of the profiles for LXD and Incus.'],
];

/** Text to roff: what roff would take for itself is escaped. `\fB` and `\fR` in our own texts are left alone. */
function roff(text: string): string {
  return text
    .replace(/\\(?!f[BIR])/g, '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replace(/^\./gm, '\\&.');
}

/** For text of the command table, in which a backslash is a backslash. */
function plain(text: string): string {
  return roff(text.replaceAll('\\', '\\e').replaceAll('\\ee', '\\e'));
}

function term(head: string, ...paragraphs: readonly string[]): string {
  return ['.TP', head, ...paragraphs].join('\n');
}

function optionHead({ short, long, argument }: DocumentedOption): string {
  const names = [short, long].filter((name) => name !== undefined).map((name) => `\\fB${roff(name)}\\fR`);
  return `${names.join(', ')}${argument === undefined ? '' : ` \\fI${roff(argument)}\\fR`}`;
}

/** Help texts of a few words, as they stand in a list, as a sentence. */
function sentence(text: string): string {
  const first = /^[a-z]+ /.test(text) ? text[0]!.toUpperCase() + text.slice(1) : text;
  return /[.)]$/.test(first) ? first : `${first}.`;
}

function option(documented: DocumentedOption): string {
  const { shape, description } = documented;
  const lines = [plain(sentence(description))];
  if (documented.default !== undefined) lines.push(`Default: ${roff(documented.default)}.`);
  // What the text of the option names already is not repeated.
  if (shape.kind === 'choice' && !shape.words.every((word) => description.includes(word))) {
    lines.push(`One of ${shape.words.map(roff).join(', ')}.`);
  }
  return term(optionHead(documented), lines.join('\n'));
}

function command({ name, usage, description, options }: DocumentedCommand): string {
  const shown = name === 'mount' ? options.filter(({ group }) => group === undefined) : options;
  const more = name === 'mount' ? ['.PP', 'The other options are in OPTIONS OF A VIEW.'] : [];
  return [
    `.SS ${usage.map((form) => roff(form.replace(/ \[options\]/, ''))).join(' | ')}`,
    plain(description),
    ...shown.map(option),
    ...more,
  ].join('\n');
}

/** The whole page. */
export function manPage({ version, description, commands }: Documentation): string {
  const mount = commands.find(({ name }) => name === 'mount')!;
  const codes = Object.entries(ERRORS) as [ErrorCode, string][];
  const sections: readonly (readonly [string, string])[] = [
    ['NAME', 'fuse\\-shiftfs \\- serve a directory with shifted user and group ids'],
    [
      'SYNOPSIS',
      commands
        .flatMap(({ usage }) => usage)
        .map((form) => `.B fuse\\-shiftfs\n${roff(form)}`)
        .join('\n.br\n'),
    ],
    [
      'DESCRIPTION',
      [
        plain(description),
        '.PP',
        roff(
          'The directory that is served is the underlay, the mount the view. A map says which ids of the underlay show as ' +
            "which ids in the view: with 0:100000:65536, root's files of the underlay belong to 100000 in the view, and " +
            'inside a container whose root is 100000 on the host, to root. What is created, changed or given away in the ' +
            'view has the ids of the underlay there. The host goes on working in the underlay; the view shows its changes.',
        ),
        '.PP',
        roff('Called as'),
        '.B fuse\\-shiftfs SOURCE MOUNTPOINT',
        roff('[-o WORD,...], the program mounts as well: that is how mount(8) and /etc/fstab call it.'),
      ].join('\n'),
    ],
    ['COMMANDS', commands.map(command).join('\n')],
    [
      'OPTIONS OF A VIEW',
      OPTION_GROUPS.map((group) =>
        [`.SS ${roff(group)}`, ...mount.options.filter((each) => each.group === group).map(option)].join('\n'),
      ).join('\n'),
    ],
    [
      'CONFIG FILE',
      [
        roff(
          'A config file is JSON: source, mountpoint, and options under their long names. Flags are true or false, numbers ' +
            'are numbers, and map is a list of texts. share/fuse-shiftfs/config.schema.json is its JSON Schema.',
        ),
        '.PP',
        '.nf',
        roff('{\n  "source": "/srv/data",\n  "mountpoint": "/srv/view",\n  "map": ["0:100000:65536"]\n}'),
        '.fi',
        '.PP',
        roff(
          'The systemd unit fuse-shiftfs@NAME.service serves the view of /etc/fuse-shiftfs/NAME.json, and serves it again ' +
            'after a crash: systemctl enable --now fuse-shiftfs@NAME.',
        ),
      ].join('\n'),
    ],
    [
      'FSTAB',
      [
        roff('Needs /sbin/mount.fuse3 (package fuse3).'),
        '.PP',
        '.nf',
        roff('/srv/data  /srv/view  fuse.fuse-shiftfs  map=0:100000:65536  0  0'),
        '.fi',
      ].join('\n'),
    ],
    [
      'EXIT STATUS',
      (Object.keys(EXIT) as (keyof typeof EXIT)[])
        .map((name) => term(`\\fB${EXIT[name]}\\fR`, roff(EXIT_STATUS[name])))
        .join('\n'),
    ],
    [
      'ERRORS',
      [
        roff('Every message ends with a name that stays the same between versions:'),
        ...codes.map(([code, text]) => term(`\\fB${code}\\fR (exit status ${exitCodeOf(code)})`, roff(text))),
      ].join('\n'),
    ],
    ['FILES', FILES.map(([path, text]) => term(`\\fI${roff(path)}\\fR`, roff(text))).join('\n')],
    [
      'EXAMPLES',
      [
        term(
          'A view for containers whose root is 100000 on the host:',
          'fuse\\-shiftfs mount /srv/data /srv/view \\-\\-map 0:100000:65536',
        ),
        term(
          'One user, who is the same person on both sides:',
          'fuse\\-shiftfs mount /home/me/data /srv/view \\-\\-map 1000:101000:1',
        ),
        term(
          'The same directory for a container that runs already:',
          'fuse\\-shiftfs share /srv/data \\-\\-with web:/srv/data',
        ),
        term('Does this machine need a view at all?', 'fuse\\-shiftfs doctor /srv/data'),
      ].join('\n'),
    ],
    [
      'SEE ALSO',
      roff('mount(8), umount(8), fuse(4), user_namespaces(7), mount_namespaces(7), subuid(5), systemd.service(5)'),
    ],
  ];
  return [
    `.\\" Made from the command table: npm run packaging.`,
    `.TH FUSE\\-SHIFTFS 8 "" "fuse\\-shiftfs ${version}" "System Administration"`,
    '.nh',
    '.ad l',
    ...sections.flatMap(([title, text]) => [`.SH ${title}`, text]),
    '',
  ].join('\n');
}
