// The thread of aliases.ts: sends the notifications, and sleeps while there are none to send.

import { parentPort, workerData } from 'node:worker_threads';
import type { ThreadMessage } from '../driver/kernel/shared.js';
import { Memory } from '../linux/memory.js';
import { Aliases } from './aliases.js';
import { NOTIFIER_BYTES, Notifier } from './notifier.js';

export interface AliasesData {
  readonly device: number;
  readonly aliases: SharedArrayBuffer;
}

const { device, aliases } = workerData as AliasesData;
const notifier = new Notifier(new Memory(NOTIFIER_BYTES), 0, device, new Int32Array(aliases));
parentPort!.postMessage({ kind: 'ready' } satisfies ThreadMessage);
new Aliases(aliases).serve((parent, generation, name) => {
  notifier.invalEntry(parent, generation, name, 0, name.length);
});
