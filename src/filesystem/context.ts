// What one serving thread works with. Everything here is either shared by all threads (the tables) or belongs to this
// thread alone (its memory, its credentials), and nothing of it knows which driver is running.

import type { IdMap } from '../idmap/map.js';
import { STATX } from '../linux/layout.js';
import type { Memory } from '../linux/memory.js';
import { call2, NR } from '../linux/syscalls.js';
import { Credentials } from './credentials.js';
import type { Devices } from './devices.js';
import type { HandleTable } from './handle-table.js';
import type { Held } from './held.js';
import type { LockTable } from './lock-table.js';
import { Identity, type NodeTable, type Place } from './node-table.js';

/** Scratch areas in a thread's memory; the driver's buffers begin at SCRATCH_SIZE. */
export const AT_STAT = 0;
export const AT_STAT2 = 256;
export const AT_HANDLE = 512;
export const AT_NUMBER = 664;
export const AT_EMPTY = 680;
export const AT_DOT = 684;
export const AT_DOTDOT = 688;
export const AT_TIMES = 696;
export const AT_FLOCK = 728;
export const AT_STATFS = 768;
export const AT_NAME = 896;
export const AT_NUMBER2 = 1160;
export const AT_ARGUMENT = 1176;
/** Argument of an ioctl: at most 64 bytes. */
export const AT_IOCTL = 1280;
export const AT_CAPABILITY = 1344;
export const AT_XATTR = 2048;
/** Longest value or list of extended attributes (XATTR_SIZE_MAX, XATTR_LIST_MAX of include/uapi/linux/limits.h). */
export const XATTR_BYTES = 65536;
export const AT_DIRENTS = AT_XATTR + XATTR_BYTES + 64;
export const DIRENTS_BYTES = 65536;
export const SCRATCH_SIZE = AT_DIRENTS + DIRENTS_BYTES;

/** What the file system is asked to do, of all the options of a mount. */
export interface FileSystemOptions {
  readonly allowSuid: boolean;
  readonly chownIgnore: boolean;
  readonly xdev: boolean;
  /** Nothing may be cached: data that is not passed through is read anew each time. */
  readonly uncached: boolean;
}

/** Registers backing files for passthrough; a driver without it gives null. The node table closes them. */
export interface BackingRegistry {
  /** An id above 0, or -errno. */
  open(fd: number): number;
}

/**
 * Decides what the kernel may cache. The order of calls is the order of rule 1: `begin` before the underlay is read for
 * a reply, the grants after, `settle` when the reply is written. Times are in seconds; 0 means "ask again".
 */
export interface Leases {
  /** Arms what would report changes of names in the directory `parent` (0: only attributes will be granted). */
  begin(parent: number, parentFd: number): void;
  /** For how long a name, or its absence, in the directory given to `begin` may be kept. */
  name(offset: number, length: number, present: boolean, directory: boolean): number;
  /** For how long the attributes of a node may be kept; the node's inode was read after `begin`. */
  attributes(slot: number): number;
  /** A file just created is open for writing with passthrough: for how long its attributes may be kept, which `granted` says so far. */
  beginsToBeWritten(slot: number, granted: number): number;
  /** True when the kernel may keep the pages of a file (or the listing of a directory) that it has. */
  keepData(slot: number): boolean;
  /** True when the kernel may cache the listing of a directory it is about to read; after `begin` of that directory. */
  mayCacheListing(slot: number): boolean;
  /**
   * The view itself is about to change what a name stands for; after `begin` of the directory. The kernel knows, so the
   * event of it is to take nothing back.
   */
  changing(parent: number, nameOffset: number): void;
  /** The view itself changed names in the directory. */
  changed(parent: number): void;
  /**
   * The view gave what had the first name the second (and with `exchange` the other way round); after `begin` of both
   * directories, before the reply. The kernel's entry moves with its lease, of which only this tells.
   */
  renamed(
    parent: number,
    parentFd: number,
    nameOffset: number,
    newParent: number,
    newParentFd: number,
    newNameOffset: number,
    exchange: boolean,
  ): void;
  /**
   * The kernel may believe something else than what the view itself did: of a name in the directory `slot`, or, with
   * `length` 0, of the inode. It is told to drop it.
   */
  doubt(slot: number, nameOffset: number, length: number): void;
  /** The kernel is about to forget the node. */
  forget(slot: number): void;
  /** Whether the reply being made grants what `settle` must look after. */
  readonly granted: boolean;
  /** Called when the reply has landed. */
  settle(): void;
}

/** Who asks, in view ids, as the driver read it from the request. */
export interface Caller {
  uid: number;
  gid: number;
  pid: number;
  umask: number;
  /** A supplementary group to create with (FUSE_CREATE_SUPP_GROUP), or -1. */
  group: number;
}

/** Results that do not fit in a return value; each operation says which of them it fills. */
export interface Result {
  /** The node found or made. */
  node: number;
  /** The node is a directory that the kernel may have in another one, namely as `Context.former`. */
  moved: boolean;
  /** The handle opened. */
  handle: number;
  backing: number;
  direct: boolean;
  keepCache: boolean;
  cacheListing: boolean;
  noFlush: boolean;
  /** Seconds the name may be kept, and the attributes. */
  nameSeconds: number;
  attributeSeconds: number;
  /** Where an operation left its bytes in memory, and how many. */
  offset: number;
  length: number;
}

export class Context {
  readonly memory: Memory;
  readonly nodes: NodeTable;
  readonly handles: HandleTable;
  readonly locks: LockTable;
  readonly held: Held;
  readonly devices: Devices;
  readonly ids: IdMap;
  readonly leases: Leases;
  readonly backing: BackingRegistry | null;
  readonly options: FileSystemOptions;
  readonly credentials: Credentials;
  readonly caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0, group: -1 };
  readonly identity = new Identity();
  readonly result: Result = {
    node: 0,
    moved: false,
    handle: 0,
    backing: 0,
    direct: false,
    keepCache: false,
    cacheListing: false,
    noFlush: false,
    nameSeconds: 0,
    attributeSeconds: 0,
    offset: 0,
    length: 0,
  };
  readonly former: Place = { parent: 0, generation: 0, name: new Uint8Array(256), length: 0 };
  readonly empty: number;
  readonly dot: number;
  readonly dotdot: number;
  readonly capabilityName: number;

  constructor(parts: {
    memory: Memory;
    nodes: NodeTable;
    handles: HandleTable;
    locks: LockTable;
    held: Held;
    devices: Devices;
    ids: IdMap;
    leases: Leases;
    backing: BackingRegistry | null;
    options: FileSystemOptions;
  }) {
    this.memory = parts.memory;
    this.nodes = parts.nodes;
    this.handles = parts.handles;
    this.locks = parts.locks;
    this.held = parts.held;
    this.devices = parts.devices;
    this.ids = parts.ids;
    this.leases = parts.leases;
    this.nodes.onFree = (slot) => this.leases.forget(slot);
    this.backing = parts.backing;
    this.options = parts.options;
    this.empty = this.memory.setString(AT_EMPTY, '');
    this.dot = this.memory.setString(AT_DOT, '.');
    this.dotdot = this.memory.setString(AT_DOTDOT, '..');
    this.capabilityName = this.memory.setString(AT_CAPABILITY, 'security.capability');
    this.credentials = new Credentials(this.memory, AT_ARGUMENT);
  }

  /** For whom descriptors that the request will hold are counted (held.ts). */
  get holder(): number {
    return this.held.holder(this.caller.uid);
  }

  /** Address of a byte of this thread's memory. */
  address(offset: number): number {
    return this.memory.address + offset;
  }

  /**
   * The name of a descriptor in /proc/self/fd, which is the working directory of every serving thread: the way to reopen
   * an O_PATH descriptor, or to give it to a call that takes only paths. A magic link is not followed further, so a
   * symlink's descriptor names the symlink itself.
   */
  fdName(fd: number): number {
    return this.memory.setDecimal(AT_NUMBER, fd);
  }

  /** st_nlink of what was statted last. */
  statLinks(): number {
    return this.memory.u32[(AT_STAT + STATX.nlink) >> 2]!;
  }

  statMode(): number {
    return this.memory.u16[(AT_STAT + STATX.mode) >> 1]!;
  }
}

/** Gives the thread a working directory, root and umask of its own, in /proc/self/fd. Throws when that is not possible. */
export function isolateThread(memory: Memory, cloneFs: number): void {
  const path = memory.setString(AT_NAME, '/proc/self/fd');
  const unshared = call2(NR.unshare, cloneFs, 0);
  if (unshared < 0) throw new Error(`unshare(CLONE_FS) failed: errno ${-unshared}`);
  const entered = call2(NR.chdir, path, 0);
  if (entered < 0) throw new Error(`chdir(/proc/self/fd) failed: errno ${-entered}; is /proc mounted?`);
  call2(NR.umask, 0, 0);
}
