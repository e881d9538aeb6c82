// `npm run bench`: measures fuse-shiftfs against the bare directory, the kernel's idmapped mount and its peers, in one
// run, interleaved round by round. Needs root. See `npm run bench -- --help`.

import { writeFileSync } from 'node:fs';
import { chart } from './chart.js';
import { makeDataset } from './dataset.js';
import { machineText } from './machine.js';
import { parseOptions } from './options.js';
import { LEGEND, markdown, type Report, rowText, targetsText } from './report.js';
import { runAll } from './run.js';
import { inSession } from './session.js';
import { type RowResult, summarize } from './stats.js';
import { targetById } from './targets.js';

const options = parseOptions(process.argv.slice(2));

process.exitCode = await inSession({ ...options, targets: options.targets.map(targetById) }, async (session) => {
  const { machine, progress } = session;
  const targets = session.targets.map((target) => target.id);
  process.stdout.write(`${machineText(machine)}\n${targetsText(targets)}\n${LEGEND}\n\n`);
  progress.note(`making ${options.files} files in ${options.dirs} directories`);
  const dataset = await makeDataset(session.base, options, session.loadgen, session.signal);
  const rows: RowResult[] = [];
  // After every row, as a run takes long and may be cut off.
  const save = (): void => {
    const { rounds, files, dirs } = options;
    const report: Report = { machine, rounds, files, dirs, targets, rows };
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify({ options, ...report }, null, 1)}\n`);
    if (options.markdown !== null) writeFileSync(options.markdown, markdown(report));
    if (options.svg !== null) writeFileSync(options.svg, chart(report));
  };
  await runAll({ ...session, options: { ...options, targets }, dataset }, (row, outcomes) => {
    const result = summarize(row, outcomes, targetById);
    rows.push(result);
    save();
    progress.end();
    process.stdout.write(`${rowText(result)}\n\n`);
  });
  // A target that failed is seen by scripts, too.
  return rows.some((row) => row.cells.some((cell) => 'failed' in cell.outcome)) ? 1 : 0;
});
