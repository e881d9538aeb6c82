// The mount table as /proc/self/mountinfo tells it (proc_pid_mountinfo(5)). Reading it touches no file system, so it is
// the one safe way to ask about a mount point whose server may be dead or hung. Pure but for `readMounts`.

import { readFileSync } from 'node:fs';

/** The type our views have in the mount table: FUSE with our subtype. */
export const VIEW_FSTYPE = 'fuse.fuse-shiftfs';

export interface Mount {
  readonly id: number;
  /** Mount that this one is mounted on; its own id, or one not listed, for the root of the tree. */
  readonly parentId: number;
  /** `major:minor` of st_dev. */
  readonly device: string;
  /** Path, inside the file system, of the directory that is mounted; `/` unless it is a bind mount or a subvolume. */
  readonly root: string;
  readonly mountpoint: string;
  /** Flags of this mount: `rw`, `nosuid`, `relatime` ... */
  readonly options: ReadonlySet<string>;
  /** Propagation: `shared:7`, `master:3`, `unbindable` ... */
  readonly propagation: readonly string[];
  readonly fstype: string;
  readonly source: string;
  /** Options of the file system itself, shared by all its mounts. */
  readonly superOptions: ReadonlySet<string>;
}

/** The kernel writes space, tab, newline, backslash and `#` as a backslash and three octal digits (seq_path(), fs/seq_file.c). */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Lines it cannot make sense of are left out: a newer kernel must not stop a mount. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    const [id, parentId, device, root, mountpoint, options] = fields;
    const [fstype, source, superOptions] = separator < 0 ? [] : fields.slice(separator + 1);
    if (options === undefined || fstype === undefined) continue;
    mounts.push({
      id: Number(id),
      parentId: Number(parentId),
      device: device!,
      root: unescapeOctal(root!),
      mountpoint: unescapeOctal(mountpoint!),
      options: new Set(options.split(',')),
      propagation: fields.slice(6, separator),
      fstype: unescapeOctal(fstype),
      source: unescapeOctal(source ?? ''),
      superOptions: new Set((superOptions ?? '').split(',')),
    });
  }
  return mounts;
}

/** The mounts of this process's mount namespace. `file` is another process's mountinfo. */
export function readMounts(file = '/proc/self/mountinfo'): Mount[] {
  return parseMountinfo(readFileSync(file, 'utf8'));
}

/** Whether `path` is `ancestor` or lies below it. Both absolute and canonical. */
export function isInside(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(ancestor === '/' ? '/' : `${ancestor}/`);
}

/**
 * The mount that the absolute, canonical `path` lies on: what a path walk would reach. A mount hidden below a later one
 * is not found, since the walk goes down from the root from parent to child.
 */
export function mountContaining(mounts: readonly Mount[], path: string): Mount | undefined {
  const ids = new Set(mounts.map((mount) => mount.id));
  let current = mounts.find(
    (mount) => (mount.parentId === mount.id || !ids.has(mount.parentId)) && isInside(path, mount.mountpoint),
  );
  while (current) {
    const parent: Mount = current;
    let next: Mount | undefined;
    for (const mount of mounts) {
      if (mount.parentId !== parent.id || mount.id === parent.id || !isInside(path, mount.mountpoint)) continue;
      if (!next || mount.mountpoint.length < next.mountpoint.length) next = mount;
    }
    if (!next) break;
    current = next;
  }
  return current;
}

/** The topmost mount whose mount point is exactly `path`; undefined when `path` is no mount point, or a hidden one. */
export function mountAt(mounts: readonly Mount[], path: string): Mount | undefined {
  const mount = mountContaining(mounts, path);
  return mount?.mountpoint === path ? mount : undefined;
}

/** The mounts strictly below `path`, hidden ones too, in the table's order (a parent before its children). */
export function mountsBelow(mounts: readonly Mount[], path: string): Mount[] {
  return mounts.filter((mount) => mount.mountpoint !== path && isInside(mount.mountpoint, path));
}

/**
 * Where `path` lies in its file system, whatever mount it is reached through: two paths that are one directory through
 * bind mounts have the same answer.
 */
export function fileSystemPath(mounts: readonly Mount[], path: string): { device: string; path: string } | undefined {
  const mount = mountContaining(mounts, path);
  if (!mount) return undefined;
  return {
    device: mount.device,
    path: joinBelow(mount.root, path.slice(mount.mountpoint === '/' ? 0 : mount.mountpoint.length)),
  };
}

function joinBelow(root: string, rest: string): string {
  if (rest === '' || rest === '/') return root;
  return root === '/' ? rest : root + rest;
}
