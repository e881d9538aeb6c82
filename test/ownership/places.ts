// What the ownership suite looks at: a directory served through a map, with actors on both sides. Where the kernel's own
// idmapped mount can show the same map it answers first, so that what is asked of the view is what Linux does.

import { mkdirSync } from 'node:fs';
import { afterAll, beforeAll, describe } from 'vitest';
import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { mountIdmapped } from '../support/idmapped.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import type { MapArgument } from '../support/userns.js';
import { mountView } from '../support/view.js';

export interface Mapped {
  /** The directory as the view shows it. */
  readonly here: string;
  /** The same directory in the underlay. */
  readonly there: string;
  readonly isView: boolean;
  /** Root of the host. */
  readonly host: Actor;
  /** An actor inside a user namespace with the map; it is stopped with the place. */
  inside(options: ActorOptions): Promise<Actor>;
  /** An actor outside of it, with ids of the host. */
  outside(options: ActorOptions): Promise<Actor>;
}

interface Mount {
  readonly here: string;
  readonly there: string;
  readonly isView: boolean;
  close(): Promise<void>;
}

async function kernelMount(map: readonly MapArgument[]): Promise<Mount> {
  const made = makeTempDirectory('idmapped');
  const [there, here] = [`${made}/underlay`, `${made}/mnt`];
  mkdirSync(there);
  mkdirSync(here);
  await mountIdmapped(there, here, map);
  return { here, there, isView: false, close: async () => removeTempDirectory(made) };
}

async function viewMount(map: readonly MapArgument[]): Promise<Mount> {
  const view = await mountView({ map });
  return { here: view.mountpoint, there: view.source, isView: true, close: () => view.close() };
}

/**
 * Runs the same tests on the kernel's idmapped mount and on a view with this map. The place's own directory is mode 0777,
 * so that everybody may make something in it.
 */
export function describeMapped(title: string, map: readonly MapArgument[], tests: (place: () => Mapped) => void): void {
  for (const [kind, open] of [
    ["the kernel's idmapped mount", kernelMount],
    ['a view', viewMount],
  ] as const) {
    describe(`${title}: ${kind}`, () => {
      let mount: Mount;
      let mapped: Mapped;
      const actors: Actor[] = [];
      const start = async (options: ActorOptions) => {
        const actor = await startActor(options);
        actors.push(actor);
        return actor;
      };

      beforeAll(async () => {
        mount = await open(map);
        const host = await start({ uid: 0, gid: 0 });
        await host.chmod(mount.there, 0o777);
        mapped = {
          ...mount,
          host,
          inside: (options) => start({ ...options, userns: map }),
          outside: start,
        };
      });
      afterAll(async () => {
        await Promise.all(actors.map((actor) => actor.stop()));
        await mount?.close();
      });

      tests(() => mapped);
    });
  }
}
