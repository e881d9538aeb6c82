// The container that a user means, and its map.

import { readFileSync } from 'node:fs';
import { ShiftfsError } from '../errors.js';
import { lxc } from './lxc.js';
import { incus, lxd } from './lxd.js';
import { podman } from './podman.js';
import type { Container, Runtime, RuntimeName } from './runtime.js';

/** LXD first: its containers are LXC's, too. */
const runtimes: readonly Runtime[] = [lxd, incus, lxc, podman];

export function runtimeOf(name: RuntimeName): Runtime {
  return runtimes.find((runtime) => runtime.name === name)!;
}

/** Undefined when none has it. Throws ShiftfsError USAGE when several have one, or one that was named cannot be asked. */
export function findContainer(name: string, only: RuntimeName | undefined): Container | undefined {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new ShiftfsError(
      'USAGE',
      `${name}: not the name of a container`,
      'CONTAINER or CONTAINER:/PATH, without a remote.',
    );
  }
  const found: Container[] = [];
  for (const runtime of runtimes) {
    if (only !== undefined && runtime.name !== only) continue;
    const container = runtime.find(name);
    if (typeof container === 'string') {
      if (only !== undefined) throw new ShiftfsError('UNSUPPORTED', `${runtime.title} cannot be asked: ${container}`);
    } else if (container && !found.some(({ pid }) => pid !== null && pid === container.pid)) found.push(container);
  }
  const running = found.filter(({ pid }) => pid !== null);
  const candidates = running.length > 0 ? running : found;
  if (candidates.length > 1) {
    const names = candidates.map(({ runtime }) => runtime);
    throw new ShiftfsError('USAGE', `${name}: ${names.join(' and ')} have one`, `Choose with --runtime ${names[0]}.`);
  }
  return candidates[0];
}

/** Pid of a container whose ids can be shifted to. Throws ShiftfsError NO_USERNS or UNSUPPORTED. */
export function pidOfShiftable(name: string, container: Container | undefined): number {
  if (!container) {
    const titles = runtimes.map(({ title }) => title).join(', ');
    throw new ShiftfsError(
      'NO_USERNS',
      `${name}: no such container`,
      `Asked: ${titles}, as far as they are installed and run.`,
    );
  }
  if (container.obstacle !== null) throw new ShiftfsError('UNSUPPORTED', `${name}: ${container.obstacle}`);
  const { pid, runtime } = container;
  if (pid === null) {
    throw new ShiftfsError(
      'NO_USERNS',
      `${name}: the container is stopped`,
      `Start it first: its map of ids is known only while it runs (${runtime}).`,
    );
  }
  if (isIdentity(pid)) {
    throw new ShiftfsError(
      'UNSUPPORTED',
      `${name}: the container is privileged: its root is root of the host`,
      'No id needs shifting: give it the directory itself. Better make it unprivileged first (security.privileged=false, --uidmap).',
    );
  }
  return pid;
}

/** Ids inside are the same outside. */
function isIdentity(pid: number): boolean {
  return readFileSync(`/proc/${pid}/uid_map`, 'latin1')
    .trim()
    .split('\n')
    .every((line) => {
      const [inside, outside] = line.trim().split(/ +/);
      return inside === outside;
    });
}
