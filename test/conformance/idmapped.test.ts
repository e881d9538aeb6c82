import { tables } from './cases/index.js';
import { kernelIdmapped } from './places.js';
import { conformance } from './suite.js';

conformance("the kernel's idmapped mount, from a user namespace", kernelIdmapped, tables);
