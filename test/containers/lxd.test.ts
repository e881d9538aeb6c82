// The profiles of lxd-profile/ in a real LXD: right owners, both sides write, a host edit is seen at once, and a running
// container gets its directory back after the daemon was killed.

import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { editingTools, editOnHost, edits } from '../support/editors.js';
import { runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, mountView, type View } from '../support/view.js';
import { Lxd, readProfile } from './lxd.js';
import { makeSharedDirectory, ownersOnHost, parseProbe, SHIFTED, UNSHIFTED } from './sharing.js';

/** Milliseconds: far less than any cache would keep it, far more than a busy machine needs. */
const EDIT_SEEN_WITHIN = 5000;

let lxd: Lxd;
let directory: string;
let source: string;
let parent: string;
let view: View;

/** On hosts with systemd every mount is shared already; not everywhere. */
function makeSharedMount(path: string): void {
  mkdirSync(path);
  for (const args of [
    ['--bind', path, path],
    ['--make-shared', path],
  ]) {
    const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
  }
}

beforeAll(async () => {
  directory = makeTempDirectory('lxd-share');
  source = `${directory}/source`;
  parent = `${directory}/shares`;
  makeSharedDirectory(source);
  makeSharedMount(parent);
  mkdirSync(`${parent}/data`);
  view = await mountView({ source, mountpoint: `${parent}/data`, map: [CONTAINER_MAP] });
  lxd = await Lxd.start();
  await lxd.createProfile('fuse-shiftfs', readProfile('lxd.yaml', parent));
  await lxd.launch('c', ['fuse-shiftfs']);
});

afterAll(async () => {
  await lxd?.close();
  await view?.destroy();
  removeTempDirectory(directory);
});

describe('the profile for LXD', () => {
  it('shows the right owners and lets root and uid 1000 write what is theirs', async () => {
    expect(parseProbe(await lxd.exec('c', '/bin/probe', '/mnt/shared/data'))).toEqual(SHIFTED);
    expect(ownersOnHost(source)).toEqual({ 'written-by-root': '33:33', 'home/written-by-user': '1000:1000' });
  });

  it('would show nobody as the owner without a view', async () => {
    await lxd.lxc('config', 'device', 'add', 'c', 'plain', 'disk', `source=${source}`, 'path=/mnt/plain');
    await lxd.exec('c', 'rm', '-f', '/mnt/shared/data/written-by-root', '/mnt/shared/data/home/written-by-user');
    expect(parseProbe(await lxd.exec('c', '/bin/probe', '/mnt/plain'))).toEqual(UNSHIFTED);
    await lxd.lxc('config', 'device', 'remove', 'c', 'plain');
  });

  const tools = editingTools.filter(({ name }) => ['emacs', 'brz revert'].includes(name));
  it.each(tools)('shows what $name saved on the host', async (tool) => {
    for (const edit of edits) {
      const name = `${tool.name.replaceAll(' ', '-')}-${edit.length}`;
      mkdirSync(`${source}/${name}`);
      tool.prepare(`${source}/${name}/file`, edit.before, edit.after);
      expect(await lxd.exec('c', 'cat', `/mnt/shared/data/${name}/file`)).toBe(edit.before);
      editOnHost(tool, `${source}/${name}/file`, edit);
      // At once, when the machine has time; a name or page that is not taken back would stay for ever.
      const end = performance.now() + EDIT_SEEN_WITHIN;
      let seen: string;
      do seen = await lxd.exec('c', 'cat', `/mnt/shared/data/${name}/file`);
      while (seen !== edit.after && performance.now() < end);
      expect(seen === edit.after, `${edit.length}: ${seen.length} bytes beginning with ${seen.slice(0, 10)}`).toBe(
        true,
      );
    }
  });

  it('shows the host what the container wrote', async () => {
    await lxd.exec(
      'c',
      'sh',
      '-c',
      'echo from the container > /mnt/shared/data/out && chown 1000:33 /mnt/shared/data/out',
    );
    expect(readFileSync(`${source}/out`, 'utf8')).toBe('from the container\n');
    expect(lstatSync(`${source}/out`)).toMatchObject({ uid: 1000, gid: 33 });
  });

  it('is there again in the running container after the daemon was killed and started anew', async () => {
    const before = await lxd.pid('c');
    await view.kill();
    await expect(lxd.exec('c', 'cat', '/mnt/shared/data/user.txt')).rejects.toThrow('not connected');
    await runOk([process.execPath, CLI, 'mount', source, view.mountpoint, '--map', CONTAINER_MAP]);
    expect(await lxd.exec('c', 'cat', '/mnt/shared/data/user.txt')).toBe('by user\n');
    expect(await lxd.pid('c')).toBe(before);
  });

  it('shows a view that is mounted after the start of the container', async () => {
    const other = `${directory}/other`;
    mkdirSync(other);
    writeFileSync(`${other}/late`, 'late\n');
    mkdirSync(`${parent}/late`);
    const late = await mountView({ source: other, mountpoint: `${parent}/late`, map: [CONTAINER_MAP] });
    try {
      expect(await lxd.exec('c', 'stat', '-c', '%u:%g', '/mnt/shared/late/late')).toBe('0:0\n');
    } finally {
      await late.close();
    }
  });

  it('goes away and comes back with the profile while the container runs', async () => {
    await lxd.lxc('profile', 'remove', 'c', 'fuse-shiftfs');
    await expect(lxd.exec('c', 'ls', '/mnt/shared/data')).rejects.toThrow('No such file');
    await lxd.lxc('profile', 'add', 'c', 'fuse-shiftfs');
    expect(await lxd.exec('c', 'cat', '/mnt/shared/data/user.txt')).toBe('by user\n');
    // Now that it was added to the running container, too, a view that is mounted anew arrives.
    await runOk([process.execPath, CLI, 'umount', view.mountpoint]);
    await runOk([process.execPath, CLI, 'mount', source, view.mountpoint, '--map', CONTAINER_MAP]);
    expect(await lxd.exec('c', 'cat', '/mnt/shared/data/user.txt')).toBe('by user\n');
  });
});

describe('the profile for one user', () => {
  it('makes uid 1000 the same person on both sides and nobody else anybody', async () => {
    const home = `${directory}/home`;
    const homes = `${directory}/homes`;
    makeSharedDirectory(home);
    chmodSync(home, 0o777);
    makeSharedMount(homes);
    mkdirSync(`${homes}/data`);
    const own = await mountView({ source: home, mountpoint: `${homes}/data`, map: ['1000:101000:1'] });
    try {
      await lxd.createProfile('fuse-shiftfs-one-user', readProfile('lxd-one-user.yaml', homes));
      await lxd.launch('e', ['fuse-shiftfs-one-user']);
      const user = (command: string) => lxd.exec('e', 'su', 'user', '-c', `cd /mnt/home/data && ${command}`);
      expect(await user('stat -c %u:%g user.txt home root.txt .')).toBe(
        '1000:1000\n1000:1000\n65534:65534\n65534:65534\n',
      );
      await user('echo mine > home/new && mkdir new-directory && echo more >> user.txt');
      expect(lstatSync(`${home}/home/new`)).toMatchObject({ uid: 1000, gid: 1000 });
      expect(readFileSync(`${home}/user.txt`, 'utf8')).toBe('by user\nmore\n');
      await expect(user('echo x >> root.txt')).rejects.toThrow('Permission denied');
      await expect(user('chgrp 33 user.txt')).rejects.toThrow('Operation not permitted');
      await expect(lxd.exec('e', 'touch', '/mnt/home/data/by-root')).rejects.toThrow('Value too large');
    } finally {
      await lxd.lxc('delete', '--force', 'e').catch(() => {});
      await own.close();
    }
  });
});

/** Keys of a disk device for containers in Incus's reference manual ("Type: disk"); LXD's are the same. */
const INCUS_DISK_KEYS = ['type', 'source', 'path', 'recursive', 'propagation', 'readonly', 'required', 'shift'];

describe.each(['', '-one-user'])('the profile for Incus%s', (suffix) => {
  it('parses, uses documented keys only, and asks for what the one for LXD does', async () => {
    type Devices = Readonly<Record<string, Readonly<Record<string, string>>>>;
    const devices: Devices[] = [];
    for (const server of ['incus', 'lxd']) {
      const name = `check-${server}${suffix}`;
      await lxd.createProfile(name, readProfile(`${server}${suffix}.yaml`, parent));
      devices.push((JSON.parse(await lxd.lxc('query', `/1.0/profiles/${name}`)) as { devices: Devices }).devices);
    }
    const keys = Object.values(devices[0]!).flatMap((device) => Object.keys(device));
    expect(keys).toContain('propagation');
    expect(keys.filter((key) => !INCUS_DISK_KEYS.includes(key))).toEqual([]);
    expect(devices[0]).toEqual(devices[1]);
  });
});

describe('Docker in LXD', () => {
  it('finds overlayfs working with every layer on the view', async () => {
    const layers = `${directory}/layers`;
    const docker = `${directory}/docker`;
    mkdirSync(layers);
    makeSharedMount(docker);
    mkdirSync(`${docker}/data`);
    const example = (file: string) => fileURLToPath(new URL(`../../examples/docker-in-lxd/${file}`, import.meta.url));
    const profile = readFileSync(example('profile.yaml'), 'utf8');
    const layersView = await mountView({
      source: layers,
      mountpoint: `${docker}/data`,
      map: [CONTAINER_MAP],
      // As profile.yaml says.
      options: ['--allow-suid'],
    });
    try {
      await lxd.createProfile(
        'docker',
        profile.replace(/(source: ).*/, (_, key: string) => key + docker),
      );
      await lxd.launch('f', ['docker']);
      await lxd.lxc('file', 'push', example('check-overlay.sh'), 'f/bin/check-overlay', '--mode=755');
      expect(await lxd.exec('f', 'check-overlay', '/mnt/docker/data')).toBe('overlayfs works on /mnt/docker/data\n');
      expect(readdirSync(layers)).toEqual([]);
    } finally {
      await lxd.lxc('delete', '--force', 'f').catch(() => {});
      await layersView.close();
    }
  });
});
