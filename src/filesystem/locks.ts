// File locks: GETLK, SETLK, and what SETLKW waits for. A lock that is taken elsewhere answers EAGAIN at once; waiting is
// the driver's business (it must hold up nobody), with `waiter` as what to try again.

import {
  AT_FDCWD,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_RDLCK,
  F_UNLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_ACCMODE,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
} from '../linux/abi.js';
import { EMFILE, ENFILE, ENOLCK } from '../linux/errno.js';
import { FLOCK } from '../linux/layout.js';
import type { Memory } from '../linux/memory.js';
import { call2, fcntl, NR } from '../linux/syscalls.js';
import { gone } from './attributes.js';
import { AT_FLOCK, type Context } from './context.js';
import { DEVICE_UNWATCHABLE } from './devices.js';
import { HANDLE_NOFLUSH } from './handle-table.js';
import { LOCK_FLOCK, LOCK_POSIX } from './lock-table.js';
import { NODE_RECORD_LOCKS } from './node-table.js';
import { acquire, openSparing, statFd } from './resolve.js';

/** A lock as the protocol gives it. `end` is the last byte; Infinity (anything beyond 2^63-1) is the end of file. */
export interface LockRequest {
  ownerLo: number;
  ownerHi: number;
  type: number;
  start: number;
  end: number;
  pid: number;
  flock: boolean;
}

const F_DUPFD_CLOEXEC = 1030;
/** Ends from here on are "the end of file": numbers this large are not exact any more. */
const FAR = 2 ** 62;

/** Tries to take, change or drop a lock. 0, -EAGAIN when another holds it, or -errno. */
export function setLock(context: Context, handle: number, request: LockRequest): number {
  const entry = ownerEntry(context, handle, request);
  if (entry < 0) return entry;
  if (entry === 0) return 0;
  const { flock, type, start, end } = request;
  const error = tryLockDescriptor(context.memory, AT_FLOCK, context.locks.fd(entry), flock, type, start, end);
  context.locks.done(entry);
  return error;
}

/**
 * An owner of record locks who came through a file whose close(2) the kernel does not tell (NOFLUSH) ends with that
 * file's last close (`releaseHandle`), or with its process; files that are opened from now on get their FLUSH.
 */
function expectRelease(context: Context, handle: number, request: LockRequest, entry: number): void {
  if (request.flock) return;
  const { handles, locks, nodes } = context;
  nodes.setFlags(handles.node(handle), NODE_RECORD_LOCKS);
  locks.note(entry, request.pid, handle, (handles.state(handle) & HANDLE_NOFLUSH) !== 0);
}

/** One attempt on a description, with the struct flock written to memory at `at`. */
export function tryLockDescriptor(
  memory: Memory,
  at: number,
  fd: number,
  flock: boolean,
  type: number,
  start: number,
  end: number,
): number {
  if (flock) {
    const operation = type === F_UNLCK ? LOCK_UN : type === F_RDLCK ? LOCK_SH : LOCK_EX;
    return call2(NR.flock, fd, operation | LOCK_NB);
  }
  return fcntl(fd, F_OFD_SETLK, writeFlock(memory, at, type, start, end));
}

/**
 * A descriptor of the owner's description for somebody who waits; closing it is theirs, and to say that it is not held for
 * the caller any more (`context.holder`). -errno.
 */
export function waiterDescriptor(context: Context, handle: number, request: LockRequest): number {
  const { held, holder, locks } = context;
  const entry = ownerEntry(context, handle, request);
  if (entry <= 0) return entry === 0 ? -ENOLCK : entry;
  let fd = -ENOLCK;
  if (held.take(holder, 1)) {
    fd = fcntl(locks.fd(entry), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) held.give(holder, 1);
  }
  locks.done(entry);
  return fd === -EMFILE ? -ENOLCK : fd;
}

/** Looks for a lock in the way of `request` (GETLK) and writes it into `request`; type F_UNLCK when there is none. */
export function testLock(context: Context, handle: number, request: LockRequest): number {
  const entry = ownerEntry(context, handle, request);
  if (entry < 0) return entry;
  if (entry === 0) return -ENOLCK;
  const error = fcntl(
    context.locks.fd(entry),
    F_OFD_GETLK,
    writeFlock(context.memory, AT_FLOCK, request.type, request.start, request.end),
  );
  if (error < 0) {
    context.locks.done(entry);
    return error;
  }
  const { memory } = context;
  const wanted = request.type;
  request.type = memory.u16[(AT_FLOCK + FLOCK.l_type) >> 1]!;
  if (request.type !== F_UNLCK) {
    request.start = memory.u64(AT_FLOCK + FLOCK.l_start);
    const length = memory.u64(AT_FLOCK + FLOCK.l_len);
    request.end = length === 0 ? Infinity : request.start + length - 1;
    const pid = memory.i32[(AT_FLOCK + FLOCK.l_pid) >> 2]!;
    // -1 for an open file description lock, which is what every lock of the view is: it is held by the description to
    // which the same request is free.
    request.pid = pid > 0 ? pid : context.locks.pidOfHolder(context.handles.node(handle), entry, holds);
  }
  context.locks.done(entry);
  return 0;

  function holds(fd: number): boolean {
    const flock = writeFlock(context.memory, AT_FLOCK, wanted, request.start, request.end);
    return fcntl(fd, F_OFD_GETLK, flock) === 0 && context.memory.u16[(AT_FLOCK + FLOCK.l_type) >> 1] === F_UNLCK;
  }
}

/** Drops every record lock of an owner on a node (close(2) of any of its descriptors). */
export function releasePosixOwner(context: Context, node: number, ownerLo: number, ownerHi: number): boolean {
  return !context.locks.empty && context.locks.remove(node, LOCK_POSIX, ownerLo, ownerHi);
}

/** Drops the record locks last asked for through an open file that is closed for good. */
export function releaseHandle(context: Context, handle: number): boolean {
  const { locks, handles } = context;
  return !locks.empty && locks.removeThrough(handles.node(handle), handle);
}

/** Drops the flock(2) lock of an open file (its last close). */
export function releaseFlockOwner(context: Context, node: number, ownerLo: number, ownerHi: number): boolean {
  return !context.locks.empty && context.locks.remove(node, LOCK_FLOCK, ownerLo, ownerHi);
}

/** The entry of an owner, made when it has none; 0 when there is none and none is needed (unlock). */
function ownerEntry(context: Context, handle: number, request: LockRequest): number {
  const { locks, handles, held, holder } = context;
  const node = handles.node(handle);
  const kind = request.flock ? LOCK_FLOCK : LOCK_POSIX;
  const entry = locks.find(node, kind, request.ownerLo, request.ownerHi);
  if (request.type === F_UNLCK) return entry;
  if (entry !== 0) {
    expectRelease(context, handle, request, entry);
    return entry;
  }
  if (!held.take(holder, 1)) return -ENOLCK;
  const fd = openDescription(context, handle, request.flock);
  if (fd < 0) {
    held.give(holder, 1);
    return fd;
  }
  const added = locks.add(node, kind, request.ownerLo, request.ownerHi, fd, holder);
  if (added === 0) return -ENOLCK;
  expectRelease(context, handle, request, added);
  return added;
}

/**
 * An open file description for the locks of an owner; -errno. Whatever is open for writing cannot be executed, and what
 * runs cannot be opened so (ETXTBSY), so that is done only where it is needed: a record lock for writing needs it, which
 * somebody who can only read does not get, and flock(2) on a remote file system, where it becomes such a lock.
 */
function openDescription(context: Context, handle: number, flock: boolean): number {
  const { handles, nodes, devices } = context;
  const node = handles.node(handle);
  const fd = acquire(context, node);
  if (fd < 0) return gone(fd);
  const remote = devices.has(nodes.device(node), DEVICE_UNWATCHABLE);
  const readOnly = (handles.openFlags(handle) & O_ACCMODE) === O_RDONLY;
  const open = (mode: number): number =>
    openSparing(context, AT_FDCWD, context.fdName(fd), mode | O_CLOEXEC | O_NONBLOCK, 0);
  // The same process may take a lock for writing later, through another descriptor: only what can run is left alone.
  const spare = flock ? !remote : readOnly && statFd(context, fd) === 0 && (context.statMode() & 0o111) !== 0;
  let opened = open(spare ? O_RDONLY : O_RDWR);
  if (!spare && opened < 0 && opened !== -ENFILE) opened = open(O_RDONLY);
  nodes.unpin(node);
  return opened === -ENFILE ? -ENOLCK : opened;
}

/** struct flock; returns its address. */
function writeFlock(memory: Memory, at: number, type: number, start: number, end: number): number {
  memory.u16[(at + FLOCK.l_type) >> 1] = type;
  memory.u16[(at + FLOCK.l_whence) >> 1] = 0;
  memory.setU64(at + FLOCK.l_start, start);
  memory.setU64(at + FLOCK.l_len, end >= FAR ? 0 : end - start + 1);
  memory.i32[(at + FLOCK.l_pid) >> 2] = 0;
  return memory.address + at;
}
