// `fuse-shiftfs status`: what is mounted and how it does, from the daemons themselves.

import { setTimeout as sleep } from 'node:timers/promises';
import { canonicalMountpoint, probe } from '../daemon/preflight.js';
import { isMounted, listViews, mountNamespace, type RegisteredView } from '../daemon/registry.js';
import { askStatus, type StatusReport } from '../daemon/status.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';
import { type Mount, mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { prometheusText } from './prometheus.js';

const ANSWER_MS = 2000;

/** `mounted`: at its mount point still. A view that is not serves copies of it in other mount namespaces. */
type Shown = Report | WithoutReport;

type Report = StatusReport & { readonly mounted: boolean };

/** `not answering`: its daemon is stopped or stuck. `dead`: it has none. `unregistered`: one that we do not know. */
interface WithoutReport {
  readonly pid: number | null;
  readonly state: 'not answering' | 'dead' | 'unregistered';
  readonly source: string;
  readonly mountpoint: string;
  readonly mounted: boolean;
}

export type StatusFormat = 'text' | 'json' | 'prometheus';

/** Returns the exit status. Throws ShiftfsError NOT_MOUNTED or NO_PERMISSION. */
export async function status(path: string | undefined, form: StatusFormat): Promise<number> {
  print(render(await select(path), form, path !== undefined));
  return EXIT.ok;
}

/**
 * Shows it again every `seconds`, on a terminal in the same place, with the requests of each second, until SIGINT or
 * SIGTERM. Goes on when views come and go.
 */
export async function watchStatus(path: string | undefined, form: 'text' | 'json', seconds: number): Promise<number> {
  const ended = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort());
  let before: Snapshot | undefined;
  // The first look tells who asks for a view that is not there.
  let views: readonly Shown[] | undefined = await select(path);
  while (!ended.signal.aborted) {
    const at = performance.now();
    if (views === undefined) print(`${path}: not mounted`);
    else if (form === 'json') print(JSON.stringify(path === undefined ? views : views[0]));
    else {
      const clear = process.stdout.isTTY ? '\x1b[H\x1b[J' : '';
      const title = `every ${seconds} s, ${new Date().toISOString().slice(11, 19)} UTC`;
      print(`${clear}${title}\n\n${render(views, form, path !== undefined, before)}`);
      before = { at, views };
    }
    await sleep(Math.max(0, seconds * 1000 - (performance.now() - at)), undefined, { signal: ended.signal }).catch(
      () => {},
    );
    if (ended.signal.aborted) break;
    views = await select(path).catch((error: unknown) => {
      if (error instanceof ShiftfsError && error.code === 'NOT_MOUNTED') return undefined;
      throw error;
    });
  }
  return EXIT.ok;
}

/** An earlier look, for figures that grow. */
interface Snapshot {
  /** performance.now(). */
  readonly at: number;
  readonly views: readonly Shown[];
}

function render(views: readonly Shown[], form: StatusFormat, one: boolean, before?: Snapshot): string {
  switch (form) {
    case 'json':
      return JSON.stringify(one ? views[0] : views, null, 2);
    case 'prometheus':
      return prometheusText(
        views.map((view) => ({
          source: view.source,
          mountpoint: view.mountpoint,
          report: 'version' in view ? view : null,
        })),
      );
    case 'text':
      return views.length === 0 ? 'no views' : views.map((view) => format(view, before)).join('\n\n');
  }
}

/** All views, or the one at `path`. Throws NOT_MOUNTED. */
async function select(path: string | undefined): Promise<readonly Shown[]> {
  const views = await gather();
  if (path === undefined) return views;
  const mountpoint = canonicalMountpoint(path);
  const view = views.find((each) => each.mountpoint === mountpoint);
  if (!view) {
    throw new ShiftfsError(
      'NOT_MOUNTED',
      `${mountpoint}: no view of fuse-shiftfs is mounted there`,
      '"fuse-shiftfs status" lists the views.',
    );
  }
  return [view];
}

/** Those that are mounted in this mount namespace come first: a path names them before their namesakes elsewhere. */
async function gather(): Promise<Shown[]> {
  const here = mountNamespace();
  const registered = listViews().map((view) => ({
    ...view,
    mounted: view.record.mountNamespace !== here || isMounted(view.record),
    rank: view.record.mountNamespace !== here ? 1 : isMounted(view.record) ? 0 : 2,
  }));
  const known = await Promise.all(registered.sort((a, b) => a.rank - b.rank).map(ask));
  const mounts = readMounts();
  const unknown = mounts.filter(
    (mount) =>
      mount.fstype === VIEW_FSTYPE &&
      mountAt(mounts, mount.mountpoint)?.id === mount.id &&
      !registered.some(({ record }) => record.mountpoint === mount.mountpoint),
  );
  return [...known, ...(await Promise.all(unknown.map(probeUnknown)))];
}

async function ask({ record, socketPath, mounted }: RegisteredView & { mounted: boolean }): Promise<Shown> {
  const report = await askStatus(socketPath, ANSWER_MS);
  if (report) return { ...report, mounted };
  const { pid, source, mountpoint } = record;
  return { pid, state: 'not answering', source, mountpoint, mounted };
}

/** A mount of ours that no daemon has registered: it was killed, or has another runtime directory. */
async function probeUnknown({ source, mountpoint }: Mount): Promise<Shown> {
  const state = (await probe(mountpoint)) === 'dead' ? 'dead' : 'unregistered';
  return { pid: null, state, source, mountpoint, mounted: true };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Requests a second since an earlier look at the same daemon; null without one. */
function rates(shown: Report, before: Snapshot | undefined): ((name: string) => number) | null {
  const earlier = before?.views.find((view): view is Report => view.pid === shown.pid && 'version' in view)?.view;
  if (before === undefined || !earlier) return null;
  const seconds = (performance.now() - before.at) / 1000;
  return (name) =>
    Math.round(((shown.view?.requests[name]?.count ?? 0) - (earlier.requests[name]?.count ?? 0)) / seconds);
}

function format(shown: Shown, before?: Snapshot): string {
  const rows: [string, string][] = [
    ['source', shown.source],
    ['state', `${shown.state}${processOf(shown.pid)}${uptime(shown)}`],
    ...(shown.mounted ? [] : [['mounted', 'only as copies in other mount namespaces'] as [string, string]]),
  ];
  if (!('version' in shown)) return block(shown.mountpoint, rows);
  rows.push(['map', shown.map]);
  const { view } = shown;
  if (!view) return block(shown.mountpoint, rows);
  const { workers, descriptors, helper } = view;
  rows.push(
    ['driver', `${shown.driver}, FUSE ${view.protocol}`],
    ...shown.limits.map((limit, index): [string, string] => [index === 0 ? 'limits' : '', limit]),
    ['features', view.features.join(' ') || 'none'],
    ['coherence', view.coherence],
    ['watcher', view.watcher],
    ...(helper === undefined ? [] : [['helper', `${helper.state}${processOf(helper.pid)}`] as [string, string]]),
    ['workers', `${workers.alive} alive, ${workers.busy} busy, at most ${workers.max}`],
    ['nodes', `${view.nodes}, descriptors ${descriptors.cached} of ${descriptors.budget}`],
    ['open', `${view.openFiles} files, ${view.openDirectories} directories`],
  );
  const rate = rates(shown, before);
  const requests = Object.entries(view.requests).sort(([, a], [, b]) => b.count - a.count);
  return [
    block(shown.mountpoint, rows),
    ...table(
      ['requests', 'count', ...(rate === null ? [] : ['per s']), 'p50 us', 'p99 us'],
      requests.map(([name, { count, p50, p99 }]) => [name, count, ...(rate === null ? [] : [rate(name)]), p50, p99]),
    ),
    ...table(['errors', 'count'], Object.entries(view.errors)),
    ...table(['counters', 'count'], Object.entries(view.counters)),
  ].join('\n');
}

function processOf(pid: number | null): string {
  return pid === null ? '' : `, process ${pid}`;
}

function uptime(shown: Shown): string {
  if (!('startedAt' in shown)) return '';
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(shown.startedAt)) / 1000));
  const days = Math.floor(seconds / 86400);
  const clock = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  return `, up ${days > 0 ? `${days} d ` : ''}${clock.map((part) => String(part).padStart(2, '0')).join(':')}`;
}

function block(title: string, rows: readonly [string, string][]): string {
  const lines = rows.flatMap(([name, value]) =>
    (name === 'features' ? wrap(value) : [printable(value)]).map(
      (line, index) => `  ${(index === 0 ? name : '').padEnd(10)} ${line}`,
    ),
  );
  return [printable(title), ...lines].join('\n');
}

/** A directory's name may hold anything, and a terminal obeys some of it. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** Lines of at most 80 characters, broken at spaces. */
function wrap(text: string): string[] {
  return text.match(/\S.{0,79}(?=\s|$)|\S+/g) ?? [''];
}

/** Nothing when there are no rows. Numbers are set flush right. */
function table(head: readonly string[], rows: readonly (readonly [string, ...number[]])[]): string[] {
  if (rows.length === 0) return [];
  const cells = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells.map((row, index) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]! + 2) : cell.padStart(widths[column]! + 2)))
      .join('')
      .replace(/^/, index === 0 ? '  ' : '    ')
      .trimEnd(),
  );
}
