// Takes every lease back and ends: for when the thread that watched the underlay is gone, and nothing is granted any more.

import { parentPort, workerData } from 'node:worker_threads';
import type { ThreadMessage } from '../driver/kernel/shared.js';
import { SCRATCH_SIZE } from '../filesystem/context.js';
import { Memory } from '../linux/memory.js';
import { recallEverything, startWatching, WATCHING_BYTES, type WatchingData } from './watching.js';

const memory = new Memory(SCRATCH_SIZE + WATCHING_BYTES);
recallEverything(startWatching(memory, SCRATCH_SIZE, workerData as WatchingData).breaker);
parentPort!.postMessage({ kind: 'ready' } satisfies ThreadMessage);
