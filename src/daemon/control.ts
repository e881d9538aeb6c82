// What the launcher and the daemon say to each other before the view serves, each one JSON text: the options one way, the
// outcome the other. They go through an inherited descriptor: arguments and environment can be read in /proc.

import type { MountOptions } from '../config/mount-options.js';
import { type ErrorCode, ShiftfsError } from '../errors.js';

export interface LaunchOrder {
  readonly options: MountOptions;
  /** What was done on the way here that belongs in the log. */
  readonly notes: readonly string[];
}

export type LaunchOutcome =
  | { readonly ready: true; readonly pid: number; readonly warnings: readonly string[] }
  | { readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined } };

export function outcomeOfError(error: unknown): LaunchOutcome {
  const known = asShiftfsError(error);
  return { error: { code: known.code, message: known.message, hint: known.hint } };
}

/** Anything that was thrown, as what a user can be told. */
export function asShiftfsError(error: unknown): ShiftfsError {
  if (error instanceof ShiftfsError) return error;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new ShiftfsError('INTERNAL', text, 'This is a bug in fuse-shiftfs: please report it.', { cause: error });
}
