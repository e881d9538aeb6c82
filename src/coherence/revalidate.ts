// Revalidation: what the kernel was told about a name, compared with what the underlay says now. Pure: both sides are
// given, the answer is a verdict with its reason. The reasons are counted and shown by `status`.
//
// The rules come from the shiftfs and overlayfs bugs this program exists for (LP1879196): an entry that is negative on
// one side and not on the other, that was renamed away, replaced, or lies in a dead directory is invalid. A file that
// was deleted while open has no entry, so nothing here makes it stale.

/** Why a cached entry, or cached attributes, were dropped. */
export type Reason = 'appeared' | 'vanished' | 'replaced' | 'renamed_away' | 'directory_dead' | 'event';

export const REASONS: readonly Reason[] = [
  'appeared',
  'vanished',
  'replaced',
  'renamed_away',
  'directory_dead',
  'event',
];

export type Verdict = { readonly valid: true } | { readonly valid: false; readonly reason: Reason };

/** What a name stands for: the node's slot, 0 for nothing, or `other` for an inode that has no node. */
export type Standing = number | 'other';

const VALID: Verdict = { valid: true };
const verdicts: Readonly<Record<Reason, Verdict>> = {
  appeared: { valid: false, reason: 'appeared' },
  vanished: { valid: false, reason: 'vanished' },
  replaced: { valid: false, reason: 'replaced' },
  renamed_away: { valid: false, reason: 'renamed_away' },
  directory_dead: { valid: false, reason: 'directory_dead' },
  event: { valid: false, reason: 'event' },
};

/**
 * Judges a cached name. `cached` is the node it was given as (0: absent), `now` what it stands for in the underlay, or
 * `dead` when its directory was removed; `moved` says that what it stood for is known to live on under another name.
 */
export function judgeName(cached: number, now: Standing | 'dead', moved: boolean): Verdict {
  if (now === 'dead') return cached === 0 ? VALID : verdicts.directory_dead;
  if (now === cached) return VALID;
  if (cached === 0) return verdicts.appeared;
  if (now === 0) return moved ? verdicts.renamed_away : verdicts.vanished;
  return verdicts.replaced;
}

/** Judges cached attributes or pages: only an event says that they changed. */
export const CHANGED_BY_EVENT: Verdict = verdicts.event;
