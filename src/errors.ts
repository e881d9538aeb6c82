// The one error class a user can meet. Each has a stable code, a message that says what was wrong, and a hint that says
// what to do about it.

/** Stable names; documented in fuse-shiftfs(8) with their exit codes. */
export type ErrorCode =
  | 'USAGE'
  | 'BAD_MAP'
  | 'BAD_OPTION'
  | 'BAD_CONFIG'
  | 'NO_SOURCE'
  | 'NO_MOUNTPOINT'
  | 'NOT_A_DIRECTORY'
  | 'NESTED'
  | 'BUSY'
  | 'NOT_MOUNTED'
  | 'NO_PERMISSION'
  | 'NO_FUSE'
  | 'NO_USERNS'
  | 'UNSUPPORTED'
  | 'DAEMON_DIED'
  | 'INTERNAL';

export class ShiftfsError extends Error {
  override readonly name = 'ShiftfsError';
  readonly code: ErrorCode;
  /** One sentence: what to do. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, hint?: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }
}
