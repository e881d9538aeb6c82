// The units of packaging/systemd under a real systemd: a start returns when the view serves, a crash heals, an exit says
// why.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI } from '../support/view.js';
import { Systemd } from './systemd.js';

const UNITS = fileURLToPath(new URL('../../packaging/systemd', import.meta.url));
const CONFIG = '/etc/fuse-shiftfs/data.json';
const UNIT = 'fuse-shiftfs@data.service';

/** What systemd-analyze(1) says, nothing when all is well; it exits 0 for keys it does not know. */
function verify(file: string): string {
  const directory = mkdtempSync(`${tmpdir()}/unit-`);
  try {
    const unit = `${directory}/${file}`;
    writeFileSync(unit, readFileSync(`${UNITS}/${file}`, 'utf8').replaceAll('/usr/bin/fuse-shiftfs', CLI));
    const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8' });
    return stdout + stderr;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

it.each(['fuse-shiftfs@.service', 'srv-view.mount'])('systemd has nothing to say against %s', (file) => {
  expect(verify(file)).toBe('');
});

describe('under systemd', () => {
  let machine: Systemd;

  beforeAll(async () => {
    machine = await Systemd.boot();
    await machine.exec('sh', '-c', 'mkdir -p /srv/data /srv/view && echo hello > /srv/data/file');
    await machine.exec(process.execPath, CLI, 'install', '--prefix', '/usr');
    await configure({});
  });
  afterAll(() => machine?.close());

  async function configure(more: Readonly<Record<string, unknown>>): Promise<void> {
    const config = { source: '/srv/data', mountpoint: '/srv/view', map: ['0:100000:65536'], ...more };
    await machine.write(CONFIG, JSON.stringify(config));
  }

  const owner = () => machine.exec('stat', '-c', '%u:%g', '/srv/view/file');
  const mounted = async () => (await machine.run('findmnt', '-no', 'FSTYPE', '/srv/view')).stdout.toString().trim();

  /** Waits for what systemd does by itself. */
  async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + 20_000;
    while (!(await condition())) {
      if (performance.now() > end) {
        const journal = await machine.run('journalctl', '--no-pager', '-u', UNIT);
        throw new Error(`${what}: not within 20 s\n${journal.stdout.toString()}`);
      }
    }
  }

  it('serves when the start returns', async () => {
    await machine.exec('systemctl', 'start', UNIT);
    expect(await mounted()).toBe('fuse.fuse-shiftfs');
    expect(await owner()).toBe('100000:100000\n');
    expect(await machine.show(UNIT, 'StatusText')).toBe('Serving /srv/data on /srv/view');
    expect(await machine.show(UNIT, 'WatchdogTimestampMonotonic')).not.toBe('0');
  });

  it('serves root and users through the whole of the hardening', async () => {
    await machine.exec('mkdir', '-p', '/srv/all', '/srv/all-view');
    await machine.exec('mount', '-t', 'tmpfs', 'tmpfs', '/srv/all');
    await machine.write(
      '/etc/fuse-shiftfs/all.json',
      '{ "source": "/srv/all", "mountpoint": "/srv/all-view", "allow-suid": true }',
    );
    await machine.exec('systemctl', 'start', 'fuse-shiftfs@all.service');
    const script = `
      cd /srv/all-view
      echo new > new; chown 1000:33 new; chmod 4755 new; mkdir directory; mv new directory/moved
      setfattr -n user.test -v value directory/moved; setfacl -m u:1000:rwx directory
      setpriv --reuid 1000 --regid 1000 --clear-groups touch directory/by-user
      cp -a directory copy; ln -s moved copy/link; mkfifo copy/fifo; setcap cap_chown+ep copy/moved
      fallocate -l 1M copy/space; flock copy/space true`;
    await machine.exec('sh', '-euc', script);
    const listing = await machine.exec('sh', '-c', 'cd /srv/all/copy && stat -c "%n %F %u:%g %a" *');
    expect(listing.trim().split('\n')).toEqual([
      'by-user regular empty file 1000:1000 644',
      'fifo fifo 0:0 644',
      'link symbolic link 0:0 777',
      'moved regular file 1000:33 4755',
      'space regular file 0:0 644',
    ]);
    const status = JSON.parse(await machine.exec('fuse-shiftfs', 'status', '/srv/all-view', '--json')) as {
      view: { watcher: string; coherence: string; features: string[] };
    };
    expect(status.view).toMatchObject({ watcher: 'fanotify, one mark on the file system', coherence: 'lease' });
    for (const content of ['first', 'second']) {
      await machine.write('/srv/all/edited', content);
      expect(await machine.exec('cat', '/srv/all-view/edited')).toBe(content);
    }
    await machine.exec('systemctl', 'stop', 'fuse-shiftfs@all.service');
  });

  it('is there again after kill -9', async () => {
    const before = await machine.show(UNIT, 'MainPID');
    await machine.exec('systemctl', 'kill', '--signal=KILL', '--kill-who=main', UNIT);
    await until('a new daemon', async () => {
      const pid = await machine.show(UNIT, 'MainPID');
      return pid !== '0' && pid !== before && (await machine.show(UNIT, 'ActiveState')) === 'active';
    });
    expect(await owner()).toBe('100000:100000\n');
    expect(await machine.show(UNIT, 'NRestarts')).toBe('1');
  });

  it('unmounts when it is stopped', async () => {
    await machine.exec('systemctl', 'stop', UNIT);
    expect(await mounted()).toBe('');
    expect(await machine.show(UNIT, 'Result')).toBe('success');
  });

  it('can be enabled', async () => {
    await machine.exec('systemctl', 'enable', '--now', UNIT);
    expect(await machine.exec('systemctl', 'list-dependencies', '--plain', 'multi-user.target')).toContain(UNIT);
    expect(await owner()).toBe('100000:100000\n');
    await machine.exec('systemctl', 'disable', '--now', UNIT);
    expect(await mounted()).toBe('');
  });

  it('is started anew when its main thread no longer answers the watchdog', async () => {
    await machine.write(`/etc/systemd/system/${UNIT}.d/watchdog.conf`, '[Service]\nWatchdogSec=1s\n');
    await machine.exec('systemctl', 'daemon-reload');
    await machine.exec('systemctl', 'start', UNIT);
    const before = Number(await machine.show(UNIT, 'NRestarts'));
    await machine.exec('systemctl', 'kill', '--signal=STOP', '--kill-who=main', UNIT);
    await until('a restart', async () => Number(await machine.show(UNIT, 'NRestarts')) > before);
    await until('the start', async () => (await machine.show(UNIT, 'ActiveState')) === 'active');
    expect(await owner()).toBe('100000:100000\n');
    await machine.exec('systemctl', 'stop', UNIT);
    await machine.exec('rm', '-r', `/etc/systemd/system/${UNIT}.d`);
  });

  it('leaves no dead mount behind when it is killed and not to be restarted', async () => {
    await machine.write(`/etc/systemd/system/${UNIT}.d/no-restart.conf`, '[Service]\nRestart=no\n');
    await machine.exec('systemctl', 'daemon-reload');
    await machine.exec('systemctl', 'start', UNIT);
    await machine.exec('systemctl', 'kill', '--signal=KILL', '--kill-who=main', UNIT);
    await until('the end', async () => (await machine.show(UNIT, 'ActiveState')) === 'failed');
    expect(await mounted()).toBe('');
    await machine.exec('rm', '-r', `/etc/systemd/system/${UNIT}.d`);
    await machine.exec('systemctl', 'daemon-reload');
  });

  it('fails at once, naming file and key, when the config is bad', async () => {
    await configure({ coherence: 'sometimes' });
    await machine.exec('systemctl', 'reset-failed');
    expect((await machine.run('systemctl', 'start', UNIT)).status).not.toBe(0);
    expect(await machine.show(UNIT, 'NRestarts')).toBe('0');
    expect(await machine.show(UNIT, 'ActiveState')).toBe('failed');
    const journal = await machine.exec('journalctl', '--no-pager', '-o', 'cat', '-u', UNIT);
    expect(journal).toContain(`${CONFIG}: coherence=sometimes: must be lease, strict or ttl=SECONDS [BAD_CONFIG]`);
    await configure({});
  });

  it('refuses to start without a config file', async () => {
    const result = await machine.run('systemctl', 'start', 'fuse-shiftfs@missing.service');
    expect(result.status).not.toBe(0);
    expect(result.stderr).toContain('Assertion failed');
  });

  it('mounts from a mount unit', async () => {
    await machine.exec('cp', `${UNITS}/srv-view.mount`, '/etc/systemd/system/');
    await machine.exec('systemctl', 'daemon-reload');
    await machine.exec('systemctl', 'start', 'srv-view.mount');
    expect(await owner()).toBe('100000:100000\n');
    await machine.exec('systemctl', 'stop', 'srv-view.mount');
    expect(await mounted()).toBe('');
  });

  it('gives an exposure level that hardening keeps below 5', async () => {
    const report = await machine.exec('systemd-analyze', 'security', '--no-pager', UNIT);
    const level = Number(/Overall exposure level for \S+: ([0-9.]+)/.exec(report)?.[1]);
    console.log(`systemd-analyze security ${UNIT}: ${level}`);
    expect(level).toBeLessThan(5);
  });
});
