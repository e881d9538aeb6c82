// The forms in which the program is called, turned into "COMMAND ...".

import { basename } from 'node:path';
import { ShiftfsError } from '../errors.js';

export const COMMANDS: readonly string[] = [
  'mount',
  'umount',
  'status',
  'share',
  'unshare',
  'doctor',
  'install',
  'uninstall',
];
const ABOUT_US: readonly string[] = ['-h', '--help', '-V', '--version'];

/**
 * `SOURCE MOUNTPOINT -o ...` (options in any place) is mount; no arguments at all ask for help. As /sbin/mount.TYPE the
 * program is a helper of mount(8), with the options of mount(8)'s own, of which -f means "fake" and not foreground.
 */
export function normalizeArguments(args: readonly string[], invokedAs: string): readonly string[] {
  if (basename(invokedAs).startsWith('mount.')) return ['mount', ...fromMountHelper(args)];
  const first = args[0];
  if (first === undefined) return ['--help'];
  if (first === 'help') return [...args.slice(1, 2), '--help'];
  return COMMANDS.includes(first) || ABOUT_US.includes(first) ? args : ['mount', ...args];
}

/** mount(8), "External helpers": `SPEC DIR [-sfnv] [-N namespace] [-o options] [-t type.subtype]`. */
function fromMountHelper(args: readonly string[]): string[] {
  const result: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === '-t') at++;
    else if (arg === '-o') result.push(arg, args[++at] ?? '');
    else if (/^-[a-zA-Z]+$/.test(arg)) {
      if (arg.includes('f')) throw new ShiftfsError('USAGE', '-f: a mount cannot be faked', 'Leave out mount -f.');
      if (arg.includes('N')) throw new ShiftfsError('USAGE', '-N: run the program inside that mount namespace instead');
      if (arg.includes('r')) result.push('--read-only');
    } else result.push(arg);
  }
  return result;
}
