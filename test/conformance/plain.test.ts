import { tables } from './cases/index.js';
import { plainDirectory } from './places.js';
import { conformance } from './suite.js';

conformance('a plain directory', plainDirectory, tables);
