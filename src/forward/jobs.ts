// A job: one change of the underlay that the helper repeats on the view. The record of a job lies in memory that all
// threads of the daemon share, for the serving threads that answer the helper, and goes through a pipe to the helper,
// which shares nothing with anybody but the word of gate.ts.
//
// A serving thread knows which job a request of the helper belongs to by the request's gid: the helper takes the job's
// tag as its fsgid. No file is ever made with that gid, as nothing that the helper does reaches the underlay.

import { createSharedBlock } from '../linux/foreign.js';

/** Layout of a record: words (u32) by index, and two names by offset in bytes. */
export const JOB = {
  words: 160,
  bytes: 640,
  /** Number of the job; 1 or more (wraps). */
  sequence: 0,
  kind: 1,
  /** Nodeid of the directory, or of the object itself when there is no name. */
  parent: 2,
  parentGeneration: 3,
  /** S_IFMT bits of the object as far as they are known. */
  type: 4,
  /** Device index and identity (node-table.ts) of the object, or -1. */
  device: 5,
  identity: 6,
  /** What of LOOKED_* the helper's requests have been told in the name of this job. */
  looked: 14,
  /** How often the change itself was asked for and granted. */
  served: 15,
  /** Nodeid of what a rename replaced, or slot 0. */
  victim: 16,
  victimGeneration: 17,
  nameLength: 18,
  newNameLength: 19,
  /** Not 0: what the kernel had cached of the names was in the way. */
  again: 20,
  /** Offsets of the names, each with a NUL. */
  name: 96,
  newName: 352,
} as const;

export const LOOKED_NAME = 1;
export const LOOKED_NEW_NAME = 2;

export const KIND = {
  /** Given up: the helper passes over it. */
  NOTHING: 0,
  MODIFY: 1,
  ATTRIB: 2,
  CLOSE_WRITE: 3,
  CREATE: 4,
  DELETE: 5,
  RENAME: 6,
  /** Not a job: the process whose pid is in `parent` is to go on with job `sequence`. */
  SYNC: 7,
} as const;

/** Jobs that the helper may have at a time; the rest waits, and changes of one file become one meanwhile. */
export const WINDOW = 32;
/** Records there are; more than WINDOW, and a power of two. */
export const RECORDS = 64;

/** An fsgid of the helper that belongs to no job is below this. */
const TAG_BASE = 0x40000000;
/** Of requests that only prepare a job: what they are told is not yet what the change is made on. */
const TAG_PREPARES = 0x01000000;
const TAG_MASK = 0x00ffffff;

export function tagOf(sequence: number, prepares: boolean): number {
  return TAG_BASE | (prepares ? TAG_PREPARES : 0) | (sequence & TAG_MASK);
}

/** Index of the record a tag belongs to, or -1. */
export function recordOfTag(gid: number): number {
  return (gid & ~(TAG_MASK | TAG_PREPARES)) === TAG_BASE ? gid & (RECORDS - 1) : -1;
}

export function tagMatches(gid: number, sequence: number): boolean {
  return (gid & ~TAG_PREPARES) === tagOf(sequence, false);
}

export function tagPrepares(gid: number): boolean {
  return (gid & TAG_PREPARES) !== 0;
}

/** Name, in the root of the view, of a directory that only the helper finds. */
export const ELSEWHERE = '.fuse-shiftfs-elsewhere';

/** Name in ELSEWHERE of an inode that is reached there because it has no other place, or is to have none. */
export function placeElsewhere(slot: number, generation: number): string {
  return `${slot}:${generation}`;
}

/** What the helper says, in records of four u32: ACK_*, the job's sequence, errno, its pid. */
export const ACK_BYTES = 16;
/** It has started, and waits for SYNC. */
export const ACK_HELLO = 1;
/** All jobs up to this one are done. */
export const ACK_DONE = 2;
/** All jobs up to this one are done, and this one failed. */
export const ACK_FAILED = 3;
/** The kernel has another idea of the names than this job needs: send it again. */
export const ACK_AGAIN = 4;
/** All jobs up to this one are done; the directory of this one was gone, and with it whoever watched it. */
export const ACK_GONE = 5;

/** Bytes that the daemon and the helper share, for gate.ts. */
export const GATE_BYTES = 4096;

/** There is none at this moment; there will never be one again. */
export const NO_HELPER = -1;
export const HELPER_GONE = -2;

/** What the threads of the daemon share about forwarding. */
export interface ForwardShared {
  /** One word: the pid of the helper in our pid namespace, NO_HELPER, or HELPER_GONE. */
  readonly helper: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
  /** Descriptor of the word of gate.ts. */
  readonly gate: number;
}

export function createForwardShared(): ForwardShared {
  const helper = new SharedArrayBuffer(4);
  new Int32Array(helper)[0] = NO_HELPER;
  const gate = createSharedBlock('fuse-shiftfs-gate', GATE_BYTES);
  return { helper, records: new SharedArrayBuffer(RECORDS * JOB.bytes), gate };
}

/** Exit statuses of the helper. */
export const HELPER_EXIT = {
  /** The view is not mounted any more, or the daemon is gone. */
  gone: 0,
  failed: 1,
} as const;
