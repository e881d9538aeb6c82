// The way out: names are swapped for links to places outside while the container uses them, hundreds of thousands of times a
// run (FUSE_SHIFTFS_RACE_ATTEMPTS=100000 by hand). Nothing outside may be read, changed or made.

import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type ProgramResult, run, runOk, startProgram } from '../support/programs.js';
import { withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withView } from '../support/view.js';

const SOURCE = fileURLToPath(new URL('race.c', import.meta.url));
const RACER = fileURLToPath(new URL('../fuzz/racer.mjs', import.meta.url));
const DIST = new URL('../../dist/', import.meta.url).href;
const ATTEMPTS = Number(process.env['FUSE_SHIFTFS_RACE_ATTEMPTS'] ?? 20_000);

/** Inside and outside look alike, so that a step in the wrong one succeeds. */
const PREPARE = `
set -e
for top in "$1" "$2"; do
  mkdir -p "$top/d/sub/sub2" "$top/d2"
done
for d in . d d2 d/sub; do : >"$2/$d/only-outside"; done
for f in d/f d/sub/f d/sub/sub2/f d2/f f; do echo inside >"$1/$f"; echo secret >"$2/$f"; done
ln -s "$2/d" "$1/link-d"
ln -s "$2/f" "$1/link-f"
ln -s "$2/f" "$1/d/link-f"
ln -s "../../$(basename "$(dirname "$2")")/outside/d2" "$1/link-up"
ln -s "$2/d/sub" "$1/d/link-sub"
chmod -R go= "$2"
`;

/** All that can be seen of what lies outside, but access times. */
async function snapshot(directory: string): Promise<string> {
  const facts = await runOk(['find', directory, '-printf', '%P %M %U:%G %s %n %i %T@ %C@ %l\n']);
  const attributes = await runOk(['sh', '-c', 'find "$1" -type f -exec cat {} +', 'sh', directory]);
  return facts.split('\n').sort().join('\n') + attributes;
}

interface Counts {
  readonly attempts: number;
  readonly done: number;
  readonly failed: number;
  readonly links: number;
  readonly escapes: number;
}

/** Makes inside and outside, has the names inside swapped while `attack` uses them, and looks at the outside afterwards. */
async function race(
  tree: string,
  underlay: string,
  attack: (race: string, seed: number) => Promise<ProgramResult>,
): Promise<void> {
  const outside = `${tree}/outside`;
  const program = `${tree}/race`;
  await runOk(['gcc', '-O1', '-Wall', '-Werror', '-o', program, SOURCE]);
  await runOk(['sh', '-c', PREPARE, 'sh', underlay, outside]);
  const before = await snapshot(outside);
  const swapper = await startProgram([program, 'swap', underlay]);
  const seed = randomInt(2 ** 31);
  let result: ProgramResult;
  try {
    result = await attack(program, seed);
  } finally {
    swapper.kill('SIGKILL');
  }
  console.log(`race seed ${seed}: ${result.stdout.toString().trim()}`);
  expect([result.status, result.stderr]).toEqual([0, '']);
  const counts = JSON.parse(result.stdout.toString()) as Counts;
  expect(counts.escapes).toBe(0);
  // The race was run: things were done, things failed under it, and names were seen as links.
  expect(counts.done).toBeGreaterThan(counts.attempts / 20);
  expect(counts.failed).toBeGreaterThan(0);
  expect(counts.links).toBeGreaterThan(0);
  expect(await snapshot(outside)).toBe(before);
}

test.each([
  ['lease', []],
  ['strict, served by the daemon', ['--coherence', 'strict', '--passthrough', 'off']],
])(
  'names that become links lead nobody out of the view: %s',
  async (_, options) => {
    await withTempTree((tree) =>
      withView({ map: [CONTAINER_MAP], options }, (view) =>
        race(tree, view.source, (program, seed) =>
          run([program, 'attack', view.mountpoint, `${ATTEMPTS}`, `${seed}`], {
            uid: 0,
            userns: [CONTAINER_MAP],
            timeout: 120_000 + ATTEMPTS,
          }),
        ),
      ),
    );
  },
  240_000,
);

test('names that become links lead the operations themselves nowhere', async () => {
  await withTempTree(async (tree) => {
    const underlay = `${tree}/underlay`;
    const attempts = ATTEMPTS * 5;
    await race(tree, underlay, (_, seed) =>
      run([process.execPath, RACER, JSON.stringify({ dist: DIST, underlay, seed, attempts })], {
        timeout: 120_000 + attempts,
      }),
    );
  });
}, 240_000);
