// The chokidar watcher, for where fanotify is not to be had. It watches the directories that the kernel holds, each by a
// descriptor (/proc/self/fd/N), so that a directory is watched wherever the host moves it.
//
// Its promise is weaker, and bounded: inotify tells of changes made through the watched directory only, and libuv does
// not tell when its queue overflowed, so nothing is leased for longer than a second (leases.ts). A directory is leased
// only from when chokidar says that it is ready. Names are looked at by the bytes the directory holds: chokidar's names
// are strings, so one that is not plain UTF-8 makes the whole directory be looked at.

import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { type FSWatcher, watch } from 'chokidar';
import type { ThreadMessage } from '../driver/kernel/shared.js';
import { type Context, SCRATCH_SIZE } from '../filesystem/context.js';
import { WATCHES } from '../filesystem/held.js';
import { NODE_ARMING, NODE_WATCHED, type NodeTable } from '../filesystem/node-table.js';
import { acquire } from '../filesystem/resolve.js';
import { Memory } from '../linux/memory.js';
import type { Breaker } from './breaker.js';
import { count } from './shared.js';
import { startWatching, WATCHING_BYTES, type WatchingData } from './watching.js';

export interface ChokidarData extends WatchingData {
  /** Directories watched at once: each holds a descriptor and an inotify watch. */
  readonly budget: number;
}

export type ChokidarMessage =
  | { readonly kind: 'arm'; readonly slot: number; readonly generation: number }
  | { readonly kind: 'disarm'; readonly slot: number; readonly generation: number };

const RECHECK_MS = 2;

const data = workerData as ChokidarData;
const port = parentPort!;

interface Watched {
  readonly slot: number;
  readonly generation: number;
  readonly watcher: FSWatcher;
}

class Watcher {
  private readonly memory = new Memory(SCRATCH_SIZE + WATCHING_BYTES);
  private readonly control = new Int32Array(data.coherence.control);
  private readonly nodes: NodeTable;
  private readonly context: Context;
  private readonly breaker: Breaker;
  private readonly watched = new Map<number, Watched>();
  private rechecking = false;
  private saidFull = false;

  constructor() {
    const { context, breaker } = startWatching(this.memory, SCRATCH_SIZE, data);
    this.context = context;
    this.nodes = context.nodes;
    this.breaker = breaker;
  }

  handle(message: ChokidarMessage): void {
    const { slot, generation } = message;
    if (message.kind === 'disarm') this.disarm(slot, generation);
    else if (this.nodes.resolve(slot, generation) !== 0) this.arm(slot, generation);
  }

  private arm(slot: number, generation: number): void {
    if (this.watched.has(slot)) return;
    if (this.watched.size >= data.budget) {
      this.full(`${data.budget} directories are watched already`);
      return;
    }
    const { held } = this.context;
    if (!held.take(WATCHES, 1)) {
      this.full('the descriptors that are left are for users');
      return;
    }
    // The pin lasts as long as the watch: the descriptor is the watch's path.
    const fd = acquire(this.context, slot);
    if (fd < 0) {
      held.give(WATCHES, 1);
      return;
    }
    const path = `/proc/self/fd/${fd}`;
    const watcher = watch(path, {
      depth: 0,
      ignoreInitial: true,
      persistent: true,
      atomic: false,
      ignorePermissionErrors: true,
      usePolling: false,
    });
    this.watched.set(slot, { slot, generation, watcher });
    watcher.on('ready', () => {
      if (this.nodes.resolve(slot, generation) !== 0) this.nodes.setFlags(slot, NODE_WATCHED);
    });
    watcher.on('raw', (_event, name) => this.changed(slot, generation, name));
    watcher.on('error', (error) => {
      this.full((error as Error).message);
      this.disarm(slot, generation);
    });
  }

  private disarm(slot: number, generation: number): void {
    const entry = this.watched.get(slot);
    if (entry === undefined || entry.generation !== generation) return;
    this.watched.delete(slot);
    this.context.held.give(WATCHES, 1);
    void entry.watcher.close();
    // The watch's pin keeps the slot, also of a node that the kernel has forgotten since; with it, the slot is freed.
    if (this.nodes.resolve(slot, generation) !== 0) {
      this.nodes.clearFlags(slot, NODE_WATCHED | NODE_ARMING);
      this.breaker.begin();
      this.breaker.revalidateDirectory(slot);
      this.breaker.breakNode(slot);
      this.breaker.end();
    }
    this.nodes.unpin(slot);
  }

  /** Something happened to `path` in a watched directory. */
  private changed(slot: number, generation: number, path: string | null | undefined): void {
    if (this.nodes.resolve(slot, generation) === 0) {
      this.disarm(slot, generation);
      return;
    }
    count(this.control, 'events');
    this.breaker.begin();
    this.nodes.bumpVersion(slot);
    const name = path ? Buffer.from(basename(path)) : null;
    if (name === null || name.length === 0 || name.length > 255 || name.includes('�')) {
      this.breaker.revalidateDirectory(slot);
    } else this.breaker.revalidateName(slot, name);
    this.breaker.breakNode(slot);
    this.breaker.end();
    this.recheckSoon();
  }

  private recheckSoon(): void {
    if (this.rechecking || !this.breaker.pending) return;
    this.rechecking = true;
    setTimeout(() => {
      this.rechecking = false;
      this.breaker.recheck();
      this.recheckSoon();
    }, RECHECK_MS);
  }

  private full(cause: string): void {
    if (this.saidFull) return;
    this.saidFull = true;
    const entry: ThreadMessage = {
      kind: 'log',
      level: 'warn',
      fields: { cause },
      message:
        'no more directories can be watched, so what is in the others is not cached; raise fs.inotify.max_user_watches, or the limit on open files',
    };
    port.postMessage(entry);
  }
}

const watcher = new Watcher();
port.on('message', (message: ChokidarMessage) => watcher.handle(message));
port.postMessage({ kind: 'ready' } satisfies ThreadMessage);
