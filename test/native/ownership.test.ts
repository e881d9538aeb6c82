// The ownership suite over fuse-native. It makes its files as several users, which this driver cannot tell apart: what hangs
// on that is ruled out, the rest is about ids that are shown, given away or refused. The suite asks the kernel's idmapped
// mount first, here as there.

import { describe, test } from 'vitest';
import { LIMITS } from '../../src/driver/limits.js';

describe('owners', async () => {
  await import('../ownership/owners.test.js');
});

describe('squash', async () => {
  await import('../ownership/squash.test.js');
});

console.log(`ruled out, not run: creators\n  ${LIMITS.callerIds}`);
test('creators', (context) => context.skip(`the driver has ${LIMITS.callerIds}`));
