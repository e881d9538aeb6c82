// The daemon: one process, one view. Takes its order from an inherited descriptor, has a driver mount and serve, says when
// it is ready, answers `status`, and leaves with a status (exit-codes.ts) that says why the view ended. Its threads never
// touch the mount point. It leaves by exit_group: process.exit() would wait for workers that sit in read(2).

import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { describeIdMap } from '../config/id-map.js';
import type { MountOptions } from '../config/mount-options.js';
import type { Driver, EndReason, MountedView } from '../driver/driver.js';
import { limitsOf } from '../driver/limits.js';
import { ShiftfsError } from '../errors.js';
import { EXIT, exitCodeOf, exitCodeOfEnd } from '../exit-codes.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { duplicateOnto, setNotDumpable, unmount } from '../linux/process.js';
import { exitGroup } from '../linux/syscalls.js';
import { asShiftfsError, type LaunchOrder, type LaunchOutcome, outcomeOfError } from './control.js';
import { startGuardian } from './guardian.js';
import { type DaemonLog, openLog } from './log.js';
import { connectServiceManager } from './notify.js';
import { type Claim, claim } from './registry.js';
import { formatError } from './report.js';
import { type StatusReport, serveStatus } from './status.js';

/** How long those who still use an unmounted view are served before the daemon leaves all the same. */
const GRACE_MS = 5000;

const controlFd = Number(process.argv[2]);
const { options, notes } = JSON.parse(readFileSync(controlFd, 'utf8')) as LaunchOrder;
process.title = `fuse-shiftfs ${options.source} ${options.mountpoint}`;
setNotDumpable();

const log: DaemonLog = await openLog(options);
const { logger } = log;
const serviceManager = connectServiceManager(process.env);
const startedAt = new Date();

let place: Claim | undefined;
let view: MountedView | undefined;
let state: StatusReport['state'] = 'starting';
let guardian: { dismiss(): void } | undefined;
/** `major:minor` of the view once it is mounted. */
let device: string | undefined;

const logWarnings = log.takeWarnings();
for (const note of notes) logger.warn(note);
// Whoever waits for the mount has been told the notes already.
log.takeWarnings();
process.on('uncaughtException', (error) => fail('uncaught exception', error));
process.on('unhandledRejection', (error) => fail('unhandled rejection', error));
process.on('SIGTERM', () => void stop('SIGTERM'));
process.on('SIGINT', () => void stop('SIGINT'));
process.on('SIGHUP', () => {
  log.reopen();
  keepStderrUseful();
  logger.info('log file opened anew');
});
// A limit on file size that could not be lifted makes a write fail with EFBIG, as it does for everybody; not kill us.
process.on('SIGXFSZ', () => {});

try {
  place = claim(options.source, options.mountpoint);
  await serveStatus(place.socketPath, report);
  const driver = await loadDriver(options.driver);
  view = await driver.mount(options, logger);
  if (state === 'starting') state = 'serving';
} catch (error) {
  const known = asShiftfsError(error);
  logger.error({ code: known.code, hint: known.hint }, known.message);
  if (options.foreground) writeSync(2, formatError(known));
  else tell(outcomeOfError(known));
  leave(exitCodeOf(known.code));
}
const mount = mountAt(readMounts(), options.mountpoint);
if (mount?.fstype === VIEW_FSTYPE) {
  device = mount.device;
  place.mounted(device);
}
if (options.autoUnmount) guardian = startGuardian(options.mountpoint);
const limits = limitsOf(view.capabilities).map((limit) => limit.split(':')[0]);
if (limits.length > 0) {
  logger.warn(`--driver ${options.driver} has ${limits.join(', ')}; "fuse-shiftfs status" says what that means`);
}
logger.info({ source: options.source, map: describeIdMap(options.map) }, 'serving');
serviceManager.ready(`Serving ${options.source} on ${options.mountpoint}`);
if (!options.foreground) {
  tell({ ready: true, pid: process.pid, warnings: [...logWarnings, ...log.takeWarnings()] });
  keepStderrUseful();
}
finish(await view.ended);

async function loadDriver(name: MountOptions['driver']): Promise<Driver> {
  if (name === 'kernel') return (await import('../driver/kernel.js')).kernelDriver;
  return (await import('../driver/fuse-native.js')).fuseNativeDriver;
}

function report(): StatusReport {
  return {
    version: 1,
    pid: process.pid,
    state,
    source: options.source,
    mountpoint: options.mountpoint,
    map: describeIdMap(options.map),
    driver: options.driver,
    limits: view ? limitsOf(view.capabilities) : [],
    startedAt: startedAt.toISOString(),
    view: viewStatus(),
  };
}

/** A view that cannot tell how it does goes on serving all the same. */
function viewStatus(): StatusReport['view'] {
  try {
    return view?.status() ?? null;
  } catch (error) {
    logger.error({ err: error }, 'no status');
    return null;
  }
}

/**
 * Unmounts; when the view is in use, detaches it so that nobody new gets in. Whoever is still there, and every container
 * with a copy of the mount, is served for GRACE_MS more; a second signal cuts that short.
 */
async function stop(signal: string): Promise<void> {
  if (!view || state === 'stopping') {
    logger.warn({ signal }, view ? 'stopping at once' : 'stopped before the view was served');
    detach();
    leave(view ? EXIT.ok : EXIT.interrupted);
  }
  state = 'stopping';
  serviceManager.stopping(`Unmounting ${options.mountpoint}`);
  logger.info({ signal }, 'unmounting');
  // Somebody may have unmounted it already; then only copies in other mount namespaces are being served.
  if (isMounted()) {
    try {
      await view.unmount(false);
    } catch (error) {
      if (!(error instanceof ShiftfsError && error.code === 'BUSY')) return fail('unmounting failed', error);
      // By whom, /proc does not tell without CAP_SYS_PTRACE.
      logger.warn('the view is in use: detaching it');
      await view.unmount(true);
    }
  }
  setTimeout(() => {
    logger.warn(
      'open files or copies of the mount in other mount namespaces remain: their users get ENOTCONN from now on',
    );
    leave(EXIT.ok);
  }, GRACE_MS);
}

function finish(reason: EndReason): never {
  if (reason.kind === 'failed') logger.fatal({ err: reason.error }, 'the view failed');
  else if (reason.kind === 'aborted') logger.error('the connection to the kernel was aborted');
  else logger.info('unmounted');
  // An aborted or failed view leaves its mount point behind, and every access to it would give ENOTCONN.
  if (reason.kind !== 'unmounted') detach();
  leave(exitCodeOfEnd(reason));
}

function fail(what: string, error: unknown): never {
  logger.fatal({ err: error }, what);
  detach();
  leave(EXIT.daemonFailed);
}

/** Takes our mount away without help from the driver. */
function detach(): void {
  if (isMounted()) unmount(options.mountpoint, true);
}

/** Whether what is on the mount point is ours. Before `device` is known it can be nobody else's: the place is claimed. */
function isMounted(): boolean {
  const top = mountAt(readMounts(), options.mountpoint);
  return top?.fstype === VIEW_FSTYPE && (device === undefined ? place !== undefined : top.device === device);
}

function leave(code: number): never {
  guardian?.dismiss();
  place?.release();
  return exitGroup(code);
}

function tell(outcome: LaunchOutcome): void {
  try {
    writeSync(controlFd, `${JSON.stringify(outcome)}\n`);
    closeSync(controlFd);
  } catch {
    // Nobody waits any more; the log has it.
  }
}

/** In the background nobody reads stderr: what node says there when it dies belongs in the log file, if there is one. */
function keepStderrUseful(): void {
  if (options.foreground) return;
  const fd = log.fileDescriptor ?? openSync('/dev/null', constants.O_WRONLY);
  duplicateOnto(fd, 2);
  if (fd !== log.fileDescriptor) closeSync(fd);
}
