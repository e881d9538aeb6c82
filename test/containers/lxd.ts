// A real LXD of this test's own: no systemd, no network, no image server, state in a directory of the test. It starts in
// about 2 s.
//
// Promises: `close` leaves no container, process or mount behind, whatever happened before. Everything carries the test's
// mark in its environment, the containers' processes too, so that the sweep finds what a killed run left.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProgramOptions, run, runOk } from '../support/programs.js';
import { childEnvironment, makeTempDirectory, OWNER_VARIABLE, removeTempDirectory } from '../support/temp.js';
import { makeRootfs } from './rootfs.js';
import { needPrograms, PROBE } from './sharing.js';

const PRESEED = `
storage_pools:
- name: default
  driver: dir
profiles:
- name: default
  devices:
    root: { type: disk, path: /, pool: default }
  config:
    environment.${OWNER_VARIABLE}: ${childEnvironment()[OWNER_VARIABLE]}
`;

const METADATA = `
architecture: ${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}
creation_date: 1700000000
properties: { description: busybox, os: busybox, release: "1" }
`;

const START_TIMEOUT = 30_000;
const STOP_TIMEOUT = 20_000;
const IMAGE = 'busybox';

export class Lxd {
  private readonly directory: string;
  private readonly daemon: ChildProcess;
  private readonly ended: Promise<void>;
  /** For programs that talk to this LXD. */
  readonly environment: Readonly<Record<string, string>>;

  private constructor() {
    // A short name: the path of LXD's socket has to fit into 107 bytes.
    this.directory = makeTempDirectory('lxd');
    this.environment = { LXD_DIR: `${this.directory}/lxd`, LXD_CONF: `${this.directory}/conf` };
    for (const path of Object.values(this.environment)) mkdirSync(path, { mode: 0o711 });
    this.daemon = spawn('lxd', ['--group', 'root', `--logfile=${this.directory}/log`], {
      stdio: 'ignore',
      detached: true,
      cwd: '/',
      env: { ...childEnvironment(), ...this.environment },
    });
    this.ended = new Promise((resolve) => {
      this.daemon.once('error', () => resolve());
      this.daemon.once('exit', () => resolve());
    });
  }

  /** Ready, with an image and a default profile. Containers map their root to CONTAINER_ROOT. */
  static async start(): Promise<Lxd> {
    needPrograms({ lxd: 'lxd', lxc: 'lxd-client', busybox: 'busybox-static' });
    const ids = readFileSync('/etc/subuid', 'utf8');
    if (!/^root:100000:/m.test(ids)) throw new Error('LXD needs root:100000:65536 in /etc/subuid and /etc/subgid');
    const lxd = new Lxd();
    try {
      await lxd.program(['lxd', 'waitready', '--timeout=30'], { timeout: START_TIMEOUT });
      await lxd.program(['lxd', 'init', '--preseed'], { input: PRESEED });
      await lxd.importImage();
    } catch (error) {
      await lxd.close();
      throw error;
    }
    return lxd;
  }

  private async importImage(): Promise<void> {
    const image = `${this.directory}/image`;
    mkdirSync(`${image}/rootfs`, { recursive: true });
    makeRootfs(`${image}/rootfs`, 0, PROBE);
    writeFileSync(`${image}/metadata.yaml`, METADATA);
    const archive = `${this.directory}/image.tar`;
    await runOk(['tar', '-C', image, '-cf', archive, 'metadata.yaml', 'rootfs']);
    await this.lxc('image', 'import', archive, '--alias', IMAGE);
  }

  private program(command: readonly string[], options: ProgramOptions = {}): Promise<string> {
    return runOk(command, { ...options, env: { ...this.environment, ...options.env } });
  }

  /** Resolves with the output. Rejects unless the exit status is 0. */
  lxc(...args: readonly string[]): Promise<string> {
    return this.program(['lxc', ...args]);
  }

  async createProfile(name: string, yaml: string): Promise<void> {
    await this.lxc('profile', 'create', name);
    await this.program(['lxc', 'profile', 'edit', name], { input: yaml });
  }

  async launch(name: string, profiles: readonly string[] = [], config: readonly string[] = []): Promise<void> {
    const options = [
      ...['default', ...profiles].flatMap((each) => ['-p', each]),
      ...config.flatMap((each) => ['-c', each]),
    ];
    await this.lxc('launch', IMAGE, name, '--quiet', ...options);
  }

  /** Runs a command in a container, as its root. */
  exec(name: string, ...command: readonly string[]): Promise<string> {
    return this.lxc('exec', name, '--', ...command);
  }

  /** Pid of the container's init as the host sees it. */
  async pid(name: string): Promise<number> {
    const state = JSON.parse(await this.lxc('query', `/1.0/instances/${name}/state`)) as { pid: number };
    return state.pid;
  }

  async close(): Promise<void> {
    try {
      const list = await run(['lxc', 'list', '-c', 'n', '-f', 'csv'], { env: this.environment, timeout: STOP_TIMEOUT });
      const names = list.status === 0 ? list.stdout.toString().split('\n').filter(Boolean) : [];
      if (names.length > 0) {
        await run(['lxc', 'delete', '--force', ...names], { env: this.environment, timeout: STOP_TIMEOUT });
      }
      await run(['lxd', 'shutdown', '--timeout', '10'], { env: this.environment, timeout: STOP_TIMEOUT });
    } catch {
      // What does not answer is killed.
    }
    const late = new AbortController();
    await Promise.race([this.ended, sleep(STOP_TIMEOUT, null, { signal: late.signal }).catch(() => null)]);
    late.abort();
    this.daemon.kill('SIGKILL');
    await this.ended;
    removeTempDirectory(this.directory);
  }
}

/** A copy of one of lxd-profile/, for directories of the test. */
export function readProfile(file: string, source: string): string {
  const text = readFileSync(new URL(`../../lxd-profile/${file}`, import.meta.url), 'utf8');
  return text.replace(/^( +source: ).*$/m, (_, key: string) => key + source);
}
