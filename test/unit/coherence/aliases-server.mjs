// The thread of src/coherence/aliases.ts with locks of its own in place of the kernel's: to drop an entry it waits until
// nobody holds the directory, as FUSE_NOTIFY_INVAL_ENTRY does.

import { parentPort, workerData } from 'node:worker_threads';
import { Aliases } from '../../../dist/coherence/aliases.js';

/** `holders[directory]`: how many hold its lock. */
const { shared, holders } = workerData;
new Aliases(shared).serve((parent, _generation, name) => {
  for (let held = Atomics.load(holders, parent); held > 0; held = Atomics.load(holders, parent))
    Atomics.wait(holders, parent, held, 1000);
  parentPort.postMessage(`${parent}/${Buffer.from(name)}`);
});
