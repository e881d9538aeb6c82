// `fuse-shiftfs mount`: from what was written on the command line to a view that serves.

import { existsSync, realpathSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { readConfigFile } from '../config/config-file.js';
import { buildIdMap, describeIdMap } from '../config/id-map.js';
import type { MountOptions } from '../config/mount-options.js';
import { mergeOptions, parseMountWords } from '../config/mount-words.js';
import { nearest } from '../config/nearest.js';
import {
  checkOptions,
  describeOptions,
  OPTION_GROUPS,
  type OptionDescription,
  type RequestedOptions,
  type WrittenOptions,
} from '../config/schema.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';
import { COMMANDS } from './arguments.js';

/** Gives the command its options, help and action. */
export function configureMount(command: Command, done: (exitCode: number) => void): void {
  command
    .description(
      'Mount a view of SOURCE on MOUNTPOINT and return when it serves. SOURCE and MOUNTPOINT are directories, neither ' +
        'inside the other.',
    )
    .usage('[options] SOURCE MOUNTPOINT\n       fuse-shiftfs mount [options] --config FILE')
    .addOption(
      new Option(
        '--config <FILE>',
        'Take source, mount point and options from FILE, JSON with the names of the options as keys. Options that are ' +
          'given here as well come before those of the file; maps add up.',
      ),
    )
    .addOption(
      new Option(
        '-o, --options <WORD,...>',
        "mount(8)'s form of everything below (map=0:100000:65536,coherence=strict,read-only), and its own words: ro rw " +
          'nosuid nodev noexec noatime user nofail _netdev x-... fsname=NAME X-mount.idmap=MAPS. The words of bindfs and ' +
          'fuse-overlayfs for the same things are known, too: uid-offset= gid-offset= force-user= force-group= ' +
          'uidmapping= gidmapping= squash_to_uid= squash_to_gid= squash_to_root. A bare dev or suid changes nothing. ' +
          'What is given outside of -o comes first; maps add up.',
      ).argParser((words: string, before: string | undefined) => (before === undefined ? words : `${before},${words}`)),
    );
  const options = describeOptions().map((description) => ({ description, option: commanderOption(description) }));
  for (const group of OPTION_GROUPS) {
    for (const { description, option } of options) if (description.group === group) command.addOption(option);
  }
  command.addHelpText(
    'after',
    `
Exit status: 0 the view serves (in the foreground: it was unmounted); 1 usage, a bad option or no permission;
2 no /dev/fuse; 4 a bug; 8 interrupted; 32 the mount failed and nothing stays mounted. In the foreground also
70 the daemon failed, 71 the connection to the kernel was aborted.`,
  );
  type Path = string | undefined;
  command.action(async (sourceArgument: Path, mountpointArgument: Path, values: Record<string, unknown>) => {
    const file = typeof values['config'] === 'string' ? readConfigFile(values['config']) : undefined;
    if (file && sourceArgument !== undefined) {
      throw new ShiftfsError(
        'USAGE',
        `${sourceArgument}: the config file has the paths`,
        'Give the paths or --config.',
      );
    }
    const source = file?.source ?? needArgument('source', sourceArgument);
    const mountpoint = file?.mountpoint ?? needArgument('mountpoint', mountpointArgument);
    const written: WrittenOptions = {};
    for (const { description, option } of options) {
      const value = values[option.attributeName()];
      // commander takes --no-allow-other for the opposite of an --allow-other that is not there.
      if (option.negate ? value === false : value !== undefined) {
        written[description.name] = option.negate ? true : (value as string | true | string[]);
      }
    }
    const words = values['options'];
    const fromWords = typeof words === 'string' ? parseMountWords(words) : {};
    const all = mergeOptions(file?.written ?? {}, mergeOptions(fromWords, written));
    done(await mount(source, mountpoint, all, fromWords['fsname'] !== undefined));
  });
}

function needArgument(name: string, value: string | undefined): string {
  if (value !== undefined) return value;
  throw new ShiftfsError('USAGE', `missing required argument '${name}'`, 'fuse-shiftfs mount SOURCE MOUNTPOINT');
}

function commanderOption({
  name,
  short,
  argument,
  description,
  repeatable,
  default: value,
  group,
}: OptionDescription): Option {
  const flags = `${short ? `-${short}, ` : ''}--${name}${argument ? ` <${argument}>` : ''}`;
  const option = new Option(flags, value === undefined ? description : `${description} (default: ${value})`);
  option.helpGroup(`${group}:`);
  if (repeatable) option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  return option;
}

/**
 * Resolves with the exit status when the view serves. In the foreground it does not return. Throws ShiftfsError.
 *
 * `mount -a` leaves alone what the mount table has under the source of the line in fstab. A line with `fsname=`, that is a
 * view with a `tableName`, it cannot find there and asks for again: the same view is then taken for what is wanted.
 */
async function mount(source: string, mountpoint: string, written: WrittenOptions, tableName: boolean): Promise<number> {
  const requested = checkOptions(written);
  checkMistypedCommand(source);
  const map = buildIdMap(requested);
  const { canonicalMountpoint, checkPaths, checkRights } = await import('../daemon/preflight.js');
  checkRights();
  if (tableName && !requested.foreground && existsSync(source)) {
    const { reportOf } = await import('../daemon/status.js');
    const present = await reportOf(canonicalMountpoint(mountpoint));
    if (present?.source === realpathSync(source) && present.map === describeIdMap(map)) {
      process.stderr.write(`fuse-shiftfs: ${mountpoint} is a view of ${source} already\n`);
      return EXIT.ok;
    }
  }
  const paths = await checkPaths(source, mountpoint, requested.xdev);
  const options = mountOptions(paths.source, paths.mountpoint, requested, map);
  const { launchInBackground, launchInForeground } = await import('../daemon/launcher.js');
  const order = { options, notes: paths.notes };
  if (options.foreground) return launchInForeground(order);

  for (const note of paths.notes) process.stderr.write(`fuse-shiftfs: ${note}\n`);
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupt.abort());
  try {
    const warnings = await launchInBackground(order, interrupt.signal);
    for (const warning of warnings) process.stderr.write(`fuse-shiftfs: warning: ${warning}\n`);
    return EXIT.ok;
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('fuse-shiftfs: interrupted; nothing is mounted\n');
    return EXIT.interrupted;
  }
}

function mountOptions(
  source: string,
  mountpoint: string,
  requested: RequestedOptions,
  map: MountOptions['map'],
): MountOptions {
  return {
    source,
    mountpoint,
    driver: requested.driver,
    map,
    readOnly: requested['read-only'],
    allowSuid: requested['allow-suid'],
    allowDev: requested['allow-dev'],
    noExec: requested.noexec,
    noAtime: requested.noatime,
    allowOther: !requested['no-allow-other'],
    xdev: requested.xdev,
    coherence: requested.coherence,
    watcher: requested.watcher,
    passthrough: requested.passthrough,
    ioUring: requested['io-uring'],
    forwardEvents: requested['forward-events'],
    chownIgnore: requested['chown-ignore'],
    createOwner: requested['create-owner'] ?? null,
    workers: requested.workers,
    maxWorkers: Math.max(requested['max-workers'], requested.workers),
    fsname: requested.fsname ?? null,
    autoUnmount: requested['auto-unmount'],
    foreground: requested.foreground,
    logLevel: requested['log-level'],
    logFile: requested['log-file'] ?? null,
    trace: requested.trace,
  };
}

/** "fuse-shiftfs umuont /srv/view" reads as a mount of the directory "umuont". */
function checkMistypedCommand(source: string): void {
  if (source.includes('/') || existsSync(source)) return;
  const command = nearest(source, COMMANDS);
  if (command === undefined) return;
  throw new ShiftfsError('USAGE', `"${source}" is neither a command nor a directory`, `Did you mean "${command}"?`);
}
