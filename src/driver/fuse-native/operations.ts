// The operations of libfuse's path interface on the file system's nodes. Every path is walked from the root anew, one
// component at a time, each looked up in its directory's descriptor, and a symlink in the middle is an error, never a way
// on. What this interface cannot say is in CAPABILITIES of fuse-native.ts.

import {
  type AttributeChange,
  FATTR_ATIME,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_SIZE,
  FATTR_UID,
  getAttributes,
  lookup,
  setAttributes,
  statFileSystem,
} from '../../filesystem/attributes.js';
import { AT_DIRENTS, AT_STAT, AT_STATFS, type Context, XATTR_BYTES } from '../../filesystem/context.js';
import {
  fsyncDirectory,
  openDirectory,
  readEntries,
  releaseDirectory,
  seekDirectory,
} from '../../filesystem/directories.js';
import { create, fsync, open, read, release, write } from '../../filesystem/files.js';
import { HANDLE_DIRECTORY, HANDLE_FILE } from '../../filesystem/handle-table.js';
import {
  makeDirectory,
  makeLink,
  makeNode,
  makeSymlink,
  readLink,
  removeDirectory,
  rename,
  unlink,
} from '../../filesystem/namespace.js';
import { ROOT_SLOT } from '../../filesystem/node-table.js';
import { getXattr, listXattrs, removeXattr, setXattr } from '../../filesystem/xattrs.js';
import { OP } from '../../fuse/protocol.js';
import { NAME_MAX, O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, S_IFDIR, S_IFLNK, S_IFMT } from '../../linux/abi.js';
import {
  E2BIG,
  EBADF,
  EBUSY,
  EFBIG,
  EIO,
  ENAMETOOLONG,
  ENODATA,
  ENOENT,
  ENOTDIR,
  EOPNOTSUPP,
  ESTALE,
} from '../../linux/errno.js';
import { callFiller, copyMemory, stringLength } from '../../linux/foreign.js';
import { DIRENT64, encodeDevice, STATX } from '../../linux/layout.js';
import { modeWithinAcl } from './acl-mode.js';
import type { Operation } from './addon.js';
import {
  FILE_INFO,
  type Frame,
  STAT_SIZE,
  STATVFS_SIZE,
  setStatMode,
  statFromStatx,
  statOfEntry,
  statvfsFromStatfs,
} from './frame.js';

/** Longest path: the kernel gives names one by one, so a path may be longer than PATH_MAX. */
const PATH_BYTES = 65536;
/** Directories whose nodes are kept from one walk to the next. What is cached is a descriptor, never what a name means. */
const KEPT_DIRECTORIES = 1024;

// Areas after the file system's own in the thread's memory.
const PATH = 0;
const DEST = PATH + PATH_BYTES;
const XATTR_NAME = DEST + PATH_BYTES;
const VALUE = XATTR_NAME + 264;
const STRUCT = VALUE + XATTR_BYTES;
export const OPERATION_BYTES = STRUCT + 256;

/** View ids, or null for those of the directory. */
export type CreateOwner = { readonly uid: number; readonly gid: number } | null;

/** 0, a length, or -errno. */
export type Serve = (frame: Frame) => number;

export class Operations {
  private readonly context: Context;
  private readonly base: number;
  private readonly createOwner: CreateOwner;
  /** Nodes with one lookup counted for this request. */
  private readonly held: number[] = [];
  /** Slots with one lookup counted, longest unused first. */
  private readonly kept = new Map<number, true>();
  /** The last walk found a name that is not there. */
  private absent = false;
  /** Where `parent` has left the last component. */
  private name = 0;
  private nameLength = 0;
  private readonly change: AttributeChange = {
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

  /** `base` is where OPERATION_BYTES of the context's memory begin. */
  constructor(context: Context, base: number, createOwner: CreateOwner) {
    this.context = context;
    this.base = base;
    this.createOwner = createOwner;
  }

  /**
   * Serves a request. What was found may be gone, and something else have its name, before it is used: then the path is
   * walked again, since nobody was without an answer in between.
   */
  serve(serve: Serve, frame: Frame): number {
    let result = -ESTALE;
    for (let walk = 0; walk < WALKS; walk++) {
      this.absent = false;
      result = serve(frame);
      if (result !== -ESTALE && (result !== -ENOENT || this.absent)) break;
    }
    return result;
  }

  /** Gives back the nodes that the request has used. To be called after each. */
  settle(): void {
    const { nodes } = this.context;
    for (let slot = this.held.pop(); slot !== undefined; slot = this.held.pop()) nodes.forget(slot, 1);
    for (const slot of this.kept.keys()) {
      if (this.kept.size <= KEPT_DIRECTORIES) break;
      this.kept.delete(slot);
      nodes.forget(slot, 1);
    }
  }

  /** The path of a request, for the log. */
  describe(frame: Frame): string {
    const length = this.copyString(frame.path, PATH, PATH_BYTES);
    if (length < 0) return '';
    return Buffer.from(this.context.memory.u8.slice(this.base + PATH, this.base + PATH + length)).toString();
  }

  /** Each operation, and the opcode of the protocol it is counted as. */
  readonly table: Readonly<Record<Exclude<Operation, 'init'>, { readonly opcode: number; readonly serve: Serve }>> = {
    statfs: { opcode: OP.STATFS, serve: (frame) => this.statfs(frame) },
    getattr: { opcode: OP.GETATTR, serve: (frame) => this.getattr(frame, 0) },
    fgetattr: { opcode: OP.GETATTR, serve: (frame) => this.getattr(frame, this.file(frame)) },
    chmod: { opcode: OP.SETATTR, serve: (frame) => this.chmod(frame) },
    chown: { opcode: OP.SETATTR, serve: (frame) => this.chown(frame) },
    utimens: { opcode: OP.SETATTR, serve: (frame) => this.utimens(frame) },
    truncate: { opcode: OP.SETATTR, serve: (frame) => this.truncate(frame, 0) },
    ftruncate: { opcode: OP.SETATTR, serve: (frame) => this.truncate(frame, this.file(frame)) },
    readlink: { opcode: OP.READLINK, serve: (frame) => this.readlink(frame) },
    mknod: { opcode: OP.MKNOD, serve: (frame) => this.mknod(frame) },
    mkdir: { opcode: OP.MKDIR, serve: (frame) => this.mkdir(frame) },
    symlink: { opcode: OP.SYMLINK, serve: (frame) => this.symlink(frame) },
    link: { opcode: OP.LINK, serve: (frame) => this.link(frame) },
    unlink: { opcode: OP.UNLINK, serve: (frame) => this.remove(frame, unlink) },
    rmdir: { opcode: OP.RMDIR, serve: (frame) => this.remove(frame, removeDirectory) },
    rename: { opcode: OP.RENAME, serve: (frame) => this.rename(frame) },
    open: { opcode: OP.OPEN, serve: (frame) => this.open(frame) },
    create: { opcode: OP.CREATE, serve: (frame) => this.create(frame) },
    read: { opcode: OP.READ, serve: (frame) => this.read(frame) },
    write: { opcode: OP.WRITE, serve: (frame) => this.write(frame) },
    release: { opcode: OP.RELEASE, serve: (frame) => this.release(frame) },
    fsync: { opcode: OP.FSYNC, serve: (frame) => this.fsync(frame) },
    opendir: { opcode: OP.OPENDIR, serve: (frame) => this.opendir(frame) },
    readdir: { opcode: OP.READDIR, serve: (frame) => this.readdir(frame) },
    releasedir: { opcode: OP.RELEASEDIR, serve: (frame) => this.releasedir(frame) },
    fsyncdir: { opcode: OP.FSYNCDIR, serve: (frame) => this.fsyncdir(frame) },
    getxattr: { opcode: OP.GETXATTR, serve: (frame) => this.getxattr(frame) },
    setxattr: { opcode: OP.SETXATTR, serve: (frame) => this.setxattr(frame) },
    listxattr: { opcode: OP.LISTXATTR, serve: (frame) => this.listxattr(frame) },
    removexattr: { opcode: OP.REMOVEXATTR, serve: (frame) => this.removexattr(frame) },
  };

  /** Copies a C string into an area of `room` bytes. Its length, or -ENAMETOOLONG. */
  private copyString(from: number, area: number, room: number): number {
    if (from === 0) return -EIO;
    const length = stringLength(from, room);
    if (length >= room) return -ENAMETOOLONG;
    copyMemory(this.context.address(this.base + area), from, length + 1);
    return length;
  }

  /**
   * Walks the path at `from`, copied to `area`, to the directory of its last component, which is left in `name` (empty for
   * the root itself). The slot, or -errno.
   */
  private parent(from: number, area: number): number {
    const length = this.copyString(from, area, PATH_BYTES);
    if (length < 0) return length;
    const { u8 } = this.context.memory;
    const start = this.base + area;
    const end = start + length;
    let slot = ROOT_SLOT;
    let at = start;
    for (;;) {
      while (at < end && u8[at] === SLASH) at++;
      let next = at;
      while (next < end && u8[next] !== SLASH) next++;
      if (next - at > NAME_MAX) return -ENAMETOOLONG;
      this.name = at;
      this.nameLength = next - at;
      if (next >= end) return slot;
      u8[next] = 0;
      slot = this.step(slot);
      if (slot < 0) return slot;
      if (this.context.nodes.type(slot) !== S_IFDIR) return -ENOTDIR;
      at = next + 1;
    }
  }

  /** The node that `name` stands for in a directory; held until the request is settled. The slot, or -errno. */
  private step(parent: number): number {
    const { context, kept } = this;
    const error = lookup(context, parent, this.name, this.nameLength);
    if (error < 0) return error;
    const slot = context.result.node;
    if (slot === 0) {
      this.absent = true;
      return -ENOENT;
    }
    if (context.nodes.type(slot) !== S_IFDIR) this.held.push(slot);
    else if (kept.delete(slot)) {
      kept.set(slot, true);
      this.held.push(slot);
    } else kept.set(slot, true);
    return slot;
  }

  /** The node at the end of a path. The slot, or -errno. */
  private node(from: number, area = PATH): number {
    const parent = this.parent(from, area);
    return parent < 0 || this.nameLength === 0 ? parent : this.step(parent);
  }

  /** The handle in a struct fuse_file_info, of the kind given, or 0. */
  private handle(frame: Frame, kind: number): number {
    if (frame.info === 0) return 0;
    const at = this.base + STRUCT;
    copyMemory(this.context.address(at), frame.info + FILE_INFO.fh, 8);
    const { u32 } = this.context.memory;
    return this.context.handles.resolve(u32[at >> 2]!, u32[(at >> 2) + 1]!, kind);
  }

  private file(frame: Frame): number {
    return this.handle(frame, HANDLE_FILE);
  }

  private openFlags(frame: Frame): number {
    const at = this.base + STRUCT;
    copyMemory(this.context.address(at), frame.info + FILE_INFO.flags, 4);
    return this.context.memory.i32[at >> 2]!;
  }

  /** Hands result.handle to the kernel. What is open is held like what the kernel has looked up, until it is closed. */
  private opened(frame: Frame): number {
    const { context } = this;
    const slot = context.handles.node(context.result.handle);
    context.nodes.hold(slot, context.nodes.generation(slot));
    const at = this.base + STRUCT;
    context.memory.u32[at >> 2] = context.result.handle;
    context.memory.u32[(at >> 2) + 1] = context.handles.generation(context.result.handle);
    copyMemory(frame.info + FILE_INFO.fh, context.address(at), 8);
    return 0;
  }

  /** Whom what is created in `parent` belongs to. 0 or -errno. */
  private takeOwner(parent: number): number {
    const { context, createOwner } = this;
    const { caller } = context;
    if (createOwner === null) {
      const error = getAttributes(context, parent, 0);
      if (error < 0) return error;
      caller.uid = context.memory.u32[(AT_STAT + STATX.uid) >> 2]!;
      caller.gid = context.memory.u32[(AT_STAT + STATX.gid) >> 2]!;
    } else {
      caller.uid = createOwner.uid;
      caller.gid = createOwner.gid;
    }
    // The kernel has applied the umask.
    caller.umask = 0;
    return 0;
  }

  /** The directory to create `name` in, ready for it. The slot, or -errno. */
  private creation(from: number, area = PATH): number {
    const parent = this.parent(from, area);
    if (parent < 0) return parent;
    const error = this.takeOwner(parent);
    return error < 0 ? error : parent;
  }

  /** A node that a create has made: its lookup is given back with the request. */
  private made(error: number): number {
    if (error === 0) this.held.push(this.context.result.node);
    return error;
  }

  private statfs(frame: Frame): number {
    const { context } = this;
    const slot = this.node(frame.path);
    const error = slot < 0 ? slot : statFileSystem(context, slot);
    if (error < 0) return error;
    const at = this.base + STRUCT;
    statvfsFromStatfs(context.memory, at, AT_STATFS);
    copyMemory(frame.statvfs, context.address(at), STATVFS_SIZE);
    return 0;
  }

  private getattr(frame: Frame, handle: number): number {
    const { context } = this;
    let slot: number;
    if (handle !== 0) {
      slot = context.handles.node(handle);
      const error = getAttributes(context, slot, handle);
      if (error < 0) return error;
    } else {
      slot = this.node(frame.path);
      if (slot < 0) return slot;
      // A lookup leaves the attributes; only the root is not looked up.
      const error = this.nameLength === 0 ? getAttributes(context, slot, 0) : 0;
      if (error < 0) return error;
    }
    const { u32 } = context.memory;
    const word = AT_STAT >> 2;
    const rdev = encodeDevice(u32[word + (STATX.rdev_major >> 2)]!, u32[word + (STATX.rdev_minor >> 2)]!);
    const at = this.base + STRUCT;
    const mode = context.statMode();
    statFromStatx(context.memory, at, AT_STAT, rdev);
    setStatMode(context.memory, at, this.withinAcl(slot, mode));
    copyMemory(frame.stat, context.address(at), STAT_SIZE);
    return 0;
  }

  /** The mode to show for a node: one that grants nobody what an ACL refuses. Leaves nothing of use at AT_STAT. */
  private withinAcl(slot: number, mode: number): number {
    const { context } = this;
    const { memory, result } = context;
    if ((mode & S_IFMT) === S_IFLNK || (mode & 0o077) === 0) return mode;
    memory.setString(this.base + XATTR_NAME, 'system.posix_acl_access');
    const error = getXattr(context, slot, this.base + XATTR_NAME, XATTR_BYTES);
    if (error === -ENODATA || error === -EOPNOTSUPP) return mode;
    // An ACL that cannot be read is one that allows nothing.
    return modeWithinAcl(memory.u8.subarray(result.offset, result.offset + (error < 0 ? 0 : result.length)), mode);
  }

  private setattr(frame: Frame, handle: number): number {
    const slot = handle !== 0 ? this.context.handles.node(handle) : this.node(frame.path);
    return slot < 0 ? slot : setAttributes(this.context, slot, handle, this.change);
  }

  private chmod(frame: Frame): number {
    this.change.valid = FATTR_MODE;
    this.change.mode = frame.mode;
    return this.setattr(frame, 0);
  }

  private chown(frame: Frame): number {
    const { change } = this;
    const { uid, gid } = frame;
    change.valid = (uid === UNCHANGED ? 0 : FATTR_UID) | (gid === UNCHANGED ? 0 : FATTR_GID);
    change.uid = uid;
    change.gid = gid;
    return this.setattr(frame, 0);
  }

  private utimens(frame: Frame): number {
    const { change } = this;
    const { atime, mtime } = frame;
    change.valid = FATTR_ATIME | FATTR_MTIME;
    change.atime = Math.floor(atime / 1000);
    change.atimeNanoseconds = (atime - change.atime * 1000) * 1_000_000;
    change.mtime = Math.floor(mtime / 1000);
    change.mtimeNanoseconds = (mtime - change.mtime * 1000) * 1_000_000;
    return this.setattr(frame, 0);
  }

  private truncate(frame: Frame, handle: number): number {
    if (frame.offset > Number.MAX_SAFE_INTEGER) return -EFBIG;
    this.change.valid = FATTR_SIZE;
    this.change.size = frame.offset;
    return this.setattr(frame, handle);
  }

  private readlink(frame: Frame): number {
    const { context } = this;
    const slot = this.node(frame.path);
    const error = slot < 0 ? slot : readLink(context, slot);
    if (error < 0) return error;
    const { result, memory } = context;
    const length = Math.min(result.length, frame.length - 1);
    memory.u8[result.offset + length] = 0;
    copyMemory(frame.linkname, context.address(result.offset), length + 1);
    return 0;
  }

  private mknod(frame: Frame): number {
    const parent = this.creation(frame.path);
    if (parent < 0) return parent;
    return this.made(makeNode(this.context, parent, this.name, this.nameLength, frame.mode, frame.device));
  }

  private mkdir(frame: Frame): number {
    const parent = this.creation(frame.path);
    if (parent < 0) return parent;
    return this.made(makeDirectory(this.context, parent, this.name, this.nameLength, frame.mode));
  }

  private symlink(frame: Frame): number {
    const parent = this.creation(frame.dest);
    if (parent < 0) return parent;
    const length = this.copyString(frame.path, DEST, PATH_BYTES);
    if (length < 0) return length;
    return this.made(makeSymlink(this.context, parent, this.name, this.nameLength, this.base + DEST));
  }

  private link(frame: Frame): number {
    const slot = this.node(frame.path, DEST);
    if (slot < 0) return slot;
    const parent = this.creation(frame.dest);
    if (parent < 0) return parent;
    return this.made(makeLink(this.context, slot, parent, this.name, this.nameLength));
  }

  private remove(frame: Frame, how: (context: Context, parent: number, name: number) => number): number {
    const parent = this.parent(frame.path, PATH);
    if (parent < 0) return parent;
    return this.nameLength === 0 ? -EBUSY : how(this.context, parent, this.name);
  }

  private rename(frame: Frame): number {
    const parent = this.parent(frame.path, PATH);
    if (parent < 0) return parent;
    const { name } = this;
    const target = this.parent(frame.dest, DEST);
    if (target < 0) return target;
    return rename(this.context, parent, name, target, this.name, 0);
  }

  private open(frame: Frame): number {
    const slot = this.node(frame.path);
    if (slot < 0) return slot;
    // Truncation comes as a request of its own.
    const flags = this.openFlags(frame) & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC);
    const error = open(this.context, slot, flags, false);
    return error < 0 ? error : this.opened(frame);
  }

  private create(frame: Frame): number {
    const parent = this.creation(frame.path);
    if (parent < 0) return parent;
    // A name that appeared meanwhile must not be opened, as nobody has checked that the caller may: EEXIST.
    const flags = this.openFlags(frame) | O_EXCL;
    const error = this.made(create(this.context, parent, this.name, this.nameLength, flags, frame.mode));
    return error < 0 ? error : this.opened(frame);
  }

  private read(frame: Frame): number {
    const { context } = this;
    const handle = this.file(frame);
    if (handle === 0) return -EBADF;
    // Straight into libfuse's buffer, as an offset from our own memory.
    return read(context, handle, frame.offset, frame.buffer - context.memory.address, frame.length);
  }

  private write(frame: Frame): number {
    const { context } = this;
    const handle = this.file(frame);
    if (handle === 0) return -EBADF;
    if (frame.offset > Number.MAX_SAFE_INTEGER) return -EFBIG;
    // Whether the writer may keep set-id bits is not said, so they go.
    return write(context, handle, frame.offset, frame.buffer - context.memory.address, frame.length, true);
  }

  private release(frame: Frame): number {
    const handle = this.file(frame);
    if (handle === 0) return -EBADF;
    this.held.push(this.context.handles.node(handle));
    release(this.context, handle);
    return 0;
  }

  private fsync(frame: Frame): number {
    const handle = this.file(frame);
    return handle === 0 ? -EBADF : fsync(this.context, handle, frame.mode !== 0);
  }

  private opendir(frame: Frame): number {
    const slot = this.node(frame.path);
    const error = slot < 0 ? slot : openDirectory(this.context, slot);
    return error < 0 ? error : this.opened(frame);
  }

  /** libfuse asks once for the whole listing and keeps it for the open directory until that is rewound. */
  private readdir(frame: Frame): number {
    const { context } = this;
    const { memory } = context;
    const handle = this.handle(frame, HANDLE_DIRECTORY);
    if (handle === 0) return -EBADF;
    const { filler, buffer } = frame;
    const stat = this.base + STRUCT;
    let error = seekDirectory(context, handle, 0, 0);
    while (error >= 0) {
      const bytes = readEntries(context, handle, READ_BYTES);
      if (bytes <= 0) {
        error = bytes;
        break;
      }
      for (let at = AT_DIRENTS; at < AT_DIRENTS + bytes; ) {
        const word = (at + DIRENT64.d_ino) >> 2;
        statOfEntry(memory, stat, memory.u32[word]!, memory.u32[word + 1]!, memory.u8[at + DIRENT64.d_type]! << 12);
        callFiller(filler, buffer, context.address(at + DIRENT64.d_name), context.address(stat));
        at += memory.u16[(at + DIRENT64.d_reclen) >> 1]!;
      }
      context.handles.setCookie(handle, UNKNOWN_COOKIE, UNKNOWN_COOKIE);
    }
    return error;
  }

  private releasedir(frame: Frame): number {
    const handle = this.handle(frame, HANDLE_DIRECTORY);
    if (handle === 0) return -EBADF;
    this.held.push(this.context.handles.node(handle));
    releaseDirectory(this.context, handle);
    return 0;
  }

  private fsyncdir(frame: Frame): number {
    const handle = this.handle(frame, HANDLE_DIRECTORY);
    return handle === 0 ? -EBADF : fsyncDirectory(this.context, handle, frame.mode !== 0);
  }

  private getxattr(frame: Frame): number {
    const { context } = this;
    const length = this.copyString(frame.name, XATTR_NAME, NAME_MAX + 1);
    if (length < 0) return length;
    const slot = this.node(frame.path);
    const error = slot < 0 ? slot : getXattr(context, slot, this.base + XATTR_NAME, frame.size);
    return error < 0 ? error : this.value(frame.value, frame.size);
  }

  private listxattr(frame: Frame): number {
    const slot = this.node(frame.path);
    const error = slot < 0 ? slot : listXattrs(this.context, slot, frame.size);
    return error < 0 ? error : this.value(frame.list, frame.size);
  }

  /** Copies the result, which fits, unless only its length was asked for. */
  private value(to: number, room: number): number {
    const { result } = this.context;
    if (room !== 0) copyMemory(to, this.context.address(result.offset), result.length);
    return result.length;
  }

  private setxattr(frame: Frame): number {
    const { context } = this;
    const { size } = frame;
    if (size > XATTR_BYTES) return -E2BIG;
    const length = this.copyString(frame.name, XATTR_NAME, NAME_MAX + 1);
    if (length < 0) return length;
    const slot = this.node(frame.path);
    if (slot < 0) return slot;
    copyMemory(context.address(this.base + VALUE), frame.value, size);
    // Whether the caller may keep the setgid bit when it sets an ACL is not said, so it goes.
    return setXattr(context, slot, this.base + XATTR_NAME, this.base + VALUE, size, frame.flags, true);
  }

  private removexattr(frame: Frame): number {
    const length = this.copyString(frame.name, XATTR_NAME, NAME_MAX + 1);
    if (length < 0) return length;
    const slot = this.node(frame.path);
    return slot < 0 ? slot : removeXattr(this.context, slot, this.base + XATTR_NAME);
  }
}

const SLASH = 0x2f;
/** Walks of a path whose end is replaced all the time. */
const WALKS = 16;
/** chown(2): leave it as it is. */
const UNCHANGED = 0xffffffff;
/** Bytes of entries read at a time. */
const READ_BYTES = 32768;
/** No directory of the underlay is at this offset: the next seek is made. */
const UNKNOWN_COOKIE = 0xffffffff;
