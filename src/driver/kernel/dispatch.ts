// From a decoded request to the file system and back to an encoded reply: one case an opcode, nothing else. A handler
// reads its struct's fields at the offsets of fuse.h, calls one function of src/filesystem, and writes its reply struct.

import {
  type AttributeChange,
  forget,
  getAttributes,
  lookup,
  lookupIn,
  lookupParent,
  lookupSelf,
  setAttributes,
  statFileSystem,
} from '../../filesystem/attributes.js';
import { AT_DIRENTS, AT_IOCTL, AT_STAT, AT_STATFS, AT_TIMES, type Context } from '../../filesystem/context.js';
import {
  fsyncDirectory,
  openDirectory,
  readEntries,
  releaseDirectory,
  seekDirectory,
} from '../../filesystem/directories.js';
import {
  copyRange,
  create,
  createUnnamed,
  fallocate,
  fsync,
  handleDescriptor,
  inodeIoctl,
  open,
  read,
  release,
  seek,
  write,
} from '../../filesystem/files.js';
import { HANDLE_DIRECTORY, HANDLE_FILE } from '../../filesystem/handle-table.js';
import {
  type LockRequest,
  releaseFlockOwner,
  releaseHandle,
  releasePosixOwner,
  setLock,
  testLock,
} from '../../filesystem/locks.js';
import {
  makeDirectory,
  makeLink,
  makeNode,
  makeSymlink,
  readLink,
  removeDirectory,
  rename,
  syncFileSystem,
  unlink,
} from '../../filesystem/namespace.js';
import { NODE_SUBMOUNT, type Place } from '../../filesystem/node-table.js';
import { acquire } from '../../filesystem/resolve.js';
import { getXattr, listXattrs, removeXattr, setXattr } from '../../filesystem/xattrs.js';
import type { ForwardShared } from '../../forward/jobs.js';
import {
  ATTR_OUT,
  DIRENT,
  ENTRY_OUT,
  FATTR_FH,
  FILE_LOCK,
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FOPEN_PASSTHROUGH,
  FUSE_ATTR_SUBMOUNT,
  FUSE_FSYNC_FDATASYNC,
  FUSE_GETATTR_FH,
  FUSE_IOCTL_DIR,
  FUSE_LK_FLOCK,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_RELEASE_FLOCK_UNLOCK,
  FUSE_SETXATTR_ACL_KILL_SGID,
  FUSE_WRITE_KILL_SUIDGID,
  KSTATFS,
  OP,
  OPEN_OUT,
  STATX_OUT,
} from '../../fuse/protocol.js';
import { writeAttrOut, writeDirent, writeEntry, writeOpenOut, writeStatfs, writeStatxOut } from '../../fuse/reply.js';
import type { Request } from '../../fuse/request.js';
import { F_UNLCK, S_IFDIR } from '../../linux/abi.js';
import { EAGAIN, EBADF, EINVAL, EIO, ENOSYS, ENOTTY, ESTALE } from '../../linux/errno.js';
import { DIRENT64 } from '../../linux/layout.js';
import { AS_ANYBODY, Forwarded } from './forwarded.js';

/** No process has this pid. */
const NOBODY = new Int32Array([-1]);

/** The request has no reply (FORGET). */
export const NO_REPLY = 1 << 30;
/** Somebody else replies, later (a lock that is waited for). */
export const TAKEN_OVER = NO_REPLY + 1;

/** What of a thread's surroundings a request can need beside the file system. */
export interface Surroundings {
  /** Takes over a SETLKW that has to wait. TAKEN_OVER, or the errno to answer. */
  waitForLock(request: Request, handle: number, lock: LockRequest): number;
  /** An INTERRUPT for the request of this unique. */
  interrupt(uniqueLo: number, uniqueHi: number): void;
  /** Locks were dropped: somebody may be waiting for them. */
  locksDropped(): void;
  /**
   * The kernel is to drop the entry of a directory that was moved: before this returns true, when a lookup in the directory
   * `held` waits for that; some time, when that is 0.
   */
  dropAlias(former: Place, held: number): boolean;
}

const change: AttributeChange = {
  valid: 0,
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  atime: 0,
  atimeNanoseconds: 0,
  mtime: 0,
  mtimeNanoseconds: 0,
};

const lockRequest: LockRequest = { ownerLo: 0, ownerHi: 0, type: 0, start: 0, end: 0, pid: 0, flock: false };

export class Dispatcher {
  private readonly context: Context;
  private readonly surroundings: Surroundings;
  private readonly setxattrExt: boolean;
  /** One word: the pid of the helper of src/forward, or negative. */
  private readonly helper: Int32Array;
  private readonly forwarded: Forwarded | null;

  constructor(context: Context, surroundings: Surroundings, setxattrExt: boolean, forward: ForwardShared | null) {
    this.context = context;
    this.surroundings = surroundings;
    this.setxattrExt = setxattrExt;
    this.helper = forward === null ? NOBODY : new Int32Array(forward.helper);
    this.forwarded = forward === null ? null : new Forwarded(context, forward);
  }

  /**
   * Serves a request whose reply struct may be written at `out`, where `room` bytes are free. Returns the length of the
   * reply struct, a negative errno, NO_REPLY or TAKEN_OVER.
   */
  dispatch(request: Request, out: number, room: number): number {
    const { context } = this;
    const { nodes, caller } = context;
    caller.uid = request.uid;
    caller.gid = request.gid;
    caller.pid = request.pid;
    caller.group = request.group;
    const { opcode } = request;
    // These name no node.
    switch (opcode) {
      case OP.FORGET:
        this.forgetOne(request.nodeidLo, request.nodeidHi, request.u32(0), request.u32(4));
        return NO_REPLY;
      case OP.BATCH_FORGET:
        return this.batchForget(request);
      case OP.INTERRUPT:
        this.surroundings.interrupt(request.u32(0), request.u32(4));
        return NO_REPLY;
      case OP.DESTROY:
        return 0;
    }
    const slot = nodes.resolve(request.nodeidLo, request.nodeidHi);
    if (slot === 0) return -ESTALE;
    if (request.pid === this.helper[0]) {
      const answer = this.forwarded!.dispatch(request, slot, out);
      if (answer !== AS_ANYBODY) return answer;
    }
    switch (opcode) {
      case OP.LOOKUP:
        return this.lookup(request, slot, out);
      case OP.GETATTR:
        return this.getattr(request, slot, out);
      case OP.SETATTR:
        return this.setattr(request, slot, out);
      case OP.READLINK: {
        const error = readLink(context, slot);
        return error < 0 ? error : this.copyResult(out, room);
      }
      case OP.SYMLINK: {
        let error = request.name(request.payload);
        if (error < 0) return error;
        const length = request.nameLength;
        const target = request.payload + length + 1;
        error = request.string(target);
        if (error < 0) return error;
        caller.umask = 0;
        return this.entry(makeSymlink(context, slot, request.payload, length, target), out);
      }
      case OP.MKNOD: {
        const error = request.name(request.payload);
        if (error < 0) return error;
        caller.umask = request.u32(8);
        return this.entry(
          makeNode(context, slot, request.payload, request.nameLength, request.u32(0), request.u32(4)),
          out,
        );
      }
      case OP.MKDIR: {
        const error = request.name(request.payload);
        if (error < 0) return error;
        caller.umask = request.u32(4);
        return this.entry(makeDirectory(context, slot, request.payload, request.nameLength, request.u32(0)), out);
      }
      case OP.UNLINK: {
        const error = request.name(request.payload);
        return error < 0 ? error : unlink(context, slot, request.payload);
      }
      case OP.RMDIR: {
        const error = request.name(request.payload);
        return error < 0 ? error : removeDirectory(context, slot, request.payload);
      }
      case OP.RENAME:
        return this.rename(request, slot, 0);
      case OP.RENAME2:
        return this.rename(request, slot, request.u32(8));
      case OP.LINK: {
        const error = request.name(request.payload);
        if (error < 0) return error;
        const old = nodes.resolve(request.u32(0), request.u32(4));
        if (old === 0) return -ESTALE;
        caller.umask = 0;
        return this.entry(makeLink(context, old, slot, request.payload, request.nameLength), out);
      }
      case OP.OPEN: {
        const error = open(context, slot, request.u32(0), (request.u32(4) & FUSE_OPEN_KILL_SUIDGID) !== 0);
        return error < 0 ? error : this.opened(out);
      }
      case OP.CREATE:
      case OP.TMPFILE:
        return this.create(request, slot, out);
      case OP.READ:
        return this.read(request, slot, out, room);
      case OP.WRITE:
        return this.write(request, slot, out);
      case OP.STATFS: {
        const error = statFileSystem(context, slot);
        if (error < 0) return error;
        writeStatfs(context.memory, out, AT_STATFS);
        return KSTATFS.size;
      }
      case OP.RELEASE: {
        const handle = this.file(request, 0);
        // The helper's open files have no handle; the kernel does not say whose a RELEASE is.
        if (handle === 0) return request.u32(0) === 0 ? 0 : -EBADF;
        const node = context.handles.node(handle);
        if (!context.locks.empty) {
          let dropped = releasePosixOwner(context, node, request.u32(16), request.u32(20));
          if ((request.u32(12) & FUSE_RELEASE_FLOCK_UNLOCK) !== 0) {
            dropped = releaseFlockOwner(context, node, request.u32(16), request.u32(20)) || dropped;
          }
          dropped = releaseHandle(context, handle) || dropped;
          if (dropped) this.surroundings.locksDropped();
        }
        release(context, handle);
        return 0;
      }
      case OP.FLUSH: {
        const handle = this.file(request, 0);
        if (handle === 0) return -EBADF;
        const node = context.handles.node(handle);
        if (releasePosixOwner(context, node, request.u32(16), request.u32(20))) this.surroundings.locksDropped();
        return 0;
      }
      case OP.FSYNC: {
        const handle = this.file(request, 0);
        return handle === 0 ? -EBADF : fsync(context, handle, (request.u32(8) & FUSE_FSYNC_FDATASYNC) !== 0);
      }
      case OP.SETXATTR:
        return this.setxattr(request, slot);
      case OP.GETXATTR: {
        const error = request.string(request.payload);
        if (error < 0) return error;
        return this.xattr(getXattr(context, slot, request.payload, request.u32(0)), request.u32(0), out, room);
      }
      case OP.LISTXATTR:
        return this.xattr(listXattrs(context, slot, request.u32(0)), request.u32(0), out, room);
      case OP.REMOVEXATTR: {
        const error = request.string(request.payload);
        return error < 0 ? error : removeXattr(context, slot, request.payload);
      }
      case OP.OPENDIR: {
        const error = openDirectory(context, slot);
        if (error < 0) return error;
        const { result, handles } = context;
        const flags = (result.cacheListing ? FOPEN_CACHE_DIR : 0) | (result.keepCache ? FOPEN_KEEP_CACHE : 0);
        writeOpenOut(context.memory, out, result.handle, handles.generation(result.handle), flags, 0);
        return OPEN_OUT.size;
      }
      case OP.READDIR:
        return this.readdir(request, slot, out, room, false);
      case OP.READDIRPLUS:
        return this.readdir(request, slot, out, room, true);
      case OP.RELEASEDIR: {
        const handle = this.directory(request, 0);
        if (handle === 0) return -EBADF;
        releaseDirectory(context, handle);
        return 0;
      }
      case OP.FSYNCDIR: {
        const handle = this.directory(request, 0);
        return handle === 0 ? -EBADF : fsyncDirectory(context, handle, (request.u32(8) & FUSE_FSYNC_FDATASYNC) !== 0);
      }
      case OP.GETLK:
      case OP.SETLK:
      case OP.SETLKW:
        return this.lock(request, out);
      case OP.IOCTL:
        return this.ioctl(request, slot, out);
      case OP.FALLOCATE: {
        const handle = this.file(request, 0);
        if (handle === 0) return -EBADF;
        return fallocate(context, handle, request.u32(24), request.u64(8), request.u64(16));
      }
      case OP.LSEEK: {
        const handle = this.file(request, 0);
        if (handle === 0) return -EBADF;
        const found = seek(context, handle, request.u64(8), request.u32(16));
        if (found < 0) return found;
        context.memory.setU64(out, found);
        return 8;
      }
      case OP.COPY_FILE_RANGE:
      case OP.COPY_FILE_RANGE_64:
        return this.copyFileRange(request, out);
      case OP.STATX:
        return this.statx(request, slot, out);
      case OP.SYNCFS:
        return syncFileSystem(context, slot);
      default:
        return -ENOSYS;
    }
  }

  private forgetOne(lo: number, hi: number, countLo: number, countHi: number): void {
    const slot = this.context.nodes.resolve(lo, hi);
    if (slot === 0) return;
    // More than 2^31 lookups of one node cannot have been counted; whatever is asked for frees it.
    forget(this.context, slot, countHi !== 0 || countLo > 0x7fffffff ? 0x7fffffff : countLo);
  }

  private batchForget(request: Request): number {
    const count = Math.min(request.u32(0), (request.end - request.payload) >> 4);
    const { u32 } = this.context.memory;
    for (let i = 0; i < count; i++) {
      const at = (request.payload >> 2) + i * 4;
      this.forgetOne(u32[at]!, u32[at + 1]!, u32[at + 2]!, u32[at + 3]!);
    }
    return NO_REPLY;
  }

  private lookup(request: Request, slot: number, out: number): number {
    const dots = request.isDots(request.payload);
    if (dots !== 0) {
      return this.entry(dots === 1 ? lookupSelf(this.context, slot) : lookupParent(this.context, slot), out);
    }
    const error = request.name(request.payload);
    if (error < 0) return error;
    const { context } = this;
    const found = lookup(context, slot, request.payload, request.nameLength);
    if (found === 0 && context.result.moved) {
      if (request.pid !== this.helper[0]) this.forwarded?.keepHelperOut();
      // Else it stays where it was: the kernel may fail to move its entry, and ask again.
      if (this.surroundings.dropAlias(context.former, slot)) {
        context.nodes.setName(context.result.node, slot, context.memory.u8, request.payload, request.nameLength);
      }
    }
    return this.entry(found, out);
  }

  /** struct fuse_entry_out for result.node, or the absence of one. */
  private entry(error: number, out: number): number {
    if (error < 0) return error;
    this.writeEntry(out);
    return ENTRY_OUT.size;
  }

  private writeEntry(out: number): void {
    const { memory, nodes, result } = this.context;
    const slot = result.node;
    writeEntry(
      memory,
      out,
      slot,
      slot === 0 ? 0 : nodes.generation(slot),
      result.nameSeconds,
      result.attributeSeconds,
      AT_STAT,
      slot === 0 ? 0 : this.attrFlags(slot),
    );
  }

  private attrFlags(slot: number): number {
    const { nodes } = this.context;
    const submount = (nodes.flags(slot) & NODE_SUBMOUNT) !== 0 && nodes.type(slot) === S_IFDIR;
    return submount ? FUSE_ATTR_SUBMOUNT : 0;
  }

  private getattr(request: Request, slot: number, out: number): number {
    let handle = 0;
    if ((request.u32(0) & FUSE_GETATTR_FH) !== 0) handle = this.fileOf(request, 8, slot);
    const error = getAttributes(this.context, slot, handle);
    if (error < 0) return error;
    writeAttrOut(this.context.memory, out, this.context.result.attributeSeconds, AT_STAT, this.attrFlags(slot));
    return ATTR_OUT.size;
  }

  private statx(request: Request, slot: number, out: number): number {
    let handle = 0;
    if ((request.u32(0) & FUSE_GETATTR_FH) !== 0) handle = this.fileOf(request, 8, slot);
    const error = getAttributes(this.context, slot, handle);
    if (error < 0) return error;
    writeStatxOut(this.context.memory, out, this.context.result.attributeSeconds, AT_STAT);
    return STATX_OUT.size;
  }

  private setattr(request: Request, slot: number, out: number): number {
    change.valid = request.u32(0);
    change.size = request.u64(16);
    change.atime = request.u32(32) + (request.u32(36) | 0) * 4294967296;
    change.mtime = request.u32(40) + (request.u32(44) | 0) * 4294967296;
    change.atimeNanoseconds = request.u32(56);
    change.mtimeNanoseconds = request.u32(60);
    change.mode = request.u32(68);
    change.uid = request.u32(76);
    change.gid = request.u32(80);
    const handle = (change.valid & FATTR_FH) !== 0 ? this.fileOf(request, 8, slot) : 0;
    const error = setAttributes(this.context, slot, handle, change);
    if (error < 0) return error;
    writeAttrOut(this.context.memory, out, this.context.result.attributeSeconds, AT_STAT, this.attrFlags(slot));
    return ATTR_OUT.size;
  }

  private rename(request: Request, slot: number, flags: number): number {
    const { context } = this;
    const target = context.nodes.resolve(request.u32(0), request.u32(4));
    if (target === 0) return -ESTALE;
    let error = request.name(request.payload);
    if (error < 0) return error;
    const newName = request.payload + request.nameLength + 1;
    error = request.name(newName);
    if (error < 0) return error;
    context.caller.umask = 0;
    return rename(context, slot, request.payload, target, newName, flags);
  }

  /** The handle of an open file at `offset` of the fixed struct, or 0. */
  private file(request: Request, offset: number): number {
    return this.context.handles.resolve(request.u32(offset), request.u32(offset + 4), HANDLE_FILE);
  }

  private directory(request: Request, offset: number): number {
    return this.context.handles.resolve(request.u32(offset), request.u32(offset + 4), HANDLE_DIRECTORY);
  }

  /** Like `file`, and of this very node. A handle that is not (a directory's, say) is no reason to fail. */
  private fileOf(request: Request, offset: number, slot: number): number {
    const handle = this.file(request, offset);
    return handle !== 0 && this.context.handles.node(handle) === slot ? handle : 0;
  }

  /** struct fuse_open_out for result.handle. */
  private opened(out: number): number {
    const { result, memory, handles } = this.context;
    let flags = result.noFlush ? FOPEN_NOFLUSH : 0;
    if (result.backing !== 0) flags |= FOPEN_PASSTHROUGH;
    else if (result.direct) flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
    else if (result.keepCache) flags |= FOPEN_KEEP_CACHE;
    writeOpenOut(memory, out, result.handle, handles.generation(result.handle), flags, result.backing);
    return OPEN_OUT.size;
  }

  private create(request: Request, slot: number, out: number): number {
    const { context } = this;
    const flags = request.u32(0);
    context.caller.umask = request.u32(8);
    let error: number;
    if (request.opcode === OP.TMPFILE) error = createUnnamed(context, slot, flags, request.u32(4));
    else {
      error = request.name(request.payload);
      if (error < 0) return error;
      error = create(context, slot, request.payload, request.nameLength, flags, request.u32(4));
    }
    if (error < 0) return error;
    this.writeEntry(out);
    return ENTRY_OUT.size + this.opened(out + ENTRY_OUT.size);
  }

  private read(request: Request, slot: number, out: number, room: number): number {
    const handle = this.fileOf(request, 0, slot);
    if (handle === 0) return -EBADF;
    const size = Math.min(request.u32(16), room);
    return read(this.context, handle, request.u64(8), out, size);
  }

  private write(request: Request, slot: number, out: number): number {
    const handle = this.fileOf(request, 0, slot);
    if (handle === 0) return -EBADF;
    const size = request.u32(16);
    if (request.payload + size > request.end) return -EINVAL;
    const kill = (request.u32(20) & FUSE_WRITE_KILL_SUIDGID) !== 0;
    const done = write(this.context, handle, request.u64(8), request.payload, size, kill);
    if (done < 0) return done;
    this.context.memory.u32[out >> 2] = done;
    this.context.memory.u32[(out >> 2) + 1] = 0;
    return 8;
  }

  private setxattr(request: Request, slot: number): number {
    const size = request.u32(0);
    const flags = request.u32(4);
    const kill = this.setxattrExt && (request.u32(8) & FUSE_SETXATTR_ACL_KILL_SGID) !== 0;
    const error = request.string(request.payload);
    if (error < 0) return error;
    const value = request.payload + request.nameLength + 1;
    if (value + size > request.end) return -EINVAL;
    return setXattr(this.context, slot, request.payload, value, size, flags, kill);
  }

  /** A value or list, or (asked with size 0) struct fuse_getxattr_out with its length. */
  private xattr(error: number, size: number, out: number, room: number): number {
    if (error < 0) return error;
    if (size !== 0) return this.copyResult(out, room);
    const { memory, result } = this.context;
    memory.u32[out >> 2] = result.length;
    memory.u32[(out >> 2) + 1] = 0;
    return 8;
  }

  private copyResult(out: number, room: number): number {
    const { memory, result } = this.context;
    if (result.length > room) return -EIO;
    memory.u8.copyWithin(out, result.offset, result.offset + result.length);
    return result.length;
  }

  private readdir(request: Request, slot: number, out: number, room: number, plus: boolean): number {
    const { context } = this;
    const handle = this.directory(request, 0);
    if (handle === 0 || context.handles.node(handle) !== slot) return -EBADF;
    const size = Math.min(request.u32(16), room);
    let error = seekDirectory(context, handle, request.u32(8), request.u32(12));
    if (error < 0) return error;
    let parentFd = -1;
    if (plus) {
      parentFd = acquire(context, slot);
      if (parentFd < 0) return parentFd;
      context.leases.begin(slot, parentFd);
    }
    let used = 0;
    for (;;) {
      const left = size - used;
      // A record of the underlay grows by at most a third (or, with attributes, by six) on its way into the reply.
      const want = plus ? Math.floor(left * 0.18) : Math.floor(left * 0.75);
      if (want < DIRENT64.maxSize && used > 0) break;
      const got = readEntries(context, handle, Math.max(want, Math.min(DIRENT64.maxSize, left)));
      if (got <= 0) {
        error = used > 0 ? 0 : got;
        break;
      }
      const packed = this.pack(handle, slot, parentFd, got, out + used, left);
      used += packed.used;
      if (!packed.all) break;
    }
    if (plus) context.nodes.unpin(slot);
    return error < 0 ? error : used;
  }

  private readonly packed = { used: 0, all: true };

  /** Packs the entries at AT_DIRENTS into the reply and leaves the handle's cookie after the last one that fitted. */
  private pack(
    handle: number,
    slot: number,
    parentFd: number,
    bytes: number,
    out: number,
    room: number,
  ): { used: number; all: boolean } {
    const { context, packed } = this;
    const { memory } = context;
    const { u8, u16, u32 } = memory;
    packed.used = 0;
    packed.all = true;
    const end = AT_DIRENTS + bytes;
    for (let at = AT_DIRENTS; at < end; ) {
      const word = at >> 2;
      const inoLo = u32[word]!;
      const inoHi = u32[word + 1]!;
      const offLo = u32[word + 2]!;
      const offHi = u32[word + 3]!;
      const recordLength = u16[(at + DIRENT64.d_reclen) >> 1]!;
      const type = u8[at + DIRENT64.d_type]!;
      const name = at + DIRENT64.d_name;
      let length = 0;
      while (u8[name + length] !== 0) length++;
      const entrySize = parentFd >= 0 ? ENTRY_OUT.size : 0;
      const needed = entrySize + ((DIRENT.size + length + 7) & ~7);
      if (packed.used + needed > room) {
        packed.all = false;
        break;
      }
      const to = out + packed.used;
      if (parentFd >= 0) this.lookupEntry(slot, parentFd, name, length, to);
      packed.used += entrySize + writeDirent(memory, to + entrySize, inoLo, inoHi, offLo, offHi, type, name, length);
      context.handles.setCookie(handle, offLo, offHi);
      at += recordLength;
    }
    if (!packed.all) context.handles.setCookie(handle, 0xffffffff, 0xffffffff);
    return packed;
  }

  /** The entry part of struct fuse_direntplus; a nodeid of 0 where nothing was looked up ("." and "..", races). */
  private lookupEntry(slot: number, parentFd: number, name: number, length: number, to: number): void {
    const { context } = this;
    const { u8 } = context.memory;
    context.result.node = 0;
    const dots = u8[name] === 46 && (length === 1 || (length === 2 && u8[name + 1] === 46));
    if (!dots && lookupIn(context, slot, parentFd, name, length) < 0) context.result.node = 0;
    if (context.result.node !== 0 && context.result.moved) this.surroundings.dropAlias(context.former, 0);
    if (context.result.node === 0) {
      context.result.nameSeconds = 0;
      context.result.attributeSeconds = 0;
    }
    this.writeEntry(to);
  }

  private lock(request: Request, out: number): number {
    const { context } = this;
    const handle = this.file(request, 0);
    if (handle === 0) return -EBADF;
    lockRequest.ownerLo = request.u32(8);
    lockRequest.ownerHi = request.u32(12);
    lockRequest.start = request.u64(16);
    lockRequest.end = request.u64(24);
    lockRequest.type = request.u32(32);
    lockRequest.pid = request.u32(36);
    lockRequest.flock = (request.u32(40) & FUSE_LK_FLOCK) !== 0;
    if (lockRequest.type > 2) return -EINVAL;
    if (request.opcode === OP.GETLK) {
      const error = testLock(context, handle, lockRequest);
      if (error < 0) return error;
      context.memory.setU64(out + FILE_LOCK.start, lockRequest.start);
      if (lockRequest.end < 2 ** 62) context.memory.setU64(out + FILE_LOCK.end, lockRequest.end);
      else {
        // The end of the file, OFFSET_MAX: 2^63-1 is no number, and for 2^63 the kernel answers EIO.
        context.memory.u32[(out + FILE_LOCK.end) >> 2] = 0xffffffff;
        context.memory.u32[(out + FILE_LOCK.end + 4) >> 2] = 0x7fffffff;
      }
      context.memory.u32[(out + FILE_LOCK.type) >> 2] = lockRequest.type;
      context.memory.u32[(out + FILE_LOCK.pid) >> 2] = lockRequest.pid;
      return FILE_LOCK.size;
    }
    const error = setLock(context, handle, lockRequest);
    if (error === 0 && lockRequest.type === F_UNLCK) this.surroundings.locksDropped();
    if (error === -EAGAIN && request.opcode === OP.SETLKW) {
      return this.surroundings.waitForLock(request, handle, lockRequest);
    }
    return error;
  }

  private ioctl(request: Request, slot: number, out: number): number {
    const { context } = this;
    const inSize = request.u32(24);
    const outSize = request.u32(28);
    if (request.payload + inSize > request.end || inSize > 64 || outSize > 64) return -ENOTTY;
    let fd: number;
    if ((request.u32(8) & FUSE_IOCTL_DIR) !== 0) {
      const handle = this.directory(request, 0);
      fd = handle === 0 ? -EBADF : context.handles.fd(handle);
    } else {
      const handle = this.fileOf(request, 0, slot);
      fd = handle === 0 ? -EBADF : handleDescriptor(context, handle);
    }
    if (fd < 0) return fd;
    const argument = AT_IOCTL;
    context.memory.u8.fill(0, argument, argument + 64);
    context.memory.u8.copyWithin(argument, request.payload, request.payload + inSize);
    const result = inodeIoctl(context, fd, request.u32(12), argument);
    if (result < 0) return result;
    // struct fuse_ioctl_out { s32 result; u32 flags, in_iovs, out_iovs; } and the data
    context.memory.u32.fill(0, out >> 2, (out >> 2) + 4);
    context.memory.i32[out >> 2] = result;
    context.memory.u8.copyWithin(out + 16, argument, argument + outSize);
    return 16 + outSize;
  }

  private copyFileRange(request: Request, out: number): number {
    const { context } = this;
    const source = this.file(request, 0);
    const target = context.handles.resolve(request.u32(24), request.u32(28), HANDLE_FILE);
    if (source === 0 || target === 0) return -EBADF;
    const { memory } = context;
    const { u32 } = memory;
    for (const [index, at] of [8, 12, 32, 36].entries()) u32[(AT_TIMES >> 2) + index] = request.u32(at);
    const done = copyRange(context, source, target, AT_TIMES, request.u64(40));
    if (done < 0) return done;
    if (request.opcode === OP.COPY_FILE_RANGE_64) {
      memory.setU64(out, done);
      return 8;
    }
    memory.u32[out >> 2] = done;
    memory.u32[(out >> 2) + 1] = 0;
    return 8;
  }
}
