// Where and how eagerly the calling thread runs.

import { Memory } from './memory.js';
import { call4, call6, NR } from './syscalls.js';

const SCHED_OTHER = 0;
const PR_SET_NAME = 15;
/** sizeof(struct sched_attr) as of Linux 3.14 (include/uapi/linux/sched/types.h). */
const ATTRIBUTES = { size: 48, policy: 4, runtime: 24 } as const;
/** The shortest slice that may be asked for, ns (kernel/sched/syscalls.c); kernels before 6.12 know none. */
const SLICE_NS = 100_000;

/** Keeps the calling thread on one core. 0 or -errno. */
export function pinToCore(core: number): number {
  const memory = new Memory(128);
  memory.u8[core >> 3] = 1 << (core & 7);
  return call6(NR.sched_setaffinity, 0, 128, memory.address, 0, 0, 0);
}

/** What `top -H` and /proc/PID/task/TID/comm call the calling thread; at most 15 bytes. */
export function nameThread(name: string): void {
  const memory = new Memory(16);
  call6(NR.prctl, PR_SET_NAME, memory.setString(0, name), 0, 0, 0, 0);
}

/** The core that the calling thread runs on; `at` is room for a u32. */
export function currentCore(memory: Memory, at: number): number {
  call4(NR.getcpu, memory.address + at, 0, 0, 0);
  return memory.u32[at >> 2]!;
}

/** Gives the calling thread turns as short as there are. 0 or -errno. */
export function takeShortTurns(): number {
  const memory = new Memory(ATTRIBUTES.size);
  memory.u32[0] = ATTRIBUTES.size;
  memory.u32[ATTRIBUTES.policy >> 2] = SCHED_OTHER;
  memory.u32[ATTRIBUTES.runtime >> 2] = SLICE_NS;
  return call4(NR.sched_setattr, 0, memory.address, 0, 0);
}
