// The switch of FUSE over io_uring: a parameter of the fuse module, off unless the administrator sets it
// (`options fuse enable_uring=1` in /etc/modprobe.d).

import { readFileSync, writeFileSync } from 'node:fs';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';

/** `Y` or `N`; empty on kernels without it (before 6.14, or built without CONFIG_FUSE_IO_URING). */
export function uringParameter(): string {
  try {
    return readFileSync(PARAMETER, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Switches it on until the module is loaded again. False where that is not permitted. */
export function enableUring(): boolean {
  try {
    writeFileSync(PARAMETER, 'Y');
    return true;
  } catch {
    return false;
  }
}

/**
 * Cores there may ever be: each has a queue, and the kernel uses the ring when all of them are there
 * (fs/fuse/dev_uring.c). The highest number of /sys/devices/system/cpu/possible (`0-1`, `0,2-3`), plus 1.
 */
export function possibleCores(): number {
  const ranges = readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim();
  return Number(ranges.split(/[-,]/).at(-1)) + 1;
}
