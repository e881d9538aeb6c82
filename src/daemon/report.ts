// How an error looks to the person at the terminal: what was wrong, its stable code, what to do about it.

import type { ShiftfsError } from '../errors.js';

export function formatError(error: ShiftfsError): string {
  const hint = error.hint === undefined ? '' : `\n  ${error.hint}`;
  return `fuse-shiftfs: ${error.message} [${error.code}]${hint}\n`;
}
