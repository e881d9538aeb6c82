// The kernel's own answer where the file system has it: an idmapped mount (mount_setattr(2), Linux 5.12). Debian 12's
// mount(8) ignores X-mount.idmap, so the three system calls are made here.

import { spawn } from 'node:child_process';
import { closeSync, openSync, readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { getSystemErrorMap } from 'node:util';
import koffi from 'koffi';
import { SHIFT } from './targets.js';

const libc = koffi.load('libc.so.6');
// One declaration a call: the variadic syscall(2) with the argument types of this one. These three came after the
// kernel unified its numbers: they are the same on every architecture.
const openTree = libc.func('long syscall(long nr, int dirfd, const char *path, unsigned int flags)');
const mountSetattr = libc.func(
  'long syscall(long nr, int dirfd, const char *path, unsigned int flags, const uint64_t *attr, size_t size)',
);
const moveMount = libc.func(
  'long syscall(long nr, int from, const char *from_path, int to, const char *to_path, unsigned int flags)',
);
const NR_OPEN_TREE = 428;
const NR_MOVE_MOUNT = 429;
const NR_MOUNT_SETATTR = 442;

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOUNT_ATTR_IDMAP = 0x100000n;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

function checked(call: string, result: number): number {
  if (result >= 0) return result;
  throw new Error(`${call}: ${getSystemErrorMap().get(-koffi.errno())?.[1] ?? koffi.errno()}`);
}

/** A descriptor of a user namespace that maps 0..65535 to SHIFT... */
async function userNamespace(): Promise<number> {
  const child = spawn('unshare', ['--user', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
  try {
    const own = readlinkSync('/proc/self/ns/user');
    const deadline = Date.now() + 10_000;
    while (readlinkSync(`/proc/${child.pid}/ns/user`) === own) {
      if (Date.now() > deadline) throw new Error('unshare --user made no namespace');
      await delay(2);
    }
    for (const kind of ['uid', 'gid']) writeFileSync(`/proc/${child.pid}/${kind}_map`, `0 ${SHIFT} 65536\n`);
    return openSync(`/proc/${child.pid}/ns/user`, 'r');
  } finally {
    child.stdin.end();
  }
}

/** Shows `source` at `mountpoint` with ids shifted by SHIFT. Throws what the kernel says, where it cannot. */
export async function mountIdmapped(source: string, mountpoint: string): Promise<void> {
  const namespace = await userNamespace();
  let tree = -1;
  try {
    tree = checked(
      'open_tree',
      openTree(NR_OPEN_TREE, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) as number,
    );
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    const attributes = new BigUint64Array([MOUNT_ATTR_IDMAP, 0n, 0n, BigInt(namespace)]);
    checked(
      'mount_setattr',
      mountSetattr(NR_MOUNT_SETATTR, tree, '', AT_EMPTY_PATH, attributes, attributes.byteLength) as number,
    );
    checked('move_mount', moveMount(NR_MOVE_MOUNT, tree, '', AT_FDCWD, mountpoint, MOVE_MOUNT_F_EMPTY_PATH) as number);
  } finally {
    if (tree >= 0) closeSync(tree);
    closeSync(namespace);
  }
}
