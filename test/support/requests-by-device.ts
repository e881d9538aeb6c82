// Before and after a run of a suite whose views get their requests by the device, whatever the machine is set to.

import { restoreIoUring, switchIoUring } from './io-uring.js';

export const setup = (): void => switchIoUring(false);
export const teardown = restoreIoUring;
