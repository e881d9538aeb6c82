// `fuse-shiftfs share` and `unshare`: a view of a directory with the map of a running container, mounted and attached; and
// all of it undone.
//
// The place is attached while no view is on it, and the view is mounted then: the container has the place itself, and
// every view that is ever mounted there arrives in it, also after the daemon was killed. Once the container has been
// restarted it has the view only; sharing again puts that right.

import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { buildIdMap, describeIdMap } from '../config/id-map.js';
import { mergeOptions, parseMountWords } from '../config/mount-words.js';
import { checkOptions } from '../config/schema.js';
import { findContainer, pidOfShiftable, runtimeOf } from '../container/find.js';
import { preparePlace, removePlace, shareDirectory } from '../container/place.js';
import type { Devices, RuntimeName } from '../container/runtime.js';
import { findView } from '../daemon/registry.js';
import { reportOf } from '../daemon/status.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';

const PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url));

export interface ShareOptions {
  /** CONTAINER or CONTAINER:PATH. */
  readonly with: string;
  readonly name?: string;
  readonly runtime?: RuntimeName;
  /** Of the view, in the form of mount -o. */
  readonly options?: string;
}

interface Request {
  readonly source: string;
  readonly container: string;
  /** Name of the share. */
  readonly name: string;
  readonly path: string | undefined;
  /** Where the view is mounted. */
  readonly place: string;
}

/** Returns the exit status. Throws ShiftfsError. */
export async function share(directory: string, options: ShareOptions): Promise<number> {
  const request = parseRequest(directory, options);
  checkRoot();
  if (!existsSync(request.source) || !statSync(request.source).isDirectory()) {
    throw new ShiftfsError('NO_SOURCE', `${request.source}: no such directory`);
  }
  const source = realpathSync(request.source);
  const container = findContainer(request.container, options.runtime);
  const pid = pidOfShiftable(request.container, container);
  const { title, devices, configuration } = runtimeOf(container!.runtime);
  const { place, name } = request;
  const path = request.path ?? `/mnt/${name}`;

  const present = viewAt(place);
  if (present && present.source !== source) {
    throw new ShiftfsError(
      'BUSY',
      `${place}: ${present.source} is shared with ${request.container} under the name "${name}"`,
      'Choose another --name, or unshare that first.',
    );
  }
  const right = present !== undefined && (await hasMapOf(place, pid, options.options ?? ''));
  const device = devices?.get(request.container, name);
  if (device && (device.path !== path || device.source !== place) && request.path !== undefined) {
    throw new ShiftfsError(
      'BUSY',
      `${request.container} has ${source} at ${device.path} already`,
      `fuse-shiftfs unshare ${directory} --with ${request.container}${options.name ? ` --name ${name}` : ''}`,
    );
  }
  const where = device?.path ?? path;
  if (right && (devices === undefined || (device && containerSees(pid, where, present)))) {
    say(`${source} is shared with ${request.container} (${title}) already${devices ? `, at ${where}` : ''}`);
    if (configuration) tell(configuration(request.container, { name, source: place, path }), request.container);
    return EXIT.ok;
  }

  const cleared = takeAway(request, device && { devices: devices!, path: where, pid }, present !== undefined);
  if (cleared !== EXIT.ok) return cleared;
  preparePlace(place);
  const attachment = { name, source: place, path: where };
  devices?.add(request.container, attachment);
  const words = options.options === undefined ? [] : ['-o', options.options];
  const status = runOurselves('mount', source, place, '--userns', String(pid), ...words);
  if (status !== EXIT.ok) {
    devices?.remove(request.container, name);
    removePlace(place);
    return status;
  }
  say(`mounted a view of ${source} on ${place} with the ids of ${request.container} (${title}, process ${pid})`);
  if (configuration) {
    tell(configuration(request.container, { name, source: place, path }), request.container);
    return EXIT.ok;
  }
  if (!containerSees(pid, where, viewAt(place))) {
    // The mount did not propagate, for whatever reason: the view itself, then.
    devices.remove(request.container, name);
    devices.add(request.container, attachment);
    if (!containerSees(pid, where, viewAt(place))) {
      throw new ShiftfsError(
        'UNSUPPORTED',
        `${title} has the device, but ${request.container} has no view at ${where}`,
      );
    }
  }
  say(`attached it to ${request.container} at ${where}`);
  return EXIT.ok;
}

/** Returns the exit status. Throws ShiftfsError NOT_MOUNTED when there is nothing to undo, and what umount throws. */
export async function unshare(directory: string, options: ShareOptions): Promise<number> {
  const request = parseRequest(directory, options);
  const { container: wanted, name, place, source } = request;
  checkRoot();
  const container = findContainer(wanted, options.runtime);
  const runtime = container && runtimeOf(container.runtime);
  const present = viewAt(place);
  if (present && present.source !== source && present.source !== realpathOr(source)) {
    throw new ShiftfsError('BUSY', `${place}: a view of ${present.source}, not of ${source}`, 'Give that directory.');
  }
  const devices = runtime?.devices;
  const device = devices?.get(wanted, name);
  if (!present && !device && !existsSync(place)) {
    throw new ShiftfsError(
      'NOT_MOUNTED',
      `${source} is not shared with ${wanted}`,
      '"fuse-shiftfs status" lists the views.',
    );
  }
  const attached = device && { devices: devices!, path: device.path, pid: container!.pid };
  const status = takeAway(request, attached, present !== undefined);
  if (status !== EXIT.ok) return status;
  if (device) say(`detached it from ${wanted}`);
  if (present) say(`unmounted ${place}`);
  removePlace(place);
  return EXIT.ok;
}

function parseRequest(directory: string, options: ShareOptions): Request {
  const [, container, path] = /^([^:]+)(?::(\/.*))?$/.exec(options.with) ?? [];
  if (container === undefined) {
    throw new ShiftfsError('USAGE', `--with ${options.with}: must be CONTAINER or CONTAINER:/PATH`);
  }
  const source = resolve(directory);
  const name = options.name ?? basename(source).replace(/[^A-Za-z0-9_.-]/g, '_');
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}$/.test(name)) {
    throw new ShiftfsError(
      'USAGE',
      `${name}: not a name for a share`,
      'Give one of letters, digits, "_", "." and "-": --name data',
    );
  }
  return { source, container, name, path: path?.replace(/(.)\/+$/, '$1'), place: shareDirectory(container, name) };
}

function checkRoot(): void {
  if (process.geteuid?.() !== 0) throw new ShiftfsError('NO_PERMISSION', 'sharing needs root', 'Run it with sudo.');
}

interface PresentView {
  readonly device: string;
  readonly source: string;
}

/** A view there, dead or alive. */
function viewAt(place: string): PresentView | undefined {
  const mount = mountAt(readMounts(), place);
  if (mount?.fstype !== VIEW_FSTYPE) return undefined;
  // What the mount table shows as the source may be a name that --fsname gave.
  return { device: mount.device, source: findView(place)?.record.source ?? mount.source };
}

/** Whether a daemon serves the place with the map that the container has now. */
async function hasMapOf(place: string, pid: number, words: string): Promise<boolean> {
  const wanted = checkOptions(mergeOptions(parseMountWords(words), { userns: String(pid) }));
  return (await reportOf(place))?.map === describeIdMap(buildIdMap(wanted));
}

/** Whether this very view is what the container has at `path`. */
function containerSees(pid: number, path: string, view: PresentView | undefined): boolean {
  return view !== undefined && mountAt(readMounts(`/proc/${pid}/mountinfo`), path)?.device === view.device;
}

interface Attached {
  readonly devices: Devices;
  readonly path: string;
  /** Null when the container is not running. */
  readonly pid: number | null;
}

/**
 * Unmounts the view and detaches it, as far as there is one and as far as it is attached. Returns an exit status. A runtime
 * that removes a device takes away one mount at its path: where the container has the place and the view on top of it,
 * the view has to go first. Where it has the view alone, which no unmounting on the host reaches, that comes last.
 */
function takeAway({ place, container, name }: Request, attached: Attached | undefined, present: boolean): number {
  const stacked = attached && attached.pid !== null && mountsAt(attached.pid, attached.path) > 1;
  if (attached && !stacked) attached.devices.remove(container, name);
  if (present) {
    const status = runOurselves('umount', place);
    if (status !== EXIT.ok) return status;
  }
  if (attached && stacked) attached.devices.remove(container, name);
  return EXIT.ok;
}

function mountsAt(pid: number, path: string): number {
  return readMounts(`/proc/${pid}/mountinfo`).filter(({ mountpoint }) => mountpoint === path).length;
}

/**
 * Mounting gives up rights that this process still needs, so another one does it. It says itself what went wrong; returns
 * its exit status.
 */
function runOurselves(...args: readonly string[]): number {
  const { status } = spawnSync(execPath, [PROGRAM, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  return status ?? EXIT.internal;
}

function realpathOr(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function tell([where, line]: readonly [string, string], container: string): void {
  say(`${container} cannot be given a directory while it runs; ${where}:`);
  say(`  ${line}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
