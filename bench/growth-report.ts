// What `npm run bench:growth` found: its steps, its text and its chart. Pure.

import { type Machine, machineText } from './machine.js';
import { formatTime } from './stats.js';
import { escapeText, SVG_STYLE } from './svg.js';

export interface GrowthPoint {
  readonly nodes: number;
  /** Nanoseconds an operation while that many nodes are held. */
  readonly lookup: number;
  readonly create: number;
  /** Daemon CPU nanoseconds a node that the kernel forgot. */
  readonly forget: number;
  /** Resident set of the daemon, bytes: before the first lookup, with all nodes, and after they were forgotten. */
  readonly rssStart: number;
  readonly rss: number;
  readonly rssForgotten: number;
}

export interface GrowthReport {
  readonly machine: Machine;
  readonly targets: readonly { readonly id: string; readonly points: readonly GrowthPoint[] }[];
}

/** 10 thousand, 30 thousand, 100 thousand ... below `largest`, then `largest`. */
export function growthSteps(largest: number): number[] {
  const steps: number[] = [];
  for (let power = 10_000; power < largest; power *= 10) {
    for (const step of [power, 3 * power]) if (step < largest) steps.push(step);
  }
  return [...steps, largest];
}

/** Bytes that 100,000 nodes add, between the fewest and the most nodes that were measured; null for one point. */
export function bytesPerHundredThousand(points: readonly GrowthPoint[]): number | null {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || first.nodes === last.nodes) return null;
  return ((last.rss - first.rss) / (last.nodes - first.nodes)) * 100_000;
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

export function growthRow(point: GrowthPoint): string {
  return [
    `${point.nodes}`.padStart(9),
    formatTime(point.lookup).padStart(9),
    formatTime(point.create).padStart(9),
    formatTime(point.forget).padStart(9),
    mib(point.rssStart).padStart(10),
    mib(point.rss).padStart(10),
    mib(point.rssForgotten).padStart(10),
  ].join(' ');
}

export const GROWTH_HEADING = '    nodes    lookup    create    forget  RSS start        RSS  forgotten';

export function growthSummary(points: readonly GrowthPoint[]): string {
  const bytes = bytesPerHundredThousand(points);
  return bytes === null ? '' : `${mib(bytes)} for 100,000 nodes`;
}

const WIDTH = 960;
const PANEL_WIDTH = 205;
const PANEL_HEIGHT = 200;
const TOP = 92;

/** One colour a target; ours are the colours that the other chart has for them. */
function classOf(report: GrowthReport, id: string): string {
  if (id === 'ours') return 'ours';
  if (id === 'ours-uring') return 'uring';
  const others = report.targets.filter((target) => target.id !== 'ours' && target.id !== 'ours-uring');
  return others[0]?.id === id ? 'peer' : 'other';
}

interface Panel {
  readonly title: string;
  readonly value: (point: GrowthPoint) => number;
  readonly format: (value: number) => string;
}

const PANELS: readonly Panel[] = [
  { title: 'one more lookup', value: (point) => point.lookup, format: formatTime },
  { title: 'one more create', value: (point) => point.create, format: formatTime },
  { title: 'FORGET, CPU a node', value: (point) => point.forget, format: formatTime },
  { title: 'resident memory', value: (point) => point.rss, format: mib },
];

function shortCount(nodes: number): string {
  return nodes >= 1_000_000 ? `${nodes / 1_000_000} M` : `${nodes / 1000} k`;
}

function panelSvg(panel: Panel, left: number, report: GrowthReport): string {
  const points = report.targets.flatMap((target) => target.points);
  const nodes = points.map((point) => point.nodes);
  const highest = Math.max(...points.map(panel.value));
  const [fewest, most] = [Math.min(...nodes), Math.max(...nodes)];
  const span = Math.log(most / fewest) || 1;
  const x = (count: number): number => left + (Math.log(count / fewest) / span) * PANEL_WIDTH;
  const y = (value: number): number => TOP + PANEL_HEIGHT * (1 - value / (highest * 1.1));
  const parts = [
    `<text class="heading" x="${left}" y="${TOP - 12}">${escapeText(panel.title)}</text>`,
    `<line class="native" x1="${left}" x2="${left + PANEL_WIDTH}" y1="${TOP + PANEL_HEIGHT}" y2="${TOP + PANEL_HEIGHT}"/>`,
  ];
  for (const fraction of [0.5, 1]) {
    const at = y(highest * fraction).toFixed(1);
    parts.push(
      `<line class="grid" x1="${left}" x2="${left + PANEL_WIDTH}" y1="${at}" y2="${at}"/>`,
      `<text class="value" x="${left + 2}" y="${Number(at) - 3}">${escapeText(panel.format(highest * fraction))}</text>`,
    );
  }
  for (const [count, anchor] of [
    [fewest, 'start'],
    [most, 'end'],
  ] as const) {
    parts.push(
      `<text class="tick" x="${x(count).toFixed(1)}" y="${TOP + PANEL_HEIGHT + 15}" text-anchor="${anchor}">${shortCount(count)}</text>`,
    );
  }
  for (const target of report.targets) {
    const style = classOf(report, target.id);
    const path = target.points.map((point) => `${x(point.nodes).toFixed(1)},${y(panel.value(point)).toFixed(1)}`);
    parts.push(`<polyline class="line ${style}" points="${path.join(' ')}"/>`);
    for (const point of path) {
      const [cx, cy] = point.split(',');
      parts.push(`<circle class="${style}" cx="${cx}" cy="${cy}" r="2.5"/>`);
    }
  }
  return parts.join('\n');
}

/** Four small panels, one a quantity; the number of nodes on a logarithmic axis, the quantity from zero. */
export function growthChart(report: GrowthReport): string {
  const height = TOP + PANEL_HEIGHT + 56;
  const legend = report.targets.map(
    (target, index) =>
      `<rect class="${classOf(report, target.id)}" x="${20 + index * 150}" y="44" width="12" height="12" rx="2"/>` +
      `<text x="${38 + index * 150}" y="54">${escapeText(target.id)}</text>`,
  );
  const panels = PANELS.map((panel, index) => panelSvg(panel, 20 + index * (PANEL_WIDTH + 33), report));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Cost of a node against the number of nodes">
${SVG_STYLE}
<rect class="background" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>
<text class="title" x="20" y="30">What a node costs when there are many (number of nodes: logarithmic)</text>
${legend.join('\n')}
${panels.join('\n')}
<text class="note" x="20" y="${height - 12}">${escapeText(machineText(report.machine))}</text>
</svg>
`;
}
