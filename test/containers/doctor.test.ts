// `fuse-shiftfs doctor` on the file systems and with the rights that there are here, held against what really works.

import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Examination, Finding } from '../../src/doctor/finding.js';
import { mountIdmapped } from '../support/idmapped.js';
import { type ProgramOptions, run } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, withView } from '../support/view.js';

let directory: string;
beforeEach(() => {
  directory = makeTempDirectory('doctor');
  mkdirSync(`${directory}/source`);
});
afterEach(() => removeTempDirectory(directory));

const command = (...args: readonly string[]) => [process.execPath, CLI, 'doctor', ...args];

async function examine(source: string, options: ProgramOptions = {}, wrapper: readonly string[] = []) {
  const { status, stdout, stderr } = await run([...wrapper, ...command(source, '--json')], options);
  if (stdout.length === 0) throw new Error(stderr);
  const examination = JSON.parse(stdout.toString()) as Examination;
  const finding = (id: string): Finding => {
    const found = examination.findings.find((each) => each.id === id);
    if (!found) throw new Error(`no finding ${id}`);
    return found;
  };
  return { status, examination, finding };
}

function mountTmpfs(): string {
  const target = `${directory}/source`;
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', target], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return target;
}

describe('doctor', () => {
  it('finds that a view can be mounted, and everything that this kernel has', async () => {
    const { status, examination, finding } = await examine(`${directory}/source`);
    expect(status).toBe(0);
    expect(examination.mountable).toBe(true);
    expect(finding('rights').state).toBe('good');
    await withView({}, async (view) => {
      const shown = await run([process.execPath, CLI, 'status', view.mountpoint, '--json']);
      const { view: serving } = JSON.parse(shown.stdout.toString()) as {
        view: { protocol: string; features: string[] };
      };
      expect(finding('fuse').value).toContain(`protocol ${serving.protocol}`);
      expect(finding('passthrough').state === 'good').toBe(serving.features.includes('passthrough'));
      // The daemon has tried it on its own mount, and says only when it cannot.
      const cannot = view.output().includes('absences are not cached');
      expect(finding('negative_invalidation').state).toBe(cannot ? 'limited' : 'good');
    });
  });

  it('changes nothing', async () => {
    // In a mount namespace of its own, where nobody else mounts meanwhile.
    const script = `
      state() { cat /proc/self/mountinfo /sys/module/fuse/parameters/* /proc/sys/fs/*notify/*; ls /proc/self/fd; }
      before=$(state); "$@" >/dev/null; [ "$before" = "$(state)" ]`;
    const alone = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'];
    expect((await run([...alone, ...command(`${directory}/source`)])).status).toBe(0);
  });

  it('sends to an idmapped mount where one can really be made, with commands for it', async () => {
    const source = mountTmpfs();
    mkdirSync(`${directory}/mapped`);
    await mountIdmapped(source, `${directory}/mapped`, [CONTAINER_MAP]);
    const { examination, finding } = await examine(source);
    expect(examination.fileSystem).toBe('tmpfs');
    expect(finding('idmapped_mounts').state).toBe('good');
    expect(examination.advice.idmappedMount).toBe('possible');
    const commands = examination.advice.commands.map(({ command: text }) => text).join('\n');
    for (const word of ['X-mount.idmap=b:0:100000:65536', 'shift=true', ':idmap']) expect(commands).toContain(word);
  });

  it('names a util-linux that would ignore the option', async () => {
    const { examination } = await examine(directory);
    const version = /util-linux ([0-9]+)\.([0-9]+)/.exec(
      spawnSync('mount', ['--version'], { encoding: 'utf8' }).stdout,
    );
    const advice = examination.advice.commands.find(({ command: text }) => text.includes('X-mount.idmap'));
    if (Number(version?.[2]) >= 39) expect(advice?.for).toBe('mount(8)');
    else expect(advice?.for).toContain('ignores the option silently');
  });

  it('sends to a view where an idmapped mount cannot be made, and says what such a view lacks', async () => {
    await withView({}, async (view) => {
      mkdirSync(`${directory}/mapped`);
      await expect(mountIdmapped(view.mountpoint, `${directory}/mapped`, [CONTAINER_MAP])).rejects.toThrow('EINVAL');
      const { examination, finding } = await examine(view.mountpoint);
      expect(examination.fileSystem).toBe('fuse.fuse-shiftfs');
      expect(examination.advice.idmappedMount).toBe('impossible');
      expect(examination.advice.commands[0]!.command).toContain('fuse-shiftfs mount');
      expect(finding('watching')).toMatchObject({ state: 'limited', meaning: expect.stringContaining('strict') });
      expect(finding('passthrough').state).toBe('missing');
      expect(finding('file_handles').state).toBe('limited');
    });
  });

  it('tells an ordinary user what is missing and what is not known, and fails', async () => {
    const { status, examination, finding } = await examine(`${directory}/source`, { uid: 1000, gid: 1000 });
    expect(status).toBe(32);
    expect(examination.mountable).toBe(false);
    expect(finding('rights')).toMatchObject({ state: 'missing', change: 'Run it with sudo.' });
    expect(finding('idmapped_mounts').state).toBe('unknown');
    expect(examination.advice.idmappedMount).toBe('unknown');
  });

  it('notices that FUSE is missing', async () => {
    const hidden = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /dev && : > /dev/null && exec "$@"', 'sh'];
    const { status, finding } = await examine(`${directory}/source`, {}, hidden);
    expect(status).toBe(32);
    expect(finding('fuse')).toMatchObject({ state: 'missing', change: expect.stringContaining('modprobe fuse') });
  });

  it('counts descriptors as they are limited', async () => {
    const { finding } = await examine(directory, {}, ['prlimit', '--nofile=512:512']);
    expect(finding('descriptors')).toMatchObject({ state: 'limited', value: 'at most 512 in a process' });
  });

  it('counts what is mounted below the source', async () => {
    mountTmpfs();
    expect((await examine(directory)).finding('nested').value).toBe('one file system');
  });

  it('prints the same for people, every finding with its meaning', async () => {
    const { examination } = await examine(directory);
    const { status, stdout } = await run(command(directory));
    expect(status).toBe(0);
    for (const { title, value, meaning } of examination.findings) {
      expect(stdout.toString()).toContain(`${title}: ${value}`);
      expect(stdout.toString()).toContain(meaning);
    }
  });

  it('says that a source is not there', async () => {
    const { status, stderr } = await run(command(`${directory}/none`));
    expect(status).toBe(32);
    expect(stderr).toContain('[NO_SOURCE]');
  });
});
