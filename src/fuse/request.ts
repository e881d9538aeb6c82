// A request as it lies in memory: a cursor that is set on each one in turn, with bounds checked once so that a handler
// reads fields without looking. Nothing is copied, nothing is allocated.
//
// Promises: after `attach` answered 0, the header, the opcode's fixed struct and the payload lie inside the bytes
// received; `name` answers only for a NUL-terminated string inside the payload. Whatever the bytes are, no other memory
// is read.

import { EINVAL, ENAMETOOLONG, ENOSYS } from '../linux/errno.js';
import type { Memory } from '../linux/memory.js';
import { FUSE_EXT_GROUPS, IN_HEADER, OP_LIMIT } from './protocol.js';

/** A u32 that need not be aligned. */
function getU32(u8: Uint8Array, at: number): number {
  return (u8[at]! | (u8[at + 1]! << 8) | (u8[at + 2]! << 16) | (u8[at + 3]! << 24)) >>> 0;
}

const SLASH = 47;
const DOT = 46;

export class Request {
  readonly memory: Memory;
  private readonly sizes: Int16Array;
  opcode = 0;
  uniqueLo = 0;
  uniqueHi = 0;
  nodeidLo = 0;
  nodeidHi = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  /** Offset of the opcode's fixed struct. */
  argument = 0;
  /** Offsets of the payload's first byte and of the byte after its last. */
  payload = 0;
  end = 0;
  /** Length of the last name read, without its NUL. */
  nameLength = 0;
  /** A supplementary group of the caller, or -1 (FUSE_CREATE_SUPP_GROUP). */
  group = -1;

  constructor(memory: Memory, sizes: Int16Array) {
    this.memory = memory;
    this.sizes = sizes;
  }

  /**
   * Sets the cursor on the request of `length` bytes at `offset` (a multiple of 8). 0, or the negative errno to answer:
   * EINVAL for bytes that are no request, ENOSYS for an opcode that is not served. `uniqueLo/Hi` are set whenever a
   * header is there.
   */
  attach(offset: number, length: number): number {
    if (length < IN_HEADER.size) return -EINVAL;
    this.readHeader(offset);
    if (this.memory.u32[offset >> 2] !== length) return -EINVAL;
    const size = this.opcode < OP_LIMIT ? this.sizes[this.opcode]! : -1;
    if (size < 0) return -ENOSYS;
    return this.setParts(offset, offset + IN_HEADER.size, offset + IN_HEADER.size + size, offset + length);
  }

  /**
   * The same for a request that came over io_uring, whose header, fixed struct and payload (of `length` bytes) lie in
   * three places.
   */
  attachRing(header: number, argument: number, payload: number, length: number): number {
    this.readHeader(header);
    if (this.opcode >= OP_LIMIT || this.sizes[this.opcode]! < 0) return -ENOSYS;
    return this.setParts(header, argument, payload, payload + length);
  }

  private readHeader(offset: number): void {
    const { u32 } = this.memory;
    const word = offset >> 2;
    this.opcode = u32[word + 1]!;
    this.uniqueLo = u32[word + 2]!;
    this.uniqueHi = u32[word + 3]!;
    this.nodeidLo = u32[word + 4]!;
    this.nodeidHi = u32[word + 5]!;
    this.uid = u32[word + 6]!;
    this.gid = u32[word + 7]!;
    this.pid = u32[word + 8]!;
    this.group = -1;
  }

  private setParts(header: number, argument: number, payload: number, end: number): number {
    const extensions = this.memory.u16[(header + IN_HEADER.total_extlen) >> 1]! * 8;
    this.argument = argument;
    this.payload = payload;
    this.end = end - extensions;
    if (this.payload > this.end) return -EINVAL;
    return extensions > 0 ? this.readExtensions(this.end, end) : 0;
  }

  u32(offset: number): number {
    return this.memory.u32[(this.argument + offset) >> 2]!;
  }

  /** A u64 of the fixed struct as a number; exact below 2^53. */
  u64(offset: number): number {
    return this.memory.u64(this.argument + offset);
  }

  /**
   * Checks the name at `offset` of the payload: NUL-terminated, one path component. Sets `nameLength`. 0 or -errno.
   * `.` and `..` are refused: the kernel never sends them but for LOOKUP (see `isDots`).
   */
  name(offset: number): number {
    const error = this.string(offset);
    if (error < 0) return error;
    const { u8 } = this.memory;
    const length = this.nameLength;
    if (length === 0) return -EINVAL;
    if (length > 255) return -ENAMETOOLONG;
    for (let i = 0; i < length; i++) if (u8[offset + i] === SLASH) return -EINVAL;
    if (u8[offset] === DOT && (length === 1 || (length === 2 && u8[offset + 1] === DOT))) return -EINVAL;
    return 0;
  }

  /** 1 for ".", 2 for "..", 0 for any other string. */
  isDots(offset: number): 0 | 1 | 2 {
    const { u8 } = this.memory;
    if (offset + 1 >= this.end || u8[offset] !== DOT) return 0;
    if (u8[offset + 1] === 0) return 1;
    return offset + 2 < this.end && u8[offset + 1] === DOT && u8[offset + 2] === 0 ? 2 : 0;
  }

  /** Checks that a NUL-terminated string begins at `offset`. Sets `nameLength`. 0 or -EINVAL. */
  string(offset: number): number {
    const { u8 } = this.memory;
    let at = offset;
    while (at < this.end && u8[at] !== 0) at++;
    if (at >= this.end) return -EINVAL;
    this.nameLength = at - offset;
    return 0;
  }

  /**
   * struct fuse_ext_header { u32 size, type } and, for groups, struct fuse_supp_groups { u32 nr_groups, groups[] }. They
   * begin right behind the last name, wherever that ends.
   */
  private readExtensions(from: number, to: number): number {
    const { u8 } = this.memory;
    for (let at = from; at < to; ) {
      if (at + 8 > to) return -EINVAL;
      const size = getU32(u8, at);
      const type = getU32(u8, at + 4);
      if (size < 8 || at + size > to || (size & 7) !== 0) return -EINVAL;
      if (type === FUSE_EXT_GROUPS && size >= 16 && getU32(u8, at + 8) > 0) this.group = getU32(u8, at + 12);
      at += size;
    }
    return 0;
  }
}
