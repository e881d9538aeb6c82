// Before and after a run of the suite whose views get their requests by FUSE over io_uring.

import { restoreIoUring, switchIoUring } from './io-uring.js';

export const setup = (): void => switchIoUring(true);
export const teardown = restoreIoUring;
