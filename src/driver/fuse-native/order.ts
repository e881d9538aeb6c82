// What the driver and its serving process tell each other: one order, a few messages, and a block of shared words that
// the one writes and the other shows.

import type { MountOptions } from '../../config/mount-options.js';
import type { ErrorCode } from '../../errors.js';
import { FIGURES_WORDS } from '../figures.js';

/** Descriptor of the shared block in the serving process; 3 is the channel of messages. */
export const BLOCK_FD = 4;
/** Descriptor of the serving process that a byte is written to when the kernel has closed the connection. */
export const HANGUP_FD = 5;

export interface HangupData {
  /** Process id. */
  readonly daemon: number;
  /** One word: libfuse's descriptor of /dev/fuse, 0 until it has one. */
  readonly device: SharedArrayBuffer;
}

/** Words of the shared block after the figures. */
export const GAUGE = {
  nodes: FIGURES_WORDS,
  descriptors: FIGURES_WORDS + 1,
  budget: FIGURES_WORDS + 2,
  openFiles: FIGURES_WORDS + 3,
  openDirectories: FIGURES_WORDS + 4,
  /** 1 while a request is being served. */
  busy: FIGURES_WORDS + 5,
  /** Threads that libfuse has started so far. */
  threads: FIGURES_WORDS + 6,
} as const;

export const BLOCK_BYTES = (FIGURES_WORDS + 16) * 4;

/** The process's first message. */
export interface ServeOrder {
  readonly options: MountOptions;
  /** MS_* of mount(2). */
  readonly flags: number;
}

export type ServerMessage =
  | { readonly kind: 'serving' }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined }
  | {
      readonly kind: 'log';
      readonly level: 'trace' | 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    };
