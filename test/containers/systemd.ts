// A real systemd as pid 1, in systemd-nspawn on a throw-away overlay of this machine's own root: no image, no debootstrap. It
// is up in about a second and sees this checkout and node where they are on the host.
//
// Promises: what is written in there is gone with `close`, which leaves no process or mount behind. The sweep finds a killed
// run's nspawn by its environment, and the kernel ends what runs in it.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProgramResult, run, runOk } from '../support/programs.js';
import { childEnvironment, makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { needPrograms } from './sharing.js';

/** None of the host's own services: only what a test asks for. */
const TARGET = `
[Unit]
Description=Only what the test asks for
Requires=basic.target
AllowIsolate=yes
`;

const BOOT_TIMEOUT = 30_000;
const STOP_TIMEOUT = 15_000;
/** SIGRTMIN+4: power off, as systemd(1) has it. node has no name for it. */
const POWER_OFF = 38;

export class Systemd {
  private readonly directory: string;
  private readonly nspawn: ChildProcess;
  private readonly ended: Promise<void>;
  private output = '';
  private leader = 0;
  /** The root of the machine as the host sees it; what is written there before the boot is there from the start. */
  readonly root: string;

  private constructor(directory: string) {
    this.directory = directory;
    this.root = `${directory}/root`;
    this.nspawn = spawn(
      'systemd-nspawn',
      [
        '--quiet',
        `--directory=${this.root}`,
        `--machine=test-${process.pid}`,
        '--register=no',
        '--keep-unit',
        '--private-network',
        '--private-users=no',
        '--capability=all',
        // The machine is to be like a host: nspawn would keep these from everything that systemd starts in it.
        '--system-call-filter=open_by_handle_at name_to_handle_at fanotify_init fanotify_mark',
        '--bind=/dev/fuse',
        '--resolv-conf=off',
        '--console=pipe',
        '/lib/systemd/systemd',
        'systemd.unit=test.target',
        'systemd.show_status=0',
        'log_level=notice',
      ],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
        cwd: '/',
        // The hierarchy that the host's own tools use, where it has two.
        env: { ...childEnvironment(), SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: isUnified() ? '1' : '0' },
      },
    );
    for (const stream of [this.nspawn.stdout, this.nspawn.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.ended = new Promise((resolve) => {
      this.nspawn.once('error', () => resolve());
      this.nspawn.once('exit', () => resolve());
    });
  }

  static async boot(): Promise<Systemd> {
    needPrograms({ 'systemd-nspawn': 'systemd-container', nsenter: 'util-linux' });
    const directory = makeTempDirectory('systemd');
    let machine: Systemd | undefined;
    try {
      const root = `${directory}/root`;
      for (const name of ['memory', 'root']) mkdirSync(`${directory}/${name}`);
      await runOk(['mount', '-t', 'tmpfs', 'tmpfs', `${directory}/memory`, '-o', 'size=512m,mode=755']);
      for (const name of ['upper', 'work']) mkdirSync(`${directory}/memory/${name}`);
      const layers = `lowerdir=/,upperdir=${directory}/memory/upper,workdir=${directory}/memory/work`;
      await runOk(['mount', '-t', 'overlay', 'overlay', '-o', layers, root]);
      rmSync(`${root}/etc/systemd/system`, { recursive: true, force: true });
      mkdirSync(`${root}/etc/systemd/system`);
      writeFileSync(`${root}/etc/systemd/system/test.target`, TARGET);
      symlinkSync('/dev/null', `${root}/etc/systemd/system/systemd-resolved.service`);
      writeFileSync(`${root}/etc/hostname`, 'test\n');
      writeFileSync(`${root}/etc/machine-id`, '');
      rmSync(`${root}/etc/fstab`, { force: true });
      machine = new Systemd(directory);
      await machine.untilRunning();
      return machine;
    } catch (error) {
      if (machine !== undefined) await machine.close();
      else removeTempDirectory(directory);
      throw error;
    }
  }

  private async untilRunning(): Promise<void> {
    const end = performance.now() + BOOT_TIMEOUT;
    for (;;) {
      if (performance.now() > end || this.nspawn.exitCode !== null) throw new Error(`no systemd: ${this.output}`);
      // nspawn gives its payload to itself as a child.
      const children = await run(['pgrep', '--parent', String(this.nspawn.pid)]);
      this.leader = Number(children.stdout.toString().split('\n')[0]);
      if (this.leader > 0) {
        const state = await this.run('systemctl', 'is-system-running');
        if (/^(running|degraded)$/m.test(state.stdout.toString())) return;
      }
      await sleep(50);
    }
  }

  private enter(command: readonly string[]): string[] {
    return ['nsenter', '--target', String(this.leader), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w', ...command];
  }

  /** Runs a command as root of the machine. */
  run(...command: readonly string[]): Promise<ProgramResult> {
    return run(this.enter(command));
  }

  /** Resolves with the output. Rejects unless the exit status is 0. */
  async exec(...command: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(...command);
    if (status === 0) return stdout.toString();
    throw new Error(`${command.join(' ')}: exit status ${status}\n${stderr}${stdout.toString()}`);
  }

  /** Writes a file of the machine. */
  async write(path: string, text: string): Promise<void> {
    await runOk(this.enter(['sh', '-c', 'mkdir -p "$(dirname "$1")" && cat > "$1"', 'sh', path]), { input: text });
  }

  /** One property of a unit, as systemctl(1) shows it. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.exec('systemctl', 'show', '--value', `--property=${property}`, unit)).trim();
  }

  async close(): Promise<void> {
    if (this.leader > 0) {
      try {
        process.kill(this.leader, POWER_OFF);
      } catch {
        // It is gone.
      }
    }
    const late = new AbortController();
    await Promise.race([this.ended, sleep(STOP_TIMEOUT, null, { signal: late.signal }).catch(() => null)]);
    late.abort();
    this.nspawn.kill('SIGKILL');
    await this.ended;
    removeTempDirectory(this.directory);
  }
}

function isUnified(): boolean {
  return readFileSync('/proc/self/mounts', 'latin1')
    .split('\n')
    .some((line) => line.split(' ')[1] === '/sys/fs/cgroup' && line.split(' ')[2] === 'cgroup2');
}
