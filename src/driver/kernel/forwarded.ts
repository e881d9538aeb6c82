// Answers the helper (src/forward): it repeats on the view what the host has done to the underlay already, so nothing is
// done here but to say yes, and to show names as they were before the change, so that the kernel makes it itself, with
// its events. Never touches the underlay but to look. What is shown so is shown to the helper only, and for no time (0
// seconds): everybody else's next use of the name asks again and gets what is true.
//
// The helper is known by the pid the kernel puts into its requests: the pid of the thread that asks, in the daemon's own
// pid namespace, which nobody can choose. The daemon is its parent, so nobody else gets it before the daemon knows.
//
// What was there before may have no inode any more: the kernel is shown a *ghost* then, a node that stands for nothing.
// It answers ESTALE to everybody else, like any inode that is gone.

import { found, getAttributes, shiftStat } from '../../filesystem/attributes.js';
import { AT_STAT, AT_XATTR, type Context } from '../../filesystem/context.js';
import { ROOT_SLOT } from '../../filesystem/node-table.js';
import { acquire, identify, internIdentified, statFd } from '../../filesystem/resolve.js';
import { keepHelperOut } from '../../forward/gate.js';
import {
  ELSEWHERE,
  type ForwardShared,
  GATE_BYTES,
  JOB,
  KIND,
  LOOKED_NAME,
  LOOKED_NEW_NAME,
  placeElsewhere,
  recordOfTag,
  tagMatches,
  tagPrepares,
} from '../../forward/jobs.js';
import {
  ATTR_OUT,
  ENTRY_OUT,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  OP,
  OPEN_OUT,
} from '../../fuse/protocol.js';
import { writeAttrOut, writeEntry, writeOpenOut } from '../../fuse/reply.js';
import type { Request } from '../../fuse/request.js';
import { S_IFDIR, S_IFLNK, S_IFMT } from '../../linux/abi.js';
import { EAGAIN, EBUSY, ENODATA, ENOENT, ENOMEM, EPERM, ESTALE } from '../../linux/errno.js';
import { mapSharedBlock } from '../../linux/foreign.js';
import { STATX } from '../../linux/layout.js';

/** The request is to be served as anybody's: it changes nothing. */
export const AS_ANYBODY = 1 << 29;

/** First identity word of a ghost: like a node that is known by its birth time, and never the same (resolve.ts). */
const GHOST = 0xffff0001;
/** The ghost that is the directory elsewhere. */
const GHOST_ELSEWHERE = 0xffff0002;

/** Room for a name, in memory that no look-up uses. */
const AT_NEW_NAME = AT_XATTR;

const elsewhere = Buffer.from(ELSEWHERE);

export class Forwarded {
  private readonly context: Context;
  private readonly records: Int32Array;
  private readonly bytes: Uint8Array;
  /** Of the record of the job being served: its first word, and its first byte. */
  private word = 0;
  private byte = 0;

  private readonly gate: Int32Array;

  constructor(context: Context, shared: ForwardShared) {
    this.gate = mapSharedBlock(shared.gate, GATE_BYTES);
    this.context = context;
    this.records = new Int32Array(shared.records);
    this.bytes = new Uint8Array(shared.records);
  }

  /** Somebody else is told of a directory where the kernel does not have it. */
  keepHelperOut(): void {
    keepHelperOut(this.gate);
  }

  /** Serves a request of the helper on the node `slot`: see Dispatcher.dispatch. */
  dispatch(request: Request, slot: number, out: number): number {
    const { opcode } = request;
    switch (opcode) {
      case OP.GETATTR:
        return this.getattr(slot, out, true);
      case OP.GETXATTR:
        // An access control list of what is gone: there is none.
        return this.exists(slot) ? AS_ANYBODY : -ENODATA;
      case OP.STATX:
      case OP.STATFS:
      case OP.READLINK:
        return AS_ANYBODY;
      case OP.OPENDIR:
        // A place to name inodes from (open_by_handle_at(2)); nothing is ever read there.
        writeOpenOut(this.context.memory, out, 0, 0, 0, 0);
        return OPEN_OUT.size;
      case OP.RELEASE:
      case OP.RELEASEDIR:
      case OP.FLUSH:
        return 0;
    }
    const record = recordOfTag(request.gid);
    this.word = record * JOB.words;
    this.byte = record * JOB.bytes;
    const inJob = record >= 0 && tagMatches(request.gid, this.records[this.word]! >>> 0);
    if (opcode === OP.LOOKUP) return this.lookup(request, slot, out, inJob);
    if (!inJob) return -EPERM;
    switch (opcode) {
      case OP.SETATTR:
        return this.setattr(slot, out);
      case OP.OPEN:
        return this.open(slot, out);
      case OP.MKNOD:
        return this.create(request, slot, request.payload, request.u32(0) & S_IFMT, out);
      case OP.MKDIR:
        return this.create(request, slot, request.payload, S_IFDIR, out);
      case OP.SYMLINK:
        return this.create(request, slot, request.payload, S_IFLNK, out);
      case OP.UNLINK:
      case OP.RMDIR:
        return this.remove(request, slot);
      case OP.RENAME:
      case OP.RENAME2:
        return this.rename(request, slot);
      default:
        return -EPERM;
    }
  }

  private lookup(request: Request, slot: number, out: number, inJob: boolean): number {
    const { u8 } = request.memory;
    // To find out where in the tree a directory is: the helper has another way where the kernel does not know.
    if (request.isDots(request.payload) !== 0) return -ESTALE;
    const error = request.name(request.payload);
    if (error < 0) return error;
    const { payload, nameLength } = request;
    if (slot === ROOT_SLOT && elsewhere.equals(u8.subarray(payload, payload + nameLength))) {
      return this.ghostEntry(GHOST_ELSEWHERE, S_IFDIR, out);
    }
    if (!inJob) return AS_ANYBODY;
    const isParent = this.isParent(slot);
    const isName = isParent && this.isName(request, payload, JOB.name, JOB.nameLength);
    const isNewName = isParent && !isName && this.isName(request, payload, JOB.newName, JOB.newNameLength);
    if (!isName && !isNewName) {
      const inElsewhere = this.context.nodes.identityWord(slot, 0) === GHOST_ELSEWHERE;
      return inElsewhere ? this.parentElsewhere(request, out) : AS_ANYBODY;
    }
    if (this.isInTheWay(slot, request, isName)) return -ENOMEM;
    if (!tagPrepares(request.gid)) {
      Atomics.or(this.records, this.word + JOB.looked, isName ? LOOKED_NAME : LOOKED_NEW_NAME);
    }
    switch (this.records[this.word + JOB.kind]) {
      case KIND.CREATE:
        return -ENOENT;
      case KIND.DELETE:
        return this.deletedEntry(out);
      case KIND.RENAME:
        return isName ? this.renamedEntry(out) : this.victimEntry(out);
      default:
        return this.isThere(slot, payload) ? AS_ANYBODY : this.renamedEntry(out);
    }
  }

  /**
   * Whether the name is that of a directory which the kernel has there by now, and which is not what the helper would be
   * shown: the kernel would drop it then, and detach what containers have mounted below it. ENOMEM is the answer to which it
   * drops nothing (fs/fuse/dir.c, fuse_dentry_revalidate). Who has looked it up has no need of the event.
   */
  private isInTheWay(parent: number, request: Request, isName: boolean): boolean {
    const { context, records, word } = this;
    const { nodes, identity, memory } = context;
    const { payload, nameLength } = request;
    const kind = records[word + JOB.kind];
    const fd = acquire(context, parent);
    if (fd < 0) return false;
    const error = identify(context, fd, context.address(payload));
    nodes.unpin(parent);
    if (error !== 0 || identity.type !== S_IFDIR) return false;
    // A directory that is told to have changed, and a rename of it, which takes it along.
    const same = this.isObject(S_IFDIR);
    if (same && (kind === KIND.RENAME || (isName && kind !== KIND.CREATE && kind !== KIND.DELETE))) return false;
    const there = nodes.find(identity);
    if (there === 0) return false;
    const placed = nodes.isAt(there, parent, memory.u8, payload, nameLength);
    nodes.forget(there, 1);
    return placed;
  }

  /** What was deleted: the kernel's own inode when it is gone altogether, so that its watchers are told, too. */
  private deletedEntry(out: number): number {
    const slot = this.findObject();
    if (slot === 0) return this.ghostOfJob(out);
    if (this.stat(slot) === 0 || this.context.nodes.type(slot) === S_IFDIR) return this.entry(slot, out);
    // It has another name: the kernel would count its links down.
    this.context.nodes.forget(slot, 1);
    return this.ghostOfJob(out);
  }

  /** What was renamed, or changed before it was: wherever it is now. */
  private renamedEntry(out: number): number {
    let slot = this.findObject();
    if (slot === 0) slot = this.internNew();
    if (slot === 0) return this.ghostOfJob(out);
    this.stat(slot);
    return this.entry(slot, out);
  }

  /** The directory of the job, under the name that leads to it elsewhere. */
  private parentElsewhere(request: Request, out: number): number {
    const { nodes, memory } = this.context;
    const { payload, nameLength } = request;
    const name = Buffer.from(memory.u8.buffer, payload, nameLength).toString('latin1');
    const slot = this.records[this.word + JOB.parent]!;
    const generation = this.records[this.word + JOB.parentGeneration]! >>> 0;
    if (name !== placeElsewhere(slot, generation) || nodes.resolve(slot, generation) === 0) return -ENOENT;
    this.stat(slot);
    return this.existing(slot) ? this.entry(slot, out) : -ESTALE;
  }

  private victimEntry(out: number): number {
    const { nodes } = this.context;
    const { records, word } = this;
    const victim = nodes.resolve(records[word + JOB.victim]!, records[word + JOB.victimGeneration]! >>> 0);
    if (victim === 0) return -ENOENT;
    this.stat(victim);
    return this.existing(victim) ? this.entry(victim, out) : -ENOENT;
  }

  /** Counts a lookup of a node known by its nodeid. */
  private existing(slot: number): boolean {
    const { nodes, identity } = this.context;
    identity.device = nodes.device(slot);
    for (let i = 0; i < 8; i++) identity.words[i] = nodes.identityWord(slot, i);
    return nodes.find(identity) === slot;
  }

  private create(request: Request, slot: number, name: number, type: number, out: number): number {
    const error = request.name(name);
    if (error < 0) return error;
    const { records, word, context } = this;
    if (records[word + JOB.kind] !== KIND.CREATE || !this.isParent(slot)) return -EPERM;
    if (!this.isName(request, name, JOB.name, JOB.nameLength)) return -EPERM;
    Atomics.add(records, word + JOB.served, 1);
    const fd = acquire(context, slot);
    if (fd < 0) return this.ghostEntry(GHOST, type, out);
    context.leases.begin(slot, fd);
    // Not what was made in its place since: that has a job of its own.
    let there =
      identify(context, fd, context.address(name)) === 0 && context.identity.type === type && this.isObject(type);
    if (there) there = found(context, slot, name, request.nameLength) === 0;
    context.nodes.unpin(slot);
    if (!there) return this.ghostEntry(GHOST, type, out);
    const { result, nodes, memory } = context;
    const node = result.node;
    // The lock of the directory orders this with what takes the name back. Nothing does so with the attributes: those of a
    // reply to MKNOD or SETATTR replace what the kernel has, even if that has been taken back or is newer.
    writeEntry(memory, out, node, nodes.generation(node), result.nameSeconds, 0, AT_STAT, 0);
    return ENTRY_OUT.size;
  }

  private remove(request: Request, slot: number): number {
    const error = request.name(request.payload);
    if (error < 0) return error;
    const { records, word } = this;
    if (records[word + JOB.kind] !== KIND.DELETE || !this.isParent(slot)) return -EPERM;
    if (!this.isName(request, request.payload, JOB.name, JOB.nameLength)) return -EPERM;
    // A name that the kernel had cached may stand for something else, made since.
    if ((Atomics.load(records, word + JOB.looked) & LOOKED_NAME) === 0) return -EAGAIN;
    Atomics.add(records, word + JOB.served, 1);
    return 0;
  }

  private rename(request: Request, slot: number): number {
    const { records, word, context } = this;
    if (context.nodes.resolve(request.u32(0), request.u32(4)) !== slot) return -EPERM;
    let error = request.name(request.payload);
    if (error < 0) return error;
    const newName = request.payload + request.nameLength + 1;
    const matches =
      records[word + JOB.kind] === KIND.RENAME &&
      this.isParent(slot) &&
      this.isName(request, request.payload, JOB.name, JOB.nameLength);
    error = request.name(newName);
    if (error < 0) return error;
    if (!matches || !this.isName(request, newName, JOB.newName, JOB.newNameLength)) return -EPERM;
    if (Atomics.load(records, word + JOB.looked) !== (LOOKED_NAME | LOOKED_NEW_NAME)) return -EAGAIN;
    Atomics.add(records, word + JOB.served, 1);
    return 0;
  }

  private setattr(slot: number, out: number): number {
    const kind = this.records[this.word + JOB.kind];
    if (kind !== KIND.MODIFY && kind !== KIND.ATTRIB) return -EPERM;
    if (!this.isOfKind(this.context.nodes.type(slot))) return -ENOENT;
    Atomics.add(this.records, this.word + JOB.served, 1);
    return this.getattr(slot, out, false);
  }

  private getattr(slot: number, out: number, mayKeep: boolean): number {
    const { context } = this;
    let seconds = 0;
    if (getAttributes(context, slot, 0) === 0) {
      if (mayKeep && context.statLinks() > 0) seconds = context.result.attributeSeconds;
      this.keepAlive();
    } else this.imagine(context.nodes.type(slot), slot);
    writeAttrOut(context.memory, out, seconds, AT_STAT, 0);
    return ATTR_OUT.size;
  }

  /** For IN_CLOSE_WRITE: a file open for nothing. With passthrough no other open of it may be there (fs/fuse/iomode.c). */
  private open(slot: number, out: number): number {
    const { context, records, word } = this;
    if (records[word + JOB.kind] !== KIND.CLOSE_WRITE) return -EPERM;
    if (context.nodes.opens(slot) > 0 && context.nodes.backing(slot) > 0) return -EBUSY;
    Atomics.add(records, word + JOB.served, 1);
    writeOpenOut(context.memory, out, 0, 0, FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_NOFLUSH, 0);
    return OPEN_OUT.size;
  }

  /** The node of the job's object with one lookup counted, or 0. */
  private findObject(): number {
    const { identity, nodes } = this.context;
    const { records, word } = this;
    const device = records[word + JOB.device]!;
    if (device < 0) return 0;
    identity.device = device;
    for (let i = 0; i < 8; i++) identity.words[i] = records[word + JOB.identity + i]!;
    return nodes.find(identity);
  }

  /** The same, made, if it is what the new name of a rename stands for. */
  private internNew(): number {
    const { context, records, word, byte } = this;
    const parent = context.nodes.resolve(records[word + JOB.parent]!, records[word + JOB.parentGeneration]! >>> 0);
    if (parent === 0 || records[word + JOB.kind] !== KIND.RENAME) return 0;
    const fd = acquire(context, parent);
    if (fd < 0) return 0;
    const length = records[word + JOB.newNameLength]!;
    const { memory } = context;
    memory.u8.set(this.bytes.subarray(byte + JOB.newName, byte + JOB.newName + length + 1), AT_NEW_NAME);
    let slot = 0;
    if (identify(context, fd, context.address(AT_NEW_NAME)) === 0) {
      if (this.isObject(records[word + JOB.type]!)) {
        slot = Math.max(0, internIdentified(context, parent, AT_NEW_NAME, length));
      }
    }
    context.nodes.unpin(parent);
    return slot;
  }

  /** Whether what was identified last is the job's object. */
  private isObject(type: number): boolean {
    const { identity } = this.context;
    const { records, word } = this;
    if ((identity.type === S_IFDIR) !== (type === S_IFDIR)) return false;
    if (records[word + JOB.device]! < 0) return identity.type === type;
    if (identity.device !== records[word + JOB.device]) return false;
    for (let i = 0; i < 8; i++) if (identity.words[i] !== records[word + JOB.identity + i]! >>> 0) return false;
    return true;
  }

  /** Whether a name stands for something of the job's kind: what is told of a file is not told of a directory made since. */
  private isThere(parent: number, name: number): boolean {
    const { context } = this;
    const fd = acquire(context, parent);
    if (fd < 0) return false;
    const error = identify(context, fd, context.address(name));
    context.nodes.unpin(parent);
    return error === 0 && this.isOfKind(context.identity.type);
  }

  private isOfKind(type: number): boolean {
    return (type === S_IFDIR) === (this.records[this.word + JOB.type] === S_IFDIR);
  }

  private exists(slot: number): boolean {
    const { context } = this;
    const fd = acquire(context, slot);
    if (fd < 0) return false;
    context.nodes.unpin(slot);
    return true;
  }

  /** Leaves the attributes of a node at AT_STAT, or what they may have been. Returns how many names it has left. */
  private stat(slot: number): number {
    const { context } = this;
    const fd = acquire(context, slot);
    if (fd >= 0) {
      const error = statFd(context, fd);
      context.nodes.unpin(slot);
      if (error === 0) {
        shiftStat(context, slot);
        const links = context.statLinks();
        this.keepAlive();
        return links;
      }
    }
    this.imagine(context.nodes.type(slot), slot);
    return 0;
  }

  /** An inode without a link loses its watchers with its last entry (fs/dcache.c, dentry_unlink_inode), untold. */
  private keepAlive(): void {
    const { u32 } = this.context.memory;
    const links = (AT_STAT + STATX.nlink) >> 2;
    if (u32[links] === 0) u32[links] = 1;
  }

  /** Attributes of what is not there. */
  private imagine(type: number, slot: number): void {
    const { u32, u16 } = this.context.memory;
    u32.fill(0, AT_STAT >> 2, (AT_STAT + STATX.size) >> 2);
    u16[(AT_STAT + STATX.mode) >> 1] = type | (type === S_IFDIR ? 0o700 : 0o600);
    u32[(AT_STAT + STATX.nlink) >> 2] = 1;
    u32[(AT_STAT + STATX.ino) >> 2] = slot === 0 ? 1 : this.context.nodes.inoLo(slot);
    if (slot !== 0) u32[(AT_STAT + STATX.ino) / 4 + 1] = this.context.nodes.inoHi(slot);
  }

  private ghostOfJob(out: number): number {
    return this.ghostEntry(GHOST, this.records[this.word + JOB.type]!, out);
  }

  private ghostEntry(kind: number, type: number, out: number): number {
    const { identity, nodes } = this.context;
    const { records, word } = this;
    identity.device = nodes.device(ROOT_SLOT);
    identity.type = type;
    identity.words.fill(0);
    identity.words[0] = kind;
    if (kind === GHOST) {
      // One object, one ghost, whatever job it comes up in.
      const known = records[word + JOB.device]! >= 0;
      for (let i = 1; i < 8; i++) identity.words[i] = known ? records[word + JOB.identity + i]! : 0;
      if (!known) identity.words[1] = records[word + JOB.sequence]!;
      identity.words[7] = identity.words[7]! ^ type;
    }
    identity.inoLo = (identity.words[1]! ^ 0x5a5a5a5a) >>> 0;
    identity.inoHi = 0x7fff0000;
    const slot = nodes.intern(identity);
    if (slot === 0) return -ESTALE;
    this.imagine(type, slot);
    return this.entry(slot, out);
  }

  /** struct fuse_entry_out for a node whose attributes are at AT_STAT, for this one use. */
  private entry(slot: number, out: number): number {
    const { context } = this;
    context.result.node = slot;
    writeEntry(context.memory, out, slot, context.nodes.generation(slot), 0, 0, AT_STAT, 0);
    return ENTRY_OUT.size;
  }

  private isParent(slot: number): boolean {
    const { records, word, context } = this;
    return (
      records[word + JOB.parent] === slot &&
      context.nodes.generation(slot) === records[word + JOB.parentGeneration]! >>> 0
    );
  }

  private isName(request: Request, at: number, name: number, lengthAt: number): boolean {
    const length = this.records[this.word + lengthAt]!;
    if (request.nameLength !== length) return false;
    const { u8 } = request.memory;
    const from = this.byte + name;
    for (let i = 0; i < length; i++) if (u8[at + i] !== this.bytes[from + i]) return false;
    return true;
  }
}
