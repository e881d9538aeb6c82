// Requests and replies in words, for `--trace`: the fields of each struct under the names of include/uapi/linux/fuse.h.
//
// Promises: nothing is read but the bytes of the request, and of a reply that was just written. Content is not shown: of
// data, values and listings only how long they are.

import { errnoName } from '../linux/errno.js';
import type { Memory } from '../linux/memory.js';
import { ATTR, ATTR_OUT, ENTRY_OUT, FILE_LOCK, OP, OPEN_OUT, STATX_OUT } from './protocol.js';
import type { Request } from './request.js';

export type Described = Record<string, string | number>;

type Kind = 'number' | 'octal' | 'hex' | 'long' | 'id';
type Field = readonly [name: string, offset: number, kind: Kind];

const FH: Field = ['fh', 0, 'id'];
const FH_AT_8: Field = ['fh', 8, 'id'];
const OFFSET: Field = ['offset', 8, 'long'];
const SIZE: Field = ['size', 16, 'number'];
const UMASK = (offset: number): Field => ['umask', offset, 'octal'];
const LOCK: readonly Field[] = [
  FH,
  ['owner', 8, 'id'],
  ['start', 16, 'long'],
  ['end', 24, 'long'],
  ['type', 32, 'number'],
  ['lk_flags', 40, 'number'],
];
const COPY: readonly Field[] = [
  ['fh_in', 0, 'id'],
  ['off_in', 8, 'long'],
  ['nodeid_out', 16, 'id'],
  ['fh_out', 24, 'id'],
  ['off_out', 32, 'long'],
  ['len', 40, 'long'],
];

/** Fields of the fixed struct, and how many names or strings follow it. */
const REQUESTS: ReadonlyMap<number, readonly [fields: readonly Field[], strings: number]> = new Map([
  [OP.LOOKUP, [[], 1]],
  [OP.FORGET, [[['nlookup', 0, 'long']], 0]],
  [OP.BATCH_FORGET, [[['count', 0, 'number']], 0]],
  [OP.GETATTR, [[['getattr_flags', 0, 'number'], FH_AT_8], 0]],
  [OP.STATX, [[['getattr_flags', 0, 'number'], FH_AT_8], 0]],
  [
    OP.SETATTR,
    [
      [
        ['valid', 0, 'hex'],
        FH_AT_8,
        ['size', 16, 'long'],
        ['mode', 68, 'octal'],
        ['to_uid', 76, 'number'],
        ['to_gid', 80, 'number'],
      ],
      0,
    ],
  ],
  [OP.SYMLINK, [[], 2]],
  [OP.MKNOD, [[['mode', 0, 'octal'], ['rdev', 4, 'number'], UMASK(8)], 1]],
  [OP.MKDIR, [[['mode', 0, 'octal'], UMASK(4)], 1]],
  [OP.UNLINK, [[], 1]],
  [OP.RMDIR, [[], 1]],
  [OP.RENAME, [[['newdir', 0, 'id']], 2]],
  [
    OP.RENAME2,
    [
      [
        ['newdir', 0, 'id'],
        ['flags', 8, 'number'],
      ],
      2,
    ],
  ],
  [OP.LINK, [[['oldnodeid', 0, 'id']], 1]],
  [OP.OPEN, [[['flags', 0, 'octal']], 0]],
  [OP.OPENDIR, [[['flags', 0, 'octal']], 0]],
  [OP.CREATE, [[['flags', 0, 'octal'], ['mode', 4, 'octal'], UMASK(8)], 1]],
  [OP.TMPFILE, [[['flags', 0, 'octal'], ['mode', 4, 'octal'], UMASK(8)], 0]],
  [OP.READ, [[FH, OFFSET, SIZE], 0]],
  [OP.READDIR, [[FH, OFFSET, SIZE], 0]],
  [OP.READDIRPLUS, [[FH, OFFSET, SIZE], 0]],
  [OP.WRITE, [[FH, OFFSET, SIZE, ['write_flags', 20, 'number']], 0]],
  [OP.RELEASE, [[FH, ['release_flags', 12, 'number'], ['lock_owner', 16, 'id']], 0]],
  [OP.RELEASEDIR, [[FH], 0]],
  [OP.FLUSH, [[FH, ['lock_owner', 16, 'id']], 0]],
  [OP.FSYNC, [[FH, ['fsync_flags', 8, 'number']], 0]],
  [OP.FSYNCDIR, [[FH, ['fsync_flags', 8, 'number']], 0]],
  [
    OP.SETXATTR,
    [
      [
        ['size', 0, 'number'],
        ['flags', 4, 'number'],
      ],
      1,
    ],
  ],
  [OP.GETXATTR, [[['size', 0, 'number']], 1]],
  [OP.LISTXATTR, [[['size', 0, 'number']], 0]],
  [OP.REMOVEXATTR, [[], 1]],
  [OP.GETLK, [LOCK, 0]],
  [OP.SETLK, [LOCK, 0]],
  [OP.SETLKW, [LOCK, 0]],
  [OP.INTERRUPT, [[['of', 0, 'long']], 0]],
  [OP.IOCTL, [[FH, ['cmd', 12, 'hex'], ['in_size', 24, 'number'], ['out_size', 28, 'number']], 0]],
  [OP.FALLOCATE, [[FH, OFFSET, ['length', 16, 'long'], ['mode', 24, 'hex']], 0]],
  [OP.LSEEK, [[FH, OFFSET, ['whence', 16, 'number']], 0]],
  [OP.COPY_FILE_RANGE, [COPY, 0]],
  [OP.COPY_FILE_RANGE_64, [COPY, 0]],
] as const);

const STRING_NAMES = ['name', 'name2'] as const;

/** The fields of a request that `attach` has accepted. */
export function describeArguments(request: Request): Described {
  const described: Described = {};
  const [fields, strings] = REQUESTS.get(request.opcode) ?? [[], 0];
  for (const [name, offset, kind] of fields) {
    described[name] = word(request.memory, request.argument + offset, kind);
  }
  const length = request.nameLength;
  let at = request.payload;
  for (let index = 0; index < strings && request.string(at) === 0; index++) {
    described[STRING_NAMES[index]!] = Buffer.from(request.memory.u8.subarray(at, at + request.nameLength)).toString();
    at += request.nameLength + 1;
  }
  request.nameLength = length;
  return described;
}

/** What was answered: `result` is -errno, or the length of the reply at `out`. */
export function describeReply(opcode: number, memory: Memory, out: number, result: number): Described {
  if (result < 0) return { error: errnoName(-result) };
  switch (opcode) {
    case OP.LOOKUP:
    case OP.MKNOD:
    case OP.MKDIR:
    case OP.SYMLINK:
    case OP.LINK:
      return describeEntry(memory, out);
    case OP.CREATE:
    case OP.TMPFILE:
      return { ...describeEntry(memory, out), ...describeOpen(memory, out + ENTRY_OUT.size) };
    case OP.OPEN:
    case OP.OPENDIR:
      return describeOpen(memory, out);
    case OP.GETATTR:
    case OP.SETATTR:
      return { attr_valid: seconds(memory, out, ATTR_OUT), ...describeAttributes(memory, out + ATTR_OUT.attr) };
    case OP.STATX:
      return { attr_valid: seconds(memory, out, STATX_OUT), bytes: result };
    case OP.WRITE:
    case OP.COPY_FILE_RANGE:
      return { size: memory.u32[out >> 2]! };
    case OP.COPY_FILE_RANGE_64:
    case OP.LSEEK:
      return { offset: memory.u64(out) };
    case OP.GETLK:
      return { type: memory.u32[(out + FILE_LOCK.type) >> 2]!, pid: memory.u32[(out + FILE_LOCK.pid) >> 2]! };
    default:
      return { bytes: result };
  }
}

function describeEntry(memory: Memory, at: number): Described {
  const valid = { attr_valid: ENTRY_OUT.entry_valid, attr_valid_nsec: ENTRY_OUT.entry_valid_nsec };
  const entry = { nodeid: word(memory, at, 'id'), entry_valid: seconds(memory, at, valid) };
  if (memory.u32[at >> 2] === 0) return entry;
  return {
    ...entry,
    attr_valid: seconds(memory, at, ENTRY_OUT),
    ...describeAttributes(memory, at + ENTRY_OUT.attr),
  };
}

function describeAttributes(memory: Memory, at: number): Described {
  return {
    ino: memory.u64(at),
    mode: word(memory, at + ATTR.mode, 'octal'),
    nlink: word(memory, at + ATTR.nlink, 'number'),
    uid: word(memory, at + ATTR.uid, 'number'),
    gid: word(memory, at + ATTR.gid, 'number'),
    size: memory.u64(at + ATTR.st_size),
  };
}

function describeOpen(memory: Memory, at: number): Described {
  return {
    fh: word(memory, at, 'id'),
    open_flags: word(memory, at + OPEN_OUT.open_flags, 'hex'),
    backing_id: word(memory, at + OPEN_OUT.backing_id, 'number'),
  };
}

function seconds(
  memory: Memory,
  at: number,
  { attr_valid, attr_valid_nsec }: { readonly attr_valid: number; readonly attr_valid_nsec: number },
): number {
  return memory.u32[(at + attr_valid) >> 2]! + memory.u32[(at + attr_valid_nsec) >> 2]! / 1e9;
}

function word(memory: Memory, at: number, kind: Kind): string | number {
  const low = memory.u32[at >> 2]!;
  switch (kind) {
    case 'number':
      return low;
    case 'octal':
      return `0${low.toString(8)}`;
    case 'hex':
      return `0x${low.toString(16)}`;
    case 'long':
      return memory.u64(at);
    // A slot and its generation (node-table.ts, handle-table.ts); a lock owner is two words of a hash.
    case 'id':
      return `${low}.${memory.u32[(at >> 2) + 1]!}`;
  }
}
