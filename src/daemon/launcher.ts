// Starts the daemon of one view, in the background or in place of this process. The privileges that no daemon needs are
// dropped here, before its node starts: libuv's and V8's threads exist from node's first moment and would keep them, and
// credentials are per thread. fork and execve carry on those of the calling thread, this process's main thread.

import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { chdir, execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { ShiftfsError } from '../errors.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import {
  CAP,
  closeOnExec,
  dropPrivileges,
  exec,
  leaveNetwork,
  pipe,
  setServingLimits,
  unmount,
} from '../linux/process.js';
import type { LaunchOrder, LaunchOutcome } from './control.js';

const DAEMON = fileURLToPath(new URL('main.js', import.meta.url));
/** The descriptor that carries the order (and back the outcome) in a background daemon. */
const CONTROL_FD = 3;
/** What a daemon that died has said last, for the one who waits for it. */
const STDERR_TAIL = 4096;
/** A pipe holds this much without a reader (pipe(7)); an order of more could not be written before exec. */
const PIPE_CAPACITY = 65536;

/**
 * CHOWN to FSETID, MKNOD and SETFCAP: to do to the underlay what a caller may do. SETUID and SETGID: to do it as that
 * caller. DAC_READ_SEARCH: file handles. SYS_ADMIN: mount, fanotify, passthrough, trusted.* attributes.
 */
const KEPT = [
  CAP.CHOWN,
  CAP.DAC_OVERRIDE,
  CAP.DAC_READ_SEARCH,
  CAP.FOWNER,
  CAP.FSETID,
  CAP.SETGID,
  CAP.SETUID,
  CAP.SYS_ADMIN,
  CAP.MKNOD,
  CAP.SETFCAP,
];

/** Gives up, in this thread and for good, what the daemon is not to inherit; sets what it is. */
function becomeDaemonLike(keptDescriptors: readonly number[]): void {
  // Somebody's lock file or pipe: held by a daemon, it would be held for ever.
  closeOnExec(keptDescriptors);
  setServingLimits();
  process.umask(0);
  chdir('/');
  // An abstract socket of the service manager (sd_notify(3)) would be left behind with the network. A service that may not
  // make namespaces has RestrictAddressFamilies= instead.
  if (!process.env['NOTIFY_SOCKET']?.startsWith('@')) leaveNetwork();
  dropPrivileges(KEPT);
}

/** The paths are there for ps(1) only: a process can retitle itself within the room that its arguments take. */
function daemonArguments(control: number, { options }: LaunchOrder): string[] {
  return [DAEMON, String(control), options.source, options.mountpoint];
}

/** What systemd hands over and keeps for us (sd_listen_fds(3)); they name this very pid, which only exec keeps. */
function activationDescriptors(): number[] {
  if (Number(process.env['LISTEN_PID']) !== process.pid) return [];
  return Array.from({ length: Number(process.env['LISTEN_FDS']) || 0 }, (_, index) => 3 + index);
}

/**
 * Replaces this process by the daemon: the pid stays, and with it whoever waits for it (a terminal, systemd). Throws
 * ShiftfsError; does not return otherwise.
 */
export function launchInForeground(order: LaunchOrder): never {
  const text = JSON.stringify(order);
  if (Buffer.byteLength(text) > PIPE_CAPACITY) {
    throw new ShiftfsError('BAD_OPTION', 'the options are too long', 'Join neighbouring ranges of the map.');
  }
  const channel = pipe();
  writeSync(channel.write, text);
  becomeDaemonLike([channel.read, ...activationDescriptors()]);
  exec(execPath, daemonArguments(channel.read, order), process.env);
}

/**
 * Starts the daemon in a session of its own and waits until it serves. Returns what it warned of. Throws the daemon's own
 * ShiftfsError, or DAEMON_DIED with its last words; nothing stays mounted then. `interrupt` ends the attempt.
 */
export async function launchInBackground(order: LaunchOrder, interrupt: AbortSignal): Promise<readonly string[]> {
  const before = mountAt(readMounts(), order.options.mountpoint)?.id;
  becomeDaemonLike([]);
  const daemon = spawn(execPath, daemonArguments(CONTROL_FD, order), {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const control = daemon.stdio[CONTROL_FD] as Socket;
  let lastWords = '';
  daemon.stderr!.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-STDERR_TAIL);
  });
  const ended = new Promise<string>((done) => {
    daemon.once('error', (error) => done(error.message));
    daemon.once('close', (code, signal) => done(signal ? `killed by ${signal}` : `exit status ${code}`));
  });
  const stop = (): void => {
    daemon.kill('SIGTERM');
  };
  interrupt.addEventListener('abort', stop);

  // A daemon that dies before it has read everything: its end tells more than EPIPE.
  control.on('error', () => {});
  control.end(JSON.stringify(order));
  const outcome = await readOutcome(control);
  if (outcome && 'ready' in outcome) {
    daemon.unref();
    return outcome.warnings;
  }
  const end = await ended;
  const left = mountAt(readMounts(), order.options.mountpoint);
  if (left && left.id !== before && left.fstype === VIEW_FSTYPE) unmount(left.mountpoint, true);
  if (outcome) throw new ShiftfsError(outcome.error.code, outcome.error.message, outcome.error.hint);
  const said = lastWords.trim();
  throw new ShiftfsError(
    'DAEMON_DIED',
    `the daemon ended before the view was served (${end})${said ? `:\n${said}` : ''}`,
    'Run the same with --foreground --log-level debug to see how far it gets.',
  );
}

/** Undefined when the daemon closed its end without a word. */
async function readOutcome(control: Socket): Promise<LaunchOutcome | undefined> {
  let text = '';
  try {
    for await (const chunk of control.setEncoding('utf8')) {
      text += chunk as string;
      if (text.endsWith('\n')) break;
    }
    return JSON.parse(text) as LaunchOutcome;
  } catch {
    return undefined;
  }
}
