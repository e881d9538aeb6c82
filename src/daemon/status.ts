// The status socket: whoever connects is sent one JSON text, the report of this moment, and the connection is closed.
// Nothing is read from it. Only its owner can connect (mode 0600, in a directory of the same owner).

import { chmodSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { ViewStatus } from '../driver/driver.js';
import { findView } from './registry.js';

/** For a daemon that is asked in passing. */
const ANSWER_MS = 2000;

export interface StatusReport {
  /** Of this format. */
  readonly version: 1;
  readonly pid: number;
  readonly state: 'starting' | 'serving' | 'stopping';
  readonly source: string;
  readonly mountpoint: string;
  readonly map: string;
  readonly driver: string;
  /** What the driver cannot do, in words. */
  readonly limits: readonly string[];
  /** ISO 8601. */
  readonly startedAt: string;
  /** Null until the view serves. */
  readonly view: ViewStatus | null;
}

/** Resolves when `path` accepts connections. */
export function serveStatus(path: string, report: () => StatusReport): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${JSON.stringify(report())}\n`);
  });
  server.on('error', () => {});
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const umask = process.umask(0o177);
    try {
      server.listen(path, () => {
        chmodSync(path, 0o600);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

/** Undefined when the daemon does not answer within `milliseconds` (stopped, stuck, just gone). */
export function askStatus(path: string, milliseconds: number): Promise<StatusReport | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    const giveUp = (): void => {
      socket.destroy();
      resolve(undefined);
    };
    socket.setTimeout(milliseconds, giveUp);
    socket.setEncoding('utf8');
    socket.on('error', giveUp);
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('end', () => {
      try {
        resolve(JSON.parse(text) as StatusReport);
      } catch {
        resolve(undefined);
      }
    });
  });
}

/** What the daemon of the view at the canonical `mountpoint` says; undefined when there is none, or it does not answer. */
export async function reportOf(mountpoint: string): Promise<StatusReport | undefined> {
  const view = findView(mountpoint);
  return view && askStatus(view.socketPath, ANSWER_MS);
}
