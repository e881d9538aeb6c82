import { describe, expect, test } from 'vitest';
import { modeWithinAcl } from '../../../src/driver/fuse-native/acl-mode.js';
import { acl } from '../../support/acl.js';

describe('modeWithinAcl()', () => {
  const cases = [
    ['no names', { owner: 7, group: 5, others: 4 }, 0o754, 0o754],
    ['a mask that cuts the group', { owner: 7, group: 7, mask: 5, others: 4 }, 0o754, 0o754],
    ['a mask that is more than the group', { owner: 6, users: { 1: 6 }, group: 0, mask: 6, others: 0 }, 0o660, 0o600],
    [
      'a named user with less than the others',
      { owner: 6, users: { 1: 0 }, group: 4, mask: 4, others: 4 },
      0o644,
      0o600,
    ],
    ['a named user whom the mask cuts', { owner: 6, users: { 1: 6 }, group: 6, mask: 4, others: 6 }, 0o646, 0o644],
    [
      'a named group with less than the others',
      { owner: 6, group: 4, groups: { 1: 0 }, mask: 4, others: 4 },
      0o644,
      0o640,
    ],
    ['set-id bits and the type stay', { owner: 7, users: { 1: 0 }, group: 7, mask: 7, others: 7 }, 0o106777, 0o106700],
  ] as const;
  test.each(cases)('%s', (_, spec, mode, shown) => {
    expect(modeWithinAcl(acl(spec), mode)).toBe(shown);
  });
  test('what is no ACL grants nothing', () => {
    expect(modeWithinAcl(Buffer.alloc(0), 0o755)).toBe(0o700);
    expect(modeWithinAcl(Buffer.from([1, 0, 0, 0]), 0o755)).toBe(0o700);
  });
});
