// What every thread that takes leases back has: the tables of the view, and a breaker on them. It serves nobody, so it has no
// ids to shift and grants nothing.

import type { Shared } from '../driver/kernel/shared.js';
import { Context, isolateThread, type Leases } from '../filesystem/context.js';
import { Devices } from '../filesystem/devices.js';
import { HandleTable } from '../filesystem/handle-table.js';
import { Held } from '../filesystem/held.js';
import { LockTable } from '../filesystem/lock-table.js';
import { NodeTable } from '../filesystem/node-table.js';
import { BackingFiles } from '../fuse/backing.js';
import { IdMap } from '../idmap/map.js';
import { CLONE_FS } from '../linux/abi.js';
import type { Memory } from '../linux/memory.js';
import { close } from '../linux/syscalls.js';
import { Breaker } from './breaker.js';
import { FixedLeases } from './fixed-leases.js';
import { WorkersInFlight } from './in-flight.js';
import { NameTable } from './name-table.js';
import { NOTIFIER_BYTES, Notifier } from './notifier.js';
import type { CoherenceShared } from './shared.js';

/** Room a breaker and its notifier need in memory: a name, and a notification. */
export const WATCHING_BYTES = NOTIFIER_BYTES + 256;

/** What such a thread is given, whatever else. */
export interface WatchingData {
  readonly device: number;
  readonly shared: Shared;
  readonly coherence: CoherenceShared;
}

export interface WatchingTools {
  readonly context: Context;
  readonly names: NameTable;
  readonly breaker: Breaker;
}

/** Gives the thread a working directory of its own and all it needs; `at` is room for WATCHING_BYTES in `memory`. */
export function startWatching(
  memory: Memory,
  at: number,
  { device, shared, coherence }: WatchingData,
  leases: Leases = new FixedLeases(0),
): WatchingTools {
  isolateThread(memory, CLONE_FS);
  const closeDescriptor = (fd: number): void => {
    close(fd);
  };
  const held = new Held(shared.held);
  const backing = new BackingFiles(() => device);
  const context = new Context({
    memory,
    nodes: new NodeTable(shared.nodes, closeDescriptor, (id) => backing.close(id)),
    handles: new HandleTable(shared.handles),
    locks: new LockTable(shared.locks, held, closeDescriptor),
    held,
    devices: new Devices(shared.devices),
    ids: new IdMap({
      uid: { ranges: [], overflow: 65534, squash: null },
      gid: { ranges: [], overflow: 65534, squash: null },
    }),
    leases,
    backing: null,
    options: { allowSuid: false, chownIgnore: false, xdev: false, uncached: true },
  });
  const control = new Int32Array(coherence.control);
  const notifier = new Notifier(memory, at, device, control);
  const names = new NameTable(coherence.names);
  const inFlight = new WorkersInFlight(new Int32Array(shared.workers));
  const breaker = new Breaker(context, names, notifier, control, inFlight, at + NOTIFIER_BYTES);
  return { context, names, breaker };
}

/** Between two looks at whether replies have landed, ms. */
const LANDING_MS = 1;

/** Takes every lease back, and returns when what was on its way meanwhile has been told, too. Nothing may be granted. */
export function recallEverything(breaker: Breaker): void {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  breaker.recallEverything();
  while (breaker.pending) {
    Atomics.wait(nap, 0, 0, LANDING_MS);
    breaker.recheck();
  }
}
