// Where the daemon's log goes: readable lines on a terminal, JSON lines elsewhere in the foreground or in a file, syslog in
// the background. Promises: writing a line never throws, never waits for another thread and keeps nothing in memory. What
// cannot be written (disk full, nobody reads) is lost, counted, and the loss is reported with the next line that gets out.

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { type Logger, pino } from 'pino';
import type { LogLevel, MountOptions } from '../config/mount-options.js';
import { DatagramSocket, isWritable } from '../linux/process.js';

const SYSLOG_SOCKET = '/dev/log';
/** LOG_DAEMON, syslog(3). */
const FACILITY = 3 << 3;
const SEVERITIES: Readonly<Record<string, number>> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 };

/** O_NONBLOCK: a FIFO that nobody reads is an error at once. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
/** What isWritable() promises room for. */
const PIPE_BUF = 4096;

/** Takes one JSON line; false when it was lost. */
type Sink = (line: string) => boolean;

export interface DaemonLog {
  readonly logger: Logger;
  /** Descriptor of the log file, for what node itself writes to stderr when it dies; undefined when there is none. */
  readonly fileDescriptor: number | undefined;
  /** Opens the log file anew, after it was renamed by logrotate(8). */
  reopen(): void;
  /** Messages of warn and above since the last call: they are shown to whoever waits for the mount. */
  takeWarnings(): string[];
}

export async function openLog(
  options: Pick<MountOptions, 'logFile' | 'logLevel' | 'trace' | 'foreground' | 'mountpoint'>,
): Promise<DaemonLog> {
  const level: LogLevel = options.trace ? 'trace' : options.logLevel;
  let warnings: string[] = [];
  let lost = 0;
  let file: number | undefined;

  const openFile = (): void => {
    try {
      const fresh = openSync(options.logFile!, APPEND, 0o640);
      if (file !== undefined) closeSync(file);
      file = fresh;
    } catch (error) {
      // The old descriptor goes on being used. Without one, lines are lost until SIGHUP finds a file that opens.
      warnings.push(`log file: ${(error as Error).message}`);
    }
  };
  let sink: Sink;
  if (options.logFile !== null) {
    openFile();
    sink = (line) => file !== undefined && writeLine(file, line);
  } else if (options.foreground) {
    sink = isatty(2) ? await readableSink() : (line) => writeLine(2, line);
  } else sink = syslogSink();

  const logger = pino(
    {
      level,
      base: { pid: process.pid, view: options.mountpoint },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write: (line: string) => {
        if (warnings.length < 20 && /^\{"level":"(warn|error|fatal)"/.test(line)) {
          warnings.push((JSON.parse(line) as { msg?: string }).msg ?? line);
        }
        if (!sink(line)) lost++;
        else if (lost > 0) {
          const count = lost;
          lost = 0;
          logger.warn({ lines: count }, 'log lines were lost');
        }
      },
    },
  );
  return {
    logger,
    get fileDescriptor() {
      return file;
    },
    reopen: () => {
      if (options.logFile !== null) openFile();
    },
    takeWarnings: () => {
      const taken = warnings;
      warnings = [];
      return taken;
    },
  };
}

/** Never waits for a reader: stderr may be a pipe that nobody empties, and the main thread has caches to take back. */
function writeLine(fd: number, line: string): boolean {
  const bytes = Buffer.from(line);
  try {
    for (let done = 0; done < bytes.length; ) {
      if (!isWritable(fd)) return false;
      done += writeSync(fd, bytes, done, Math.min(PIPE_BUF, bytes.length - done));
    }
    return true;
  } catch {
    return false;
  }
}

async function readableSink(): Promise<Sink> {
  const { prettyFactory, isColorSupported } = await import('pino-pretty');
  const format = prettyFactory({
    colorize: isColorSupported,
    ignore: 'pid,view',
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return (line) => writeLine(2, format(line));
}

/** RFC 3164, as syslog(3) writes it to /dev/log; journald reads the same. Fields follow the message as name=value. */
function syslogSink(): Sink {
  const socket = new DatagramSocket(SYSLOG_SOCKET);
  return (line) => {
    const { level, msg, time, pid, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
    const severity = SEVERITIES[String(level)] ?? 6;
    return socket.send(`<${FACILITY | severity}>fuse-shiftfs[${String(pid)}]: ${String(msg ?? '')}${rest.join('')}`);
  };
}
