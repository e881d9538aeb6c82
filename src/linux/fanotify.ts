// fanotify(7): a group, marks, and its events read in place. Constants from include/uapi/linux/fanotify.h.

import { AT_FDCWD } from './abi.js';
import type { Memory } from './memory.js';
import { call2, call6, NR } from './syscalls.js';

const FAN_CLOEXEC = 0x1;
const FAN_CLASS_NOTIF = 0x0;
const FAN_REPORT_FID = 0x200;
const FAN_REPORT_DIR_FID = 0x400;
const FAN_REPORT_NAME = 0x800;
const FAN_REPORT_TARGET_FID = 0x1000;
const O_LARGEFILE_RDONLY = 0o100000;

export const FAN_MODIFY = 0x2;
export const FAN_ATTRIB = 0x4;
export const FAN_CLOSE_WRITE = 0x8;
export const FAN_MOVED_FROM = 0x40;
export const FAN_MOVED_TO = 0x80;
export const FAN_CREATE = 0x100;
export const FAN_DELETE = 0x200;
export const FAN_DELETE_SELF = 0x400;
export const FAN_MOVE_SELF = 0x800;
export const FAN_Q_OVERFLOW = 0x4000;
/** Both names of a rename in one event (5.17), in place of FAN_MOVED_FROM and FAN_MOVED_TO. */
export const FAN_RENAME = 0x10000000;
const FAN_EVENT_ON_CHILD = 0x08000000;
export const FAN_ONDIR = 0x40000000;

const FAN_MARK_ADD = 0x1;
const FAN_MARK_REMOVE = 0x2;
const FAN_MARK_FILESYSTEM = 0x100;

/** Events that change what a name stands for. */
export const NAME_EVENTS = FAN_CREATE | FAN_DELETE | FAN_RENAME;
const INODE_EVENTS = FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE | FAN_DELETE_SELF | FAN_MOVE_SELF;
const EVERYTHING = NAME_EVENTS | INODE_EVENTS | FAN_ONDIR;

/** Opens a group that reports file handles, names and pids. The descriptor, or -errno (EPERM without CAP_SYS_ADMIN). */
export function openGroup(): number {
  const report = FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID;
  return call2(NR.fanotify_init, FAN_CLASS_NOTIF | FAN_CLOEXEC | report, O_LARGEFILE_RDONLY);
}

/** Marks the whole file system that the open directory `fd` is on. EXDEV: a btrfs subvolume; ENODEV, EOPNOTSUPP: no handles. */
export function markFileSystem(group: number, fd: number): number {
  return call6(NR.fanotify_mark, group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVERYTHING, fd, 0, 0);
}

/** Marks one inode by a path (that of a descriptor in /proc/self/fd); of a directory, also what is in it. */
export function markInode(group: number, path: number, directory: boolean): number {
  const mask = directory ? EVERYTHING | FAN_EVENT_ON_CHILD : INODE_EVENTS;
  return call6(NR.fanotify_mark, group, FAN_MARK_ADD, mask, AT_FDCWD, path, 0);
}

export function unmarkInode(group: number, path: number, directory: boolean): number {
  const mask = directory ? EVERYTHING | FAN_EVENT_ON_CHILD : INODE_EVENTS;
  return call6(NR.fanotify_mark, group, FAN_MARK_REMOVE, mask, AT_FDCWD, path, 0);
}

/** One file handle of an event: offsets into the event buffer. `type` -1 when the event has none. */
export interface EventHandle {
  fsidLo: number;
  fsidHi: number;
  type: number;
  bytes: number;
  offset: number;
}

/**
 * An event, reused for each: what changed (`object`), and in which directory under which name; of a rename those are the
 * old ones. A directory that is not watched is not told.
 */
export interface FanotifyEvent {
  mask: number;
  pid: number;
  readonly object: EventHandle;
  readonly directory: EventHandle;
  /** Offset and length of the name in the directory; length 0 when the event has none. */
  name: number;
  nameLength: number;
  readonly newDirectory: EventHandle;
  newName: number;
  newNameLength: number;
}

export function newEvent(): FanotifyEvent {
  const handle = (): EventHandle => ({ fsidLo: 0, fsidHi: 0, type: -1, bytes: 0, offset: 0 });
  return {
    mask: 0,
    pid: 0,
    object: handle(),
    directory: handle(),
    name: 0,
    nameLength: 0,
    newDirectory: handle(),
    newName: 0,
    newNameLength: 0,
  };
}

const INFO_FID = 1;
const INFO_DFID_NAME = 2;
const INFO_DFID = 3;
const INFO_OLD_DFID_NAME = 10;
const INFO_NEW_DFID_NAME = 12;

/**
 * Reads the event at `at` (a multiple of 4) of what read(2) left in memory up to `end`. Returns the offset of the next
 * one, or `end` when this one makes no sense.
 */
export function parseEvent(memory: Memory, at: number, end: number, event: FanotifyEvent): number {
  const { u32, i32, u16, u8 } = memory;
  event.mask = 0;
  if (at + 24 > end) return end;
  const length = u32[at >> 2]!;
  const next = at + length;
  if (length < 24 || next > end) return end;
  event.mask = u32[(at >> 2) + 2]!;
  event.pid = i32[(at >> 2) + 5]!;
  event.object.type = -1;
  event.directory.type = -1;
  event.nameLength = 0;
  event.newDirectory.type = -1;
  event.newNameLength = 0;
  // struct fanotify_event_info_fid: { u8 info_type, pad; u16 len; fsid (8 bytes); struct file_handle; name }
  for (let info = at + u16[(at + 6) >> 1]!; info + 4 <= next; ) {
    const type = u8[info]!;
    const size = u16[(info + 2) >> 1]!;
    if (size < 4 || info + size > next) break;
    const isNew = type === INFO_NEW_DFID_NAME;
    const isNamed = type === INFO_DFID_NAME || type === INFO_OLD_DFID_NAME || isNew;
    if ((type === INFO_FID || type === INFO_DFID || isNamed) && size >= 20) {
      const handle = type === INFO_FID ? event.object : isNew ? event.newDirectory : event.directory;
      handle.fsidLo = u32[(info + 4) >> 2]!;
      handle.fsidHi = u32[(info + 8) >> 2]!;
      handle.bytes = u32[(info + 12) >> 2]!;
      handle.type = u32[(info + 16) >> 2]!;
      handle.offset = info + 20;
      if (isNamed) {
        const name = handle.offset + handle.bytes;
        let nameEnd = name;
        while (nameEnd < info + size && u8[nameEnd] !== 0) nameEnd++;
        if (isNew) {
          event.newName = name;
          event.newNameLength = Math.max(0, nameEnd - name);
        } else {
          event.name = name;
          event.nameLength = Math.max(0, nameEnd - name);
        }
      }
    }
    info += size;
  }
  return next;
}
