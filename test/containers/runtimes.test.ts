// The scripts of examples/, each run as a user would: with a view the ids are right on both sides, and without one the
// same script shows nobody's files.

import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run, runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, withView } from '../support/view.js';
import { makeRootfs } from './rootfs.js';
import {
  CONTAINER_ROOT,
  makeSharedDirectory,
  needPrograms,
  ownersOnHost,
  PROBE,
  parseProbe,
  SHIFTED,
  UNSHIFTED,
} from './sharing.js';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));

/**
 * crun and systemd-nspawn refuse the mixture of cgroup v1 and v2 that some machines have; in a mount namespace of its own
 * each finds pure v2.
 */
const PURE_CGROUP2 = [
  'unshare',
  '--mount',
  '--propagation=private',
  'sh',
  '-c',
  'umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"',
  'sh',
];

interface Runtime {
  readonly example: string;
  readonly needs: Readonly<Record<string, string>>;
  readonly wrapper?: readonly string[];
  /** State of the runtime goes below `state`. */
  readonly environment?: (state: string) => Readonly<Record<string, string>>;
}

const LIMITS = '--ulimit nofile=1024:1024 --ulimit nproc=4096:4096';
const podman = (state: string, runtime: string): string =>
  `--root ${state}/root --runroot ${state}/run --storage-driver vfs --cgroup-manager cgroupfs --runtime ${runtime}`;

const runtimes: Readonly<Record<string, Runtime>> = {
  'unshare(1)': { example: 'unshare', needs: { newuidmap: 'uidmap' } },
  bubblewrap: { example: 'bubblewrap', needs: { bwrap: 'bubblewrap', newuidmap: 'uidmap' } },
  LXC: { example: 'lxc', needs: { 'lxc-execute': 'lxc' } },
  runc: { example: 'oci', needs: { runc: 'runc', jq: 'jq' } },
  crun: {
    example: 'oci',
    needs: { crun: 'crun', jq: 'jq' },
    wrapper: PURE_CGROUP2,
    environment: () => ({ RUNTIME: 'crun' }),
  },
  podman: {
    example: 'podman',
    needs: { podman: 'podman', runc: 'runc' },
    environment: (state) => ({ PODMAN: podman(state, 'runc'), RUN: LIMITS }),
  },
  'systemd-nspawn': {
    example: 'systemd-nspawn',
    needs: { 'systemd-nspawn': 'systemd-container' },
    // Without a systemd that could keep the container's unit.
    environment: () => ({ NSPAWN: '--register=no --keep-unit' }),
  },
};

describe.each(Object.entries(runtimes))('%s', (_, { example, needs, wrapper = [], environment }) => {
  let directory: string;
  let source: string;
  let state: string;

  beforeAll(() => {
    needPrograms({ ...needs, busybox: 'busybox-static' });
    directory = makeTempDirectory('runtime');
    mkdirSync(`${directory}/rootfs`);
    makeRootfs(`${directory}/rootfs`, CONTAINER_ROOT, PROBE);
  });
  beforeEach(() => {
    // A short name: podman takes no --runroot of more than 50 characters.
    const attempt = makeTempDirectory('a');
    source = `${attempt}/source`;
    state = attempt;
    makeSharedDirectory(source);
    return () => removeTempDirectory(attempt);
  });
  afterAll(() => removeTempDirectory(directory));

  async function probe(shared: string): Promise<Record<string, string>> {
    const command = [`${EXAMPLES}/${example}/run.sh`, shared, `${directory}/rootfs`, '/bin/probe', '/mnt'];
    const { status, stdout, stderr } = await run([...wrapper, ...command], { env: environment?.(state) ?? {} });
    if (status !== 0) throw new Error(`exit status ${status}: ${stderr}`);
    return parseProbe(stdout.toString());
  }

  it('has the right owners and rights through a view', async () => {
    await withView({ source, map: [CONTAINER_MAP] }, async (view) => {
      expect(await probe(view.mountpoint)).toEqual(SHIFTED);
      expect(ownersOnHost(source)).toEqual({ 'written-by-root': '33:33', 'home/written-by-user': '1000:1000' });
    });
  });

  it('has nobody as the owner without a view', async () => {
    expect(await probe(source)).toEqual(UNSHIFTED);
  });
});

describe('the emacs and bzr bug', () => {
  it('is there with timeouts and gone by default, as its example says', async () => {
    needPrograms({ emacs: 'emacs-nox', brz: 'brz' });
    const said = await runOk([`${EXAMPLES}/emacs-bzr-bug/reproduce.sh`], { env: { FUSE_SHIFTFS: CLI } });
    expect(said.match(/^ {2}after .* STALE$/gm)).toHaveLength(2);
    expect(said.match(/^ {2}after .* right$/gm)).toHaveLength(2);
  });
});
