// The file system operations without a kernel: what a serving thread of the daemon has, over a directory, for requests that are
// made up. The thread that calls this becomes a serving thread: its working directory, umask and ids are its own.

/** @param {{ dist: string, underlay: string }} options `dist` is the URL of the built product. */
export async function openFileSystem({ dist, underlay }) {
  const load = (path) => import(new URL(path, dist).href);
  const { Context, isolateThread, SCRATCH_SIZE } = await load('filesystem/context.js');
  const { createDevices, Devices } = await load('filesystem/devices.js');
  const { createHandleTable, HandleTable } = await load('filesystem/handle-table.js');
  const { createHeld, Held } = await load('filesystem/held.js');
  const { createLockTable, LockTable } = await load('filesystem/lock-table.js');
  const { createNodeTable, NodeTable } = await load('filesystem/node-table.js');
  const { initializeRoot } = await load('filesystem/resolve.js');
  const { FixedLeases } = await load('coherence/fixed-leases.js');
  const { Dispatcher, NO_REPLY } = await load('driver/kernel/dispatch.js');
  const { argumentSizes, OP } = await load('fuse/protocol.js');
  const { Request } = await load('fuse/request.js');
  const { IdMap } = await load('idmap/map.js');
  const { Memory } = await load('linux/memory.js');
  const { close, openat } = await load('linux/syscalls.js');

  const requestAt = (SCRATCH_SIZE + 4095) & ~4095;
  const replyAt = requestAt + REQUEST_BYTES;
  /** Behind everything that may be written: a guard that must stay as it is. */
  const guardAt = replyAt + REPLY_BYTES;
  const memory = new Memory(guardAt + 4096);
  memory.u8.fill(GUARD, guardAt);
  isolateThread(memory, CLONE_FS);
  const closeDescriptor = (fd) => close(fd);
  const table = createNodeTable({ capacity: 100_000, descriptorBudget: 64, pinnedMax: 1024, scarceFrom: 1 << 20 });
  const nodes = new NodeTable(table, closeDescriptor);
  const handles = new HandleTable(createHandleTable(10_000));
  const held = new Held(createHeld({ total: 10_000, reserve: 100, modest: 10 }));
  const locks = new LockTable(createLockTable(), held, closeDescriptor);
  const side = { ranges: [{ underlay: 0, view: 100000, count: 65536 }], overflow: 65534, squash: null };
  const context = new Context({
    memory,
    nodes,
    handles,
    locks,
    held,
    devices: new Devices(createDevices()),
    ids: new IdMap({ uid: side, gid: side }),
    leases: new FixedLeases(0),
    backing: null,
    options: { allowSuid: false, chownIgnore: false, xdev: false, uncached: true },
  });
  const rootFd = openat(AT_FDCWD, memory.setString(requestAt, underlay), O_PATH_DIRECTORY_CLOEXEC, 0);
  if (rootFd < 0) throw new Error(`underlay: errno ${-rootFd}`);
  initializeRoot(context, rootFd);
  context.credentials.initialize();
  const sizes = argumentSizes(true);
  const request = new Request(memory, sizes);
  const surroundings = { waitForLock: () => -EAGAIN, interrupt: () => {}, locksDropped: () => {} };
  const dispatcher = new Dispatcher(context, surroundings, true, null);
  return { memory, nodes, handles, locks, held, sizes, request, dispatcher, requestAt, replyAt, guardAt, OP, NO_REPLY };
}

export const REQUEST_BYTES = 1 << 20;
export const REPLY_BYTES = 1 << 20;
export const GUARD = 0x5a;
const CLONE_FS = 0x200;
const AT_FDCWD = -100;
const O_PATH_DIRECTORY_CLOEXEC = 0o12200000;
const EAGAIN = 11;

/** Little-endian structs, field by field. */
export class Writer {
  constructor() {
    this.parts = [];
  }
  u32(...values) {
    const buffer = Buffer.alloc(values.length * 4);
    values.forEach((value, index) => {
      buffer.writeUInt32LE(value >>> 0, index * 4);
    });
    this.parts.push(buffer);
    return this;
  }
  u64(...pairs) {
    for (const [low, high] of pairs) this.u32(low, high);
    return this;
  }
  bytes(buffer) {
    this.parts.push(buffer);
    return this;
  }
  string(buffer) {
    return this.bytes(buffer).bytes(Buffer.alloc(1));
  }
  done() {
    return Buffer.concat(this.parts);
  }
}
