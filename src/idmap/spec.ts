// What an id map is asked to be, as plain data: the ranges of `--map`, `--userns`, X-mount.idmap and the config file
// after parsing. `IdMap` (map.ts) is built from it.

/** `count` ids starting at `underlay` show as ids starting at `view`: one line of /proc/PID/uid_map. */
export interface IdRange {
  readonly underlay: number;
  readonly view: number;
  readonly count: number;
}

/** One kind of id (users or groups). No ranges at all is the identity. */
export interface IdKindSpec {
  readonly ranges: readonly IdRange[];
  /** View id shown for an underlay id that no range maps (65534 unless asked otherwise). */
  readonly overflow: number;
  /**
   * Many to one: every underlay id shows as `view`, and what is created belongs to `underlay`. Set by
   * --squash-uid/--squash-gid; null when ids are mapped by ranges.
   */
  readonly squash: { readonly underlay: number; readonly view: number } | null;
}

export interface IdMapSpec {
  readonly uid: IdKindSpec;
  readonly gid: IdKindSpec;
}
