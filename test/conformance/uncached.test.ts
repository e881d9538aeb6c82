// The view that answers every request itself: nothing cached, and no file handed to the kernel for passthrough. The other
// half of the daemon's read and write paths.

import { without } from './cases/index.js';
import { shiftedView } from './places.js';
import { conformance } from './suite.js';

/** Only the pages of the underlay, shared by passthrough, make a memory map coherent with the other side. */
const NEEDS_SHARED_PAGES = [
  'maps of both sides share their memory',
  'what the host writes into an open, mapped file is seen at once',
];

conformance(
  'a view with nothing cached and no passthrough, from its user namespace',
  () => shiftedView(['--coherence', 'strict', '--passthrough', 'off']),
  without(NEEDS_SHARED_PAGES),
);
