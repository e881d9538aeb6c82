// Judges a log of the coherence check: builds the history of every name and every file from what was done, then asks of
// everything that was seen whether it can have been true.
//
// What is asked of a look is a necessary condition: each step of the path, and each block, the size, the mode and the
// time of last change by themselves, must have been so at some time during the look (or at most `bound` before it, where
// the view may be late). It does not ask that they were so at the same moment: a path walk is no snapshot, and neither is
// a read of several pages. So it raises no false alarm, and misses only what can be explained by another order.

import { both, either, never, Register, right, type Verdict, type Write } from './history.js';
import type { BlockWords, Failure, LogRecord, Mutation, NameValue, Observation, Sided } from './records.js';

export const BLOCK = 512;
/** Writers stop at 16; appends that raced may add one each. */
const BLOCKS = 17;
const END = 'EOF';
const ZERO = '';
const NONE = 'none';

/** Tick of the clock that stamps files (CONFIG_HZ=100 at worst), and what comparing it with the other clock costs. */
const TIMESTAMP_SLACK = 20e6;

/** How long ago a move can have been whose directory is still in use where it was, ns. */
const MOVED_LATELY = 1e9;

/** Records that a rename(2) between two directories may be behind. */
const NAME_CHANGES: ReadonlySet<LogRecord['o']> = new Set(['set', 'move', 'tried']);

export interface CheckOptions {
  /** How long after a host's change the view may still show what was before, nanoseconds. */
  readonly bound: number;
  /** CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds. */
  readonly realtimeOffset: number;
  /** Ids that stat must show. */
  readonly uid: { readonly host: number; readonly view: number };
}

export interface Violation {
  readonly what: string;
  /** Nanoseconds; Infinity for what never was. */
  readonly lag: number;
  readonly observation: Sided<Observation | Failure>;
  readonly overlooked: Sided<Mutation> | null;
}

export interface CheckResult {
  readonly mutations: number;
  readonly observations: number;
  readonly violations: readonly Violation[];
  /** Calls that the kernel itself told ESTALE; see History.movedHere. */
  readonly refused: number;
  /** For each change by the host that somebody in the view could have overlooked: for how long someone did, ns. */
  readonly delays: readonly number[];
}

class FileHistory {
  readonly blocks = Array.from({ length: BLOCKS }, () => new Register<string>());
  readonly size = new Register<number>();
  readonly mode = new Register<number>();
  readonly changes: Sided<Mutation>[] = [];
  ino: string | null = null;

  sort(): void {
    for (const register of [...this.blocks, this.size, this.mode]) register.sort();
    this.changes.sort((a, b) => a.e - b.e);
  }
}

/** Renames that do nothing, and succeed, where both names are of one inode (fs/namei.c, vfs_rename). */
const SWAPS_NOTHING: ReadonlySet<Move['how']> = new Set(['rename', 'exchange']);

type Move = Extract<Sided<Mutation>, { o: 'move' }>;

const text = (value: NameValue): string => (value.k === 'none' ? NONE : `${value.k}:${value.id}`);
const not =
  <V>(value: V) =>
  (other: V): boolean =>
    other !== value;
const nothing = (): boolean => false;

class History {
  readonly #options: CheckOptions;
  readonly #names = new Map<string, Map<string, Register<string>>>();
  readonly #files = new Map<string, FileHistory>();
  /** The file that each word was written to. */
  readonly #owners = new Map<string, string>();

  constructor(mutations: readonly Sided<Mutation>[], options: CheckOptions) {
    this.#options = options;
    const moves: Move[] = [];
    for (const record of mutations) {
      if (record.o === 'move') moves.push(record);
      else if (record.o === 'set') this.#set(record);
      else this.#change(record);
    }
    this.#resolve(moves);
    for (const names of this.#names.values()) for (const register of names.values()) register.sort();
    for (const file of this.#files.values()) file.sort();
  }

  /** What came from the view itself goes through the same kernel: it is never late. */
  #penalty(record: Sided<Mutation>): number {
    return record.side === 'view' ? this.#options.bound : 0;
  }

  #write<V>(record: Sided<Mutation>, values: Iterable<V>, kills: (value: V) => boolean, total = false): Write<V> {
    return { s: record.s, e: record.e, values, kills, total, penalty: this.#penalty(record), record };
  }

  #name(dir: string, name: string): Register<string> {
    let names = this.#names.get(dir);
    if (names === undefined) {
      names = new Map();
      this.#names.set(dir, names);
    }
    let register = names.get(name);
    if (register === undefined) {
      register = new Register();
      names.set(name, register);
      register.add({ s: 0, e: 0, values: [NONE], kills: nothing, total: true, penalty: 0, record: null });
    }
    return register;
  }

  #file(id: string): FileHistory {
    let file = this.#files.get(id);
    if (file === undefined) {
      file = new FileHistory();
      this.#files.set(id, file);
    }
    return file;
  }

  #set(record: Extract<Sided<Mutation>, { o: 'set' }>): void {
    const value = text(record.to);
    const certain = record.maybe !== true;
    this.#name(record.dir, record.name).add(this.#write(record, [value], certain ? not(value) : nothing, certain));
  }

  #change(record: Exclude<Sided<Mutation>, { o: 'move' | 'set' }>): void {
    const file = this.#file(record.id);
    const sized = (values: Iterable<number>, kills: (value: number) => boolean): void =>
      file.size.add(this.#write(record, values, kills));
    const block = (index: number, values: Iterable<string>, kills: (value: string) => boolean): void =>
      file.blocks[index]?.add(this.#write(record, values, kills));
    const isEnd = (value: string): boolean => value === END;
    switch (record.o) {
      case 'birth': {
        // Since ever: a name says when it can be met.
        const start = { s: 0, e: 0, kills: nothing, total: true, penalty: 0, record };
        file.ino = record.ino;
        file.size.add({ ...start, values: [record.blocks * BLOCK] });
        file.mode.add({ ...start, values: [record.mode] });
        file.blocks.forEach((register, index) => {
          register.add({ ...start, values: [index < record.blocks ? record.id : END] });
        });
        this.#owners.set(record.id, record.id);
        return;
      }
      case 'chmod':
        file.mode.add(this.#write(record, [record.mode], record.maybe === true ? nothing : not(record.mode)));
        return;
      case 'truncate': {
        const size = record.blocks * BLOCK;
        const certain = record.maybe !== true;
        sized([size], certain ? not(size) : nothing);
        for (let index = 0; index < BLOCKS; index++)
          // Cut off: a read that had taken the size before sees zeros. Grown: a hole, unless there was something.
          if (index >= record.blocks)
            block(index, [END, ZERO], certain ? (value) => value !== END && value !== ZERO : nothing);
          else block(index, [ZERO], certain ? isEnd : nothing);
        // A truncation to the size that is there need not touch the time on every road that leads to it.
        if (certain && record.side === 'host') file.changes.push(record);
        return;
      }
      case 'append':
        this.#owners.set(record.word, record.id);
        if (record.end === null) {
          const anySize = Array.from({ length: BLOCKS }, (_, index) => (index + 1) * BLOCK);
          sized(anySize, nothing);
          for (let index = 0; index < BLOCKS; index++) block(index, [record.word], nothing);
        } else {
          const size = record.end * BLOCK;
          sized([size], not(size));
          for (let index = 0; index < record.end - 1; index++) block(index, [], isEnd);
          block(record.end - 1, [record.word], not(record.word));
        }
        file.changes.push(record);
        return;
      case 'write': {
        this.#owners.set(record.word, record.id);
        const end = record.from + record.count;
        // Stores through a mapping do not change the size, nor the time until the kernel writes them back.
        if (record.mapped !== true) {
          sized([end * BLOCK], (value) => value < end * BLOCK);
          file.changes.push(record);
        }
        for (let index = 0; index < end; index++)
          if (index >= record.from) block(index, [record.word], not(record.word));
          else block(index, [ZERO], isEnd);
        return;
      }
    }
  }

  /**
   * A rename moves whatever has the name. What that was follows from the history of the name, which may depend on other
   * renames at the same time: the sets of what each can have moved grow until nothing changes.
   *
   * A view that may be late moves by name, too, but its kernel then moves what it *believes* to have the name, and that
   * belief, as old as the bound, may be seen under the new name for as long again. And where it believes both names to be
   * one, it does nothing and says that it succeeded, as rename(2) must.
   */
  #resolve(moves: readonly Move[]): void {
    const { bound } = this.#options;
    // What a move finds was put there by earlier ones: in this order, few rounds are enough.
    const inOrder = moves.toSorted((a, b) => a.s - b.s);
    const pending = inOrder.map((record) => {
      const from = this.#name(record.dir, record.name);
      const to = this.#name(record.dir2, record.name2);
      const [atName, atName2] = [new Set<string>(), new Set<string>()];
      const [believedFrom, believedTo] = [new Set<string>(), new Set<string>()];
      const late = record.side === 'view' && bound > 0;
      if (record.how === 'rename' || record.how === 'noreplace') atName.add(NONE);
      // Once true, for good: the sets only grow.
      let same = false;
      const idle = (): boolean => {
        if (!late || !SWAPS_NOTHING.has(record.how)) return false;
        for (const each of same ? [] : believedFrom) if (believedTo.has(each)) same = true;
        return same;
      };
      const put = (register: Register<string>, values: Set<string>, believed: Set<string>): void => {
        const kills = (value: string): boolean => !values.has(value) && !idle();
        register.add(this.#write(record, values, kills, !late));
        if (late) register.add({ ...this.#write(record, believed, nothing), expires: record.e });
      };
      if (record.how !== 'link') put(from, atName, record.how === 'exchange' ? believedTo : new Set());
      put(to, atName2, believedFrom);
      return { record, late, from, to, atName, atName2, believedFrom, believedTo };
    });
    for (const { from, to } of pending) {
      from.sort();
      to.sort();
    }
    const things = (register: Register<string>, start: number, record: Move): string[] =>
      [...register.candidates(start, record.e, 0, record).keys()].filter((value) => value !== NONE);
    for (let changed = true; changed; ) {
      changed = false;
      const grow = (set: Set<string>, values: Iterable<string>): void => {
        const before = set.size;
        for (const value of values) set.add(value);
        changed ||= set.size !== before;
      };
      for (const { record, late, from, to, atName, atName2, believedFrom, believedTo } of pending) {
        const { s, how } = record;
        if (late) {
          grow(believedFrom, things(from, s - bound, record));
          grow(believedTo, things(to, s - bound, record));
        }
        // link(2) names the inode that the view knows.
        const moved = how === 'link' && late ? believedFrom : things(from, s, record);
        grow(atName2, moved);
        if (how === 'exchange') grow(atName, things(to, s, record));
        if (how === 'rename') {
          const there = new Set(things(to, s, record));
          grow(
            atName,
            [...moved].filter((value) => value.startsWith('file:') && there.has(value)),
          );
        }
      }
    }
  }

  // ---- looking ----------------------------------------------------------------------------------------------------

  /** Directories that a path can have led to. */
  #directories(path: readonly string[], s: number, e: number, maxLag: number): Map<string, Verdict> {
    let reached = new Map<string, Verdict>([['R', right]]);
    for (const name of path) {
      const next = new Map<string, Verdict>();
      for (const [dir, verdict] of reached)
        for (const [value, step] of this.#at(dir, name, s, e, maxLag))
          if (value.startsWith('dir:')) {
            const id = value.slice(4);
            const total = both(verdict, step);
            next.set(id, either(next.get(id) ?? never, total));
          }
      reached = next;
    }
    return reached;
  }

  #at(dir: string, name: string, s: number, e: number, maxLag: number): Map<string, Verdict> {
    const register = this.#names.get(dir)?.get(name);
    return register === undefined ? new Map([[NONE, right]]) : register.candidates(s, e, maxLag);
  }

  /** What a path can have led to. */
  #reached(path: readonly string[], s: number, e: number, maxLag: number): Map<string, Verdict> {
    const found = new Map<string, Verdict>();
    for (const [dir, verdict] of this.#directories(path.slice(0, -1), s, e, maxLag))
      for (const [value, step] of this.#at(dir, path.at(-1)!, s, e, maxLag))
        found.set(value, either(found.get(value) ?? never, both(verdict, step)));
    return found;
  }

  #gone(path: readonly string[], s: number, e: number, maxLag: number): Verdict {
    let best = never;
    for (let depth = 1; depth <= path.length; depth++)
      best = either(best, this.#reached(path.slice(0, depth), s, e, maxLag).get(NONE) ?? never);
    return best;
  }

  #content(
    file: FileHistory,
    length: number,
    words: readonly BlockWords[],
    mapped: boolean,
    s: number,
    e: number,
  ): Verdict {
    if (length % BLOCK !== 0 || length > BLOCKS * BLOCK) return never;
    let verdict = right;
    file.blocks.forEach((register, index) => {
      const seen = words[index];
      if (seen === undefined) {
        if (!mapped)
          verdict = both(
            verdict,
            register.lag((value) => value === END, s, e),
          );
      } else
        for (const word of typeof seen === 'string' ? [seen] : seen)
          verdict = both(
            verdict,
            register.lag((value) => value === word, s, e),
          );
    });
    return verdict;
  }

  #changed(file: FileHistory, mtime: number, s: number, e: number): Verdict {
    const { realtimeOffset } = this.#options;
    const monotonic = mtime * 1000 - realtimeOffset;
    if (monotonic > e + TIMESTAMP_SLACK) return never;
    for (const record of file.changes) {
      if (record.e >= s) break;
      if (record.s - TIMESTAMP_SLACK <= monotonic) continue;
      return { lag: s - record.e + this.#penalty(record), overlooked: record };
    }
    return right;
  }

  #attributes(
    file: FileHistory,
    seen: { readonly ino: string; readonly mode: number; readonly size: number; readonly mtime: number },
    s: number,
    e: number,
  ): Verdict {
    if (file.ino !== null && file.ino !== seen.ino) return never;
    return both(
      both(
        file.size.lag((value) => value === seen.size, s, e),
        file.mode.lag((value) => value === seen.mode, s, e),
      ),
      this.#changed(file, seen.mtime, s, e),
    );
  }

  /** The best explanation whose steps each have at most `maxLag`. */
  explain(seen: Sided<Observation>, maxLag: number): Verdict {
    const { s, e } = seen;
    switch (seen.o) {
      case 'gone':
        return this.#gone(seen.path, s, e, maxLag);
      case 'dir':
      case 'file':
      case 'link':
        return this.#reached(seen.path, s, e, maxLag).get(`${seen.o}:${seen.id}`) ?? never;
      case 'name': {
        let best = never;
        for (const [value, verdict] of this.#at(seen.dir, seen.name, s, e, maxLag))
          if ((value !== NONE) === seen.present) best = either(best, verdict);
        return best;
      }
      case 'list':
        return this.#list(seen, maxLag);
      case 'open': {
        const file = this.#files.get(seen.id);
        if (file === undefined) return never;
        return both(this.#content(file, seen.length, seen.words, false, s, e), this.#attributes(file, seen, s, e));
      }
      case 'stat':
      case 'read': {
        let best = never;
        for (const [value, verdict] of this.#reached(seen.path, s, e, maxLag)) {
          if (!value.startsWith(`${seen.kind}:`) || verdict.lag >= best.lag) continue;
          best = either(best, both(verdict, this.#fits(seen, value.slice(seen.kind.length + 1))));
        }
        return best;
      }
    }
  }

  #fits(seen: Extract<Sided<Observation>, { o: 'stat' | 'read' }>, id: string): Verdict {
    if (seen.kind !== 'file') return right;
    const file = this.#files.get(id);
    if (file === undefined) return never;
    let verdict = right;
    const { ino, mode, size, mtime } = seen;
    if (ino !== undefined && mode !== undefined && size !== undefined && mtime !== undefined)
      verdict = this.#attributes(file, { ino, mode, size, mtime }, seen.s, seen.e);
    if (seen.o === 'stat') return verdict;
    for (const words of seen.words)
      for (const word of typeof words === 'string' ? [words] : words)
        if (word !== ZERO && this.#owners.get(word) !== id) return never;
    return both(verdict, this.#content(file, seen.length, seen.words, ino === undefined, seen.s, seen.e));
  }

  #list(seen: Extract<Sided<Observation>, { o: 'list' }>, maxLag: number): Verdict {
    const { s, e } = seen;
    const entries = new Map(seen.entries);
    let best = never;
    for (const [dir, verdict] of this.#directories(seen.path, s, e, maxLag)) {
      let total = verdict;
      const registers = this.#names.get(dir) ?? new Map<string, Register<string>>();
      for (const name of new Set([...registers.keys(), ...entries.keys()])) {
        const register = registers.get(name);
        const kind = entries.get(name);
        if (register === undefined) total = never;
        else {
          const wanted = kind === undefined ? NONE : `${kind}:`;
          total = both(
            total,
            register.lag((value) => value.startsWith(wanted), s, e),
          );
          // A name that nobody touched meanwhile is listed once.
          const count = seen.entries.filter(([listed]) => listed === name).length;
          if (count > 1 && !register.writes.some((write) => write.s <= e && write.e >= s)) total = never;
        }
        if (total.lag >= best.lag) break;
      }
      best = either(best, total);
    }
    return best;
  }

  /**
   * Whether the host had just moved a directory to where a call of the view looked. A directory that somebody has open where
   * it was cannot get its new entry while a rename(2) between directories is going on, and never for that rename itself:
   * __d_unalias in fs/dcache.c tries its locks, and answers ESTALE. No answer of a file server can prevent that (Linux
   * 95ad5c291313, where it is described for NFS).
   */
  movedHere(failure: Sided<Failure>): boolean {
    const since = failure.s - Math.max(this.#options.bound, MOVED_LATELY);
    const moved = (dir: string, name: string): boolean =>
      (this.#names.get(dir)?.get(name)?.writes ?? []).some(
        ({ record }) => record?.o === 'move' && record.side === 'host' && record.e >= since && record.s <= failure.e,
      );
    for (const path of [failure.path, failure.path2 ?? []])
      for (const [depth, name] of path.entries())
        for (const dir of this.#directories(path.slice(0, depth), since, failure.e, Number.POSITIVE_INFINITY).keys())
          if (moved(dir, name)) return true;
    return false;
  }

  /** Changes by the host that this look could have overlooked. */
  *edits(seen: Sided<Observation>): Iterable<Sided<Mutation>> {
    const registers: (Register<string> | Register<number> | undefined)[] = [];
    if ('path' in seen && seen.path.length > 0)
      for (const dir of this.#directories(seen.path.slice(0, -1), seen.s, seen.e, 0).keys())
        registers.push(this.#names.get(dir)?.get(seen.path.at(-1)!));
    let id: string | undefined;
    if (seen.o === 'open') id = seen.id;
    if (seen.o === 'read') id = this.#owners.get([seen.words[0] ?? ZERO].flat()[0] ?? ZERO);
    const file = id === undefined ? undefined : this.#files.get(id);
    if (file !== undefined) registers.push(file.size, file.mode, file.blocks[0], file.blocks[8]);
    for (const register of registers) {
      const record = register?.lastBefore(seen.s)?.record;
      if (record?.side === 'host' && record.s > 0) yield record;
    }
  }
}

/**
 * What a reply that came late adds to the bound, ns: a lease is counted from when its reply has landed, which is when its
 * caller runs again, and the call is in the log. So the longest call in the view that may have brought the lease of a look
 * that began at `start`.
 */
function longestCall(records: readonly Sided<LogRecord>[], start: number, bound: number): number {
  let longest = 0;
  for (const { side, s, e } of records)
    if (side === 'view' && s < start && e >= start - bound && s > 0) longest = Math.max(longest, e - s);
  return longest;
}

/** Says of every look whether it can have been true. Records of one round, in any order. */
export function check(records: readonly Sided<LogRecord>[], options: CheckOptions): CheckResult {
  const mutations: Sided<Mutation>[] = [];
  const observations: Sided<Observation>[] = [];
  const violations: Violation[] = [];
  const failures: Sided<Failure>[] = [];
  for (const record of records)
    switch (record.o) {
      case 'bad':
        failures.push(record);
        break;
      case 'tried':
        break;
      case 'birth':
      case 'set':
      case 'move':
      case 'write':
      case 'append':
      case 'truncate':
      case 'chmod':
        mutations.push(record);
        break;
      default:
        observations.push(record);
    }
  const history = new History(mutations, options);
  let refused = 0;
  // One that is told ESTALE itself keeps others waiting, or from trying, like any other.
  const renames = records.filter(
    (record) =>
      record.side === 'view' && (NAME_CHANGES.has(record.o) || (record.o === 'bad' && record.path2 !== undefined)),
  );
  const isOfTheKernel = (failure: Sided<Failure>): boolean =>
    failure.code === 'ESTALE' &&
    failure.side === 'view' &&
    (failure.path2 !== undefined || renames.some(({ s, e }) => s <= failure.e && e >= failure.s)) &&
    history.movedHere(failure);
  for (const failure of failures)
    if (isOfTheKernel(failure)) refused++;
    else
      violations.push({
        what: `${failure.what}: ${failure.code}`,
        lag: Number.POSITIVE_INFINITY,
        observation: failure,
        overlooked: null,
      });
  const delays = new Map<Sided<Mutation>, number>();
  for (const seen of observations) {
    let verdict = history.explain(seen, 0);
    if (verdict.lag > 0) verdict = history.explain(seen, Number.POSITIVE_INFINITY);
    const { overlooked } = verdict;
    if (seen.side === 'view') {
      if (overlooked?.side === 'host') delays.set(overlooked, Math.max(delays.get(overlooked) ?? 0, verdict.lag));
      else if (verdict.lag === 0) for (const edit of history.edits(seen)) if (!delays.has(edit)) delays.set(edit, 0);
    }
    let bound = seen.side === 'view' ? options.bound : 0;
    if (verdict.lag > bound && bound > 0 && overlooked?.side === 'host') bound += longestCall(records, seen.s, bound);
    if (verdict.lag > bound) violations.push({ what: seen.o, lag: verdict.lag, observation: seen, overlooked });
    else if ('uid' in seen && seen.uid !== undefined && seen.uid !== options.uid[seen.side])
      violations.push({ what: 'uid', lag: Number.POSITIVE_INFINITY, observation: seen, overlooked: null });
  }
  return {
    mutations: mutations.length,
    observations: observations.length,
    violations,
    refused,
    delays: [...delays.values()].sort((a, b) => a - b),
  };
}
