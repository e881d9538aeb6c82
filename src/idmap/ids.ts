// The four kinds of id as four types, so that a forgotten shift, or a uid where a gid belongs, does not compile.
//
// A branded id is a plain number at run time. Raw numbers become ids only at the borders (a decoded FUSE request, a
// statx result) through the functions below; from then on only `IdMap` (map.ts) turns an id of one side into an id of
// the other.

declare const brand: unique symbol;

/** A uid as the underlay stores it. */
export type UnderlayUid = number & { readonly [brand]: 'UnderlayUid' };
/** A gid as the underlay stores it. */
export type UnderlayGid = number & { readonly [brand]: 'UnderlayGid' };
/** A uid of the initial user namespace as `stat` shows it on the view; FUSE requests carry these. */
export type ViewUid = number & { readonly [brand]: 'ViewUid' };
/** A gid of the initial user namespace as `stat` shows it on the view. */
export type ViewGid = number & { readonly [brand]: 'ViewGid' };

/** (uid_t)-1: "no id" in every system call, never an id (user_namespaces(7), `uid_valid` in include/linux/uidgid.h). */
export const INVALID_ID = 4294967295;
/** The largest id there is. */
export const MAX_ID = INVALID_ID - 1;
/** What /proc/sys/kernel/overflowuid and overflowgid hold unless somebody changed them: `nobody`, `nogroup`. */
export const DEFAULT_OVERFLOW_ID = 65534;

// `>>> 0` because a 32-bit field read as signed must give the same id as one read as unsigned: without it -1 would pass
// for UNMAPPED and ids from 2^31 on would match no range.

/** Takes a 32-bit field, read signed or unsigned, for a uid of the underlay. */
export function underlayUid(raw: number): UnderlayUid {
  return (raw >>> 0) as UnderlayUid;
}

/** Takes a 32-bit field, read signed or unsigned, for a gid of the underlay. */
export function underlayGid(raw: number): UnderlayGid {
  return (raw >>> 0) as UnderlayGid;
}

/** Takes a 32-bit field, read signed or unsigned, for a uid of the view. */
export function viewUid(raw: number): ViewUid {
  return (raw >>> 0) as ViewUid;
}

/** Takes a 32-bit field, read signed or unsigned, for a gid of the view. */
export function viewGid(raw: number): ViewGid {
  return (raw >>> 0) as ViewGid;
}
