import { tables } from './cases/index.js';
import { shiftedView } from './places.js';
import { conformance } from './suite.js';

conformance("a view with a container's map, from its user namespace", shiftedView, tables);
