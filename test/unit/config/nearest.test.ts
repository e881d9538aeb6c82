import { describe, expect, it } from 'vitest';
import { nearest } from '../../../src/config/nearest.js';

const known = ['coherence', 'ro', 'rw', 'umount', 'watcher'];

describe('nearest()', () => {
  it.each([
    ['coherense', 'coherence'],
    ['chorence', 'coherence'],
    ['unmount', 'umount'],
    ['umuont', 'umount'],
    ['wacther', 'watcher'],
    ['r', 'ro'],
  ])('takes %s for %s', (word, expected) => {
    expect(nearest(word, known)).toBe(expected);
  });
  it.each(['', 'xyz', 'sync', 'permissions'])('guesses nothing for "%s"', (word) => {
    expect(nearest(word, known)).toBeUndefined();
  });
});
