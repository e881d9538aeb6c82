import { describe, expect, test } from 'vitest';
import {
  bytesPerHundredThousand,
  GROWTH_HEADING,
  type GrowthPoint,
  growthChart,
  growthRow,
  growthSteps,
} from '../../../bench/growth-report.js';

const point = (nodes: number, mebibytes: number): GrowthPoint => ({
  nodes,
  lookup: 50_000,
  create: 100_000,
  forget: 1500,
  rssStart: 2 ** 20,
  rss: mebibytes * 2 ** 20,
  rssForgotten: 2 ** 21,
});

describe('growthSteps()', () => {
  test('go by threes and tens up to the largest', () => {
    expect(growthSteps(1_000_000)).toEqual([10_000, 30_000, 100_000, 300_000, 1_000_000]);
  });
  test('end with the largest, whatever it is', () => {
    expect(growthSteps(40_000)).toEqual([10_000, 30_000, 40_000]);
    expect(growthSteps(500)).toEqual([500]);
  });
});

test('bytesPerHundredThousand() is the slope between the ends', () => {
  expect(bytesPerHundredThousand([point(10_000, 10), point(30_000, 90), point(1_010_000, 110)])).toBe(10 * 2 ** 20);
  expect(bytesPerHundredThousand([point(10_000, 10)])).toBeNull();
});

test('growthRow() stands under its heading', () => {
  expect(growthRow(point(10_000, 10))).toBe('    10000   50.0 µs    100 µs   1.50 µs    1.0 MiB   10.0 MiB    2.0 MiB');
  expect(growthRow(point(10_000, 10))).toHaveLength(GROWTH_HEADING.length);
});

test('growthChart() has a point for every measurement in each of its four panels', () => {
  const machine = {
    date: '2026-01-02',
    kernel: '6.18',
    cpu: 'cpu',
    cores: 2,
    memoryGiB: 24,
    fileSystem: 'ext4',
    node: '20',
    peers: {},
  };
  const points = [point(10_000, 10), point(30_000, 20), point(100_000, 30)];
  const svg = growthChart({
    machine,
    targets: [
      { id: 'ours', points },
      { id: 'bindfs', points },
    ],
  });
  expect(svg.match(/<circle /g)).toHaveLength(2 * 3 * 4);
  expect(svg).not.toContain('NaN');
  // Twice the memory is half the height above the axis away from it.
  const heights = [...svg.matchAll(/<circle class="ours" cx="[\d.]+" cy="([\d.]+)"/g)]
    .slice(-3)
    .map((m) => Number(m[1]));
  const axis = Number(/<line class="native"[^>]* y1="([\d.]+)"/.exec(svg)?.[1]);
  expect((axis - heights[1]!) / (axis - heights[0]!)).toBeCloseTo(2, 1);
});
