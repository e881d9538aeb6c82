// `fuse-shiftfs install` and `uninstall`: a start script, the systemd unit, the man page, completions and the schema of config
// files, below a prefix. Only files of these names, written by us, are ever replaced or removed.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { shellWord } from '../container/command.js';
import { ShiftfsError } from '../errors.js';
import { EXIT } from '../exit-codes.js';

const PACKAGE = fileURLToPath(new URL('../../', import.meta.url));
const PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url));

/** In the start script, so that we know ours. */
const MARK = 'put here by "fuse-shiftfs install"';
/** What stands in the unit for the installed program. */
const PACKAGED_PROGRAM = '/usr/bin/fuse-shiftfs';

interface InstalledFile {
  /** Below packaging/. */
  readonly from: string;
  /** Below the prefix. The first whose directory exists, else the last. */
  readonly to: readonly string[];
  /** With the prefix /usr/local, and where this directory exists, this place instead. */
  readonly local?: string;
}

const FILES: readonly InstalledFile[] = [
  { from: 'systemd/fuse-shiftfs@.service', to: ['lib/systemd/system/fuse-shiftfs@.service'] },
  { from: 'man/fuse-shiftfs.8', to: ['share/man/man8/fuse-shiftfs.8'] },
  { from: 'completions/fuse-shiftfs.bash', to: ['share/bash-completion/completions/fuse-shiftfs'] },
  {
    from: 'completions/_fuse-shiftfs',
    // Debian's zsh looks in the first of these below /usr and in the second below /usr/local; others in the second.
    to: ['share/zsh/vendor-completions/_fuse-shiftfs', 'share/zsh/site-functions/_fuse-shiftfs'],
  },
  {
    from: 'completions/fuse-shiftfs.fish',
    to: ['share/fish/vendor_completions.d/fuse-shiftfs.fish'],
    // Below /usr/local fish looks only where XDG_DATA_DIRS says so, which nothing sets for root.
    local: '/etc/fish/completions/fuse-shiftfs.fish',
  },
  { from: 'config.schema.json', to: ['share/fuse-shiftfs/config.schema.json'] },
];

/** Returns the exit status. Throws ShiftfsError NO_PERMISSION, BUSY or USAGE. */
export function install(prefix: string): number {
  const root = resolve(prefix);
  const program = join(root, 'bin/fuse-shiftfs');
  if (PACKAGE.includes('/_npx/')) {
    throw new ShiftfsError(
      'USAGE',
      `${PACKAGE}: npx keeps the program only for a while`,
      'Install it first: npm install --global fuse-shiftfs',
    );
  }
  switch (startScript(program)) {
    case 'foreign':
      throw new ShiftfsError('BUSY', `${program}: there is another program`, 'Remove it, or choose another --prefix.');
    case 'linked':
      say(`${program} leads here already`);
      break;
    case 'ours':
    case 'none':
      write(
        program,
        `#!/bin/sh\n# ${MARK}; "fuse-shiftfs uninstall" takes it away.\nexec ${shellWord(execPath)} ${shellWord(PROGRAM)} "$@"\n`,
        0o755,
      );
  }
  for (const file of FILES) {
    const { from } = file;
    const places = placesOf(file, root);
    const place = places.find((path) => existsSync(dirname(path))) ?? places.at(-1)!;
    const text = readFileSync(join(PACKAGE, 'packaging', from), 'utf8');
    write(place, from.endsWith('.service') ? text.replaceAll(PACKAGED_PROGRAM, program) : text, 0o644);
  }
  if (!isSystemdPrefix(root)) {
    say(`systemd does not look below ${root}: systemctl link ${root}/lib/systemd/system/fuse-shiftfs@.service`);
  }
  reloadUnits(root);
  return EXIT.ok;
}

/** Returns the exit status. What is not there is not missed. Throws ShiftfsError NO_PERMISSION. */
export function uninstall(prefix: string): number {
  const root = resolve(prefix);
  const program = join(root, 'bin/fuse-shiftfs');
  const script = startScript(program);
  if (script === 'ours') remove(program);
  else if (script !== 'none') say(`${program} stays: it was not put there by "fuse-shiftfs install"`);
  for (const file of FILES) for (const path of placesOf(file, root)) remove(path);
  try {
    rmdirSync(join(root, 'share/fuse-shiftfs'));
  } catch {
    // Not there, or somebody keeps files in it.
  }
  reloadUnits(root);
  return EXIT.ok;
}

/** Best first. */
function placesOf({ to, local }: InstalledFile, root: string): string[] {
  return [...(local !== undefined && root === '/usr/local' ? [local] : []), ...to.map((path) => join(root, path))];
}

/** `linked`: a symlink to this program, as `npm install --global` makes it. */
function startScript(path: string): 'none' | 'ours' | 'linked' | 'foreign' {
  try {
    if (lstatSync(path).isSymbolicLink()) {
      return existsSync(path) && realpathSync(path) === realpathSync(PROGRAM) ? 'linked' : 'foreign';
    }
    return readFileSync(path, 'utf8').includes(MARK) ? 'ours' : 'foreign';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'none';
    throw error;
  }
}

function write(path: string, text: string, mode: number): void {
  attempt(path, () => {
    mkdirSync(dirname(path), { recursive: true });
    // A new file: somebody may be running the old one.
    rmSync(path, { force: true });
    writeFileSync(path, text, { mode });
    chmodSync(path, mode);
  });
  say(`wrote ${path}`);
}

function remove(path: string): void {
  if (!existsSync(path)) return;
  attempt(path, () => rmSync(path));
  say(`removed ${path}`);
}

function attempt(path: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const hint =
      code === 'EACCES' || code === 'EPERM' ? 'Run it with sudo, or choose a --prefix of your own.' : undefined;
    throw new ShiftfsError('NO_PERMISSION', `${path}: ${message}`, hint, { cause: error });
  }
}

/** systemd reads units from these prefixes only (systemd.unit(5)). */
function isSystemdPrefix(root: string): boolean {
  return root === '/usr' || root === '/usr/local';
}

function reloadUnits(root: string): void {
  if (isSystemdPrefix(root) && existsSync('/run/systemd/system')) {
    spawnSync('systemctl', ['daemon-reload'], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
