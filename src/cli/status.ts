// `fuse-shiftfs status`: what is mounted and how it does, from the daemons themselves.

import { canonicalMountpoint, probe } from '../daemon/preflight.js';
import { isMounted, listViews, mountNamespace, type RegisteredView } from '../daemon/registry.js';
import { askStatus, type StatusReport } from '../daemon/status.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';
import { type Mount, mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';

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

/** Returns the exit status. Throws ShiftfsError NOT_MOUNTED or NO_PERMISSION. */
export async function status(path: string | undefined, json: boolean): Promise<number> {
  const views = await gather();
  if (path === undefined) {
    if (json) print(JSON.stringify(views, null, 2));
    else print(views.length === 0 ? 'no views' : views.map(format).join('\n\n'));
    return EXIT.ok;
  }
  const mountpoint = canonicalMountpoint(path);
  const view = views.find((each) => each.mountpoint === mountpoint);
  if (!view) {
    throw new ShiftfsError(
      'NOT_MOUNTED',
      `${mountpoint}: no view of fuse-shiftfs is mounted there`,
      '"fuse-shiftfs status" lists the views.',
    );
  }
  print(json ? JSON.stringify(view, null, 2) : format(view));
  return EXIT.ok;
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

function format(shown: Shown): string {
  const rows: [string, string][] = [
    ['source', shown.source],
    ['state', `${shown.state}${shown.pid === null ? '' : `, process ${shown.pid}`}${uptime(shown)}`],
    ...(shown.mounted ? [] : [['mounted', 'only as copies in other mount namespaces'] as [string, string]]),
  ];
  if (!('version' in shown)) return block(shown.mountpoint, rows);
  rows.push(['map', shown.map]);
  const { view } = shown;
  if (!view) return block(shown.mountpoint, rows);
  const { workers, descriptors } = view;
  rows.push(
    ['driver', `${shown.driver}, FUSE ${view.protocol}`],
    ...shown.limits.map((limit, index): [string, string] => [index === 0 ? 'limits' : '', limit]),
    ['features', view.features.join(' ') || 'none'],
    ['coherence', view.coherence],
    ['watcher', view.watcher],
    ['workers', `${workers.alive} alive, ${workers.busy} busy, at most ${workers.max}`],
    ['nodes', `${view.nodes}, descriptors ${descriptors.cached} of ${descriptors.budget}`],
    ['open', `${view.openFiles} files, ${view.openDirectories} directories`],
  );
  const requests = Object.entries(view.requests).sort(([, a], [, b]) => b.count - a.count);
  return [
    block(shown.mountpoint, rows),
    ...table(
      ['requests', 'count', 'p50 us', 'p99 us'],
      requests.map(([name, { count, p50, p99 }]) => [name, count, p50, p99]),
    ),
    ...table(['errors', 'count'], Object.entries(view.errors)),
    ...table(['counters', 'count'], Object.entries(view.counters)),
  ].join('\n');
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
