// The programs a run needs: installed from Debian when they are missing, and only then.

import { type ExecFileSyncOptions, execFileSync, spawnSync } from 'node:child_process';
import type { Target } from './targets.js';

/** Programs of the workloads themselves, and the package each is in. */
const TOOLS: Readonly<Record<string, string>> = { cc: 'gcc', git: 'git', tar: 'tar', find: 'findutils', grep: 'grep' };

function missing(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore' }).status !== 0;
}

/** Installs what is missing for these targets. Throws when apt-get fails. */
export function installMissing(targets: readonly Target[], note: (line: string) => void): void {
  const needed = new Set<string>();
  for (const [program, debianPackage] of Object.entries(TOOLS)) if (missing(program)) needed.add(debianPackage);
  // A peer's program has the name of its package.
  for (const target of targets) {
    if (target.package !== null && missing(target.package)) needed.add(target.package);
  }
  if (needed.size === 0) return;
  const packages = [...needed];
  note(`installing ${packages.join(', ')} with apt-get`);
  const options: ExecFileSyncOptions = {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  };
  execFileSync('apt-get', ['update', '-qq'], options);
  execFileSync(
    'apt-get',
    ['install', '-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300', ...packages],
    options,
  );
}

/** `bindfs 1.14.7-1` and so on, for the report. */
export function packageVersions(targets: readonly Target[]): Record<string, string> {
  const versions: Record<string, string> = {};
  for (const { package: name } of targets) {
    if (name === null || name in versions) continue;
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholder
    const query = spawnSync('dpkg-query', ['-W', '-f', '${Version}', name], { encoding: 'utf8' });
    versions[name] = query.status === 0 ? query.stdout : '?';
  }
  return versions;
}
