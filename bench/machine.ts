// Where a run runs: what the report says of the machine, and where the package lies.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { packageVersions } from './packages.js';
import type { Target } from './targets.js';

export interface Machine {
  /** ISO 8601, the day. */
  readonly date: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** File system of the underlay. */
  readonly fileSystem: string;
  readonly node: string;
  /** Version of each peer's package. */
  readonly peers: Readonly<Record<string, string>>;
}

export function describeMachine(base: string, targets: readonly Target[]): Machine {
  const model = cpus()[0]?.model ?? 'unknown processor';
  return {
    date: new Date().toISOString().slice(0, 10),
    kernel: release(),
    cpu: model.replaceAll(/\s+/g, ' ').trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    fileSystem: execFileSync('df', ['--output=fstype', base], { encoding: 'utf8' }).trim().split('\n').at(-1) ?? '?',
    node: process.versions.node,
    peers: packageVersions(targets),
  };
}

export function machineText(machine: Machine): string {
  const peers = Object.entries(machine.peers).map(([name, version]) => `${name} ${version}`);
  return [
    machine.date,
    `Linux ${machine.kernel}`,
    `${machine.cores} × ${machine.cpu}`,
    `${machine.memoryGiB} GiB`,
    machine.fileSystem,
    `Node ${machine.node}`,
    ...peers,
  ].join(', ');
}

/** The package's directory: the compiled benchmark does not lie beside its sources. */
export function packageRoot(): string {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'bench', 'loadgen.c'))) return directory;
    if (directory === '/') throw new Error('bench/loadgen.c is not above this program');
  }
}
