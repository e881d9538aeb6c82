// The regressions of the kernel driver, over fuse-native. Those of which nothing is left without what this driver has not
// are named, with the reason, in place of being run.

import { readdirSync } from 'node:fs';
import { describe, test } from 'vitest';
import { type Capability, LIMITS } from '../../src/driver/limits.js';

/** Has a test of its own here. */
const OWN = 'editors';

const NOT_RUN: Readonly<Record<string, Capability>> = {
  'CVE-2019-15791': 'callerIds',
  'CVE-2020-10717': 'passthrough',
  'CVE-2020-35517': 'openInodes',
  'CVE-2021-20263': 'newerCalls',
  'CVE-2022-0358': 'newerCalls',
  LP1824717: 'newerCalls',
  LP1849482: 'newerCalls',
  LP1849483: 'newerCalls',
  LP1872094: 'callerIds',
  LP1990849: 'newerCalls',
  'bindfs-159': 'sharedMaps',
  'bindfs-attributes': 'invalidation',
  'bindfs-create-owner': 'callerIds',
  'fuse-overlayfs-rm-rf': 'invalidation',
  'negative-entries': 'invalidation',
  'readdir-10000': 'invalidation',
  'rename-flags': 'renameFlags',
};

for (const file of readdirSync(new URL('../regressions/', import.meta.url)).sort()) {
  const name = file.replace('.test.ts', '');
  if (name === file || name === OWN) continue;
  const reason = NOT_RUN[name];
  if (reason !== undefined) {
    console.log(`ruled out, not run: ${name}\n  ${LIMITS[reason]}`);
    test(name, (context) => context.skip(`the driver has ${LIMITS[reason]}`));
  } else {
    describe(name, async () => {
      await import(`../regressions/${file}`);
    });
  }
}
