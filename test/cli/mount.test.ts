// `fuse-shiftfs mount` for real: what it leaves running, what it refuses and in which words, and that nothing stays mounted
// after a refusal.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { mountAt } from '../support/mounts.js';
import { run, runOk, startProgram } from '../support/programs.js';
import { childEnvironment } from '../support/temp.js';
import { CLI } from '../support/view.js';
import { cli, daemonFault, daemonsOf, isRunning, type Place, statusOf, tryRead, until, withPlace } from './support.js';

const MAP = ['--map', '0:100000:65536'];

const mount = ({ source, mountpoint }: Place, ...more: string[]) => cli(['mount', source, mountpoint, ...more]);

/** capabilities(7): what the daemon keeps. */
const KEPT_CAPABILITIES = [0, 1, 2, 3, 4, 6, 7, 21, 27, 31].reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

describe('mount in the background', () => {
  it('returns when the view serves, and says nothing', () =>
    withPlace(async (place) => {
      expect(await mount(place, ...MAP)).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(mountAt(place.mountpoint)).toMatchObject({ type: 'fuse.fuse-shiftfs', source: place.source });
      expect(await runOk(['stat', '-c', '%u:%g', `${place.mountpoint}/file`])).toBe('100000:100000\n');
      expect(await cli(['umount', place.mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(daemonsOf(place.directory)).toEqual([]);
    }));

  it('leaves a daemon with a session, a directory, a umask and descriptors of its own', () =>
    withPlace(async (place) => {
      const locked = `${place.directory}/lock`;
      writeFileSync(locked, '');
      // A shell that holds a lock file while it mounts: the lock must end with the shell.
      // Descriptor 100: node by itself closes the low ones.
      const script = 'exec 100<"$0"; flock 100; "$@" </dev/null';
      const command = [process.execPath, CLI, 'mount', place.source, place.mountpoint];
      await runOk(['bash', '-c', script, locked, ...command], { cwd: place.directory });
      await runOk(['flock', '--nonblock', locked, 'true']);

      const { pid } = await statusOf(place.mountpoint);
      expect(tryRead(`/proc/${pid}/stat`).replace(/.*\) /, '').split(' ').slice(2, 4)).toEqual([`${pid}`, `${pid}`]);
      expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
      expect(tryRead(`/proc/${pid}/status`)).toMatch(/^Umask:\t0000$/m);
      for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe('/dev/null');
      expect(tryRead(`/proc/${pid}/cmdline`)).not.toContain('100000');
    }));

  it("drops groups, capabilities and new privileges on every thread, node's own too", () =>
    withPlace(async (place) => {
      const { status, stderr } = await run([
        'setpriv',
        '--groups',
        '4,24,1000',
        '--inh-caps',
        '+net_admin,+sys_ptrace',
        '--ambient-caps',
        '+net_admin,+sys_ptrace',
        process.execPath,
        CLI,
        'mount',
        place.source,
        place.mountpoint,
      ]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      await runOk(['touch', `${place.mountpoint}/new`]);
      const { pid } = await statusOf(place.mountpoint);
      const threads = readdirSync(`/proc/${pid}/task`);
      expect(threads.length).toBeGreaterThan(5);
      for (const thread of threads) {
        const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
        const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(text)?.[1] ?? '';
        expect(field('Groups')).toBe('');
        expect(field('NoNewPrivs')).toBe('1');
        expect(BigInt(`0x${field('CapBnd')}`)).toBe(KEPT_CAPABILITIES);
        expect(BigInt(`0x${field('CapPrm')}`) & ~KEPT_CAPABILITIES).toBe(0n);
        expect(BigInt(`0x${field('CapEff')}`) & ~KEPT_CAPABILITIES).toBe(0n);
        expect(field('CapInh')).toBe('0000000000000000');
        expect(field('CapAmb')).toBe('0000000000000000');
      }
    }));

  it('has no network', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      for (const thread of readdirSync(`/proc/${pid}/task`)) {
        expect(readlinkSync(`/proc/${pid}/task/${thread}/ns/net`)).not.toBe(readlinkSync('/proc/self/ns/net'));
      }
      // Its heading, and the loopback device, which is down.
      expect(readFileSync(`/proc/${pid}/net/dev`, 'utf8').trimEnd().split('\n').length).toBe(3);
      expect(readFileSync(`/proc/${pid}/net/route`, 'utf8').trimEnd().split('\n').length).toBe(1);
    }));

  it('lifts the limits that would stop it and writes no core', () =>
    withPlace(async (place) => {
      await runOk([
        'prlimit',
        '--nofile=256:2000',
        '--fsize=100000:',
        '--core=unlimited',
        process.execPath,
        CLI,
        'mount',
        place.source,
        place.mountpoint,
      ]);
      const { pid } = await statusOf(place.mountpoint);
      const limits = tryRead(`/proc/${pid}/limits`);
      expect(limits).toMatch(/^Max open files +2000 +2000 /m);
      expect(limits).toMatch(/^Max core file size +0 +0 /m);
      expect(limits).toMatch(/^Max file size +unlimited +unlimited /m);
    }));

  it('cannot be traced, not even by another root without CAP_SYS_PTRACE', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      const untracing = ['setpriv', '--bounding-set', '-sys_ptrace', '--inh-caps', '-all'];
      const look = (at: number) => run([...untracing, 'readlink', `/proc/${at}/exe`]);
      expect((await look(pid)).status).toBe(1);
      // The same look at a process that has no fewer capabilities and is dumpable.
      const ordinary = await startProgram([...untracing, 'sleep', '60']);
      await until('it runs', () => tryRead(`/proc/${ordinary.pid}/comm`) === 'sleep\n');
      expect((await look(ordinary.pid!)).status).toBe(0);
      ordinary.kill('SIGKILL');
    }));

  it('mounts once: of two at the same moment one is told', () =>
    withPlace(async (place) => {
      const results = await Promise.all([mount(place), mount(place), mount(place)]);
      expect(results.map(({ status }) => status).sort()).toEqual([0, 32, 32]);
      for (const { status, stderr } of results) if (status !== 0) expect(stderr).toMatch(/already .*\[BUSY\]/);
      await cli(['umount', place.mountpoint]);
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('takes over a mount point that a killed daemon left behind, and says so', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      process.kill(pid, 'SIGKILL');
      await until('the end of the daemon', () => !isRunning(pid));
      expect((await run(['stat', place.mountpoint])).stderr).toContain('not connected');

      const log = `${place.directory}/log`;
      const note = `${place.mountpoint}: detached a view of ${place.source} whose daemon is gone`;
      expect(await mount(place, '--log-file', log)).toEqual({
        status: 0,
        stdout: '',
        stderr: `fuse-shiftfs: ${note}\n`,
      });
      expect(readFileSync(log, 'utf8')).toContain(JSON.stringify(note));
      expect(await runOk(['cat', `${place.mountpoint}/file`])).toBe('content\n');
      await cli(['umount', place.mountpoint]);
      expect(mountAt(place.mountpoint)).toBeUndefined();
    }));

  it('mounts again where a daemon serves only copies of its mount in another mount namespace', () =>
    withPlace(async (place) => {
      await mount(place);
      const first = await statusOf(place.mountpoint);
      const holder = spawn(
        'unshare',
        ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; exec sleep 60'],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: childEnvironment(),
        },
      );
      try {
        await once(holder.stdout, 'data');
        const { status, stderr } = await cli(['umount', place.mountpoint]);
        expect(status).toBe(0);
        expect(stderr).toContain(
          `${place.mountpoint} is unmounted; its daemon, process ${first.pid}, serves copies of it in mount namespaces of processes ${holder.pid}`,
        );
        expect(await statusOf(place.mountpoint)).toMatchObject({ pid: first.pid, mounted: false });
        expect((await mount(place)).status).toBe(0);
        const second = await statusOf(place.mountpoint);
        expect(second).toMatchObject({ mounted: true, state: 'serving' });
        expect(second.pid).not.toBe(first.pid);
      } finally {
        holder.kill('SIGKILL');
        await once(holder, 'close');
      }
      await until('the end of the first daemon', () => !isRunning(first.pid));
      expect((await cli(['umount', place.mountpoint])).status).toBe(0);
    }));

  it('finds its way through symbolic links', () =>
    withPlace(async (place) => {
      symlinkSync('source', `${place.directory}/s`);
      symlinkSync('view', `${place.directory}/v`);
      const result = await cli(['mount', `${place.directory}/s`, `${place.directory}/v`]);
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(mountAt(place.mountpoint)?.source).toBe(place.source);
      expect((await cli(['umount', `${place.directory}/v`])).status).toBe(0);
    }));

  it('takes relative paths and paths with spaces, commas, newlines and quotes', () =>
    withPlace(async ({ directory }) => {
      const odd = `a b,c"d'e\n\\f`;
      mkdirSync(`${directory}/${odd}`);
      mkdirSync(`${directory}/${odd}2`);
      const result = await cli(['mount', odd, `${odd}2`], { cwd: directory });
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(await statusOf(`${directory}/${odd}2`)).toMatchObject({ source: `${directory}/${odd}`, mounted: true });
      const shown = (await cli(['status', `${directory}/${odd}2`])).stdout;
      expect(shown.split('\n')[0]).toBe(`${directory}/a b,c"d'e\\x0a\\f2`);
      expect((await cli(['umount', `${odd}2`], { cwd: directory })).status).toBe(0);
    }));
});

describe('mount refuses', () => {
  async function refused(place: Place, args: readonly string[], status: number, message: string): Promise<void> {
    const before = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(place.directory));
    const result = await cli(['mount', ...args]);
    expect(result.stderr.split('\n')[0]).toBe(`fuse-shiftfs: ${message}`);
    expect(result.status).toBe(status);
    const after = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(place.directory));
    expect(after).toEqual(before);
  }

  it('a source that is not there, or no directory', () =>
    withPlace(async (place) => {
      const { source, mountpoint } = place;
      await refused(place, [`${source}/no`, mountpoint], 32, `${source}/no: no such directory [NO_SOURCE]`);
      await refused(place, [`${source}/file`, mountpoint], 32, `${source}/file: not a directory [NOT_A_DIRECTORY]`);
      await refused(place, [`${source}/file/x`, mountpoint], 32, `${source}/file/x: not a directory [NOT_A_DIRECTORY]`);
    }));

  it('a mount point that is not there, or no directory', () =>
    withPlace(async (place) => {
      const { source, mountpoint, directory } = place;
      await refused(place, [source, `${directory}/no`], 32, `${directory}/no: no such directory [NO_MOUNTPOINT]`);
      await refused(place, [source, `${directory}/no/no`], 32, `${directory}/no/no: no such directory [NO_MOUNTPOINT]`);
      await refused(place, [source, `${source}/file`], 32, `${source}/file: not a directory [NOT_A_DIRECTORY]`);
      symlinkSync('round', `${directory}/round`);
      await refused(
        place,
        [source, `${directory}/round`],
        32,
        `${directory}/round: too many symbolic links [NO_MOUNTPOINT]`,
      );
      await refused(
        place,
        [source, '/dev/fd/3'],
        1,
        '/dev/fd/3: a mount point given as a descriptor is not supported [BAD_OPTION]',
      );
      expect(existsSync(mountpoint)).toBe(true);
    }));

  it('a view that is mounted already', () =>
    withPlace(async (place) => {
      await mount(place);
      const { pid } = await statusOf(place.mountpoint);
      await refused(
        place,
        [place.source, place.mountpoint],
        32,
        `${place.mountpoint}: already mounted, served by process ${pid} [BUSY]`,
      );
      symlinkSync(place.mountpoint, `${place.directory}/link`);
      await refused(
        place,
        [place.source, `${place.directory}/link`],
        32,
        `${place.mountpoint}: already mounted, served by process ${pid} [BUSY]`,
      );
      await cli(['umount', place.mountpoint]);
    }));

  it('source and mount point inside each other, by whatever path', () =>
    withPlace(async (place) => {
      const { source, directory } = place;
      mkdirSync(`${source}/below`);
      const inside = (at: string) => `the mount point ${at} is inside the source ${source} [NESTED]`;
      await refused(place, [source, source], 32, `${source}: source and mount point are the same directory [NESTED]`);
      await refused(place, [source, `${source}/below`], 32, inside(`${source}/below`));
      await refused(
        place,
        [`${source}/below`, source],
        32,
        `the source ${source}/below is inside the mount point ${source} [NESTED]`,
      );
      symlinkSync(`${source}/below`, `${directory}/link`);
      await refused(place, [source, `${directory}/link`], 32, inside(`${source}/below`));

      mkdirSync(`${directory}/bind`);
      await runOk(['mount', '--bind', source, `${directory}/bind`]);
      await refused(place, [source, `${directory}/bind/below`], 32, inside(`${directory}/bind/below`));
      await refused(
        place,
        [`${directory}/bind/below`, source],
        32,
        `the source ${directory}/bind/below is inside the mount point ${source} [NESTED]`,
      );
      await runOk(['umount', `${directory}/bind`]);

      // The tree that holds the mount point is itself bound below the source.
      mkdirSync(`${directory}/outside/view`, { recursive: true });
      await runOk(['mount', '--bind', `${directory}/outside`, `${source}/below`]);
      await refused(
        place,
        [source, `${directory}/outside/view`],
        32,
        `the mount point ${directory}/outside/view is inside the source ${source}, by way of ${source}/below [NESTED]`,
      );
      const result = await cli(['mount', source, `${directory}/outside/view`, '--xdev']);
      expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
      expect((await cli(['umount', `${directory}/outside/view`])).status).toBe(0);
    }));

  it('a dead mount of somebody else', () =>
    withPlace(async (place) => {
      await runOk(['bindfs', place.source, place.mountpoint]);
      const server = readdirSync('/proc').find((pid) =>
        tryRead(`/proc/${pid}/cmdline`).startsWith(`bindfs\0${place.source}\0`),
      );
      process.kill(Number(server), 'SIGKILL');
      await until('the end of bindfs', () => !isRunning(Number(server)));
      await refused(
        place,
        [place.source, place.mountpoint],
        32,
        `${place.mountpoint}: a dead fuse mount is there [BUSY]`,
      );
      await refused(
        place,
        [place.mountpoint, place.source],
        32,
        `${place.mountpoint}: lies on a FUSE mount whose server is gone [NO_SOURCE]`,
      );
    }));

  it('those who are not root, with what they can do instead', () =>
    withPlace(async (place) => {
      const result = await cli(['mount', place.source, place.mountpoint], { uid: 1000, gid: 1000 });
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(
        /^fuse-shiftfs: mounting a view needs root \[NO_PERMISSION\]\n {2}Run it with sudo/,
      );
    }));

  it('a root without CAP_SYS_ADMIN', () =>
    withPlace(async (place) => {
      const command = ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-all', process.execPath, CLI, 'mount'];
      const { status, stderr } = await run([...command, place.source, place.mountpoint]);
      expect(stderr).toMatch(/^fuse-shiftfs: this root has no CAP_SYS_ADMIN, which mounting needs \[NO_PERMISSION\]/);
      expect(status).toBe(1);
    }));

  it('where /dev/fuse is missing', () =>
    withPlace(async (place) => {
      const { status, stderr } = await run(
        [
          'sh',
          '-c',
          'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$@"',
          'sh',
          process.execPath,
          CLI,
          'mount',
          place.source,
          place.mountpoint,
        ],
        { mountNamespace: true },
      );
      expect(stderr).toBe(
        'fuse-shiftfs: /dev/fuse is missing [NO_FUSE]\n  Load the module (modprobe fuse); in a container, hand /dev/fuse in.\n',
      );
      expect(status).toBe(2);
    }));

  it('what the driver cannot do', () =>
    withPlace(async (place) => {
      const { source, mountpoint } = place;
      const result = await cli(['mount', source, mountpoint, '--driver', 'fuse-native', '--passthrough', 'on']);
      expect(result.stderr).toMatch(/\[UNSUPPORTED\]/);
      expect(result.status).toBe(32);
      expect(mountAt(mountpoint)).toBeUndefined();
    }));
});

describe('a daemon that dies while it starts', () => {
  it('is reported with its last words, and nothing stays behind', () =>
    withPlace(async (place) => {
      const env = daemonFault(place.directory, `process.stderr.write('last words\\n'); process.exit(9);`);
      const result = await cli(['mount', place.source, place.mountpoint], { env });
      expect(result.stderr).toBe(
        'fuse-shiftfs: the daemon ended before the view was served (exit status 9):\nlast words [DAEMON_DIED]\n' +
          '  Run the same with --foreground --log-level debug to see how far it gets.\n',
      );
      expect(result.status).toBe(32);
      expect(daemonsOf(place.directory)).toEqual([]);
    }));

  it('leaves no dead mount when it had mounted already', () =>
    withPlace(async (place) => {
      // It is about to say that it is ready: kill it there.
      const env = daemonFault(
        place.directory,
        `const fs = require('node:fs');
        const { writeSync } = fs;
        fs.writeSync = (fd, ...rest) => fd === 3 ? process.kill(process.pid, 'SIGKILL') : writeSync(fd, ...rest);
        require('node:module').syncBuiltinESMExports();`,
      );
      const result = await cli(['mount', place.source, place.mountpoint], { env });
      expect(result.stderr).toMatch(
        /^fuse-shiftfs: the daemon ended before the view was served \(killed by SIGKILL\) \[DAEMON_DIED\]/,
      );
      expect(result.status).toBe(32);
      expect(mountAt(place.mountpoint)).toBeUndefined();
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(place.directory);
    }));

  it('can be given up with SIGINT', () =>
    withPlace(async (place) => {
      const env = daemonFault(
        place.directory,
        `require('node:fs').writeFileSync('${place.directory}/hangs', String(process.pid));
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`,
      );
      const child = spawn(process.execPath, [CLI, 'mount', place.source, place.mountpoint], {
        env: { ...childEnvironment(), ...env },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      const closed = once(child, 'close');
      await until('the daemon hangs', () => tryRead(`${place.directory}/hangs`) !== '');
      child.kill('SIGINT');
      expect(await closed).toEqual([8, null]);
      expect(stderr).toBe('fuse-shiftfs: interrupted; nothing is mounted\n');
      expect(isRunning(Number(tryRead(`${place.directory}/hangs`)))).toBe(false);
    }));
});

describe('mount(8)', () => {
  it('mounts through mount.fuse3, without PATH, and hands our exit status on', () =>
    withPlace(async (place) => {
      const type = ['-t', 'fuse', `${CLI}#${place.source}`, place.mountpoint];
      const options = 'map=0:100000:65536,noatime,nofail,x-systemd.automount,_netdev,coherence=strict';
      await runOk(['env', '-u', 'PATH', '/usr/bin/mount', ...type, '-o', options]);
      expect(await runOk(['stat', '-c', '%u', `${place.mountpoint}/file`])).toBe('100000\n');
      expect(mountAt(place.mountpoint)?.options).toEqual(expect.arrayContaining(['rw', 'nosuid', 'nodev', 'noatime']));
      await runOk(['umount', place.mountpoint]);

      const bad = await run(['mount', ...type, '-o', 'map=0:1']);
      expect(bad.status).toBe(1);
      expect(bad.stderr).toContain('[BAD_MAP]');
    }));

  it('mounts what /etc/fstab says, read-only and with two maps', () =>
    withPlace(async (place) => {
      const fstab = `${place.directory}/fstab`;
      const options = 'ro,noauto,user,map=u:0:100000:65536,map=g:0:200000:65536,idmap=b:70000:70000:1';
      writeFileSync(fstab, `${CLI}#${place.source} ${place.mountpoint} fuse ${options} 0 0\n`);
      await runOk(['mount', '--fstab', fstab, place.mountpoint]);
      expect(await runOk(['stat', '-c', '%u:%g', `${place.mountpoint}/file`])).toBe('100000:200000\n');
      expect(mountAt(place.mountpoint)?.options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']));
      expect((await statusOf(place.mountpoint)).map).toBe('u:0:100000:65536 g:0:200000:65536 b:70000:70000:1');
      await runOk(['umount', place.mountpoint]);
    }));

  it('mounts through a link named mount.TYPE', () =>
    withPlace(async (place) => {
      const helper = `${place.directory}/mount.fuse-shiftfs`;
      symlinkSync(CLI, helper);
      const result = await run([helper, place.source, place.mountpoint, '-s', '-n', '-o', 'ro']);
      expect(result).toMatchObject({ status: 0, stderr: '' });
      expect(mountAt(place.mountpoint)?.options).toContain('ro');
    }));

  it('finds node where the shell finds it when PATH is unset', async () => {
    const { status, stdout } = await run(['env', '-i', CLI, '--version']);
    expect({ status, stdout: stdout.toString() }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+/),
    });
    expect(statSync(CLI).mode & 0o111).toBe(0o111);
  });
});

describe('--auto-unmount', () => {
  it('takes the mount away when the daemon is killed, and its guardian ends', () =>
    withPlace(async (place) => {
      await mount(place, '--auto-unmount');
      const { pid } = await statusOf(place.mountpoint);
      expect(daemonsOf(place.directory)).toHaveLength(2);
      process.kill(pid, 'SIGKILL');
      await until('the unmount', () => mountAt(place.mountpoint) === undefined);
      await until('the end of the guardian', () => daemonsOf(place.directory).length === 0);
    }));

  it('leaves what somebody else mounted there alone, and ends with the daemon', () =>
    withPlace(async (place) => {
      await mount(place, '-o', 'auto_unmount');
      const { pid } = await statusOf(place.mountpoint);
      const guardian = daemonsOf(place.directory).find((each) => each !== pid)!;
      process.kill(guardian, 'SIGSTOP');
      process.kill(pid, 'SIGKILL');
      await until('the end of the daemon', () => !isRunning(pid));
      await runOk(['umount', '-l', place.mountpoint]);
      await runOk(['mount', '-t', 'tmpfs', 'other', place.mountpoint]);
      process.kill(guardian, 'SIGCONT');
      await until('the end of the guardian', () => !isRunning(guardian));
      expect(mountAt(place.mountpoint)).toMatchObject({ type: 'tmpfs' });
      await runOk(['umount', place.mountpoint]);
      rmSync(place.mountpoint, { recursive: true });
    }));

  it('has no guardian left after an unmount', () =>
    withPlace(async (place) => {
      await mount(place, '--auto-unmount');
      await cli(['umount', place.mountpoint]);
      await until('the end of the guardian', () => daemonsOf(place.directory).length === 0);
    }));
});
