// LXD and Incus: the same interface under two names.

import { ShiftfsError } from '../errors.js';
import { runCommand } from './command.js';
import type { Attachment, Container, Devices, Runtime } from './runtime.js';

/** Part of the answer to GET /1.0/instances/NAME. */
interface Instance {
  readonly type?: string;
  readonly status?: string;
  readonly expanded_devices?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const deviceName = (share: string): string => `fuse-shiftfs-${share}`;

/** With the last two, a view that is mounted on `source` later arrives in the container. */
function disk({ name, source, path }: Attachment): string[] {
  return [deviceName(name), 'disk', `source=${source}`, `path=${path}`, 'recursive=true', 'propagation=rslave'];
}

function runtime(name: 'lxd' | 'incus', title: string, client: string): Runtime {
  const query = <T>(path: string): T | string => {
    const { status, stdout, stderr, missing } = runCommand(client, ['query', path]);
    if (missing) return 'it is not installed';
    return status === 0 ? (JSON.parse(stdout) as T) : stderr;
  };
  const configure = (...args: readonly string[]): void => {
    const { status, stderr } = runCommand(client, ['config', 'device', ...args]);
    if (status !== 0) throw new ShiftfsError('UNSUPPORTED', `${title}: ${stderr.replace(/^Error: /, '')}`);
  };
  const devices: Devices = {
    get(container, share) {
      const instance = query<Instance>(`/1.0/instances/${container}`);
      if (typeof instance === 'string') throw new ShiftfsError('UNSUPPORTED', `${title}: ${instance}`);
      const device = instance.expanded_devices?.[deviceName(share)];
      return device && { source: device['source'] ?? '', path: device['path'] ?? '' };
    },
    add: (container, attachment) => configure('add', container, ...disk(attachment)),
    remove: (container, share) => configure('remove', container, deviceName(share)),
  };
  return {
    name,
    title,
    devices,
    find(container): Container | string | undefined {
      const instance = query<Instance>(`/1.0/instances/${container}`);
      if (typeof instance === 'string') return /not found/i.test(instance) ? undefined : instance;
      const machine = instance.type === 'virtual-machine';
      const state = query<{ pid?: number }>(`/1.0/instances/${container}/state`);
      const pid = typeof state === 'string' ? 0 : (state.pid ?? 0);
      return {
        runtime: name,
        name: container,
        pid: pid > 0 ? pid : null,
        obstacle: machine ? 'it is a virtual machine, whose ids the host does not see' : null,
      };
    },
  };
}

export const lxd = runtime('lxd', 'LXD', 'lxc');
export const incus = runtime('incus', 'Incus', 'incus');
