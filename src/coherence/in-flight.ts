// Which replies are on their way to the kernel: read from the serving threads' counters in shared memory.

import { WORKER } from '../driver/kernel/shared.js';
import type { InFlight } from './breaker.js';

export class WorkersInFlight implements InFlight {
  private readonly workers: Int32Array;

  constructor(workers: Int32Array) {
    this.workers = workers;
  }

  snapshot(): Int32Array | null {
    const { workers } = this;
    let flying = false;
    const snapshot = new Int32Array(workers.length / WORKER.words);
    for (let i = 0; i < snapshot.length; i++) {
      const base = i * WORKER.words;
      const started = Atomics.load(workers, base + WORKER.started);
      if (started === Atomics.load(workers, base + WORKER.served)) continue;
      snapshot[i] = started;
      flying = true;
    }
    return flying ? snapshot : null;
  }

  landed(snapshot: Int32Array): boolean {
    for (let i = 0; i < snapshot.length; i++) {
      if (snapshot[i] === 0) continue;
      const served = Atomics.load(this.workers, i * WORKER.words + WORKER.served);
      if (((served - snapshot[i]!) | 0) < 0) return false;
    }
    return true;
  }
}
