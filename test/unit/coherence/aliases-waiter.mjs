// A serving thread's part in aliases.test.ts: waits for one entry, and says whether it went.

import { parentPort, workerData } from 'node:worker_threads';
import { Aliases } from '../../../dist/coherence/aliases.js';

const { shared, patience, worker, held, parent, name } = workerData;
const bytes = Buffer.from(name);
parentPort.postMessage(new Aliases(shared, patience).dropBefore(worker, held, parent, 1, bytes, bytes.length));
