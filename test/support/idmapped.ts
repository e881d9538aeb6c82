// The kernel's own idmapped mounts (mount_setattr(2), on ext4 and tmpfs here): the oracle for what a shifted view shows.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { withActor } from './actor.js';
import { O_RDONLY } from './constants.js';
import { childEnvironment } from './temp.js';
import { type MapArgument, writeIdMaps } from './userns.js';

const OPEN_TREE_CLONE = 1;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_IDMAP = 0x100000n;

/** A process that holds a user namespace with the map open. */
async function startHolder(map: readonly MapArgument[]): Promise<ChildProcess> {
  const child = spawn('unshare', ['--user', 'sh', '-c', 'echo ready; exec sleep infinity'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: childEnvironment(),
  });
  await once(child.stdout, 'data');
  writeIdMaps(child.pid ?? 0, map);
  return child;
}

/** Mounts `source` on `target` with its ids mapped: an owner INSIDE on disk shows as OUTSIDE, as in a view. */
export async function mountIdmapped(source: string, target: string, map: readonly MapArgument[]): Promise<void> {
  const holder = await startHolder(map);
  try {
    await withActor({ uid: 0, gid: 0 }, async (root) => {
      const usernsFd = await root.open(`/proc/${holder.pid}/ns/user`, O_RDONLY);
      const tree = await root.openTree(source, OPEN_TREE_CLONE | AT_RECURSIVE);
      await root.mountSetattr(tree, AT_RECURSIVE, { set: MOUNT_ATTR_IDMAP, usernsFd });
      await root.moveMount(tree, target);
    });
  } finally {
    holder.kill('SIGKILL');
  }
}
