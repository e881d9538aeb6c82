// Runs before each file of this suite: what the driver fuse-native cannot do (ruled-out.ts) is printed by name, and its
// tests are run all the same and must fail, so that nothing is ruled out that works.

import { afterAll, beforeEach, expect, type TestContext } from 'vitest';
import { LIMITS } from '../../src/driver/limits.js';
import { leftOut, type RuledOut, ruledOut } from './ruled-out.js';

const file = expect.getState().testPath!.replace(/^.*\//, '');
const failing: RuledOut = ruledOut[file] ?? {};
const skipped: RuledOut = leftOut[file] ?? {};
const listed = [...Object.keys(failing), ...Object.keys(skipped)];
const met = new Set<string>();
let tests = 0;

/** Some suites run the same tests on the kernel's own mount first. */
const isComparison = ({ task }: TestContext): boolean =>
  task.suite?.name.endsWith("the kernel's idmapped mount") ?? false;

beforeEach((context) => {
  if (isComparison(context)) return;
  tests++;
  const { task } = context;
  const reason = failing[task.name] ?? skipped[task.name];
  if (reason === undefined) return;
  met.add(task.name);
  const isSkipped = task.name in skipped;
  console.log(`ruled out${isSkipped ? ', not run' : ''}: ${task.name}\n  ${LIMITS[reason]}`);
  if (isSkipped) context.skip(`the driver has ${LIMITS[reason]}`);
  // What test.fails() sets before the run; the runner looks at it after, and once is enough.
  Object.assign(task, { fails: true, retry: { condition: () => false } });
});

afterAll(() => {
  // A part of a file can be run alone (-t); then nothing is said about the rest.
  if (tests > listed.length) {
    expect(
      listed.filter((name) => !met.has(name)),
      'ruled out, but not there',
    ).toEqual([]);
  }
});
