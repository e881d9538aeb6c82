import { tables } from './cases/index.js';
import { identityView } from './places.js';
import { conformance } from './suite.js';

conformance('a view that maps nothing', identityView, tables);
