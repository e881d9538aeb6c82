// `fuse-shiftfs share` and `unshare` with containers of real runtimes, and what they say when it cannot be.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mountAt } from '../support/mounts.js';
import { type ProgramResult, run, runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CLI } from '../support/view.js';
import { Lxd } from './lxd.js';
import { makeRootfs } from './rootfs.js';
import {
  CONTAINER_ROOT,
  makeSharedDirectory,
  needPrograms,
  ownersOnHost,
  PROBE,
  parseProbe,
  SHIFTED,
} from './sharing.js';

const SHARES = '/var/lib/fuse-shiftfs/shares';

let directory: string;
let source: string;
/** For the runtimes' clients. */
let environment: Readonly<Record<string, string>> = {};

beforeAll(() => {
  // Containers of this test have names of their own, so that the shares of this machine stay as they are.
  needPrograms({ lxd: 'lxd', lxc: 'lxd-client', 'lxc-info': 'lxc', podman: 'podman', runc: 'runc' });
});
beforeEach(() => {
  directory = makeTempDirectory('s');
  source = `${directory}/data`;
  makeSharedDirectory(source);
});
afterEach(() => removeTempDirectory(directory));

function fuseShiftfs(...args: readonly string[]): Promise<ProgramResult> {
  return run([process.execPath, CLI, ...args], { env: environment });
}

async function expectOk(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await fuseShiftfs(...args);
  if (status !== 0) throw new Error(`${args.join(' ')}: exit status ${status}: ${stderr}`);
  return stdout.toString();
}

/** Takes away what a failed test left, of `container` alone. */
function cleanUp(container: string): void {
  const place = `${SHARES}/${container}`;
  for (const name of existsSync(place) ? ['data', 'other'] : []) {
    if (mountAt(`${place}/${name}`)) spawnSync(process.execPath, [CLI, 'umount', '--lazy', `${place}/${name}`]);
  }
  spawnSync('rm', ['-rf', '--one-file-system', place]);
  spawnSync('umount', [SHARES]);
}

describe('with LXD', () => {
  const container = `test-${process.pid}-lxd`;
  const place = `${SHARES}/${container}/data`;
  const withContainer = ['--with', `${container}:/srv/shared`];
  let lxd: Lxd;

  beforeAll(async () => {
    lxd = await Lxd.start();
    environment = lxd.environment;
    await lxd.launch(container);
  });
  afterEach(async () => {
    if (existsSync(place)) await expectOk('unshare', source, '--with', container);
  });
  afterAll(async () => {
    cleanUp(container);
    await lxd?.close();
    environment = {};
  });

  it('gives the running container the directory with the right owners, and takes it away again', async () => {
    const said = await expectOk('share', source, ...withContainer);
    expect(said).toMatch(
      /^mounted a view of .*\/data on .* with the ids of .* \(LXD, process [0-9]+\)\nattached it to/,
    );
    expect(parseProbe(await lxd.exec(container, '/bin/probe', '/srv/shared'))).toEqual(SHIFTED);
    expect(ownersOnHost(source)).toEqual({ 'written-by-root': '33:33', 'home/written-by-user': '1000:1000' });
    expect(await expectOk('unshare', source, '--with', container)).toContain('detached');
    await expect(lxd.exec(container, 'ls', '/srv/shared/user.txt')).rejects.toThrow('No such file');
    expect(mountAt(place)).toBeUndefined();
    expect(existsSync(`${SHARES}/${container}`)).toBe(false);
    expect(await lxd.lxc('config', 'device', 'list', container)).toBe('\n');
  });

  it('changes nothing when asked twice', async () => {
    await expectOk('share', source, ...withContainer);
    const before = mountAt(place);
    expect(await expectOk('share', source, ...withContainer)).toContain('already, at /srv/shared');
    expect(await expectOk('share', source, '--with', container)).toContain('already, at /srv/shared');
    expect(mountAt(place)).toEqual(before);
  });

  it('is there again in the running container when the daemon was killed and the view mounted anew', async () => {
    await expectOk('share', source, ...withContainer);
    const { pid } = JSON.parse(await expectOk('status', place, '--json')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expectOk('mount', source, place, '--map', '0:100000:65536');
    expect(await lxd.exec(container, 'cat', '/srv/shared/user.txt')).toBe('by user\n');
  });

  it('heals a container that was restarted before the daemon was killed', async () => {
    await expectOk('share', source, ...withContainer);
    await lxd.lxc('restart', '--force', container);
    const { pid } = JSON.parse(await expectOk('status', place, '--json')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expectOk('share', source, ...withContainer);
    expect(await lxd.exec(container, 'cat', '/srv/shared/user.txt')).toBe('by user\n');
  });

  it('speaks to Incus in the same words', async () => {
    // There is no package of Incus here: LXD's client and server under that name. Both have one origin, and the requests
    // and options that are used are the same in Incus's manual.
    const programs = `${directory}/bin`;
    mkdirSync(programs);
    symlinkSync('/usr/bin/lxc', `${programs}/incus`);
    const before = environment;
    environment = { ...environment, PATH: `${programs}:${process.env['PATH']}` };
    try {
      expect(await expectOk('share', source, ...withContainer, '--runtime', 'incus')).toContain('(Incus, process ');
      expect(await lxd.exec(container, 'stat', '-c', '%u', '/srv/shared/user.txt')).toBe('1000\n');
      await expectOk('unshare', source, '--with', container, '--runtime', 'incus');
      expect(await lxd.lxc('config', 'device', 'list', container)).toBe('\n');
    } finally {
      environment = before;
    }
  });

  it('says which runtimes have a container of the name, and takes the one that is chosen', async () => {
    mkdirSync(`/var/lib/lxc/${container}-two`, { recursive: true });
    writeFileSync(`/var/lib/lxc/${container}-two/config`, '');
    try {
      await lxd.lxc('init', 'busybox', `${container}-two`);
      const refused = await fuseShiftfs('share', source, '--with', `${container}-two`);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain(`${container}-two: lxd and lxc have one [USAGE]`);
      const chosen = await fuseShiftfs('share', source, '--with', `${container}-two`, '--runtime', 'lxd');
      expect(chosen.stderr).toContain('the container is stopped');
    } finally {
      rmSync(`/var/lib/lxc/${container}-two`, { recursive: true });
    }
  });

  it('refuses another directory under the same name, and takes it under another', async () => {
    await expectOk('share', source, ...withContainer);
    const other = `${directory}/more/data`;
    mkdirSync(other, { recursive: true });
    writeFileSync(`${other}/other`, 'other\n');
    const refused = await fuseShiftfs('share', other, '--with', container);
    expect(refused.status).toBe(32);
    expect(refused.stderr).toContain(`${source} is shared with ${container} under the name "data" [BUSY]`);
    await expectOk('share', other, '--with', container, '--name', 'other', '-o', 'read-only');
    expect(await lxd.exec(container, 'cat', '/mnt/other/other')).toBe('other\n');
    await expect(lxd.exec(container, 'touch', '/mnt/other/new')).rejects.toThrow('Read-only');
    await expectOk('unshare', other, '--with', container, '--name', 'other');
  });

  it('leaves nothing attached when the view cannot be mounted', async () => {
    const result = await fuseShiftfs('share', source, ...withContainer, '-o', 'coherence=never');
    expect(result.status).toBe(1);
    expect(result.stderr).toContain('[BAD_OPTION]');
    expect(await lxd.lxc('config', 'device', 'list', container)).toBe('\n');
    expect(existsSync(place)).toBe(false);
  });

  it.each([
    ['unknown', 'nobody', 32, 'nobody: no such container [NO_USERNS]'],
    ['not the name of a container', '--help', 1, 'not the name of a container'],
    ['with a relative path', 'c:srv', 1, 'must be CONTAINER or CONTAINER:/PATH'],
  ])('refuses a container that is %s', async (_, name, status, message) => {
    const result = await fuseShiftfs('share', source, `--with=${name}`);
    expect(result.stderr).toContain(message);
    expect(result.status).toBe(status);
  });

  it('refuses a privileged and a stopped container', async () => {
    const privileged = `${container}-privileged`;
    await lxd.launch(privileged, [], ['security.privileged=true']);
    const refused = await fuseShiftfs('share', source, '--with', privileged);
    expect(refused.stderr).toContain('the container is privileged: its root is root of the host [UNSUPPORTED]');
    await lxd.lxc('stop', '--force', privileged);
    const stopped = await fuseShiftfs('share', source, '--with', privileged);
    expect(stopped.stderr).toContain(`${privileged}: the container is stopped [NO_USERNS]`);
    await lxd.lxc('delete', privileged);
  });

  it('is undone for a container that was stopped, and for one that is gone', async () => {
    const short = `${container}-short`;
    await lxd.launch(short);
    await expectOk('share', source, '--with', short);
    await lxd.lxc('stop', '--force', short);
    expect(await expectOk('unshare', source, '--with', short)).toContain('detached');
    await lxd.lxc('start', short);
    await expectOk('share', source, '--with', short);
    await lxd.lxc('delete', '--force', short);
    expect(await expectOk('unshare', source, '--with', short)).toContain('unmounted');
    const again = await fuseShiftfs('unshare', source, '--with', short);
    expect(again.stderr).toContain(`is not shared with ${short} [NOT_MOUNTED]`);
  });
});

describe('with LXC', () => {
  const container = `test-${process.pid}-lxc`;
  afterAll(() => cleanUp(container));

  it('mounts a view with the whole map and prints a line that works in the configuration', async () => {
    const rootfs = `${directory}/rootfs`;
    mkdirSync(rootfs);
    makeRootfs(rootfs, CONTAINER_ROOT, PROBE);
    // Three ranges: user 1000 is not where the others are.
    const config = `
lxc.rootfs.path = dir:${rootfs}
${['u', 'g'].flatMap((kind) => ['0 100000 1000', '1000 200000 1', '1001 101001 64535'].map((range) => `lxc.idmap = ${kind} ${range}`)).join('\n')}
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed
lxc.init.cmd = /sbin/init
`;
    const lxc = async (command: string, ...args: readonly string[]) =>
      (await runOk([`lxc-${command}`, '-P', directory, '-n', container, ...args])).trim();
    const start = async (text: string) => {
      mkdirSync(`${directory}/${container}`, { recursive: true });
      writeFileSync(`${directory}/${container}/config`, text);
      await lxc('start');
      await lxc('wait', '-s', 'RUNNING', '-t', '20');
    };
    await start(config);
    try {
      const said = await expectOk('share', source, '--with', `${container}:/srv/shared`);
      const line = /^ {2}(lxc\.mount\.entry = .*)$/m.exec(said)?.[1];
      expect(line).toContain('rslave');
      expect(await expectOk('share', source, '--with', `${container}:/srv/shared`)).toContain(line);
      await lxc('stop', '-k');
      await start(`${config}${line}\n`);
      expect(parseProbe(await lxc('attach', '--', '/bin/probe', '/srv/shared'))).toEqual(SHIFTED);
    } finally {
      await run(['lxc-stop', '-k', '-P', directory, '-n', container]);
    }
    await expectOk('unshare', source, '--with', container);
  });
});

describe('with podman', () => {
  const container = `test-${process.pid}-podman`;
  afterAll(() => cleanUp(container));

  it('mounts the view and prints the option for the container', async () => {
    const rootfs = `${directory}/rootfs`;
    mkdirSync(rootfs);
    makeRootfs(rootfs, CONTAINER_ROOT, PROBE);
    writeFileSync(
      `${directory}/storage.conf`,
      `[storage]\ndriver = "vfs"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`,
    );
    const env = { CONTAINERS_STORAGE_CONF: `${directory}/storage.conf` };
    environment = env;
    const podman = (...args: readonly string[]) =>
      runOk(['podman', '--cgroup-manager', 'cgroupfs', '--runtime', 'runc', ...args], { env });
    const create = (...volume: readonly string[]) =>
      podman(
        ...['run', '--detach', '--name', container, '--network', 'none', ...volume],
        ...['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=4096:4096'],
        ...['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536', '--rootfs', rootfs, 'sleep', '3600'],
      );
    await create();
    try {
      const said = await expectOk('share', source, '--with', `${container}:/srv/shared`);
      const volume = /--volume (\S+)$/m.exec(said)?.[1];
      await podman('rm', '--force', '--time', '0', container);
      await create('--volume', volume ?? '');
      expect(parseProbe(await podman('exec', container, '/bin/probe', '/srv/shared'))).toEqual(SHIFTED);
    } finally {
      await podman('rm', '--force', '--time', '0', container);
    }
    await expectOk('unshare', source, '--with', container);
    environment = {};
  });
});

it('leaves no mount of its own behind', () => {
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(`${SHARES}/test-${process.pid}-`);
});
