// Podman, as root: its rootless containers belong to users who cannot mount views.

import { runCommand, shellWord } from './command.js';
import type { Attachment, Container, Runtime } from './runtime.js';

export const podman: Runtime = {
  name: 'podman',
  title: 'podman',
  find(container): Container | string | undefined {
    const { status, stdout, stderr, missing } = runCommand('podman', [
      'container',
      'inspect',
      '--format',
      '{{.State.Pid}}',
      '--',
      container,
    ]);
    if (missing) return 'it is not installed';
    if (status !== 0) return /no such container/i.test(stderr) ? undefined : stderr;
    const pid = Number(stdout.trim());
    return { runtime: 'podman', name: container, pid: pid > 0 ? pid : null, obstacle: null };
  },
  configuration: (_, { source, path }: Attachment) => [
    'create the container with',
    `--volume ${shellWord(`${source}:${path}:rw,rslave`)}`,
  ],
};
