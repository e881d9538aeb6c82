// `npm run fuzz -- --seconds N [--seed N]`: the fuzzer of test/fuzz by hand, for as long as wanted, seed after seed. Stops at
// the first run that shows something, and says how to repeat it. Takes root and a build.

import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz } from '../test/fuzz/run.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    run: { type: 'string', default: '60' },
  },
});
const end = performance.now() + Number(values.seconds) * 1000;
let seed = values.seed === undefined ? randomInt(2 ** 32) : Number(values.seed);
let total = 0;
for (;;) {
  const left = Math.ceil((end - performance.now()) / 1000);
  if (left <= 0) break;
  const directory = mkdtempSync('/var/tmp/fuse-shiftfs-fuzz-');
  try {
    const seconds = Math.min(left, Number(values.run));
    const { report, wrong } = await fuzz({ directory, seed, seconds });
    total += report?.served ?? 0;
    console.log(
      `seed ${seed}: ${report?.served ?? 0} requests, slowest ${report?.slowest ?? '?'} ms, ${wrong.length} findings`,
    );
    if (wrong.length > 0) {
      for (const text of wrong) console.error(text);
      console.error(`repeat with: npm run fuzz -- --seed ${seed} --seconds ${seconds} --run ${seconds}`);
      process.exitCode = 1;
      break;
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
  seed = (seed + 1) >>> 0;
}
console.log(`${total} requests`);
