// The run as an SVG: one block a row, horizontal bars on a logarithmic axis that start at the bare directory's time.
// Pure.

import { machineText } from './machine.js';
import { type Report, titleOf } from './report.js';
import { ROWS } from './rows.js';
import { type Cell, type RowResult, threeDigits } from './stats.js';
import { escapeText, SVG_STYLE } from './svg.js';
import { targetById } from './targets.js';

const WIDTH = 960;
const LABELS = 290;
const RIGHT = 130;
const BAR = 9;
const GAP = 2;
const BLOCK_GAP = 9;
const HEADER = 84;
const SECTION = 30;

interface Bar {
  readonly series: 'peer' | 'ours' | 'uring';
  readonly ratio: number;
  readonly label: string;
}

const SERIES: Readonly<Record<Bar['series'], string>> = {
  peer: 'fastest peer of the row',
  ours: 'fuse-shiftfs',
  uring: 'fuse-shiftfs, io_uring',
};

function barsOf(result: RowResult): Bar[] {
  const ratioOf = (target: string): number | null =>
    result.cells.find((cell) => cell.target === target)?.toNative ?? null;
  const peers = result.cells.filter(
    (cell): cell is Cell & { toNative: number } => cell.toNative !== null && targetById(cell.target).kind === 'peer',
  );
  const bars: Bar[] = [];
  if (peers.length > 0) {
    const fastest = peers.reduce((best, cell) => (cell.toNative < best.toNative ? cell : best));
    bars.push({ series: 'peer', ratio: fastest.toNative, label: `${threeDigits(fastest.toNative)} ${fastest.target}` });
  }
  for (const [series, target] of [
    ['ours', 'ours'],
    ['uring', 'ours-uring'],
  ] as const) {
    const ratio = ratioOf(target);
    if (ratio !== null) bars.push({ series, ratio, label: threeDigits(ratio) });
  }
  return bars;
}

/** The ticks 1, 2, 5, 10 ... (and their reciprocals) that cover all ratios. */
export function axisTicks(ratios: readonly number[]): number[] {
  const low = Math.min(1, ...ratios);
  const high = Math.max(2, ...ratios);
  const steps = [1, 2, 5];
  const ticks: number[] = [];
  for (let power = -3; power <= 5; power++) {
    for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(1)));
  }
  const first = Math.max(
    0,
    ticks.findLastIndex((tick) => tick <= low),
  );
  const last = ticks.findIndex((tick) => tick >= high);
  return ticks.slice(first, last < 0 ? undefined : last + 1);
}

export function chart(report: Report): string {
  const blocks = report.rows
    .map((result) => ({ result, bars: barsOf(result), kind: ROWS.find((row) => row.id === result.row)?.kind }))
    .filter((block) => block.bars.length > 0);
  const ticks = axisTicks(blocks.flatMap((block) => block.bars.map((bar) => bar.ratio)));
  const low = Math.log(ticks[0] ?? 1);
  const high = Math.log(ticks.at(-1) ?? 2);
  const x = (ratio: number): number => LABELS + ((Math.log(ratio) - low) / (high - low)) * (WIDTH - LABELS - RIGHT);

  const body: string[] = [];
  let y = HEADER;
  for (const [kind, heading] of [
    ['kernel', 'What the kernel can answer from its caches'],
    ['daemon', 'What needs the daemon'],
  ] as const) {
    const section = blocks.filter((block) => block.kind === kind);
    if (section.length === 0) continue;
    body.push(`<text class="heading" x="20" y="${y + 18}">${heading}</text>`);
    y += SECTION;
    for (const { result, bars } of section) {
      const height = bars.length * (BAR + GAP) - GAP;
      const middle = y + height / 2 + 4;
      body.push(`<text x="${LABELS - 12}" y="${middle}" text-anchor="end">${escapeText(titleOf(result.row))}</text>`);
      for (const [index, bar] of bars.entries()) {
        const top = y + index * (BAR + GAP);
        const from = Math.min(x(1), x(bar.ratio));
        // A bar of no length would not be seen.
        const width = Math.max(1.5, Math.abs(x(bar.ratio) - x(1)));
        const end = Math.max(x(1), x(bar.ratio)) + 5;
        body.push(
          `<rect class="${bar.series}" x="${from.toFixed(1)}" y="${top}" width="${width.toFixed(1)}" height="${BAR}" rx="1.5"/>`,
          `<text class="value" x="${end.toFixed(1)}" y="${top + BAR - 1}">${escapeText(bar.label)}</text>`,
        );
      }
      y += height + BLOCK_GAP;
    }
    y += 6;
  }
  const bottom = y;
  const grid = ticks.map((tick) => {
    const at = x(tick).toFixed(1);
    const native = tick === 1;
    return (
      `<line class="${native ? 'native' : 'grid'}" x1="${at}" x2="${at}" y1="${HEADER}" y2="${bottom}"/>` +
      `<text class="tick" x="${at}" y="${bottom + 16}" text-anchor="middle">${native ? 'native' : `${tick}×`}</text>`
    );
  });
  const shown = (Object.keys(SERIES) as Bar['series'][]).filter((series) =>
    blocks.some((block) => block.bars.some((bar) => bar.series === series)),
  );
  const legend = shown.map(
    (series, index) =>
      `<rect class="${series}" x="${LABELS + index * 190}" y="52" width="12" height="12" rx="2"/>` +
      `<text x="${LABELS + index * 190 + 18}" y="62">${SERIES[series]}</text>`,
  );
  const height = bottom + 50;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Time of each workload as a multiple of the bare directory's">
${SVG_STYLE}
<rect class="background" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>
<text class="title" x="20" y="30">Time as a multiple of the bare directory’s (logarithmic, shorter is better)</text>
${legend.join('\n')}
${grid.join('\n')}
${body.join('\n')}
<text class="note" x="20" y="${bottom + 38}">${escapeText(machineText(report.machine))}</text>
</svg>
`;
}
