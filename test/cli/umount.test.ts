// `fuse-shiftfs umount`, whatever state the daemon and the mount are in.

import { describe, expect, it } from 'vitest';
import { mountAt } from '../support/mounts.js';
import { run, runOk, startProgram } from '../support/programs.js';
import { cli, daemonsOf, isRunning, type Place, sitIn, statusOf, until, withPlace } from './support.js';

const mount = ({ source, mountpoint }: Place, ...more: string[]) => cli(['mount', source, mountpoint, ...more]);
const done = { status: 0, stdout: '', stderr: '' };

describe('umount', () => {
  it('returns when the daemon is gone', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      expect(await cli(['umount', place.mountpoint])).toEqual(done);
      expect(isRunning(pid)).toBe(false);
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('names those who use the view, by working directory, open file, program and mount', () =>
    withPlace(async (place) => {
      await mount(place, '-o', 'exec');
      const { mountpoint } = place;
      const holder = await sitIn(mountpoint);
      const reader = await startProgram(['sh', '-c', 'exec 5<"$0"; echo open; exec sleep 60', `${mountpoint}/file`]);
      await new Promise((resolve) => reader.stdout?.once('data', resolve));
      const busy = await cli(['umount', mountpoint]);
      expect(busy.status).toBe(32);
      expect(busy.stderr).toContain(`fuse-shiftfs: ${mountpoint}: in use by `);
      expect(busy.stderr).toContain(`sleep[${holder.pid}] (working directory)`);
      expect(busy.stderr).toContain(`[${reader.pid}] (open file ${mountpoint}/file)`);
      expect(busy.stderr).toContain('use --lazy');
      await holder.stop();
      reader.kill('SIGKILL');
      await until('its end', () => !isRunning(reader.pid!));

      await runOk(['mkdir', `${mountpoint}/below`]);
      await runOk(['mount', '-t', 'tmpfs', 'none', `${mountpoint}/below`]);
      expect((await cli(['umount', mountpoint])).stderr).toContain(
        `in use by mounted on it: ${mountpoint}/below [BUSY]`,
      );
      await runOk(['umount', `${mountpoint}/below`]);

      await runOk(['cp', '/bin/sleep', `${place.source}/program`]);
      const program = await startProgram([`${mountpoint}/program`, '60']);
      await until('it runs', async () => (await cli(['umount', mountpoint])).stderr.includes('program[') === true);
      program.kill('SIGKILL');
      await until('its end', () => !isRunning(program.pid!));
      expect(await cli(['umount', mountpoint])).toEqual(done);
    }));

  it('--lazy detaches a view in use at once; the daemon ends with the last user', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      const holder = await sitIn(place.mountpoint);
      expect(await cli(['umount', '--lazy', place.mountpoint])).toEqual(done);
      expect(mountAt(place.mountpoint)).toBeUndefined();
      expect(isRunning(pid)).toBe(true);
      await holder.stop();
      await until('the end of the daemon', () => !isRunning(pid));
    }));

  it('takes away a view whose daemon was killed', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGKILL');
      await until('the end of the daemon', () => !isRunning(pid));
      expect(await cli(['umount', place.mountpoint])).toEqual(done);
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('takes away a view whose daemon is stopped, and says that the daemon waits', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGSTOP');
      const { status, stderr } = await cli(['umount', place.mountpoint]);
      expect(stderr).toBe(
        `fuse-shiftfs: ${place.mountpoint} is unmounted; its daemon, process ${pid}, was stopped by a signal and ends ` +
          'when it is continued or killed\n',
      );
      expect(status).toBe(0);
      expect(mountAt(place.mountpoint)).toBeUndefined();
      process.kill(pid, 'SIGCONT');
      await until('the end of the daemon', () => !isRunning(pid));
    }));

  it('says that a stopped daemon keeps callers waiting, and gets rid of it with --lazy', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGSTOP');
      const caller = await startProgram(['ls', `${place.mountpoint}/nothing`]);
      const busy = async () => (await cli(['umount', place.mountpoint])).stderr.includes('callers wait for it [BUSY]');
      // Until the caller is inside, umount works: then mount state is gone and this test has nothing to look at.
      await until('the caller hangs', () => isBlocked(caller.pid!));
      expect(await busy()).toBe(true);
      expect(await cli(['umount', '--lazy', place.mountpoint])).toEqual(done);
      expect(mountAt(place.mountpoint)).toBeUndefined();
      process.kill(pid, 'SIGKILL');
      await until('the end of the caller', () => caller.exitCode !== null);
    }));

  it('refuses what is no view, and changes nothing', () =>
    withPlace(async (place) => {
      const { mountpoint, directory } = place;
      const none = await cli(['umount', mountpoint]);
      expect(none.stderr).toBe(
        `fuse-shiftfs: ${mountpoint}: nothing is mounted there [NOT_MOUNTED]\n  "fuse-shiftfs status" lists the views.\n`,
      );
      expect(none.status).toBe(32);

      await runOk(['mount', '-t', 'tmpfs', 'none', mountpoint]);
      const other = await cli(['umount', mountpoint]);
      expect(other.stderr).toContain(`${mountpoint}: a tmpfs mount, not a view of fuse-shiftfs [NOT_MOUNTED]`);
      expect(other.status).toBe(32);
      expect(mountAt(mountpoint)?.type).toBe('tmpfs');
      await runOk(['umount', mountpoint]);

      expect((await cli(['umount', `${directory}/no`])).stderr).toContain('no such directory [NO_MOUNTPOINT]');
    }));

  it('is for root', () =>
    withPlace(async (place) => {
      await mount(place);
      const { status, stderr } = await cli(['umount', place.mountpoint], { uid: 1000, gid: 1000 });
      expect(stderr).toContain('unmounting a view needs root [NO_PERMISSION]');
      expect(status).toBe(1);
      expect(mountAt(place.mountpoint)).toBeDefined();
    }));

  it('is noticed when umount(8) does it', () =>
    withPlace(async (place) => {
      await mount(place);
      await runOk(['umount', place.mountpoint]);
      await until('the end of the daemon', () => daemonsOf(place.directory).length === 0);
      expect((await run(['ls', place.mountpoint])).status).toBe(0);
    }));
});

/** In an uninterruptible or killable wait that is not the exit. */
async function isBlocked(pid: number): Promise<boolean> {
  const { stdout } = await run(['ps', '-o', 'stat=,wchan:30=', '-p', String(pid)]);
  return /^[DS].*fuse|request_wait/.test(stdout.toString());
}
