// All cases, by topic.

import type { Case } from '../suite.js';
import { attributes } from './attributes.js';
import { creation } from './creation.js';
import { data } from './data.js';
import { directories } from './directories.js';
import { ioctls } from './ioctls.js';
import { locks } from './locks.js';
import { names } from './names.js';
import { renames } from './renames.js';
import { xattrs } from './xattrs.js';

export const tables = { attributes, names, creation, renames, data, directories, xattrs, locks, ioctls };

/** All tables but for the cases of these names. Throws for a name that no case has. */
export function without(excluded: readonly string[]): Record<string, readonly Case[]> {
  const left = new Set(excluded);
  const kept = Object.entries(tables).map(
    ([topic, cases]) => [topic, cases.filter(({ name }) => !left.delete(name))] as const,
  );
  if (left.size > 0) throw new Error(`no such case: ${[...left].join(', ')}`);
  return Object.fromEntries(kept);
}
