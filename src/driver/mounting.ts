// Taking a view away, for every driver: by the kernel, which asks nobody but those who use it.

import { ShiftfsError } from '../errors.js';
import { EBUSY, errnoName } from '../linux/errno.js';
import { unmount } from '../linux/process.js';

/** Throws ShiftfsError BUSY when it is in use and `lazy` is not set. */
export function unmountView(mountpoint: string, lazy: boolean): void {
  const error = unmount(mountpoint, lazy);
  if (error === -EBUSY) {
    throw new ShiftfsError(
      'BUSY',
      `${mountpoint} is in use`,
      'Close what is open in it and leave its directories, or use --lazy.',
    );
  }
  if (error < 0) throw new ShiftfsError('INTERNAL', `cannot unmount: ${errnoName(-error)}`);
}
