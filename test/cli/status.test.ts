// `fuse-shiftfs status`: for people, for programs, and when a daemon cannot answer.

import { once } from 'node:events';
import { lstatSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runOk, startProgram } from '../support/programs.js';
import { CLI } from '../support/view.js';
import { cli, isRunning, type Place, type Status, statusOf, until, withPlace } from './support.js';

const REGISTRY = '/run/fuse-shiftfs';
const mount = ({ source, mountpoint }: Place, ...more: string[]) => cli(['mount', source, mountpoint, ...more]);
const registered = (pid: number) => readdirSync(REGISTRY).filter((name) => name.includes(`-${pid}.`));

const quote = (text: string): string => text.replace(/[{}+."/]/g, '\\$&');

async function all(): Promise<Status[]> {
  return JSON.parse((await cli(['status', '--json'])).stdout) as Status[];
}

describe('status', () => {
  it('shows one view, and all of them, as JSON', () =>
    withPlace(async (place) => {
      await mount(place, '--map', '0:100000:65536', '--coherence', 'strict');
      await runOk(['cat', `${place.mountpoint}/file`]);
      const one = await statusOf(place.mountpoint);
      expect(one).toMatchObject({
        version: 1,
        state: 'serving',
        mounted: true,
        source: place.source,
        mountpoint: place.mountpoint,
        map: 'b:0:100000:65536',
        driver: 'kernel',
        view: {
          protocol: expect.stringMatching(/^7\.\d+$/),
          coherence: 'strict',
          requests: { LOOKUP: { count: expect.any(Number), p50: expect.any(Number), p99: expect.any(Number) } },
          errors: expect.any(Object),
          counters: expect.any(Object),
        },
      });
      expect(isRunning(one.pid)).toBe(true);
      expect(Number.isNaN(Date.parse(one.startedAt))).toBe(false);
      expect((await all()).map(({ mountpoint }) => mountpoint)).toContain(place.mountpoint);
    }));

  it('shows it to people', () =>
    withPlace(async (place) => {
      await mount(place, '--map', 'u:0:100000:65536');
      await runOk(['cat', `${place.mountpoint}/file`]);
      const { stdout } = await cli(['status', place.mountpoint]);
      const { pid } = await statusOf(place.mountpoint);
      expect(stdout.split('\n').slice(0, 5)).toEqual([
        place.mountpoint,
        `  source     ${place.source}`,
        expect.stringMatching(new RegExp(`^  state      serving, process ${pid}, up \\d\\d:\\d\\d:\\d\\d$`)),
        '  map        u:0:100000:65536 gid unchanged',
        expect.stringMatching(/^ {2}driver {5}kernel, FUSE 7\.\d+$/),
      ]);
      expect(stdout).toMatch(/^ {4}LOOKUP +\d+ +\d+ +\d+$/m);
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    }));

  it('keeps its sockets to their owner', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      expect(lstatSync(REGISTRY).mode & 0o7777).toBe(0o711);
      expect(registered(pid).map((name) => name.replace(/.*\./, ''))).toEqual(['json', 'sock']);
      for (const name of registered(pid)) expect(lstatSync(`${REGISTRY}/${name}`).mode & 0o777).toBe(0o600);
      const { status, stderr } = await cli(['status'], { uid: 1000, gid: 1000 });
      expect(stderr).toMatch(/permission denied \[NO_PERMISSION\]/);
      expect(status).toBe(1);
      await cli(['umount', place.mountpoint]);
      expect(registered(pid)).toEqual([]);
    }));

  it('--watch shows it again, with requests per second, until it is interrupted', () =>
    withPlace(async (place) => {
      await mount(place, '--coherence', 'strict');
      const child = await startProgram([process.execPath, CLI, 'status', place.mountpoint, '--watch', '0.3']);
      let text = '';
      child.stdout!.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      const ended = once(child, 'close');
      await until('two looks', () => text.split('every 0.3 s').length > 2);
      for (let i = 0; i < 5; i++) await runOk(['cat', `${place.mountpoint}/file`]);
      await until('a rate', () => /LOOKUP +\d+ +[1-9]\d* +\d+ +\d+$/m.test(text));
      // It is not the end of watching when the view is gone.
      await cli(['umount', place.mountpoint]);
      await until('its end', () => text.includes(`${place.mountpoint}: not mounted`));
      child.kill('SIGINT');
      expect(await ended).toEqual([0, null]);
      expect(text).not.toContain('\x1b');
    }));

  it('--watch --json prints a line each time', () =>
    withPlace(async (place) => {
      await mount(place);
      const child = await startProgram([process.execPath, CLI, 'status', '--json', '--watch', '0.2', place.mountpoint]);
      let text = '';
      child.stdout!.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      const ended = once(child, 'close');
      await until('two lines', () => text.split('\n').length > 2);
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
      for (const line of text.trimEnd().split('\n')) {
        expect(JSON.parse(line)).toMatchObject({ state: 'serving', mountpoint: place.mountpoint });
      }
    }));

  it('--prometheus prints metrics: every line is one, and histograms add up', () =>
    withPlace(async (place) => {
      await mount(place);
      await runOk(['cat', `${place.mountpoint}/file`]);
      const { status, stdout } = await cli(['status', '--prometheus']);
      expect(status).toBe(0);
      const label = '[a-z_]+="(?:[^"\\\\\\n]|\\\\.)*"';
      const line = new RegExp(
        `^(?:# (?:HELP|TYPE) fuse_shiftfs_\\w+ .+|fuse_shiftfs_\\w+\\{${label}(?:,${label})*\\} [-+.e\\d]+)$`,
      );
      for (const each of stdout.trimEnd().split('\n')) expect(each).toMatch(line);
      const at = `{mountpoint="${place.mountpoint}"`;
      expect(stdout).toContain(`fuse_shiftfs_up${at},source="${place.source}"} 1\n`);
      const value = (name: string, labels: string): number =>
        Number(new RegExp(`^fuse_shiftfs_${name}${quote(`${at},${labels}}`)} (.*)$`, 'm').exec(stdout)?.[1]);
      const count = value('request_duration_seconds_count', 'opcode="LOOKUP"');
      expect(count).toBeGreaterThan(0);
      expect(value('request_duration_seconds_bucket', 'opcode="LOOKUP",le="+Inf"')).toBe(count);
      const sum = value('request_duration_seconds_sum', 'opcode="LOOKUP"');
      expect(sum).toBeGreaterThan(0);
      expect(sum).toBeLessThan(60);
      expect((await cli(['status', '--prometheus', '--json'])).status).toBe(1);
      expect((await cli(['status', '--watch', '0'])).status).toBe(1);
    }));

  it('calls a view dead whose daemon was killed, and clears its socket away', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGKILL');
      await until('the end of the daemon', () => !isRunning(pid));
      expect(registered(pid)).not.toEqual([]);
      expect(await statusOf(place.mountpoint)).toEqual({
        pid: null,
        state: 'dead',
        source: place.source,
        mountpoint: place.mountpoint,
        mounted: true,
      });
      expect(registered(pid)).toEqual([]);
      expect((await cli(['status', place.mountpoint])).stdout).toBe(
        `${place.mountpoint}\n  source     ${place.source}\n  state      dead\n`,
      );
    }));

  it('does not wait for ever for a daemon that is stopped', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGSTOP');
      expect(await statusOf(place.mountpoint)).toMatchObject({ pid, state: 'not answering', mounted: true });
      process.kill(pid, 'SIGCONT');
      expect((await statusOf(place.mountpoint)).state).toBe('serving');
    }));

  it('refuses a place without a view', () =>
    withPlace(async (place) => {
      for (const arguments_ of [
        ['status', place.mountpoint],
        ['status', place.mountpoint, '--json'],
      ]) {
        const { status, stdout, stderr } = await cli(arguments_);
        expect({ status, stdout }).toEqual({ status: 32, stdout: '' });
        expect(stderr).toContain(`${place.mountpoint}: no view of fuse-shiftfs is mounted there [NOT_MOUNTED]`);
      }
    }));

  it('uses $XDG_RUNTIME_DIR where /run cannot be written', () =>
    withPlace(async (place) => {
      const env = { XDG_RUNTIME_DIR: place.directory };
      const inside = (command: string) =>
        runOk(
          [
            'sh',
            '-c',
            `mount -t tmpfs -o ro none /run && ${command}`,
            'sh',
            process.execPath,
            CLI,
            'status',
            place.mountpoint,
            '--json',
          ],
          {
            mountNamespace: true,
            env,
          },
        );
      const text = await inside(
        `"$1" "$2" mount ${place.source} "$4" && "$@" && ls ${place.directory}/fuse-shiftfs >&2 && "$1" "$2" umount "$4"`,
      );
      expect(JSON.parse(text)).toMatchObject({ state: 'serving', mountpoint: place.mountpoint });
    }));
});
