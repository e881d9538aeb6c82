// What a worker of the coherence check writes down: one JSON object a line. `s` and `e` are the times (CLOCK_MONOTONIC,
// nanoseconds) before the first and after the last system call that the record speaks of.

export interface WorkerConfig {
  readonly side: Side;
  /** Directory with `tree` and `stage` in it, as this side sees it. */
  readonly root: string;
  readonly seed: number;
  /** First character of everything this worker writes; one that no other worker of the run has. */
  readonly tag: string;
  /** Shifted uid and gid to work as; null stays root. */
  readonly uid: number | null;
  readonly seconds: number;
  /** Share of operations that change something, 0 to 1. */
  readonly mutations: number;
  /** Rest between bursts. */
  readonly rest: boolean;
  readonly mmapStores: boolean;
  /** File that gets the records. */
  readonly log: string;
}

export type Side = 'host' | 'view';
export type Kind = 'file' | 'dir' | 'link' | 'other';

/** What a name leads to. Identities are the user.id attribute of the inode, or the target of a link. */
export type NameValue = { readonly k: 'none' } | { readonly k: 'file' | 'dir' | 'link'; readonly id: string };

interface Interval {
  readonly s: number;
  readonly e: number;
}

/** `maybe`: it is possible that this changed nothing. */
interface Doubt {
  readonly maybe?: true;
}

/** The words of one block: one of eight characters, '' for zeros, or several where a write was in progress. */
export type BlockWords = string | readonly string[];

interface Attributes {
  readonly kind: Kind;
  readonly ino: string;
  readonly mode: number;
  readonly size: number;
  /** Microseconds since 1970. */
  readonly mtime: number;
  readonly uid: number;
}

export type Mutation = Interval &
  (
    | { readonly o: 'birth'; readonly id: string; readonly ino: string; readonly mode: number; readonly blocks: number }
    | ({ readonly o: 'set'; readonly dir: string; readonly name: string; readonly to: NameValue } & Doubt)
    | {
        readonly o: 'move';
        readonly dir: string;
        readonly name: string;
        readonly dir2: string;
        readonly name2: string;
        readonly how: 'rename' | 'noreplace' | 'exchange' | 'link';
      }
    | {
        readonly o: 'write';
        readonly id: string;
        readonly from: number;
        readonly count: number;
        readonly word: string;
        readonly mapped?: true;
      }
    | { readonly o: 'append'; readonly id: string; readonly end: number | null; readonly word: string }
    | ({ readonly o: 'truncate'; readonly id: string; readonly blocks: number } & Doubt)
    | ({ readonly o: 'chmod'; readonly id: string; readonly mode: number } & Doubt)
  );

type Path = { readonly path: readonly string[] };
type Content = { readonly length: number; readonly words: readonly BlockWords[] };

export type Observation = Interval &
  (
    | ({ readonly o: 'gone' } & Path)
    | ({ readonly o: 'dir' | 'file' | 'link'; readonly id: string } & Path)
    /** Attributes are missing where the content was read through a mapping. */
    | ({ readonly o: 'read' } & Path & Content & { readonly kind: Kind } & Partial<Attributes>)
    | ({ readonly o: 'open'; readonly id: string; readonly again: boolean } & Content & Attributes)
    | ({ readonly o: 'stat' } & Path & Attributes)
    | ({ readonly o: 'list'; readonly entries: readonly (readonly [string, Kind])[] } & Path)
    | { readonly o: 'name'; readonly dir: string; readonly name: string; readonly present: boolean }
  );

/** An error that no interleaving explains. `path2`: where a rename(2) between two directories was to. */
export type Failure = Interval & {
  readonly o: 'bad';
  readonly what: string;
  readonly code: string;
  readonly path2?: readonly string[];
} & Path;

/** A rename(2) between two directories that did nothing, because somebody was faster. */
export type Attempt = Interval & { readonly o: 'tried' };

export type LogRecord = Mutation | Observation | Failure | Attempt;

/** A record with the side of the worker that wrote it. */
export type Sided<R> = R & { readonly side: Side };
