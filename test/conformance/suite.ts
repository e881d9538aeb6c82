// The conformance suite: what Linux and POSIX programs may expect of a directory, as a table of cases that any directory
// can be asked. It is put to a plain directory, to the kernel's own idmapped mount and to views of both kinds, so that a
// difference is the view's and not the suite's.
//
// Every place is looked at from two sides: `here`, where the case works, and `there`, the same files as the host's root sees
// them in the underlay. In a plain directory both are the same.

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Actor, ActorTimeout, errnoOf, startActor } from '../support/actor.js';
import type { MapArgument } from '../support/userns.js';

export interface Place {
  /** The directory to work in, as `here` sees it. */
  readonly directory: string;
  /** The same directory in the underlay. */
  readonly underlay: string;
  /** The user namespace that the actors of `here` live in; undefined is the initial one. */
  readonly userns: readonly MapArgument[] | undefined;
  /** Served by what is under test (or by another FUSE server), and not by the kernel itself. */
  readonly isView: boolean;
  /** Changes made in the underlay show here only after their event has arrived, a moment later. */
  readonly learnsByEvents: boolean;
  /** False when the server is gone, by a crash or because a hung call had it aborted. */
  alive(): boolean;
  /** What the server has written so far. */
  log(): string;
  close(): Promise<void>;
}

/** Who a case can be: root of the place, and two users who share nothing. */
export type Who = 'root' | 'user' | 'other';

export const USER = { uid: 1000, gid: 1000 };
export const OTHER = { uid: 1001, gid: 1001 };

const IDENTITIES: Record<Who, { uid: number; gid: number; groups?: number[] }> = {
  root: { uid: 0, gid: 0 },
  user: { ...USER, groups: [2000] },
  other: OTHER,
};

export interface Context {
  readonly root: Actor;
  /** uid 1000, gid 1000, supplementary group 2000. */
  readonly user: Actor;
  readonly other: Actor;
  /** Root of the host, who works in the underlay. */
  readonly host: Actor;
  readonly place: Place;
  /** The root of this place is root of the host's own user namespace. */
  readonly privileged: boolean;
  /** A directory of the case's own, mode 0777, owned by root. */
  readonly directory: string;
  /** A path in it. */
  path(...names: string[]): string;
  /** The same path in the underlay. */
  there(...names: string[]): string;
  /** Expects what shows when a change made in the underlay has arrived: at once, or soon where events bring it. */
  afterHostChange(expectation: () => Promise<void>): Promise<void>;
  /** One more actor of this place, for what would change the shared ones for good. Stopped when the case ends. */
  actor(who: Who, options?: { readonly umask?: number; readonly groups?: readonly number[] }): Promise<Actor>;
}

export interface Case {
  readonly name: string;
  /** Milliseconds; 20 seconds when left out. */
  readonly timeout?: number;
  run(t: Context): Promise<void>;
}

/** Fails unless the call fails with this errno. */
export async function expectErrno(code: string, call: Promise<unknown>): Promise<void> {
  expect(await errnoOf(call)).toBe(code);
}

/** One case. */
export function check(name: string, run: (t: Context) => Promise<void>, timeout?: number): Case {
  return timeout === undefined ? { name, run } : { name, run, timeout };
}

const DEFAULT_TIMEOUT = 20_000;
/** For an event to arrive on a machine that has other things to do. */
const EVENT_LIMIT = 3_000;

/** Puts every case of every table to the place. */
export function conformance(
  title: string,
  open: () => Promise<Place>,
  tables: Readonly<Record<string, readonly Case[]>>,
): void {
  describe(title, () => {
    let place: Place;
    const shared = new Map<Who | 'host', Actor>();
    let number = 0;
    let hung = false;

    /** Actors are shared by cases; one that a case lost is replaced. */
    async function sharedActor(who: Who | 'host'): Promise<Actor> {
      const known = shared.get(who);
      if (known?.alive) return known;
      const actor = await (who === 'host' ? startActor({ uid: 0, gid: 0 }) : actorIn(who));
      shared.set(who, actor);
      return actor;
    }

    const actorIn = (who: Who, options = {}) =>
      startActor({
        ...IDENTITIES[who],
        ...(place.userns === undefined ? {} : { userns: place.userns }),
        ...options,
      });

    async function closePlace(): Promise<void> {
      await Promise.all([...shared.values()].map((actor) => actor.stop()));
      shared.clear();
      await place?.close();
    }

    beforeAll(async () => {
      place = await open();
    });
    afterAll(closePlace);

    for (const [topic, cases] of Object.entries(tables)) {
      describe(topic, () => {
        for (const { name, run, timeout = DEFAULT_TIMEOUT } of cases) {
          test(
            name,
            async () => {
              if (hung || !place.alive()) {
                // One case must not take the following ones with it.
                await closePlace().catch(() => undefined);
                place = await open();
                hung = false;
              }
              const [root, user, other, host] = await Promise.all([
                sharedActor('root'),
                sharedActor('user'),
                sharedActor('other'),
                sharedActor('host'),
              ]);
              const own = `${topic.replaceAll(' ', '-')}-${++number}`;
              const directory = `${place.directory}/${own}`;
              const extra: Actor[] = [];
              const logged = place.log().length;
              await root.mkdir(directory);
              await root.chmod(directory, 0o777);
              try {
                await run({
                  root,
                  user,
                  other,
                  host,
                  place,
                  privileged: place.userns === undefined,
                  directory,
                  afterHostChange: (expectation) =>
                    place.learnsByEvents
                      ? vi.waitFor(expectation, { timeout: EVENT_LIMIT, interval: 5 })
                      : expectation(),
                  path: (...names) => [directory, ...names].join('/'),
                  there: (...names) => [place.underlay, own, ...names].join('/'),
                  actor: async (who, options) => {
                    const actor = await actorIn(who, options);
                    extra.push(actor);
                    return actor;
                  },
                });
              } catch (error) {
                hung = error instanceof ActorTimeout;
                const log = place.log().slice(logged);
                if (log !== '') console.error(`the server wrote during "${name}":\n${log}`);
                throw error;
              } finally {
                await Promise.all(extra.map((actor) => actor.stop()));
              }
            },
            timeout,
          );
        }
      });
    }
  });
}
