// The machine's switch of FUSE over io_uring, which `--io-uring auto` goes by: which road requests take must not depend on
// what ran before. Promises to leave it as it was found.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Not there: the kernel has none (before Linux 6.14), and all requests come by the device. */
export const IO_URING = '/sys/module/fuse/parameters/enable_uring';

/** Whether views get their requests over io_uring where nobody says otherwise. */
export const isIoUringOn = (): boolean => existsSync(IO_URING) && readFileSync(IO_URING, 'latin1').trim() === 'Y';

let found: string | undefined;

export function switchIoUring(on: boolean): void {
  if (!existsSync(IO_URING)) {
    if (on) throw new Error(`this kernel has no FUSE over io_uring (${IO_URING})`);
    return;
  }
  found = readFileSync(IO_URING, 'latin1').trim();
  writeFileSync(IO_URING, on ? 'Y' : 'N');
}

export function restoreIoUring(): void {
  if (found !== undefined) writeFileSync(IO_URING, found);
}
