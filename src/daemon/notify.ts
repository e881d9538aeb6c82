// systemd's readiness protocol (sd_notify(3)): a datagram to $NOTIFY_SOCKET. Without that variable nothing is sent.

import { DatagramSocket } from '../linux/process.js';

export interface ServiceManager {
  ready(status: string): void;
  status(status: string): void;
  stopping(status: string): void;
}

/** Starts the watchdog's heartbeat, too, where the unit has WatchdogSec= (sd_watchdog_enabled(3)). */
export function connectServiceManager(environment: NodeJS.ProcessEnv): ServiceManager {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined || !/^[/@]./.test(path)) return { ready: () => {}, status: () => {}, stopping: () => {} };
  const socket = new DatagramSocket(path);
  const send = (...lines: string[]): void => {
    socket.send(lines.join('\n'));
  };
  const line = (text: string): string => `STATUS=${text.replaceAll('\n', ' ')}`;
  return {
    ready: (status) => {
      send('READY=1', `MAINPID=${process.pid}`, line(status));
      beat(environment, send);
    },
    status: (status) => send(line(status)),
    stopping: (status) => send('STOPPING=1', line(status)),
  };
}

/** Twice a period, from the event loop: a main thread that is stuck misses it, and that is what systemd asks. */
function beat(environment: NodeJS.ProcessEnv, send: (line: string) => void): void {
  const microseconds = Number(environment['WATCHDOG_USEC']);
  const pid = environment['WATCHDOG_PID'];
  if (!(microseconds > 0) || (pid !== undefined && Number(pid) !== process.pid)) return;
  setInterval(() => send('WATCHDOG=1'), microseconds / 2000).unref();
}
