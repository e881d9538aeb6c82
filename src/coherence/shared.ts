// What serving threads and the watcher share beside the names: whether leases are granted, and how far events are
// handled. Indices into one block of u32 words.

import type { NameTableShared } from './name-table.js';

/** The list of doubts.ts, behind the words that have names: a nodeid, a length, a name of at most 255 bytes. */
export const DOUBTS = { at: 64, words: 68, capacity: 128 } as const;

export const COHERENCE = {
  words: DOUBTS.at + DOUBTS.words * DOUBTS.capacity,
  /** 0: no leases are granted; else one of the modes below. */
  mode: 0,
  /** Moves on before each batch of events is handled (wraps). */
  sequence: 1,
  /** 1 when the kernel can take cached absences back. */
  negative: 2,
  /** 1 when the table of names is full and wants sweeping. */
  crowded: 3,
  /** Mutex of the doubts, how many there are, and 1 when there were more than fit. */
  doubtLock: 4,
  doubtCount: 5,
  doubtsLost: 6,
  /** Counters from here on, in the order of COUNTERS. */
  counters: 8,
} as const;

/** One fanotify mark on a whole file system: every change is seen, through every name. */
export const MODE_FILESYSTEM = 1;
/** fanotify marks on directories and on inodes. */
export const MODE_INODES = 2;
/** Watches on directories only (inotify, through chokidar). */
export const MODE_CHILDREN = 3;

/** Figures of coherence, as `status` names them. */
export const COUNTERS = [
  'events',
  'events_own',
  'overflows',
  'sweeps',
  'broken_appeared',
  'broken_vanished',
  'broken_replaced',
  'broken_renamed_away',
  'broken_directory_dead',
  'broken_event',
  'kept_valid',
  'inval_entry',
  'inval_entry_absent',
  'inval_inode',
  'inval_inode_absent',
  'notify_errors',
  'rechecks',
  'doubts',
  'forwarded',
  'forward_merged',
  'forward_dropped',
  'forward_failed',
  'forward_again',
  'forward_restarts',
] as const;

export type Counter = (typeof COUNTERS)[number];

export interface CoherenceShared {
  readonly control: SharedArrayBuffer;
  readonly names: NameTableShared;
}

export function count(control: Int32Array, counter: Counter, by = 1): void {
  Atomics.add(control, COHERENCE.counters + COUNTERS.indexOf(counter), by);
}
