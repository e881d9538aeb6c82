import { describe, expect, test } from 'vitest';
import { axisTicks, chart } from '../../../bench/chart.js';
import { markdown, type Report, rowText } from '../../../bench/report.js';
import { type Outcome, summarize } from '../../../bench/stats.js';
import { targetById } from '../../../bench/targets.js';

const took = (ns: number, cpuSeconds: number | null): Outcome => ({ samples: [{ ns, cpuSeconds }] });
const create = summarize(
  { id: 'create', kind: 'daemon', bar: { against: 'peer', limit: 0.8 } },
  new Map<string, Outcome>([
    ['native', took(10_000, null)],
    ['bindfs', took(100_000, 0.25)],
    ['mergerfs', { failed: 'f0 belongs to 0 | in the view' }],
    ['ours', took(50_000, 0.5)],
  ]),
  targetById,
);
const report: Report = {
  machine: {
    date: '2026-01-02',
    kernel: '6.18',
    cpu: 'A & B <1 GHz>',
    cores: 2,
    memoryGiB: 24,
    fileSystem: 'ext4',
    node: '20.20.2',
    peers: { bindfs: '1.14.7-1' },
  },
  rounds: 5,
  files: 18_000,
  dirs: 200,
  targets: ['native', 'bindfs', 'mergerfs', 'ours'],
  rows: [create],
};

test('rowText() prints times, ratios, CPU and marks, and the reason of a failure instead of a number', () => {
  expect(rowText(create).split('\n')).toEqual([
    'create, write 100 B, close  [create]  bar: ≤ 0.8 × fastest peer',
    '  native           10.0 µs  1.00 × native  0.10 × fastest peer',
    '  bindfs            100 µs  10.0 × native  1.00 × fastest peer  CPU 0.25 s',
    '  mergerfs        failed: f0 belongs to 0 | in the view',
    '  ours             50.0 µs  5.00 × native  0.50 × fastest peer  CPU 0.50 s ✓',
  ]);
});

test('markdown() says date, kernel, machine, what was measured, and what failed', () => {
  const text = markdown(report);
  for (const part of ['2026-01-02', 'Linux 6.18', '2 × A & B', 'bindfs 1.14.7-1', '5 rounds', '18000 files']) {
    expect(text).toContain(part);
  }
  expect(text).toContain(
    '| create, write 100 B, close | ≤ 0.8 × fastest peer | 10.0 µs | 100 µs (1.00) | failed | **50.0 µs (0.50) ✓** |',
  );
  expect(text).toContain('- mergerfs, create, write 100 B, close: f0 belongs to 0 | in the view');
  expect(text).toMatch(/bindfs, defaults .*not coherent/);
});

describe('chart()', () => {
  const svg = chart(report);

  test('is well-formed: every element is closed and text is escaped', () => {
    expect(svg).toContain('A &amp; B &lt;1 GHz&gt;');
    const open: string[] = [];
    for (const [, close, name, empty] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
      if (close === '/') expect(open.pop()).toBe(name);
      else if (empty !== '/') open.push(name!);
    }
    expect(open).toEqual([]);
  });

  test('draws one bar a series, as long as the logarithm of its ratio', () => {
    const width = (series: string): number =>
      Number(new RegExp(`<rect class="${series}" x="[\\d.]+" y="(?!52")\\d+" width="([\\d.]+)"`).exec(svg)?.[1]);
    expect(width('peer') / width('ours')).toBeCloseTo(Math.log(10) / Math.log(5), 1);
  });
});

test('axisTicks() covers all ratios and holds the bare directory’s 1', () => {
  expect(axisTicks([1.1, 30])).toEqual([1, 2, 5, 10, 20, 50]);
  expect(axisTicks([0.3, 1.5])).toEqual([0.2, 0.5, 1, 2]);
});
