// LXC without a daemon: containers below /var/lib/lxc or wherever -P said when they were started.

import { existsSync, readFileSync } from 'node:fs';
import { runCommand } from './command.js';
import type { Attachment, Container, Runtime } from './runtime.js';

const DEFAULT_PATH = '/var/lib/lxc';

/** Every running container listens on an abstract socket that is named after its directory (lxc: src/lxc/commands.c). */
function pathsOfRunning(container: string): string[] {
  const paths = new Set<string>();
  for (const line of readFileSync('/proc/net/unix', 'utf8').split('\n')) {
    const socket = /@(\/.*)\/command$/.exec(line)?.[1];
    if (socket?.endsWith(`/${container}`)) paths.add(socket.slice(0, -container.length - 1));
  }
  return [...paths];
}

/** As in fstab(5). */
function field(text: string): string {
  return text.replaceAll('\\', '\\134').replaceAll(' ', '\\040');
}

export const lxc: Runtime = {
  name: 'lxc',
  title: 'LXC',
  find(container): Container | string | undefined {
    for (const path of new Set([...pathsOfRunning(container), DEFAULT_PATH])) {
      const { status, stdout, missing } = runCommand('lxc-info', ['-P', path, '-n', container, '-p', '-H']);
      if (missing) return 'it is not installed';
      const pid = Number(stdout.trim());
      if (status === 0 && pid > 0) return { runtime: 'lxc', name: container, pid, obstacle: null };
    }
    const defined = existsSync(`${DEFAULT_PATH}/${container}/config`);
    return defined ? { runtime: 'lxc', name: container, pid: null, obstacle: null } : undefined;
  },
  configuration: (container, { source, path }: Attachment) => [
    `add to the configuration of the container (${DEFAULT_PATH}/${container}/config) and start it anew`,
    `lxc.mount.entry = ${field(source)} ${field(path.slice(1))} none rbind,rslave,create=dir 0 0`,
  ],
};
