// Makes a serving thread fast before its first request. V8 compiles a function for speed only after it has run a while,
// and every thread has its own copy: without this, the first ten thousand names that a view is asked for cost three times
// what the later ones do (`find` on a view just mounted is that and nothing else).
//
// Promises: nothing of the view is touched. Requests are made up and served from tables of their own, over the directories
// of this program, and only such as read. All descriptors are closed at the end. It stops after WARM_UP_MS, whatever it has
// reached, and does nothing where the program's directory cannot be opened. To be called before the thread's own `Context` is made, as
// both change the identity of the thread.

import { fileURLToPath } from 'node:url';
import { WatchedLeases } from '../../coherence/leases.js';
import { createNameTable, NameTable } from '../../coherence/name-table.js';
import { COHERENCE, MODE_FILESYSTEM } from '../../coherence/shared.js';
import { Context, SCRATCH_SIZE } from '../../filesystem/context.js';
import { createDevices, DEVICE_WATCHED, Devices } from '../../filesystem/devices.js';
import { createHandleTable, HandleTable } from '../../filesystem/handle-table.js';
import { createHeld, Held } from '../../filesystem/held.js';
import { createLockTable, LockTable } from '../../filesystem/lock-table.js';
import { createNodeTable, NodeTable, ROOT_SLOT } from '../../filesystem/node-table.js';
import { initializeRoot } from '../../filesystem/resolve.js';
import { argumentSizes, IN_HEADER, OP, OP_LIMIT } from '../../fuse/protocol.js';
import { Request } from '../../fuse/request.js';
import { IdMap } from '../../idmap/map.js';
import type { IdMapSpec } from '../../idmap/spec.js';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, S_IFDIR } from '../../linux/abi.js';
import { EAGAIN } from '../../linux/errno.js';
import { Memory } from '../../linux/memory.js';
import { close, openat } from '../../linux/syscalls.js';
import { Dispatcher } from './dispatch.js';

/** At most this long, ms; a `mount` waits for it. */
const WARM_UP_MS = 250;
const ROUNDS = 1_000;
/** A walk over all directories goes with this many of the other requests. */
const WALK_EVERY = 16;
const DESCRIPTORS = 16;
/** So few that several names share one, as they do in a large view; the table of nodes has a quarter of its capacity. */
const BUCKETS = 256;
const NODES = 1024;
/** What a listing asks for: less than there is, and more. */
const LISTING_SIZES = [4096, 32_768];
const REPLY_BYTES = 65_536;
/** A directory of this program, names in it, and one that is not. */
const DIRECTORY = ['driver', 'kernel'];
const NAMES = ['dispatch.js', 'shared.js', 'worker.js', 'absent'];

/** Serves made-up requests until the thread is warm. */
export function warmUp(map: IdMapSpec, setxattrExt: boolean): void {
  const requestAt = (SCRATCH_SIZE + 7) & ~7;
  const replyAt = requestAt + 4096;
  const memory = new Memory(replyAt + REPLY_BYTES);
  const here = memory.setString(requestAt, fileURLToPath(new URL('../..', import.meta.url)));
  const rootFd = openat(AT_FDCWD, here, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (rootFd < 0) return;
  const context = makeContext(memory, map);
  if (initializeRoot(context, rootFd) >= 0) {
    const surroundings = {
      waitForLock: () => -EAGAIN,
      interrupt: () => {},
      locksDropped: () => {},
      dropAlias: () => true,
    };
    const dispatcher = new Dispatcher(context, surroundings, setxattrExt, null);
    const sizes = argumentSizes(setxattrExt);
    const request = new Request(memory, sizes);
    context.credentials.initialize();
    new Rounds(context, request, sizes, requestAt, (made) => dispatcher.dispatch(made, replyAt, REPLY_BYTES)).run();
    context.nodes.evict(DESCRIPTORS);
    for (let device = 0; device < context.devices.count; device++) close(context.devices.fd(device));
  }
  close(rootFd);
}

/** A file system of its own: what worker.ts makes, with tables that nobody shares. */
function makeContext(memory: Memory, map: IdMapSpec): Context {
  const closeDescriptor = (fd: number): void => {
    close(fd);
  };
  const devices = new Devices(createDevices());
  const control = new Int32Array(new SharedArrayBuffer(COHERENCE.words * 4));
  control[COHERENCE.mode] = MODE_FILESYSTEM;
  control[COHERENCE.negative] = 1;
  const leases = new WatchedLeases(control, new NameTable(createNameTable(1 << 20, BUCKETS)), {
    armDevice: (device) => {
      devices.set(device, DEVICE_WATCHED);
      return true;
    },
    armNode: () => true,
    disarmNode: () => {},
    wake: () => {},
  });
  const held = new Held(createHeld({ total: DESCRIPTORS, reserve: 0, modest: 0 }));
  const nodes = createNodeTable({
    capacity: NODES,
    descriptorBudget: DESCRIPTORS,
    pinnedMax: 0,
    scarceFrom: 1 << 30,
  });
  const context = new Context({
    memory,
    nodes: new NodeTable(nodes, closeDescriptor),
    handles: new HandleTable(createHandleTable(DESCRIPTORS)),
    locks: new LockTable(createLockTable(), held, closeDescriptor),
    held,
    devices,
    ids: new IdMap(map),
    leases,
    backing: { open: () => 1 },
    options: { allowSuid: false, chownIgnore: false, xdev: false, uncached: true },
  });
  leases.attach(context);
  return context;
}

class Rounds {
  private readonly context: Context;
  private readonly request: Request;
  private readonly sizes: Int16Array;
  private readonly at: number;
  private readonly dispatch: (request: Request) => number;

  constructor(
    context: Context,
    request: Request,
    sizes: Int16Array,
    at: number,
    dispatch: (request: Request) => number,
  ) {
    this.context = context;
    this.request = request;
    this.sizes = sizes;
    this.at = at;
    this.dispatch = dispatch;
  }

  run(): void {
    const until = performance.now() + WARM_UP_MS;
    for (let round = 0; round < ROUNDS && performance.now() < until; round++) {
      if (round % WALK_EVERY === 0) this.walk(until);
      this.use(NAMES[round % NAMES.length]!);
    }
  }

  /** A path: looked up name by name, its attributes, opened, closed, forgotten. */
  private use(name: string): void {
    const { context } = this;
    let slot = ROOT_SLOT;
    for (const part of [...DIRECTORY, name]) {
      if (this.send(OP.LOOKUP, slot, [], part) <= 0 || context.result.node === 0) return;
      slot = context.result.node;
    }
    this.send(OP.GETATTR, slot, [], '');
    this.send(OP.GETXATTR, slot, [256, 0], 'user.none');
    if (this.send(OP.OPEN, slot, [0, 0], '') > 0) this.release(OP.RELEASE, slot);
    this.send(OP.FORGET, slot, [1, 0], '');
  }

  /** Lists every directory, with the attributes of all that is in it, then forgets all of it. */
  private walk(until: number): void {
    const { nodes } = this.context;
    this.list(ROOT_SLOT);
    for (let slot = ROOT_SLOT + 1; slot <= nodes.highestSlot && performance.now() < until; slot++)
      if (nodes.isLive(slot) && nodes.type(slot) === S_IFDIR) this.list(slot);
    for (let slot = ROOT_SLOT + 1; slot <= nodes.highestSlot; slot++)
      if (nodes.isLive(slot)) this.send(OP.FORGET, slot, [1 << 20, 0], '');
  }

  private list(slot: number): void {
    const { handles, result } = this.context;
    if (this.send(OP.OPENDIR, slot, [0, 0], '') <= 0) return;
    const { handle } = result;
    const generation = handles.generation(handle);
    for (const opcode of [OP.READDIR, OP.READDIRPLUS])
      for (const size of LISTING_SIZES) this.send(opcode, slot, [handle, generation, 0, 0, size], '');
    result.handle = handle;
    this.release(OP.RELEASEDIR, slot);
  }

  private release(opcode: number, slot: number): void {
    const { handles, result } = this.context;
    this.send(opcode, slot, [result.handle, handles.generation(result.handle)], '');
  }

  /** Serves one request of the caller root. What `Dispatcher.dispatch` says. */
  private send(opcode: number, slot: number, words: readonly number[], name: string): number {
    const { context, request, at } = this;
    const { memory, nodes } = context;
    const size = opcode < OP_LIMIT ? this.sizes[opcode]! : 0;
    const argument = at + IN_HEADER.size;
    memory.u8.fill(0, at, argument + size);
    for (let index = 0; index < words.length; index++) memory.u32[(argument >> 2) + index] = words[index]!;
    let length = IN_HEADER.size + size;
    if (name !== '') {
      memory.setString(at + length, name);
      length += name.length + 1;
    }
    const word = at >> 2;
    memory.u32[word] = length;
    memory.u32[word + 1] = opcode;
    memory.u32[(at + IN_HEADER.nodeid) >> 2] = slot;
    memory.u32[((at + IN_HEADER.nodeid) >> 2) + 1] = nodes.generation(slot);
    const error = request.attach(at, length);
    const result = error === 0 ? this.dispatch(request) : error;
    if (context.leases.granted) context.leases.settle();
    return result;
  }
}
