import { describe, expect, test } from 'vitest';
import { formatTime, median, type Outcome, summarize, threeDigits } from '../../../bench/stats.js';
import { targetById } from '../../../bench/targets.js';

const took = (...ns: number[]): Outcome => ({ samples: ns.map((value) => ({ ns: value, cpuSeconds: 0.5 })) });
const cellOf = (result: ReturnType<typeof summarize>, target: string) =>
  result.cells.find((cell) => cell.target === target);

describe('median()', () => {
  test('is the middle value whatever the order', () => {
    expect(median([9, 1, 5])).toBe(5);
  });
  test('is the mean of the middle two of an even number', () => {
    expect(median([1, 10, 2, 4])).toBe(3);
  });
  test('is NaN of nothing', () => {
    expect(median([])).toBeNaN();
  });
});

describe('summarize()', () => {
  const daemonRow = { id: 'create', kind: 'daemon', bar: { against: 'peer', limit: 0.8 } } as const;
  const kernelRow = { id: 'lstat', kind: 'kernel', bar: { against: 'native', limit: 1.2 } } as const;

  test('compares with native and with the fastest peer of the row', () => {
    const outcomes = new Map([
      ['native', took(10)],
      ['bindfs', took(400)],
      ['mergerfs', took(200)],
      ['ours', took(100)],
    ]);
    const result = summarize(daemonRow, outcomes, targetById);
    expect(result.fastestPeer).toBe('mergerfs');
    expect(cellOf(result, 'ours')).toMatchObject({ median: 100, toNative: 10, toPeer: 0.5, verdict: 'met' });
    expect(cellOf(result, 'bindfs')).toMatchObject({ toPeer: 2, verdict: null });
  });

  test('the kernel’s idmapped mount is no peer', () => {
    const outcomes = new Map([
      ['idmapped', took(10)],
      ['bindfs', took(100)],
    ]);
    expect(summarize(daemonRow, outcomes, targetById).fastestPeer).toBe('bindfs');
  });

  test('a row that the kernel answers has no ratio to a peer', () => {
    const outcomes = new Map([
      ['native', took(100)],
      ['bindfs', took(100)],
      ['ours', took(121)],
    ]);
    const result = summarize(kernelRow, outcomes, targetById);
    expect(result.fastestPeer).toBeNull();
    expect(cellOf(result, 'ours')).toMatchObject({ toPeer: null, verdict: 'missed' });
  });

  test('a target that failed has a reason and no number, and is nobody’s fastest peer', () => {
    const outcomes = new Map<string, Outcome>([
      ['bindfs', { failed: 'wrong data' }],
      ['mergerfs', took(200)],
      ['ours', { failed: 'not mounted' }],
    ]);
    const result = summarize(daemonRow, outcomes, targetById);
    expect(result.fastestPeer).toBe('mergerfs');
    expect(cellOf(result, 'ours')).toMatchObject({ median: null, toNative: null, toPeer: null, verdict: null });
  });

  test('says that a bar cannot be reached where the bare directory does not reach it', () => {
    const outcomes = new Map([
      ['native', took(90)],
      ['bindfs', took(100)],
      ['ours', took(95)],
    ]);
    expect(cellOf(summarize(daemonRow, outcomes, targetById), 'ours')?.verdict).toBe('unreachable');
  });

  test('judges only what the bars are for', () => {
    const outcomes = new Map([
      ['native', took(10)],
      ['bindfs', took(100)],
      ['ours-strict', took(10)],
    ]);
    expect(cellOf(summarize(daemonRow, outcomes, targetById), 'ours-strict')?.verdict).toBeNull();
  });
});

test('formatTime() and threeDigits() keep three digits across their borders', () => {
  expect([1, 999, 1000, 999_600, 12_345_678, 2e9].map(formatTime)).toEqual([
    '1.00 ns',
    '999 ns',
    '1.00 µs',
    '1.00 ms',
    '12.3 ms',
    '2.00 s',
  ]);
  expect([1, 9.996, 99.96, 1234].map(threeDigits)).toEqual(['1.00', '10.0', '100', '1234']);
});
