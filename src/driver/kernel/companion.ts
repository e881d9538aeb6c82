// The companion: on a machine with two cores it keeps the other core awake while requests follow each other closely, so
// that the scheduler leaves caller and serving thread on one core. A request is two wake-ups; on one core each is a switch
// of 2 us, but the scheduler prefers an idle core to one that is just about to become free (select_idle_sibling in
// kernel/sched/fair.c), and to wake that takes 10 to 50 us on a virtual machine. A core on which something runs is not
// idle.
//
// Promises: it sleeps unless requests have come without a pause; its turns are as short as there are, and it gives way for
// a while as soon as anybody else wants its core. It touches nothing but its words.
//
// Not with the least weight: the balancer then takes its core for free, and moves the serving thread there.

import { performance } from 'node:perf_hooks';
import { workerData } from 'node:worker_threads';
import { nameThread, pinToCore, takeShortTurns } from '../../linux/scheduling.js';
import { COMPANION, COMPANION_NAME, CONTROL } from './shared.js';

/** How long it stays awake after the last request, ms. */
const PAUSE = 0.1;
/** Between two looks it was not on its core if more time passed than this, ms. */
const ROBBED = 0.5;
/** How long it sleeps when somebody else wanted the core: at first, and at most, ms. */
const REST_FIRST = 1;
const REST_LAST = 50;
/** Undisturbed for so long, ms: the next rest is a short one again. */
const UNDISTURBED = 50;
const LOOKS = 50;

function accompany(control: Int32Array): void {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  let rest = REST_FIRST;
  while (Atomics.load(control, CONTROL.ending) === 0) {
    Atomics.wait(control, CONTROL.companion, COMPANION.asleep);
    pinToCore(1 - Atomics.load(control, CONTROL.busyCore));
    const begun = performance.now();
    let beats = Atomics.load(control, CONTROL.beats);
    let lastBeat = begun;
    let looked = begun;
    let robbed = false;
    while (!robbed && looked - lastBeat < PAUSE) {
      for (let i = 0; i < LOOKS; i++) Atomics.load(control, CONTROL.beats);
      const now = performance.now();
      robbed = now - looked > ROBBED;
      looked = now;
      const seen = Atomics.load(control, CONTROL.beats);
      if (seen === beats) continue;
      beats = seen;
      lastBeat = now;
    }
    if (robbed) {
      rest = looked - begun > UNDISTURBED ? REST_FIRST : Math.min(REST_LAST, rest * 2);
      Atomics.store(control, CONTROL.companion, COMPANION.resting);
      Atomics.wait(nap, 0, 0, rest);
    }
    Atomics.store(control, CONTROL.companion, COMPANION.asleep);
  }
}

nameThread(COMPANION_NAME);
takeShortTurns();
accompany(new Int32Array((workerData as { readonly control: SharedArrayBuffer }).control));
