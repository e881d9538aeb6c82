// `fuse-shiftfs status`: for people, for programs, and when a daemon cannot answer.

import { lstatSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runOk } from '../support/programs.js';
import { CLI } from '../support/view.js';
import { cli, isRunning, type Place, type Status, statusOf, until, withPlace } from './support.js';

const REGISTRY = '/run/fuse-shiftfs';
const mount = ({ source, mountpoint }: Place, ...more: string[]) => cli(['mount', source, mountpoint, ...more]);
const registered = (pid: number) => readdirSync(REGISTRY).filter((name) => name.includes(`-${pid}.`));

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
      expect(stdout).toMatch(/^ {2}requests +count +p50 us +p99 us$/m);
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
