// What the program says about itself, and how little it loads to say it.

import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { run } from '../support/programs.js';
import { withTempTree } from '../support/temp.js';
import { CLI } from '../support/view.js';
import { cli } from './support.js';

const WIDTH = { env: { COLUMNS: '100' } };

describe('--version and --help', () => {
  it('print the version of package.json', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    for (const flag of ['--version', '-V']) {
      expect(await cli([flag])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
    }
  });

  it.each([['--help'], ['mount --help'], ['umount --help'], ['status --help']])('%s', async (line) => {
    const { status, stdout, stderr } = await cli(line.split(' '), WIDTH);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const workers = Math.min(Math.max(availableParallelism(), 2), 16);
    await expect(stdout.replace(`(default: ${workers})`, '(default: CORES)')).toMatchFileSnapshot(
      `__snapshots__/${line.replaceAll(/[^a-z]+/g, '-').replace(/^-/, '')}.txt`,
    );
  });

  it('are what no arguments, "help" and "help COMMAND" print', async () => {
    const help = await cli(['--help'], WIDTH);
    expect(await cli([], WIDTH)).toEqual(help);
    expect(await cli(['help'], WIDTH)).toEqual(help);
    expect(await cli(['help', 'status'], WIDTH)).toEqual(await cli(['status', '--help'], WIDTH));
  });

  it.each([
    ['--version', []],
    ['--help', []],
    ['status --help', []],
    ['mount --help', ['zod']],
  ])('%s loads no more packages than commander and %j', async (line, needed) => {
    await withTempTree(async (directory) => {
      // V8's coverage report names every script that was loaded.
      const env = { NODE_V8_COVERAGE: directory };
      expect((await run([process.execPath, CLI, ...line.split(' ')], { env })).status).toBe(0);
      const report = readdirSync(directory).map((name) => readFileSync(`${directory}/${name}`, 'utf8'))[0]!;
      const packages = new Set([...report.matchAll(/node_modules\/([a-z-]+)\//g)].map(([, name]) => name));
      expect([...packages].sort()).toEqual(['commander', ...needed]);
    });
  });
});

describe('mistakes on the command line', () => {
  it.each([
    ['mount /a', "fuse-shiftfs: missing required argument 'mountpoint' [USAGE]"],
    ['mount /a /b /c', 'fuse-shiftfs: too many arguments'],
    ['mount /a /b --coherense strict', "fuse-shiftfs: unknown option '--coherense'\n(Did you mean --coherence?)"],
    ['mount /a /b --map', "fuse-shiftfs: option '--map <MAP>' argument missing"],
    ['umuont /a', 'fuse-shiftfs: "umuont" is neither a command nor a directory [USAGE]\n  Did you mean "umount"?'],
    ['/a /b -o coherense=strict', 'fuse-shiftfs: unknown option "coherense" [BAD_OPTION]\n  Did you mean "coherence"?'],
    ['mount /a /b --coherence ttl', 'fuse-shiftfs: coherence=ttl: must be lease, strict or ttl=SECONDS [BAD_OPTION]'],
    ['mount /a /b --map 0:1', 'fuse-shiftfs: "0:1" is not a map range. [BAD_MAP]'],
    ['mount /a /b --map 0:1:5 --map u:4:90:1', 'fuse-shiftfs: Map ranges u:0:1:5 and u:4:90:1 overlap'],
    ['mount /a /b --userns 4194304', 'fuse-shiftfs: there is no process 4194304 [NO_USERNS]'],
    ['status --jsn', "fuse-shiftfs: unknown option '--jsn'\n(Did you mean --json?)"],
  ])('%s', async (line, message) => {
    const { status, stdout, stderr } = await cli(line.split(' '));
    expect(stderr.startsWith(message), stderr).toBe(true);
    expect(stdout).toBe('');
    expect(status).toBe(message.includes('NO_USERNS') ? 32 : 1);
  });
});
