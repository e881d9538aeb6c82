// The regressions of the kernel driver, over fuse-native. What it cannot do is ruled out test by test (ruled-out.ts).

import { readdirSync } from 'node:fs';
import { describe } from 'vitest';

/** Has a test of its own here. */
const OWN = 'editors';

for (const file of readdirSync(new URL('../regressions/', import.meta.url)).sort()) {
  const name = file.replace('.test.ts', '');
  if (name === file || name === OWN) continue;
  describe(name, async () => {
    await import(`../regressions/${name}.test.ts`);
  });
}
