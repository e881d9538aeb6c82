import { describe, expect, test } from 'vitest';
import { Estimate, formatDuration } from '../../../bench/progress.js';
import { schedule } from '../../../bench/schedule.js';

describe('schedule()', () => {
  const visits = schedule(['names', 'data'], ['a', 'b', 'c'], 4);

  test('every round of a group visits every target once', () => {
    expect(visits).toHaveLength(8);
    for (const { targets } of visits) expect([...targets].sort()).toEqual(['a', 'b', 'c']);
  });

  test('rounds of a group follow one another, each starting with another target', () => {
    expect(visits.map(({ group, round }) => `${group} ${round}`)).toEqual([
      'names 0',
      'names 1',
      'names 2',
      'names 3',
      'data 0',
      'data 1',
      'data 2',
      'data 3',
    ]);
    expect(visits.slice(0, 4).map(({ targets }) => targets[0])).toEqual(['a', 'b', 'c', 'a']);
  });
});

describe('Estimate', () => {
  test('knows nothing before anything was done', () => {
    expect(new Estimate(new Map([['x', 2]])).secondsLeft).toBeNull();
  });

  test('counts what was done at its own speed and the rest at the mean', () => {
    const estimate = new Estimate(
      new Map([
        ['slow', 3],
        ['fast', 2],
        ['new', 1],
      ]),
    );
    estimate.finished('slow', 10);
    estimate.finished('fast', 2);
    // Two slow ones, one fast one, and one that takes the mean of 10 and 2.
    expect(estimate.secondsLeft).toBe(20 + 2 + 6);
    expect(estimate.fraction).toBeCloseTo(2 / 6);
  });

  test('is at its end when all is done', () => {
    const estimate = new Estimate(new Map([['x', 1]]));
    estimate.finished('x', 1);
    expect([estimate.fraction, estimate.secondsLeft]).toEqual([1, 0]);
  });
});

test('formatDuration() has minutes where there are some', () => {
  expect([0.4, 59.4, 59.6, 125].map(formatDuration)).toEqual(['0 s', '59 s', '1 min 00 s', '2 min 05 s']);
});
