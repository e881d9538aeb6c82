// Turns what was tried into findings and advice. Changes nothing.

import { readFileSync, realpathSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { runCommand, shellWord } from '../container/command.js';
import { loadAddon } from '../driver/fuse-native/addon.js';
import { CAPABILITIES as FUSE_NATIVE } from '../driver/fuse-native.js';
import { limitsOf } from '../driver/limits.js';
import { sharesOf } from '../driver/source.js';
import { ShiftfsError } from '../errors.js';
import { EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, errnoName } from '../linux/errno.js';
import { mountContaining, mountsBelow, readMounts } from '../linux/mountinfo.js';
import { CAP, effectiveCapabilities } from '../linux/process.js';
import type { Advice, Examination, Finding, FindingState } from './finding.js';
import { descriptorLimits, fanotifyOn, fileHandlesOn, idmappedMountOf, offerOfFuse } from './probes.js';

/** Types of the mount table whose contents change without this kernel hearing of it. */
const REMOTE =
  /^(nfs4?|cifs|smb[23]?|smbfs|9p|virtiofs|ceph|afs|coda|gfs2|ocfs2|lustre|fuse|fuseblk|fuse\..*|vboxsf|vmhgfs)$/;
/** Stacked themselves: FUSE passthrough goes no deeper (fs/fuse/passthrough.c). */
const STACKED = /^(overlay|ecryptfs|fuse|fuse\..*)$/;

/** Throws ShiftfsError NO_SOURCE or NOT_A_DIRECTORY. */
export async function examine(path: string): Promise<Examination> {
  const source = canonical(path);
  const mounts = readMounts();
  const fileSystem = mountContaining(mounts, source)?.fstype ?? 'unknown';
  const idmapped = await idmappedMountOf(source);
  const findings = [
    rights(),
    ...(await fuse(fileSystem)),
    watching(source, fileSystem),
    ...watchLimits(),
    descriptors(),
    handles(source, fileSystem),
    idmappedMounts(idmapped, fileSystem),
    nested(mountsBelow(mounts, source).length),
    helper(),
    secondDriver(),
  ];
  return {
    version: 1,
    source,
    fileSystem,
    mountable: findings.every(({ required, state }) => !required || state === 'good' || state === 'limited'),
    findings,
    advice: advise(idmapped, source, fileSystem),
  };
}

function canonical(path: string): string {
  try {
    const source = realpathSync(path);
    if (statSync(source).isDirectory()) return source;
  } catch (error) {
    throw new ShiftfsError('NO_SOURCE', `${path}: ${(error as Error).message}`, undefined, { cause: error });
  }
  throw new ShiftfsError('NOT_A_DIRECTORY', `${path}: not a directory`);
}

function finding(
  id: string,
  title: string,
  state: FindingState,
  value: string,
  meaning: string,
  change: string | null = null,
  required = false,
): Finding {
  return { id, title, state, value, meaning, change, required };
}

/** EPERM says nothing about the kernel when root is what is missing. */
function stateOfFailure(error: number): FindingState {
  return error === -EPERM && process.geteuid?.() !== 0 ? 'unknown' : 'missing';
}

const AS_ROOT = 'Ask again as root (sudo).';

function rights(): Finding {
  const isRoot = process.geteuid?.() === 0;
  const mayMount = isRoot && effectiveCapabilities().has(CAP.SYS_ADMIN);
  return finding(
    'rights',
    'Rights',
    mayMount ? 'good' : 'missing',
    mayMount ? 'root with CAP_SYS_ADMIN' : isRoot ? 'root without CAP_SYS_ADMIN' : `user ${process.geteuid?.()}`,
    mayMount
      ? 'Views can be mounted.'
      : 'A view acts on the underlay in the name of every user who asks: only root of the host may mount one.',
    mayMount ? null : isRoot ? 'Mount on the host, not in this container.' : 'Run it with sudo.',
    true,
  );
}

async function fuse(fileSystem: string): Promise<Finding[]> {
  const offer = await offerOfFuse();
  const title = 'FUSE';
  if (typeof offer === 'number') {
    const missing = offer === -ENOENT;
    const old = offer === -ENOSYS;
    return [
      finding(
        'fuse',
        title,
        old ? 'unknown' : stateOfFailure(offer),
        missing ? 'there is no /dev/fuse' : `refused (${errnoName(-offer)}), Linux ${release()}`,
        old ? 'This kernel is too old to be asked without mounting.' : 'Without FUSE there are no views.',
        missing
          ? 'modprobe fuse; in a container, hand in /dev/fuse.'
          : stateOfFailure(offer) === 'unknown'
            ? AS_ROOT
            : null,
        true,
      ),
    ];
  }
  const stacked = STACKED.test(fileSystem);
  const ring = readSetting('/sys/module/fuse/parameters/enable_uring');
  return [
    finding(
      'fuse',
      title,
      'good',
      `protocol ${offer.major}.${offer.minor}, Linux ${release()}`,
      'Views can be served.',
      null,
      true,
    ),
    finding(
      'passthrough',
      'Passthrough',
      offer.passthrough && !stacked ? 'good' : 'missing',
      offer.passthrough ? (stacked ? `not over ${fileSystem}` : 'offered') : 'not offered',
      offer.passthrough && !stacked
        ? 'The kernel reads and writes the files of the underlay by itself, at its own speed.'
        : 'Every read and write passes through the daemon: correct, and slower.',
      offer.passthrough ? null : 'It takes Linux 6.9 with CONFIG_FUSE_PASSTHROUGH.',
    ),
    finding(
      'io_uring',
      'FUSE over io_uring',
      offer.ioUring || ring === 'Y' ? 'good' : ring === 'N' ? 'limited' : 'missing',
      offer.ioUring || ring === 'Y' ? 'switched on' : ring === 'N' ? 'switched off' : 'not in this kernel',
      offer.ioUring || ring === 'Y'
        ? 'Requests are served on the core of the caller.'
        : 'Requests are read from the device, which costs more for each, most of all on virtual machines.',
      ring === 'N'
        ? 'echo Y > /sys/module/fuse/parameters/enable_uring; for good: "options fuse enable_uring=1" in /etc/modprobe.d/fuse.conf'
        : ring === undefined
          ? 'It takes Linux 6.14 with CONFIG_FUSE_IO_URING.'
          : null,
    ),
    absences(offer.takesBackAbsences),
  ];
}

function absences(takenBack: boolean | null): Finding {
  const state = takenBack === null ? 'unknown' : takenBack ? 'good' : 'limited';
  return finding(
    'negative_invalidation',
    'Absent names',
    state,
    { good: 'can be taken back', limited: 'cannot be taken back', unknown: 'could not be tried' }[state],
    takenBack === true
      ? 'That a name is not there is cached until the host makes it.'
      : 'Every look for a name that is not there may go to the daemon, as compilers and interpreters have many: right, and slower.',
    takenBack === false ? 'Linux 6.19 to early 7.1 have this fault; earlier and later kernels do not.' : null,
  );
}

function watching(source: string, fileSystem: string): Finding {
  const title = 'Watching the source';
  if (REMOTE.test(fileSystem)) {
    return finding(
      'watching',
      title,
      'limited',
      `${fileSystem} changes without this kernel being told`,
      'Nothing is cached (coherence strict): always right, and slower.',
      '--coherence ttl=1 caches for a second, if changes from elsewhere may be seen that much later.',
    );
  }
  const result = fanotifyOn(source);
  if (typeof result === 'number') {
    return finding(
      'watching',
      title,
      stateOfFailure(result) === 'unknown' ? 'unknown' : 'limited',
      `no fanotify here (${errnoName(-result)})`,
      'Changes are reported by inotify (chokidar): leases start later, and files with several names are cached for less.',
      stateOfFailure(result) === 'unknown' ? AS_ROOT : null,
    );
  }
  const whole = result === 'file system';
  return finding(
    'watching',
    title,
    whole ? 'good' : 'limited',
    whole ? 'fanotify, one mark on the file system' : 'fanotify, a mark for each directory',
    whole
      ? 'Every change on the host is reported, whatever name of a file it goes through: names, attributes and pages can be cached.'
      : 'Changes are reported for what is watched, within the limit of marks; beyond it nothing is cached.',
  );
}

function watchLimits(): Finding[] {
  const limit = (id: string, title: string, file: string, enough: number, meaning: string): Finding[] => {
    const value = Number(readSetting(file) ?? Number.NaN);
    if (Number.isNaN(value)) return [];
    const good = value >= enough;
    const key = file.replace('/proc/sys/', '').replaceAll('/', '.');
    return [
      finding(
        id,
        title,
        good ? 'good' : 'limited',
        `${key} = ${value}`,
        meaning,
        good ? null : `sysctl -w ${key}=${enough}`,
      ),
    ];
  };
  return [
    ...limit(
      'fanotify_marks',
      'Marks of fanotify',
      '/proc/sys/fs/fanotify/max_user_marks',
      65_536,
      'As many directories and files can be watched where one mark on the file system is not possible.',
    ),
    ...limit(
      'inotify_watches',
      'Watches of inotify',
      '/proc/sys/fs/inotify/max_user_watches',
      65_536,
      'As many directories can be watched without fanotify; all programs of a user share them.',
    ),
  ];
}

/** The default of --max-workers. */
const WORKERS = 64;

function descriptors(): Finding {
  const { hard } = descriptorLimits();
  const enough = 65_536;
  return finding(
    'descriptors',
    'Descriptors',
    hard >= enough ? 'good' : 'limited',
    `at most ${hard} in a process`,
    `About ${Math.floor(hard / 2)} directories and files of the underlay stay open as long as containers know them; more are ` +
      `opened anew when they are needed. About ${sharesOf(hard, WORKERS).held.total} files can be open in containers at one time.`,
    hard >= enough ? null : 'Raise the hard limit: ulimit -Hn, LimitNOFILE= of a unit, limits.conf(5).',
  );
}

function handles(source: string, fileSystem: string): Finding {
  const remote = REMOTE.test(fileSystem);
  const error = remote ? -EOPNOTSUPP : fileHandlesOn(source);
  return finding(
    'file_handles',
    'File handles',
    error === 0 ? 'good' : stateOfFailure(error) === 'unknown' ? 'unknown' : 'limited',
    error === 0 ? `${fileSystem} has them` : remote ? `not used on ${fileSystem}` : `refused (${errnoName(-error)})`,
    error === 0
      ? 'What had to be closed to save descriptors is found again whatever happened to its name.'
      : 'What had to be closed to save descriptors is found again by its name, and is lost when the host has renamed it.',
    stateOfFailure(error) === 'unknown' ? AS_ROOT : null,
  );
}

function idmappedMounts(error: number, fileSystem: string): Finding {
  const id = 'idmapped_mounts';
  const title = 'Idmapped mounts';
  if (error === 0) {
    return finding(
      id,
      title,
      'good',
      `${fileSystem} has them`,
      'The kernel can shift the ids of this directory by itself: see the advice.',
    );
  }
  const unknown = error !== -EINVAL && error !== -ENOSYS && error !== -EOPNOTSUPP;
  return finding(
    id,
    title,
    unknown ? 'unknown' : 'missing',
    unknown
      ? `could not be tried (${errnoName(-error)})`
      : error === -ENOSYS
        ? 'not in this kernel'
        : `not on ${fileSystem}`,
    unknown
      ? 'Whether the kernel can shift ids here by itself is not known.'
      : 'Ids of this directory can be shifted by a view only.',
    unknown && process.geteuid?.() !== 0 ? AS_ROOT : null,
  );
}

function nested(count: number): Finding {
  return finding(
    'nested',
    'Mounted below the source',
    'good',
    count === 0 ? 'nothing' : count === 1 ? 'one file system' : `${count} file systems`,
    count === 0 ? 'The view is of one file system.' : 'They are part of the view, unless --xdev leaves them out.',
  );
}

function helper(): Finding {
  const found = !runCommand('mount.fuse3', ['--version']).missing;
  return finding(
    'mount_helper',
    'mount(8) and /etc/fstab',
    found ? 'good' : 'missing',
    found ? 'mount.fuse3 is there' : 'no mount.fuse3',
    found ? 'mount -t fuse.fuse-shiftfs works.' : 'mount -t fuse.fuse-shiftfs does not work; fuse-shiftfs mount does.',
    found ? null : 'Install the package fuse3.',
  );
}

function secondDriver(): Finding {
  const title = 'Driver fuse-native';
  try {
    loadAddon();
  } catch (error) {
    const { message, hint } = error as ShiftfsError;
    const meaning = '--driver fuse-native is refused; the driver kernel, which is the better one, needs nothing of it.';
    return finding('fuse_native', title, 'missing', message, meaning, hint ?? null);
  }
  const limits = limitsOf(FUSE_NATIVE).map((limit) => limit.split(':')[0]);
  const meaning = `--driver fuse-native can be chosen where the driver kernel fails. It has ${limits.join(', ')}.`;
  return finding('fuse_native', title, 'limited', 'installed', meaning);
}

function advise(error: number, path: string, fileSystem: string): Advice {
  const source = shellWord(path);
  if (error === -EINVAL || error === -ENOSYS || error === -EOPNOTSUPP) {
    return {
      idmappedMount: 'impossible',
      text: `Take a view: the kernel cannot shift ids on ${fileSystem} by itself${error === -ENOSYS ? ' (that takes Linux 5.12)' : ''}.`,
      commands: [{ for: 'any container', command: `fuse-shiftfs mount ${source} VIEW --map 0:100000:65536` }],
    };
  }
  if (error !== 0) {
    return {
      idmappedMount: 'unknown',
      text: 'Whether an idmapped mount would do could not be tried. Ask again as root before you take a view.',
      commands: [],
    };
  }
  const version = mountVersion();
  const capable = version !== undefined && (version[0] > 2 || version[1] >= 39);
  return {
    idmappedMount: 'possible',
    text:
      `Take an idmapped mount instead of a view: ${fileSystem} has them, they cost nothing, keep no cache of their own and need ` +
      'no daemon. A view is for what they cannot do: several owners shown as one (--squash-uid), a chown that is to be ' +
      'ignored, a runtime that has no option for them, or file systems without them mounted below the source.',
    commands: [
      {
        for: capable
          ? 'mount(8)'
          : `mount(8) of util-linux 2.39; this one is ${version?.join('.') ?? 'unknown'} and ignores the option silently`,
        command: `mount --bind -o X-mount.idmap=b:0:100000:65536 ${source} TARGET`,
      },
      { for: 'systemd-nspawn', command: `systemd-nspawn --private-users=pick --bind=${source}:/mnt:idmap ...` },
      { for: 'LXD', command: `lxc config device add CONTAINER data disk source=${source} path=/mnt shift=true` },
      { for: 'Incus', command: `incus config device add CONTAINER data disk source=${source} path=/mnt shift=true` },
      { for: 'podman', command: `podman run --uidmap 0:100000:65536 --volume ${source}:/mnt:idmap ...` },
    ],
  };
}

/** util-linux's: 2.38.1 is [2, 38]. */
function mountVersion(): readonly [number, number] | undefined {
  const [, major, minor] = /util-linux ([0-9]+)\.([0-9]+)/.exec(runCommand('mount', ['--version']).stdout) ?? [];
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor)];
}

function readSetting(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}
