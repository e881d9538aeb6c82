// Nodes that are forgotten while somebody uses their descriptor: the watcher looks at names without being asked by the kernel,
// and a thread may be stuck in a request whose caller is long gone.

import { expect, test } from 'vitest';
import { createNodeTable, type Identity, NODE_PINNED, NodeTable } from '../../src/filesystem/node-table.js';

function inode(number: number, type = 0o100000): Identity {
  return { inoLo: number, inoHi: 0, device: 0, type, words: Uint32Array.of(8, number, 1, 0, 0, 0, 0, 0) };
}

function makeTable(): { nodes: NodeTable; closed: number[]; unregistered: number[] } {
  const closed: number[] = [];
  const unregistered: number[] = [];
  const nodes = new NodeTable(
    createNodeTable({ capacity: 100, descriptorBudget: 16, pinnedMax: 16, scarceFrom: 1e6 }),
    (fd) => {
      closed.push(fd);
    },
    (id) => {
      unregistered.push(id);
    },
  );
  nodes.initializeRoot(inode(1, 0o040000), 3);
  return { nodes, closed, unregistered };
}

test('a node that is forgotten while its descriptor is in use is freed by the last user', () => {
  const { nodes, closed } = makeTable();
  const slot = nodes.intern(inode(2));
  const generation = nodes.generation(slot);
  nodes.attach(slot, 50, false);
  expect(nodes.pin(slot)).toBe(50);
  nodes.forget(slot, 1);
  // For the kernel it is gone at once; for those who use it, nothing has changed.
  expect(nodes.resolve(slot, generation)).toBe(0);
  expect(closed).toEqual([]);
  // Its slot is not given to another meanwhile.
  expect(nodes.intern(inode(3))).not.toBe(slot);
  nodes.unpin(slot);
  expect(closed).toEqual([]);
  nodes.unpin(slot);
  expect(closed).toEqual([50]);
  expect(nodes.generation(slot)).toBe(generation + 1);
  expect(nodes.intern(inode(4))).toBe(slot);
  expect(nodes.isPinned(slot)).toBe(false);
  expect(nodes.liveNodes).toBe(3);
});

test('a node of the ring, one that keeps its descriptor, and one without any are freed as well', () => {
  const { nodes, closed } = makeTable();
  const cached = nodes.intern(inode(2, 0o040000));
  nodes.attach(cached, 50, true);
  nodes.unpin(cached);
  const kept = nodes.intern(inode(3, 0o010000));
  nodes.attach(kept, 51, false);
  nodes.keepPinned(kept);
  const bare = nodes.intern(inode(4));
  expect(closed).toEqual([]);
  expect([nodes.cachedDescriptors, nodes.pinnedDescriptors, nodes.liveNodes]).toEqual([1, 1, 4]);
  for (const slot of [cached, kept, bare]) nodes.forget(slot, 1);
  expect(closed).toEqual([50, 51]);
  expect([nodes.cachedDescriptors, nodes.pinnedDescriptors, nodes.liveNodes]).toEqual([0, 0, 1]);
  for (const slot of [nodes.intern(inode(5)), nodes.intern(inode(6)), nodes.intern(inode(7))]) {
    expect(nodes.flags(slot) & NODE_PINNED).toBe(0);
    expect(nodes.pin(slot)).toBe(-1);
    expect(nodes.isPinned(slot)).toBe(false);
  }
});

test('a node of the ring that is forgotten while in use leaves the ring', () => {
  const { nodes, closed } = makeTable();
  const slot = nodes.intern(inode(2, 0o040000));
  nodes.attach(slot, 50, true);
  nodes.forget(slot, 1);
  expect(nodes.evict(16)).toBe(0);
  nodes.unpin(slot);
  expect(closed).toEqual([50]);
  expect(nodes.cachedDescriptors).toBe(0);
});

test('a registered backing file goes with the descriptor of its node, and not before', () => {
  const { nodes, closed, unregistered } = makeTable();
  const kept = nodes.intern(inode(2));
  nodes.attach(kept, 50, true);
  nodes.setBacking(kept, 7);
  nodes.unpin(kept);
  nodes.sweepFiles();
  expect(unregistered).toEqual([]);
  expect(nodes.pin(kept)).toBe(50);
  nodes.sweepFiles();
  expect(nodes.backing(kept)).toBe(7);
  nodes.unpin(kept);
  nodes.sweepFiles();
  expect([closed, unregistered, nodes.backing(kept)]).toEqual([[50], [7], 0]);

  const passing = nodes.intern(inode(3));
  nodes.attach(passing, 51, false);
  nodes.setBacking(passing, 8);
  nodes.unpin(passing);
  expect([closed, unregistered]).toEqual([
    [50, 51],
    [7, 8],
  ]);
  // Decided against: there is nothing to take back.
  nodes.attach(passing, 52, false);
  nodes.setBacking(passing, -1);
  nodes.unpin(passing);
  expect(unregistered).toEqual([7, 8]);

  // Forgotten while it is open: with its last user.
  nodes.attach(passing, 53, true);
  nodes.setBacking(passing, 9);
  nodes.forget(passing, 1);
  expect(unregistered).toEqual([7, 8]);
  nodes.unpin(passing);
  expect(unregistered).toEqual([7, 8, 9]);
});
