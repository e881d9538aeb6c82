// The notes of what the kernel was given: several threads note, in no order that they agree on; the one that was made last
// counts, also when an earlier one is made again after it.

import { expect, test } from 'vitest';
import { createNameTable, type NameRecord, NameTable } from '../../../src/coherence/name-table.js';
import type { NodeTable } from '../../../src/filesystem/node-table.js';

const DIRECTORY = 7;
const NODE = 9;
const nodes = { generation: () => 1 } as unknown as NodeTable;
const name = Buffer.from('name');

class Name {
  private readonly table = new NameTable(createNameTable(65536));
  private readonly hash = this.table.hash(DIRECTORY, name, 0, name.length);
  private readonly record = { name: new Uint8Array(256) } as NameRecord;

  /** The ticket. */
  note(child: number): number {
    const ticket = this.table.put(nodes, this.hash, DIRECTORY, child, name, 0, name.length);
    expect(ticket).not.toBe(0);
    return ticket;
  }

  noteAgain(child: number, ticket: number): void {
    this.table.put(nodes, this.hash, DIRECTORY, child, name, 0, name.length, ticket);
  }

  takeAway(): void {
    this.table.remove(this.hash, DIRECTORY, 1, name, 0, name.length);
  }

  /** Null: there is no note. */
  get child(): number | null {
    const { table, hash, record } = this;
    return table.get(hash, DIRECTORY, 1, name, 0, name.length, record) ? record.child : null;
  }
}

test('a note that is made again does not replace a later one', () => {
  const noted = new Name();
  const absent = noted.note(0);
  noted.note(NODE);
  noted.noteAgain(0, absent);
  expect(noted.child).toBe(NODE);
});

test('a note that was taken away is made again', () => {
  const noted = new Name();
  const ticket = noted.note(NODE);
  noted.takeAway();
  expect(noted.child).toBe(null);
  noted.noteAgain(NODE, ticket);
  expect(noted.child).toBe(NODE);
});

test('of two that are made again the later one stays, whichever comes first', () => {
  for (const laterFirst of [true, false]) {
    const noted = new Name();
    const absent = noted.note(0);
    const present = noted.note(NODE);
    noted.takeAway();
    if (laterFirst) noted.noteAgain(NODE, present);
    noted.noteAgain(0, absent);
    if (!laterFirst) noted.noteAgain(NODE, present);
    expect(noted.child).toBe(NODE);
  }
});

test('a new note replaces one of any age', () => {
  const noted = new Name();
  // As after two thousand million others: no order can be told from the numbers any more.
  noted.noteAgain(0, 0x7fffffff);
  expect(noted.note(NODE)).not.toBe(0x7fffffff);
  expect(noted.child).toBe(NODE);
  noted.noteAgain(0, -0x80000000);
  const ticket = noted.note(NODE + 1);
  expect(noted.child).toBe(NODE + 1);
  noted.takeAway();
  noted.noteAgain(NODE + 1, ticket);
  expect(noted.child).toBe(NODE + 1);
});
