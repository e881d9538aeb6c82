// A host directory to be shared, what a container found in it (probe.sh), and what that must be.

import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const PROBE = fileURLToPath(new URL('probe.sh', import.meta.url));

/** Host id of root in the containers of this suite; 65536 ids from there are theirs. */
export const CONTAINER_ROOT = 100_000;

/** Fills `directory` with files of root and of uid 1000, and a directory of uid 1000. */
export function makeSharedDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  writeFileSync(`${directory}/root.txt`, 'by root\n');
  writeFileSync(`${directory}/user.txt`, 'by user\n');
  chownSync(`${directory}/user.txt`, 1000, 1000);
  mkdirSync(`${directory}/home`);
  chownSync(`${directory}/home`, 1000, 1000);
}

/** The lines KEY=VALUE of probe.sh. */
export function parseProbe(text: string): Record<string, string> {
  return Object.fromEntries(
    text
      .split('\n')
      .filter((line) => /^[a-z_]+=/.test(line))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
  );
}

/** In the container every file has its own owner, and root and uid 1000 may do what they may do at home. */
export const SHIFTED: Readonly<Record<string, string>> = {
  uid_map: `0 ${CONTAINER_ROOT}`,
  owner_of_root_file: '0:0',
  owner_of_user_file: '1000:1000',
  content: 'by user',
  root_writes: 'yes',
  root_chowns: 'yes',
  owner_after_chown: '33:33',
  user_writes_in_own: 'yes',
  owner_of_new_file: '1000:1000',
  user_writes_in_roots: 'no',
};

/** The same directory without a view: everything is nobody's, and nobody may do anything. */
export const UNSHIFTED: Readonly<Record<string, string>> = {
  uid_map: `0 ${CONTAINER_ROOT}`,
  owner_of_root_file: '65534:65534',
  owner_of_user_file: '65534:65534',
  content: 'by user',
  root_writes: 'no',
  root_chowns: 'no',
  owner_after_chown: '',
  user_writes_in_own: 'no',
  owner_of_new_file: '',
  user_writes_in_roots: 'no',
};

/** What the host must see of it after the probe ran through a view. */
export function ownersOnHost(directory: string): Record<string, string> {
  const owner = (path: string): string => {
    const { uid, gid } = lstatSync(`${directory}/${path}`);
    return `${uid}:${gid}`;
  };
  return { 'written-by-root': owner('written-by-root'), 'home/written-by-user': owner('home/written-by-user') };
}

/** Throws unless every program is there: a runtime that is not installed is a broken test machine, not a pass. */
export function needPrograms(packages: Readonly<Record<string, string>>): void {
  const missing = Object.entries(packages).filter(
    ([program]) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
  );
  if (missing.length > 0) {
    throw new Error(`apt-get install ${[...new Set(missing.map(([, name]) => name))].join(' ')}`);
  }
}
