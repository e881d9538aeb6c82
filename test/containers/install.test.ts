// `fuse-shiftfs install` on a machine of its own, and what it makes possible: mount(8), /etc/fstab, completions, the manual.

import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CLI } from '../support/view.js';
import { needPrograms } from './sharing.js';
import { Systemd } from './systemd.js';

const INSTALLED = [
  '/etc/fish/completions/fuse-shiftfs.fish',
  '/usr/local/bin/fuse-shiftfs',
  '/usr/local/lib/systemd/system/fuse-shiftfs@.service',
  '/usr/local/share/bash-completion/completions/fuse-shiftfs',
  '/usr/local/share/fuse-shiftfs/config.schema.json',
  '/usr/local/share/man/man8/fuse-shiftfs.8',
  '/usr/local/share/zsh/site-functions/_fuse-shiftfs',
];

/** What mount(8) may be called with: no PATH, as from a boot script or a unit. */
const BARE = ['env', '-i'];

describe('an installed program', () => {
  let machine: Systemd;

  beforeAll(async () => {
    needPrograms({ 'mount.fuse3': 'fuse3', fish: 'fish', zsh: 'zsh', man: 'man-db' });
    machine = await Systemd.boot();
    await machine.exec(
      'sh',
      '-c',
      'mkdir -p /srv/data /srv/view && mount -t tmpfs tmpfs /srv/data && echo hello > /srv/data/file',
    );
    await machine.exec(process.execPath, CLI, 'install');
  });
  afterAll(() => machine?.close());

  const findmnt = (columns: string) => machine.exec('findmnt', '-no', columns, '/srv/view');

  it('has put every file where it is looked for', async () => {
    for (const file of INSTALLED) await machine.exec('test', '-s', file);
    expect(await machine.exec('fuse-shiftfs', '--version')).toMatch(/^[0-9]+\.[0-9]+\.[0-9]+\n$/);
    expect(await machine.exec('cat', '/usr/local/lib/systemd/system/fuse-shiftfs@.service')).toContain(
      'ExecStart=/usr/local/bin/fuse-shiftfs mount',
    );
  });

  it('is mounted by mount(8) without PATH, and unmounted by umount(8)', async () => {
    const options = 'map=0:100000:65536,coherence=strict';
    await machine.exec(...BARE, '/bin/mount', '-t', 'fuse.fuse-shiftfs', '/srv/data', '/srv/view', '-o', options);
    expect(await findmnt('SOURCE,FSTYPE')).toMatch(/^\/srv\/data +fuse\.fuse-shiftfs\n$/);
    expect((await findmnt('OPTIONS')).trim().split(',')).toEqual(
      expect.arrayContaining(['rw', 'nosuid', 'nodev', 'allow_other', 'default_permissions']),
    );
    expect(await machine.exec('stat', '-c', '%u', '/srv/view/file')).toBe('100000\n');
    await machine.exec(...BARE, '/bin/umount', '/srv/view');
    expect((await machine.run('mountpoint', '-q', '/srv/view')).status).not.toBe(0);
  });

  it('hands the error of a mount on to the caller of mount(8)', async () => {
    const result = await machine.run('mount', '-t', 'fuse.fuse-shiftfs', '/srv/data', '/srv/view', '-o', 'mpa=0:1:2');
    expect(result.status).toBe(1);
    expect(result.stderr).toContain('unknown option "mpa" [BAD_OPTION]');
  });

  it('is mounted from /etc/fstab with every option that a line can have', async () => {
    const options = [
      'defaults,nofail,_netdev,x-systemd.requires=network.target,ro,noexec,noatime,allow-suid,allow-dev,xdev',
      'map=u:0:100000:65536,map=g:0:200000:65536,overflow-uid=65533,overflow-gid=65532,chown-ignore',
      'coherence=ttl=1.5,watcher=auto,forward-events=auto,driver=kernel,passthrough=auto,io-uring=auto,workers=3',
      'max-workers=9,auto-unmount,log-level=warn,log-file=/var/log/view.log,fsname=shifted\\040data',
    ].join(',');
    await machine.write('/etc/fstab', `/srv/data /srv/view fuse.fuse-shiftfs ${options} 0 0\n`);
    await machine.exec(...BARE, '/bin/mount', '-a');
    expect(await findmnt('SOURCE')).toBe('shifted data\n');
    const shown = (await findmnt('OPTIONS')).trim().split(',');
    expect(shown).toEqual(expect.arrayContaining(['ro', 'noexec', 'noatime']));
    expect(shown).not.toContain('nosuid');
    expect(shown).not.toContain('nodev');
    expect(await machine.exec('stat', '-c', '%u:%g', '/srv/view/file')).toBe('100000:200000\n');
    await machine.exec(...BARE, '/bin/umount', '/srv/view');
  });

  const views = async () =>
    (await machine.exec('findmnt', '-no', 'TARGET', '-t', 'fuse.fuse-shiftfs')).trim().split('\n');

  it('is left alone by mount -a when it is mounted', async () => {
    await machine.write('/etc/fstab', '/srv/data /srv/view fuse.fuse-shiftfs map=0:100000:65536 0 0\n');
    for (let time = 0; time < 2; time++) await machine.exec(...BARE, '/bin/mount', '-a');
    expect(await views()).toEqual(['/srv/view']);
    await machine.exec('umount', '/srv/view');
  });

  it('is left alone by mount -a under another name, too, unless it is not what the line says', async () => {
    const line = (map: string) => `/srv/data /srv/view fuse.fuse-shiftfs map=${map},fsname=shifted 0 0\n`;
    await machine.write('/etc/fstab', line('0:100000:65536'));
    for (let time = 0; time < 2; time++) await machine.exec(...BARE, '/bin/mount', '-a');
    expect(await views()).toEqual(['/srv/view']);
    await machine.write('/etc/fstab', line('0:1000:1'));
    expect((await machine.run('mount', '-a')).stderr).toContain('already mounted, served by process');
    await machine.exec('umount', '/srv/view');
  });

  it('has a manual page that man finds and groff has nothing to say against', async () => {
    const page = '/usr/local/share/man/man8/fuse-shiftfs.8';
    const result = await machine.run('man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', page);
    expect(result.stderr).toBe('');
    expect(await machine.exec('sh', '-c', 'realpath "$(man -w fuse-shiftfs)"')).toBe(`${page}\n`);
  });

  it('completes commands, options and values in bash', async () => {
    const complete = (line: string) =>
      machine.exec(
        'bash',
        '-c',
        `. /usr/local/share/bash-completion/completions/fuse-shiftfs
         COMP_WORDS=(${line}); [[ $1 == *' ' ]] && COMP_WORDS+=('')
         COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
         _fuse_shiftfs fuse-shiftfs "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
         printf '%s\\n' "\${COMPREPLY[@]}"`,
        'bash',
        line,
      );
    expect((await complete('fuse-shiftfs u')).split('\n')).toContain('umount');
    expect((await complete('fuse-shiftfs mount --pass')).trim()).toBe('--passthrough');
    expect((await complete('fuse-shiftfs mount --driver ')).trim().split('\n')).toEqual(['kernel', 'fuse-native']);
    expect((await complete('fuse-shiftfs mount /srv/da')).trim()).toBe('/srv/data');
    await machine.exec('fuse-shiftfs', 'mount', '/srv/data', '/srv/view');
    expect((await complete('fuse-shiftfs umount ')).trim()).toBe('/srv/view');
    await machine.exec('fuse-shiftfs', 'umount', '/srv/view');
  });

  it('completes options and values in fish', async () => {
    // As root's shell has it: what fish loads, it finds by itself.
    const shell = ['env', '-i', 'HOME=/root', 'PATH=/usr/local/bin:/usr/bin:/bin', 'fish', '-c'];
    const complete = (line: string) => machine.exec(...shell, `complete -C '${line}'`);
    expect(await complete('fuse-shiftfs mount --log-l')).toMatch(/^--log-level\t/m);
    expect(await complete('fuse-shiftfs mount --watcher ')).toMatch(/^fanotify\t/m);
  });

  it('completes options and values in zsh', async () => {
    // A terminal, a new shell in it, and a tab: what zsh then shows is on the screen. Nothing more is typed before it is
    // there, because zsh does not draw while keys are waiting.
    const complete = (line: string, shown: string) =>
      machine.exec(
        'timeout',
        '30',
        'zsh',
        '-fc',
        `
      zmodload zsh/zpty
      zpty shell zsh -f
      zpty -w shell "PS1= TERM=dumb; autoload -U compinit; compinit -D -u"
      zpty -w shell "bindkey '^I' complete-word; LISTMAX=500; zstyle ':completion:*' insert-tab false; print READ''Y"
      zpty -m -r shell found '*READY*' || exit 1
      zpty -w -n shell ${JSON.stringify(line)}$'\\t'
      zpty -m -r shell found '*${shown}*'`,
      );
    await complete('fuse-shiftfs mount --log-le', '--log-level');
    await complete('fuse-shiftfs mount --watcher fan', 'fanotify');
  });

  it('is gone after uninstall, and asking twice is fine', async () => {
    for (let time = 0; time < 2; time++) {
      await machine.exec('fuse-shiftfs', 'uninstall').catch(() => machine.exec(process.execPath, CLI, 'uninstall'));
    }
    for (const file of INSTALLED) {
      expect((await machine.run('test', '-e', file)).status).not.toBe(0);
    }
  });

  it('leaves a program of somebody else alone', async () => {
    await machine.write('/usr/local/bin/fuse-shiftfs', '#!/bin/sh\necho other\n');
    const result = await machine.run(process.execPath, CLI, 'install');
    expect(result.status).toBe(32);
    expect(result.stderr).toContain('there is another program [BUSY]');
    await machine.exec(process.execPath, CLI, 'uninstall');
    expect(await machine.exec('cat', '/usr/local/bin/fuse-shiftfs')).toContain('other');
  });
});

describe('npm install --global', () => {
  it('installs what npm pack packs, and it mounts without PATH', async () => {
    const directory = makeTempDirectory('npm');
    try {
      const cwd = fileURLToPath(new URL('../..', import.meta.url));
      await runOk(['npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', directory], { cwd });
      const archive = readdirSync(directory).find((name) => name.endsWith('.tgz'));
      const options = ['--prefer-offline', '--no-audit', '--no-fund', '--silent'];
      await runOk([
        'npm',
        'install',
        '--global',
        '--prefix',
        `${directory}/npm`,
        ...options,
        `${directory}/${archive}`,
      ]);
      const program = `${directory}/npm/bin/fuse-shiftfs`;
      for (const name of ['source', 'view']) mkdirSync(`${directory}/${name}`);
      await runOk([
        '/usr/bin/env',
        '-i',
        program,
        `${directory}/source`,
        `${directory}/view`,
        '-o',
        'map=0:100000:65536',
      ]);
      expect(statSync(`${directory}/view`).uid).toBe(100_000);
      await runOk(['/usr/bin/env', '-i', program, 'umount', `${directory}/view`]);
      // Its own install finds the files in the package, and leaves npm's link as it is.
      expect(await runOk([program, 'install', '--prefix', `${directory}/npm`])).toContain('leads here already');
      expect(existsSync(`${directory}/npm/share/man/man8/fuse-shiftfs.8`)).toBe(true);
    } finally {
      removeTempDirectory(directory);
    }
  });
});
