// What a run found, as text for a terminal and as Markdown for README. Pure.

import { type Machine, machineText } from './machine.js';
import { ROWS } from './rows.js';
import { type Bar, type Cell, formatTime, type RowResult, threeDigits, type Verdict } from './stats.js';
import { targetById } from './targets.js';

export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  readonly files: number;
  readonly dirs: number;
  readonly targets: readonly string[];
  readonly rows: readonly RowResult[];
}

const MARKS: Readonly<Record<Verdict, string>> = { met: '✓', missed: '✗', unreachable: '–' };

export const LEGEND =
  '✓ within the bar, ✗ not; – not, and neither is the bare directory: most of the row is not the file system’s work';

export function titleOf(row: string): string {
  return ROWS.find((candidate) => candidate.id === row)?.title ?? row;
}

function barOf(row: string): Bar | undefined {
  return ROWS.find((candidate) => candidate.id === row)?.bar;
}

export function describeBar(bar: Bar): string {
  return `≤ ${bar.limit} × ${bar.against === 'native' ? 'native' : 'fastest peer'}`;
}

function mark(cell: Cell): string {
  return cell.verdict === null ? '' : MARKS[cell.verdict];
}

/** A block of lines for one row. */
export function rowText(result: RowResult): string {
  const bar = barOf(result.row);
  const lines = [`${titleOf(result.row)}  [${result.row}]${bar === undefined ? '' : `  bar: ${describeBar(bar)}`}`];
  for (const cell of result.cells) {
    const name = `  ${cell.target.padEnd(15)}`;
    if ('failed' in cell.outcome) {
      lines.push(`${name} failed: ${cell.outcome.failed}`);
      continue;
    }
    const columns = [
      (cell.median === null ? '' : formatTime(cell.median)).padStart(9),
      (cell.toNative === null ? '' : `${threeDigits(cell.toNative)} × native`).padStart(14),
      (cell.toPeer === null ? '' : `${threeDigits(cell.toPeer)} × fastest peer`).padStart(20),
      (cell.cpuSeconds === null ? '' : `CPU ${cell.cpuSeconds.toFixed(2)} s`).padStart(11),
      mark(cell),
    ];
    lines.push(`${name}${columns.join(' ')}`.trimEnd());
  }
  return lines.join('\n');
}

export function targetsText(targets: readonly string[]): string {
  return targets
    .map(targetById)
    .map(({ id, title, ids, coherence }) => `  ${id.padEnd(15)} ${title}: ${ids}; ${coherence}`)
    .join('\n');
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function cellText(cell: Cell, bar: Bar | undefined): string {
  if ('failed' in cell.outcome) return 'failed';
  if (cell.median === null) return '';
  // Of each row the ratio that its bar speaks of; of native the time, which gives the others their scale.
  const ratio = bar?.against === 'peer' ? cell.toPeer : cell.toNative;
  if (cell.target === 'native' || ratio === null) return formatTime(cell.median);
  const text = `${formatTime(cell.median)} (${threeDigits(ratio)}) ${mark(cell)}`.trimEnd();
  return cell.verdict === 'met' ? `**${text}**` : text;
}

/** The table for README, between nothing else: heading and prose are README's. */
export function markdown(report: Report): string {
  const lines = [
    `Medians of ${report.rounds} ${report.rounds === 1 ? 'round' : 'rounds'}, ${report.files} files in ${report.dirs} directories. ${machineText(report.machine)}.`,
    'In parentheses the ratio that the bar speaks of: to the bare directory, or to the fastest peer of the row.',
    `${LEGEND[0]?.toUpperCase()}${LEGEND.slice(1)}.`,
    '',
    `| | bar | ${report.targets.join(' | ')} |`,
    `|---|---|${report.targets.map(() => '--:').join('|')}|`,
  ];
  const failures: string[] = [];
  for (const result of report.rows) {
    const bar = barOf(result.row);
    const cells = result.cells.map((cell) => escapeCell(cellText(cell, bar)));
    lines.push(`| ${titleOf(result.row)} | ${bar === undefined ? '' : describeBar(bar)} | ${cells.join(' | ')} |`);
    for (const cell of result.cells) {
      if ('failed' in cell.outcome) failures.push(`- ${cell.target}, ${titleOf(result.row)}: ${cell.outcome.failed}`);
    }
  }
  lines.push('', '| | ids | caches |', '|---|---|---|');
  for (const target of report.targets.map(targetById)) {
    lines.push(`| ${target.id}: ${target.title} | ${escapeCell(target.ids)} | ${escapeCell(target.coherence)} |`);
  }
  if (failures.length > 0) lines.push('', 'Failed:', '', ...failures);
  return `${lines.join('\n')}\n`;
}
