// inotifywait(1), run where the tests want it: in a container's user namespace on the view, or on the host's own file
// system, which says what a watcher is told when there is nothing between it and the files.

import type { ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { startProgram } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';

/** Ids of the view are those of the underlay and this. */
export const SHIFT = 100_000;
export const MAP = `0:${SHIFT}:65536`;

export interface WatchEvent {
  /** Upper case, as inotify(7) has it without IN_, with `,ISDIR` for directories. */
  readonly what: string;
  /** Relative to what is watched; bytes as latin1. */
  readonly path: string;
  /** performance.now() when it was read. */
  readonly at: number;
}

export interface WatcherOptions {
  readonly directory: string;
  /** In a user namespace of its own, as root of it. */
  readonly container: boolean;
  readonly recursive?: boolean;
  readonly events?: readonly string[];
}

const EVENTS = ['create', 'delete', 'move', 'modify', 'attrib', 'close_write'];
const READY_TIMEOUT = 20_000;

let markers = 0;

/** A watcher that has its watches. */
export class Watcher {
  readonly events: WatchEvent[] = [];
  private readonly child: ChildProcess;
  private readonly directory: string;
  private rest = '';
  private said = '';
  private wake: () => void = () => {};

  private constructor(child: ChildProcess, directory: string) {
    this.child = child;
    this.directory = directory;
    child.stdout?.setEncoding('latin1').on('data', (text: string) => this.read(text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.said += text;
      this.wake();
    });
    child.once('exit', () => this.wake());
  }

  static async start(options: WatcherOptions): Promise<Watcher> {
    const { directory, container, recursive = true, events = EVENTS } = options;
    const command = [
      'inotifywait',
      '--monitor',
      ...(recursive ? ['--recursive'] : []),
      ...events.flatMap((event) => ['--event', event]),
      '--no-newline',
      '--format',
      '%e|%w%f%0',
      directory,
    ];
    const place = container ? { uid: 0, gid: 0, userns: [CONTAINER_MAP], mountNamespace: true } : {};
    const watcher = new Watcher(await startProgram(command, place), directory);
    await watcher.until('watches', READY_TIMEOUT, () => watcher.said.includes('Watches established'));
    return watcher;
  }

  /**
   * Resolves when everything that was done in the underlay before is told: events come in order, and a file made now comes
   * last. `make` is the directory of the underlay that shows as the one watched; the marker is taken away again.
   */
  async settled(make: string, timeout = 20_000): Promise<void> {
    const name = `marker-${++markers}`;
    writeFileSync(`${make}/${name}`, '');
    await this.sees('DELETE', name, timeout, () => rmSync(`${make}/${name}`));
  }

  /** Resolves with the event when there is one; `meanwhile` runs first. */
  async sees(what: string, path: string, timeout = 10_000, meanwhile: () => void = () => {}): Promise<WatchEvent> {
    meanwhile();
    let found: WatchEvent | undefined;
    await this.until(`${what} ${path}`, timeout, () => {
      found = this.events.findLast((event) => event.path === path && event.what.split(',').includes(what));
      return found !== undefined;
    });
    return found!;
  }

  /** Takes what was told so far, without the markers. */
  take(): WatchEvent[] {
    return this.events.splice(0).filter(({ path }) => !path.startsWith('marker-'));
  }

  async until(what: string, timeout: number, condition: () => boolean): Promise<void> {
    const end = performance.now() + timeout;
    while (!condition()) {
      const left = end - performance.now();
      if (this.child.exitCode !== null) throw new Error(`inotifywait ended: ${this.said}`);
      if (left <= 0) {
        const last = this.events.slice(-20).map((event) => `${event.what} ${event.path}`);
        throw new Error(`no ${what} within ${timeout} ms; the last events:\n${last.join('\n')}\n${this.said}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  private read(text: string): void {
    const at = performance.now();
    const parts = (this.rest + text).split('\0');
    this.rest = parts.pop() ?? '';
    for (const part of parts) {
      const bar = part.indexOf('|');
      const path = part.slice(bar + 1);
      const base = Buffer.from(`${this.directory}/`).toString('latin1');
      const what = part.slice(0, bar).replace('CLOSE_WRITE,CLOSE', 'CLOSE_WRITE');
      this.events.push({ what, path: path.startsWith(base) ? path.slice(base.length) : path, at });
    }
    this.wake();
  }
}

/**
 * What a watcher must be told of each name, in this very order: how it came and went. Between names only renames have an
 * order that is certain: fanotify(7) merges what the same process did to the same file into one event.
 */
export function nameEvents(events: readonly WatchEvent[]): Record<string, string[]> {
  const byName: Record<string, string[]> = {};
  for (const { what, path } of events) {
    if (!/^(CREATE|DELETE|MOVED_FROM|MOVED_TO)\b/.test(what)) continue;
    byName[path] ??= [];
    byName[path].push(what);
  }
  return byName;
}

export function renames(events: readonly WatchEvent[]): string[] {
  return events.filter(({ what }) => /^MOVED/.test(what)).map(({ what, path }) => `${what} ${path}`);
}

const directoryOf = (path: string): string => path.slice(0, path.lastIndexOf('/') + 1);

/**
 * What a watcher of the view is to be told where one on the host's file system was told `events`: the same, but a move
 * between directories as mv(1) makes it between file systems. `existing` are the paths that were there before.
 */
export function asForwarded(events: readonly WatchEvent[], existing: ReadonlySet<string>): WatchEvent[] {
  const there = new Set(existing);
  const told: WatchEvent[] = [];
  let from: WatchEvent | undefined;
  for (const event of events) {
    const { what, path, at } = event;
    const flags = what.endsWith(',ISDIR') ? ',ISDIR' : '';
    const isFrom = what.startsWith('MOVED_FROM');
    if (from !== undefined) {
      // Both events of a rename come one after the other.
      if (what.startsWith('MOVED_TO') && directoryOf(path) === directoryOf(from.path)) told.push(from, event);
      else told.push({ ...from, what: from.what.replace('MOVED_FROM', 'DELETE') });
    }
    if (what.startsWith('MOVED_TO') && (from === undefined || directoryOf(path) !== directoryOf(from.path))) {
      if (there.has(path)) told.push({ what: `DELETE${flags}`, path, at });
      told.push({ what: `CREATE${flags}`, path, at });
      if (flags === '') told.push({ what: 'CLOSE_WRITE', path, at });
    } else if (!isFrom && !what.startsWith('MOVED_TO')) told.push(event);
    if (/^(CREATE|MOVED_TO)/.test(what)) there.add(path);
    if (/^(DELETE|MOVED_FROM)/.test(what)) there.delete(path);
    from = isFrom ? event : undefined;
  }
  if (from !== undefined) told.push({ ...from, what: from.what.replace('MOVED_FROM', 'DELETE') });
  return told;
}

/** Which files were said to have changed, and how; how often depends on when somebody looked. */
export function changeEvents(events: readonly WatchEvent[]): string[] {
  const changes = events
    .filter(({ what, path }) => /^(MODIFY|CLOSE_WRITE|ATTRIB)\b/.test(what) && path !== '')
    .map(({ what, path }) => `${what} ${path}`);
  return [...new Set(changes)].sort();
}

/** What was told of the directories that were there: of new ones, recursive watchers learn too late, everywhere. */
export function within(directories: ReadonlySet<string>, events: readonly WatchEvent[]): WatchEvent[] {
  return events.filter(({ path }) => directories.has(path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''));
}
