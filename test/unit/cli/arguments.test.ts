import { describe, expect, it } from 'vitest';
import { normalizeArguments } from '../../../src/cli/arguments.js';

const as = (line: string, invokedAs = '/usr/bin/fuse-shiftfs') =>
  normalizeArguments(line === '' ? [] : line.split(' '), invokedAs).join(' ');

describe('normalizeArguments()', () => {
  it.each([
    ['', '--help'],
    ['--help', '--help'],
    ['-V', '-V'],
    ['help', '--help'],
    ['help mount', 'mount --help'],
    ['mount /a /b', 'mount /a /b'],
    ['umount /b', 'umount /b'],
    ['status', 'status'],
    ['/a /b -o rw,dev,suid', 'mount /a /b -o rw,dev,suid'],
    ['-o rw,dev,suid /a /b', 'mount -o rw,dev,suid /a /b'],
    ['/a -o ro /b', 'mount /a -o ro /b'],
  ])('turns "%s" into "%s"', (line, expected) => {
    expect(as(line)).toBe(expected);
  });

  it('is a helper of mount(8) as /sbin/mount.TYPE', () => {
    expect(as('/a /b -s -n -v -o ro -t fuse-shiftfs', '/sbin/mount.fuse-shiftfs')).toBe('mount /a /b -o ro');
    expect(as('/a /b -r', '/sbin/mount.fuse-shiftfs')).toBe('mount /a /b --read-only');
    expect(() => as('/a /b -sf', '/sbin/mount.fuse-shiftfs')).toThrow('a mount cannot be faked');
    expect(() => as('/a /b -N 1', '/sbin/mount.fuse-shiftfs')).toThrow('mount namespace');
  });
});
