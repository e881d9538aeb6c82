// The ways of keeping the view in step with the underlay that the coherence and editor tests go through, with what each
// promises, and the controls: servers that are known to be stale, on which the same tests must fail.

import { mkdirSync } from 'node:fs';
import { mountIdmapped } from '../support/idmapped.js';
import { detachMountsBelow } from '../support/mounts.js';
import { runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, mountView, type View } from '../support/view.js';

export interface Mode {
  readonly name: string;
  readonly server: 'fuse-shiftfs' | 'bindfs' | 'kernel';
  readonly options: readonly string[];
  /** How long after a host's change the view may still show what was before, ms. null: a control, it is stale. */
  readonly bound: number | null;
}

/** What `lease` promises where no event says so, such as a change through another name of a hard link. */
const LEASE_BOUND = 1000;

const modes: readonly Mode[] = [
  { name: 'strict', server: 'fuse-shiftfs', options: ['--coherence', 'strict'], bound: 0 },
  {
    name: 'lease-fanotify',
    server: 'fuse-shiftfs',
    options: ['--coherence', 'lease', '--watcher', 'fanotify', '--forward-events', 'off'],
    bound: LEASE_BOUND,
  },
  {
    name: 'lease-forwarding',
    server: 'fuse-shiftfs',
    options: ['--coherence', 'lease', '--watcher', 'fanotify', '--forward-events', 'on'],
    bound: LEASE_BOUND,
  },
  {
    name: 'lease-chokidar',
    server: 'fuse-shiftfs',
    options: ['--coherence', 'lease', '--watcher', 'chokidar'],
    bound: LEASE_BOUND,
  },
  { name: 'ttl', server: 'fuse-shiftfs', options: ['--coherence', 'ttl=60'], bound: null },
  // The kernel's own idmapped mount: one page cache, one dcache, nothing to keep in step. A test that fails here is wrong.
  { name: 'idmapped', server: 'kernel', options: [], bound: 0 },
  // A peer that caches by time. Not run by default: ttl is the control that needs nothing installed.
  {
    name: 'bindfs-ttl',
    server: 'bindfs',
    options: ['-o', 'entry_timeout=60,attr_timeout=60,negative_timeout=60,auto_cache'],
    bound: null,
  },
];

const DEFAULT_MODES = ['idmapped', 'strict', 'lease-fanotify', 'lease-forwarding', 'lease-chokidar', 'ttl'];

/** FUSE_SHIFTFS_TEST_MODES=strict,ttl,... chooses; printed, so that nobody takes one run for another. */
export const selectedModes: readonly Mode[] = (() => {
  const wanted = process.env['FUSE_SHIFTFS_TEST_MODES']?.split(',') ?? DEFAULT_MODES;
  const selected = wanted.map((name) => {
    const mode = modes.find((candidate) => candidate.name === name);
    if (mode === undefined) throw new Error(`no mode ${name}; there are ${modes.map((each) => each.name).join(', ')}`);
    return mode;
  });
  console.log(`coherence modes: ${selected.map(({ name }) => name).join(', ')}`);
  return selected;
})();

/** What the tests need of a view, whoever serves it. */
export interface ModeView extends Pick<View, 'source' | 'mountpoint' | 'output' | 'close' | 'destroy'> {
  /** Both sides have one page cache: what the host stores through a mapping shows in the view without an event. */
  readonly sharesPages: boolean;
}

async function sharesPages(view: View): Promise<boolean> {
  const status = JSON.parse(await runOk([process.execPath, CLI, 'status', '--json', view.mountpoint])) as {
    readonly view: { readonly features: readonly string[] };
  };
  return status.view.features.includes('passthrough');
}

async function mountKernel(): Promise<ModeView> {
  const made = makeTempDirectory('idmapped');
  const [source, mountpoint] = [`${made}/underlay`, `${made}/view`];
  mkdirSync(source);
  mkdirSync(mountpoint);
  const destroy = async (): Promise<void> => {
    detachMountsBelow(mountpoint);
    removeTempDirectory(made);
  };
  try {
    await mountIdmapped(source, mountpoint, [CONTAINER_MAP]);
  } catch (error) {
    await destroy();
    throw error;
  }
  return { source, mountpoint, output: () => '', close: destroy, destroy, sharesPages: true };
}

const plain = (view: View, pages: boolean): ModeView => ({
  source: view.source,
  mountpoint: view.mountpoint,
  output: () => view.output(),
  close: () => view.close(),
  destroy: () => view.destroy(),
  sharesPages: pages,
});

/** The view of a container mapped 0:100000:65536, with a new underlay. */
export async function mountMode(mode: Mode): Promise<ModeView> {
  switch (mode.server) {
    case 'kernel':
      return mountKernel();
    case 'fuse-shiftfs': {
      const view = await mountView({ map: [CONTAINER_MAP], options: mode.options });
      try {
        return plain(view, await sharesPages(view));
      } catch (error) {
        await view.destroy();
        throw error;
      }
    }
    case 'bindfs': {
      // The harness starts `node main.js mount SOURCE MOUNTPOINT ...`; a shell in front of it starts something else there.
      const script = `exec bindfs -f --uid-offset=100000 --gid-offset=100000 ${mode.options.join(' ')} "$4" "$5"`;
      return plain(await mountView({ wrapper: ['sh', '-c', script, 'sh'] }), false);
    }
  }
}
