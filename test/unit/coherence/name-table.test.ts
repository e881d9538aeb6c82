// The notes of what the kernel was given: several threads note, in no order that they agree on; the one that was made last
// counts, also when an earlier one is written down after it.

import { expect, test } from 'vitest';
import { createNameTable, type NameRecord, NameTable } from '../../../src/coherence/name-table.js';
import type { NodeTable } from '../../../src/filesystem/node-table.js';

const DIRECTORY = 7;
const NODE = 9;
const nodes = { generation: () => 1 } as unknown as NodeTable;
const name = Buffer.from('name');

function newTable(): { put(child: number, ticket: number): void; standing(): number | null; table: NameTable } {
  const table = new NameTable(createNameTable(65536));
  const hash = table.hash(DIRECTORY, name, 0, name.length);
  const record = { name: new Uint8Array(256) } as NameRecord;
  return {
    table,
    put: (child, ticket) => expect(table.put(nodes, hash, DIRECTORY, child, name, 0, name.length, ticket)).toBe(true),
    standing: () => (table.get(hash, DIRECTORY, 1, name, 0, name.length, record) ? record.child : null),
  };
}

test('a note that is made again late does not replace a later one', () => {
  const { table, put, standing } = newTable();
  const absent = table.ticket();
  put(0, absent);
  const present = table.ticket();
  put(NODE, present);
  put(0, absent);
  expect(standing()).toBe(NODE);
});

test('a later note replaces one that was made again before it', () => {
  const { table, put, standing } = newTable();
  const absent = table.ticket();
  const present = table.ticket();
  put(0, absent);
  put(NODE, present);
  expect(standing()).toBe(NODE);
  put(NODE + 1, present);
  expect(standing()).toBe(NODE + 1);
});

test('a note that was taken away is made again by whoever is late', () => {
  const { table, put, standing } = newTable();
  const early = table.ticket();
  put(NODE, table.ticket());
  table.remove(table.hash(DIRECTORY, name, 0, name.length), DIRECTORY, 1, name, 0, name.length);
  expect(standing()).toBe(null);
  put(0, early);
  expect(standing()).toBe(0);
});

test('tickets go on in order when their count wraps', () => {
  const { put, standing } = newTable();
  put(0, 0x7fffffff);
  put(NODE, -0x80000000);
  expect(standing()).toBe(NODE);
  put(0, 0x7fffffff);
  expect(standing()).toBe(NODE);
});
