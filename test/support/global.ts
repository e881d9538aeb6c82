// Before and after a run of the suites that mount: sweep away what a killed run left behind, and see to it that hung
// mounts can be ended.

import { mountFuseControl } from './mounts.js';
import { sweep } from './temp.js';

async function sweepAndSay(): Promise<void> {
  for (const directory of await sweep()) console.log(`removed what an earlier test process left: ${directory}`);
}

export async function setup(): Promise<void> {
  mountFuseControl();
  await sweepAndSay();
}
export const teardown = sweepAndSay;
