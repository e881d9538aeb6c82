// The places that the conformance suite is put to.

import { mkdirSync } from 'node:fs';
import { mountIdmapped } from '../support/idmapped.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView } from '../support/view.js';
import type { Place } from './suite.js';

/** A directory of the host's own file system, used by the host's own users. */
export async function plainDirectory(): Promise<Place> {
  const directory = makeTempDirectory('plain');
  return {
    directory,
    underlay: directory,
    userns: undefined,
    isView: false,
    learnsByEvents: false,
    alive: () => true,
    log: () => '',
    close: async () => removeTempDirectory(directory),
  };
}

/** The kernel's idmapped mount, used from inside a container's user namespace. */
export async function kernelIdmapped(): Promise<Place> {
  const made = makeTempDirectory('idmapped');
  const [underlay, directory] = [`${made}/underlay`, `${made}/mnt`];
  mkdirSync(underlay);
  mkdirSync(directory);
  await mountIdmapped(underlay, directory, [CONTAINER_MAP]);
  return {
    directory,
    underlay,
    userns: [CONTAINER_MAP],
    isView: false,
    learnsByEvents: false,
    alive: () => true,
    log: () => '',
    close: async () => removeTempDirectory(made),
  };
}

/** A view that maps nothing, used by the host's own users. */
export async function identityView(): Promise<Place> {
  const view = await mountView();
  return {
    directory: view.mountpoint,
    underlay: view.source,
    userns: undefined,
    isView: true,
    learnsByEvents: true,
    alive: () => view.running,
    log: () => view.output(),
    close: () => view.close(),
  };
}

/** A view with a container's map, used from inside a user namespace with that map. */
export async function shiftedView(options: readonly string[] = []): Promise<Place> {
  const view = await mountView({ map: [CONTAINER_MAP], options });
  return {
    directory: view.mountpoint,
    underlay: view.source,
    userns: [CONTAINER_MAP],
    isView: true,
    learnsByEvents: !options.includes('strict'),
    alive: () => view.running,
    log: () => view.output(),
    close: () => view.close(),
  };
}
