// What nearly every regression needs: a view with a usual container's map, the container's root in a real user namespace,
// and root of the host. All of it is taken away again, and the daemon must have outlived the test without an error.

import { expect } from 'vitest';
import { type Actor, startActor } from '../support/actor.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { type View, type ViewOptions, withView } from '../support/view.js';

export interface Container {
  readonly view: View;
  /** Root of the container: host uid 100000, in a user namespace mapped 0:100000:65536. */
  readonly root: Actor;
  /** Root of the host, outside. */
  readonly host: Actor;
  /** A path in the view. */
  in(...names: string[]): string;
  /** The same path in the underlay. */
  under(...names: string[]): string;
  /** One more process of the container, stopped with the rest. */
  user(
    uid: number,
    options?: { readonly gid?: number; readonly groups?: readonly number[]; readonly umask?: number },
  ): Promise<Actor>;
}

/** Nothing here is about caches but what says so itself: every look after a change by the host must show it. */
const COHERENCE = process.env['FUSE_SHIFTFS_TEST_COHERENCE'] ?? 'strict';

/** Lines that a daemon only writes when something is wrong with it: its own errors, not its users'. */
const COMPLAINT = /"level":"(?:error|fatal)"|"level":[56]0|\b(?:ERROR|FATAL)\b/;

export function complaintsOf(view: View): string[] {
  return view
    .output()
    .split('\n')
    .filter((line) => COMPLAINT.test(line));
}

export interface ContainerOptions extends ViewOptions {
  /** The daemon has reason to complain: the test looks itself at what it says. */
  readonly complains?: boolean;
}

export async function withContainer(
  fn: (container: Container) => Promise<void>,
  options: ContainerOptions = {},
): Promise<void> {
  const words = ['--coherence', COHERENCE, ...(options.options ?? [])];
  await withView({ map: [CONTAINER_MAP], ...options, options: words }, async (view) => {
    const actors: Actor[] = [];
    const start = async (identity: Parameters<typeof startActor>[0]): Promise<Actor> => {
      const actor = await startActor(identity);
      actors.push(actor);
      return actor;
    };
    try {
      await fn({
        view,
        root: await start({ uid: 0, gid: 0, userns: [CONTAINER_MAP] }),
        host: await start({ uid: 0, gid: 0 }),
        in: (...names) => [view.mountpoint, ...names].join('/'),
        under: (...names) => [view.source, ...names].join('/'),
        user: (uid, identity) => start({ uid, gid: uid, ...identity, userns: [CONTAINER_MAP] }),
      });
    } finally {
      await Promise.all(actors.map((actor) => actor.stop()));
    }
    if (options.complains === true) return;
    expect(complaintsOf(view)).toEqual([]);
  });
}
