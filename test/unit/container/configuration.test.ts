import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { runCommand, shellWord } from '../../../src/container/command.js';
import { runtimeOf } from '../../../src/container/find.js';
import { RUNTIMES } from '../../../src/container/runtime.js';

const attachment = { name: 'data', source: '/var/lib/fuse-shiftfs/shares/c/data', path: '/srv/my data' };

describe('shellWord()', () => {
  it.each(['plain', '/a/b-c_d.e:f=g,h', '', ' ', "it's", '"$HOME" `id` \\ *', 'new\nline'])(
    'keeps %j one word',
    (word) => {
      const { stdout } = spawnSync('sh', ['-c', `printf '<%s>' ${shellWord(word)}`], { encoding: 'utf8' });
      expect(stdout).toBe(`<${word}>`);
    },
  );

  it('quotes nothing that needs no quotes', () => {
    expect(shellWord('/srv/data:/mnt:rw,rslave')).toBe('/srv/data:/mnt:rw,rslave');
  });
});

describe('configuration()', () => {
  it.each([
    ['lxc', 'lxc.mount.entry = /var/lib/fuse-shiftfs/shares/c/data srv/my\\040data none rbind,rslave,create=dir 0 0'],
    ['podman', "--volume '/var/lib/fuse-shiftfs/shares/c/data:/srv/my data:rw,rslave'"],
  ] as const)('of %s is a line that can be copied', (runtime, line) => {
    expect(runtimeOf(runtime).configuration!('c', attachment)[1]).toBe(line);
  });

  it('is there for those that cannot give directories to running containers, and for no other', () => {
    for (const name of RUNTIMES) {
      const { devices, configuration } = runtimeOf(name);
      expect(devices === undefined).toBe(configuration !== undefined);
    }
  });
});

describe('runCommand()', () => {
  it('tells a program that is missing from one that fails', () => {
    expect(runCommand('fuse-shiftfs-no-such-program', [])).toMatchObject({ status: null, missing: true });
    expect(runCommand('sh', ['-c', 'echo out; echo err >&2; exit 3'])).toEqual({
      status: 3,
      stdout: 'out\n',
      stderr: 'err',
      missing: false,
    });
  });
});
