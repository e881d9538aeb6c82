// What `fuse-shiftfs status` says of a view, asked from outside: nothing here enters the mount.

import type { StatusReport } from '../../src/daemon/status.js';
import type { ViewStatus } from '../../src/driver/driver.js';
import { runOk } from './programs.js';
import { CLI, type View } from './view.js';

/** What `status` says of a view that serves. */
export async function statusOf(view: View): Promise<ViewStatus> {
  const report = JSON.parse(
    await runOk([process.execPath, CLI, 'status', '--json', view.mountpoint], { timeout: 20_000 }),
  ) as StatusReport;
  if (report.view === null || report.view === undefined) throw new Error(`no status: ${JSON.stringify(report)}`);
  return report.view;
}
