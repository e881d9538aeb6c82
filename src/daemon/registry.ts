// Which views are being served, for `status`, `umount` and the check against a double mount: one record (JSON) and one
// status socket a view in the runtime directory, both for their owner alone. A record outlives a killed daemon; whoever
// finds it so removes it. The directory can be walked by others and listed by its owner only.

import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { ShiftfsError } from '../errors.js';
import { LOCK_EX } from '../linux/abi.js';
import { readMounts } from '../linux/mountinfo.js';
import { SUN_PATH_MAX } from '../linux/process.js';
import { call2, NR } from '../linux/syscalls.js';

const DIRECTORY_NAME = 'fuse-shiftfs';
const RECORD = '.json';
const SOCKET = '.sock';

export interface ViewRecord {
  readonly pid: number;
  /** Start of the process in clock ticks since boot: with the pid, it names a process for ever (proc_pid_stat(5)). */
  readonly startTicks: number;
  /** `mnt:[4026531841]`: the mount point means something only there. */
  readonly mountNamespace: string;
  readonly source: string;
  readonly mountpoint: string;
  /**
   * `major:minor` of the view; null until it is mounted. Unlike a mount id, it is not given to another mount as long as
   * the daemon lives: copies of the mount elsewhere keep the file system.
   */
  readonly device: string | null;
}

type Place = Pick<ViewRecord, 'mountpoint' | 'mountNamespace'>;

export interface RegisteredView {
  readonly record: ViewRecord;
  readonly socketPath: string;
}

/** A view's place in the registry, held by its daemon. */
export interface Claim {
  readonly socketPath: string;
  /** The view is mounted: from now on the place is taken for as long as this mount is there. */
  mounted(device: string): void;
  /** Removes record and socket. */
  release(): void;
}

/** /run/fuse-shiftfs for root; below $XDG_RUNTIME_DIR where /run cannot be written. */
export function runtimeDirectory(): string {
  const run = canWrite('/run') || canWrite(join('/run', DIRECTORY_NAME)) ? '/run' : process.env['XDG_RUNTIME_DIR'];
  return join(run ?? '/run', DIRECTORY_NAME);
}

function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export function mountNamespace(): string {
  return readlinkSync('/proc/self/ns/mnt');
}

/**
 * Registers this process as the one that serves `mountpoint`. Throws ShiftfsError BUSY when a living daemon has it mounted
 * there or is about to; the lock makes that certain for two that start at the same moment. A daemon whose mount was taken
 * away, and which goes on serving copies in other mount namespaces, is in nobody's way.
 */
export function claim(source: string, mountpoint: string): Claim {
  const directory = runtimeDirectory();
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const { uid, mode } = lstatSync(directory);
  if (uid !== process.geteuid?.() || (mode & constants.S_IFMT) !== constants.S_IFDIR) {
    throw new ShiftfsError('NO_PERMISSION', `${directory}: not a directory of our own`, 'Remove it.');
  }
  chmodSync(directory, 0o711);

  const record: ViewRecord = {
    pid: process.pid,
    startTicks: readStat(process.pid)?.startTicks ?? 0,
    mountNamespace: mountNamespace(),
    source,
    mountpoint,
    device: null,
  };
  const name = viewName(record);
  const recordPath = join(directory, name + RECORD);
  const socketPath = join(directory, name + SOCKET);
  if (Buffer.byteLength(socketPath) >= SUN_PATH_MAX) {
    throw new ShiftfsError('INTERNAL', `${socketPath}: too long for a socket`, 'Shorten $XDG_RUNTIME_DIR.');
  }
  return locked(directory, () => {
    for (const { record: other } of readViews(directory)) {
      if (!isSamePlace(other, record) || !isMounted(other)) continue;
      throw new ShiftfsError(
        'BUSY',
        `${mountpoint}: already served by process ${other.pid}`,
        `"fuse-shiftfs umount ${mountpoint}" takes the present view away.`,
      );
    }
    writeFileSync(recordPath, JSON.stringify(record), { mode: 0o600 });
    return {
      socketPath,
      mounted: (device) =>
        locked(directory, () => writeFileSync(recordPath, JSON.stringify({ ...record, device }), { mode: 0o600 })),
      release: () => {
        rmSync(socketPath, { force: true });
        rmSync(recordPath, { force: true });
      },
    };
  });
}

/** Every view with a living daemon, by mount point. Leftovers of dead ones are removed. Throws NO_PERMISSION. */
export function listViews(): RegisteredView[] {
  const directory = runtimeDirectory();
  if (!existsSync(directory)) return [];
  try {
    accessSync(directory, constants.R_OK | constants.W_OK);
  } catch {
    throw new ShiftfsError('NO_PERMISSION', `${directory}: permission denied`, 'Ask as the user who mounts: root.');
  }
  return locked(directory, () => readViews(directory));
}

/** The living daemon of the view that is mounted (or about to be) at `mountpoint` in this mount namespace. */
export function findView(mountpoint: string): RegisteredView | undefined {
  const place = { mountpoint, mountNamespace: mountNamespace() };
  return listViews().find(({ record }) => isSamePlace(record, place) && isMounted(record));
}

/** Whether the view is mounted where its record says, or about to be. Only for records of this mount namespace. */
export function isMounted({ device, mountpoint }: ViewRecord): boolean {
  return device === null || readMounts().some((mount) => mount.device === device && mount.mountpoint === mountpoint);
}

function isSamePlace(a: Place, b: Place): boolean {
  return a.mountpoint === b.mountpoint && a.mountNamespace === b.mountNamespace;
}

/** Under the lock. */
function readViews(directory: string): RegisteredView[] {
  const views: RegisteredView[] = [];
  for (const name of readdirSync(directory)) {
    if (!name.endsWith(RECORD)) continue;
    const recordPath = join(directory, name);
    const socketPath = join(directory, name.slice(0, -RECORD.length) + SOCKET);
    const record = readRecord(recordPath);
    if (record && isAlive(record)) views.push({ record, socketPath });
    else {
      rmSync(socketPath, { force: true });
      rmSync(recordPath, { force: true });
    }
  }
  return views.sort((a, b) => (a.record.mountpoint < b.record.mountpoint ? -1 : 1));
}

/** Whether the very process of this record still serves, or could (it may be stopped). One that is ending does not. */
export function isAlive(record: ViewRecord): boolean {
  const stat = readStat(record.pid);
  return stat?.startTicks === record.startTicks && !/^[ZX]$/.test(stat.state);
}

/** Whether nothing is left of it: the first thread of a process may be gone while others still hold the device open. */
export function isGone(record: ViewRecord): boolean {
  const stat = readStat(record.pid);
  if (stat?.startTicks !== record.startTicks) return true;
  return /^[ZX]$/.test(stat.state) && threadCount(record.pid) <= 1;
}

/** Whether it was stopped by a signal or a debugger. */
export function isStopped(record: ViewRecord): boolean {
  return /^[Tt]$/.test(readStat(record.pid)?.state ?? '');
}

/** Readable, unique, and short enough for a socket whatever the length of the mount point. */
function viewName({ mountpoint, mountNamespace, pid }: ViewRecord): string {
  const hash = createHash('sha256').update(`${mountNamespace} ${mountpoint}`).digest('hex').slice(0, 12);
  const readable = basename(mountpoint)
    .replace(/[^A-Za-z0-9._-]/g, '_')
    .slice(0, 32);
  return `${readable || 'root'}-${hash}-${pid}`;
}

function readStat(pid: number): { state: string; startTicks: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field, the program's name, may hold spaces and parentheses: count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, startTicks: Number(fields[19]) };
  } catch {
    return undefined;
  }
}

function threadCount(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

function readRecord(path: string): ViewRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as Partial<ViewRecord>;
    return typeof record.pid === 'number' && typeof record.mountpoint === 'string' ? (record as ViewRecord) : undefined;
  } catch {
    return undefined;
  }
}

function locked<T>(directory: string, action: () => T): T {
  const fd = openSync(join(directory, 'lock'), constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    // Held for a few file operations only, so waiting for it is short.
    call2(NR.flock, fd, LOCK_EX);
    return action();
  } finally {
    closeSync(fd);
  }
}
