// The conformance suite over fuse-native. Its cases make their files as one user, who is therefore the one whom
// --create-owner names; those with several makers are ruled out.

import { tables } from '../conformance/cases/index.js';
import { conformance, type Place, USER } from '../conformance/suite.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView } from '../support/view.js';

async function shiftedView(): Promise<Place> {
  const owner = 100_000 + USER.uid;
  const view = await mountView({ map: [CONTAINER_MAP], options: ['--create-owner', `${owner}:${owner}`] });
  return {
    directory: view.mountpoint,
    underlay: view.source,
    userns: [CONTAINER_MAP],
    isView: true,
    learnsByEvents: false,
    alive: () => view.running,
    log: () => view.output(),
    close: () => view.close(),
  };
}

conformance("a view through fuse-native with a container's map, from its user namespace", shiftedView, tables);
