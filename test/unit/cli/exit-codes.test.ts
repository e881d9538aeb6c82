import { describe, expect, it } from 'vitest';
import { exitCodeOf, exitCodeOfEnd } from '../../../src/exit-codes.js';

describe('exit codes', () => {
  it.each([
    ['USAGE', 1],
    ['BAD_MAP', 1],
    ['BAD_OPTION', 1],
    ['BAD_CONFIG', 1],
    ['NO_PERMISSION', 1],
    ['NO_FUSE', 2],
    ['INTERNAL', 4],
    ['NO_SOURCE', 32],
    ['NO_MOUNTPOINT', 32],
    ['NOT_A_DIRECTORY', 32],
    ['NESTED', 32],
    ['BUSY', 32],
    ['NOT_MOUNTED', 32],
    ['NO_USERNS', 32],
    ['UNSUPPORTED', 32],
    ['DAEMON_DIED', 32],
  ] as const)('%s is %i, as mount(8) has it', (code, expected) => {
    expect(exitCodeOf(code)).toBe(expected);
  });
  it.each([
    [{ kind: 'unmounted' }, 0],
    [{ kind: 'failed', error: new Error('x') }, 70],
    [{ kind: 'aborted' }, 71],
  ] as const)('a view that ended as %j gives %i', (reason, expected) => {
    expect(exitCodeOfEnd(reason)).toBe(expected);
  });
});
