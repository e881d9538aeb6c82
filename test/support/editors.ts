// The real tools that change a file on the host, as a table: what each is called, whether it writes into the inode that is
// there or puts a new one in its place, and how to make it replace the content of a file. test/suites.json has the programs.
//
// Promises: `edit` returns when the tool has ended and the file holds exactly `after`; no tool reads the configuration of
// whoever runs the tests; nothing is left in $HOME. The tools must be run outside /tmp: emacs (backup-enable-predicate)
// and vim (backupskip) write in place below it, and the case that matters, a new inode under an old name, never happens.
// Both rules are switched off here as well, so that a test under /tmp means the same.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/**
 * What the name leads to after the edit.
 *
 * - `same`: the inode that it led to before, with other content.
 * - `new`: another inode, with another number: both were alive at the same time.
 * - `recreated`: another inode, often with the number of the old one: that was unlinked first.
 */
export type InodeAfterEdit = 'same' | 'new' | 'recreated';

export interface EditingTool {
  readonly name: string;
  readonly inode: InodeAfterEdit;
  /**
   * Makes `file` hold `before`, in a directory from which `edit` can then make it hold `after`. The directory exists, is
   * empty and is the tool's own.
   */
  prepare(file: string, before: string, after: string): void;
  /** Makes `file` hold `after`. Throws with the tool's output when the tool fails. */
  edit(file: string, after: string): void;
}

function run(cwd: string, command: string, ...args: readonly string[]): void {
  const home = mkdtempSync(join(tmpdir(), 'editor-home-'));
  try {
    const result = spawnSync(command, args, {
      cwd,
      encoding: 'utf8',
      timeout: 60_000,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: home,
        LC_ALL: 'C.UTF-8',
        TERM: 'dumb',
        BRZ_HOME: home,
        BRZ_LOG: '/dev/null',
        BRZ_EMAIL: 'Test <test@example.org>',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_AUTHOR_NAME: 'Test',
        GIT_AUTHOR_EMAIL: 'test@example.org',
        GIT_COMMITTER_NAME: 'Test',
        GIT_COMMITTER_EMAIL: 'test@example.org',
      },
    });
    if (result.error !== undefined) throw result.error;
    if (result.status !== 0)
      throw new Error(
        `${command} ${args.join(' ')}: ${result.status ?? result.signal}\n${result.stdout}${result.stderr}`,
      );
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** The content, in a file outside the tree, for the tools that copy one. */
function withCopy(content: string, use: (copy: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'editor-source-'));
  try {
    const copy = join(directory, 'source');
    writeFileSync(copy, content);
    use(copy);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The tools below change one line of text; the line end stays. */
function line(content: string): string {
  if (!/^[a-z0-9 ]*\n$/.test(content)) throw new Error('an edit is one line of lower-case letters, digits and blanks');
  return content.slice(0, -1);
}

const plainFile = (file: string, before: string): void => writeFileSync(file, before);

function emacs(name: string, inode: InodeAfterEdit, settings: string): EditingTool {
  return {
    name,
    inode,
    prepare: plainFile,
    edit(file, after) {
      // JSON's string syntax is Emacs Lisp's for everything that an edit can hold.
      const save = `(progn (find-file ${JSON.stringify(file)}) (erase-buffer) (insert ${JSON.stringify(after)}) (save-buffer))`;
      const backups = '(setq backup-enable-predicate (lambda (_) t))';
      run(dirname(file), 'emacs', '-Q', '--batch', '--eval', `(progn ${backups} ${settings})`, '--eval', save);
    },
  };
}

function vim(name: string, inode: InodeAfterEdit, ...settings: readonly string[]): EditingTool {
  return {
    name,
    inode,
    prepare: plainFile,
    edit(file, after) {
      const commands = ['set backupskip=', ...settings.map((setting) => `set ${setting}`), '%d'];
      commands.push(`call setline(1, '${line(after)}')`, 'wq');
      // DEFAULTS is what a user without a vimrc has: a swap file, backupcopy=auto, writebackup.
      const start = ['-N', '-u', 'DEFAULTS', '-i', 'NONE', '-es'];
      run(dirname(file), 'vim', ...start, ...commands.flatMap((command) => ['-c', command]), file);
    },
  };
}

function git(directory: string, ...args: readonly string[]): void {
  run(directory, 'git', '-c', 'init.defaultBranch=main', '-c', 'gc.auto=0', '-c', 'core.fsync=none', ...args);
}

/** A repository with two branches: `main` has `before`, checked out, and `other` has `after`. */
function prepareGit(file: string, before: string, after: string): void {
  const directory = dirname(file);
  git(directory, 'init', '-q');
  writeFileSync(file, after);
  git(directory, 'add', '--', basename(file));
  git(directory, 'commit', '-q', '-m', 'after');
  git(directory, 'branch', 'other');
  writeFileSync(file, before);
  git(directory, 'commit', '-q', '-a', '-m', 'before');
}

function brz(directory: string, ...args: readonly string[]): void {
  run(directory, 'brz', ...args);
}

/** A branch whose only revision has `after`. */
function prepareBrz(file: string, after: string): void {
  const directory = dirname(file);
  brz(directory, 'init', '-q', '--2a');
  writeFileSync(file, after);
  brz(directory, 'add', '-q', basename(file));
  brz(directory, 'commit', '-q', '-m', 'after');
}

export const editingTools: readonly EditingTool[] = [
  // The first save of a session renames the file to its backup name and creates it anew.
  emacs('emacs', 'new', ''),
  // Writes a temporary file and renames it over the name.
  emacs('emacs file-precious-flag', 'new', '(setq file-precious-flag t)'),
  // Copies to the backup name, then truncates and writes.
  emacs('emacs backup-by-copying', 'same', '(setq backup-by-copying t)'),
  emacs('emacs numbered backups', 'new', '(setq version-control t)'),
  emacs('emacs without backups', 'same', '(setq make-backup-files nil)'),
  // backupcopy=auto: creates and unlinks 4913, renames to x~, creates x, unlinks x~.
  vim('vim', 'new'),
  vim('vim backupcopy=yes', 'same', 'backupcopy=yes'),
  vim('vim backupcopy=no', 'new', 'backupcopy=no'),
  {
    // Renames the file into .bzr/checkout/pending-deletion and limbo/new-1 over its name: the edit of the old report.
    name: 'brz revert',
    inode: 'new',
    prepare(file, before, after) {
      prepareBrz(file, after);
      writeFileSync(file, before);
    },
    edit: (file) => brz(dirname(file), 'revert', '-q', '--no-backup', basename(file)),
  },
  {
    name: 'brz update',
    inode: 'new',
    prepare(file, before, after) {
      prepareBrz(file, after);
      writeFileSync(file, before);
      brz(dirname(file), 'commit', '-q', '-m', 'before');
    },
    edit: (file) => brz(dirname(file), 'update', '-q', '-r', '1'),
  },
  {
    name: 'git checkout',
    inode: 'recreated',
    prepare: prepareGit,
    edit: (file) => git(dirname(file), 'checkout', '-q', 'other', '--', basename(file)),
  },
  {
    name: 'git switch',
    inode: 'recreated',
    prepare: prepareGit,
    edit: (file) => git(dirname(file), 'switch', '-q', 'other'),
  },
  {
    name: 'git stash',
    inode: 'recreated',
    prepare(file, before, after) {
      const directory = dirname(file);
      git(directory, 'init', '-q');
      writeFileSync(file, after);
      git(directory, 'add', '--', basename(file));
      git(directory, 'commit', '-q', '-m', 'after');
      writeFileSync(file, before);
    },
    edit: (file) => git(dirname(file), 'stash', '-q'),
  },
  {
    name: 'sed -i',
    inode: 'new',
    prepare: plainFile,
    edit: (file, after) => run(dirname(file), 'sed', '-i', `s/.*/${line(after)}/`, file),
  },
  {
    name: 'perl -i',
    // Since 5.28 it writes a temporary file and renames it over the name.
    inode: 'new',
    prepare: plainFile,
    edit: (file, after) => run(dirname(file), 'perl', '-pi', '-e', `s/.*/${line(after)}/`, file),
  },
  {
    name: 'rsync',
    inode: 'new',
    prepare: plainFile,
    // --ignore-times: a file of the same size and second is "unchanged" to it otherwise.
    edit: (file, after) => withCopy(after, (copy) => run(dirname(file), 'rsync', '--ignore-times', copy, file)),
  },
  {
    name: 'rsync --inplace',
    inode: 'same',
    prepare: plainFile,
    edit: (file, after) =>
      withCopy(after, (copy) => run(dirname(file), 'rsync', '--ignore-times', '--inplace', copy, file)),
  },
  {
    name: 'mv',
    inode: 'new',
    prepare: plainFile,
    edit(file, after) {
      writeFileSync(`${file}.new`, after);
      run(dirname(file), 'mv', '-f', `${file}.new`, file);
    },
  },
  {
    name: 'install',
    inode: 'recreated',
    prepare: plainFile,
    edit: (file, after) => withCopy(after, (copy) => run(dirname(file), 'install', '-m', '644', copy, file)),
  },
  {
    name: 'shell >',
    inode: 'same',
    prepare: plainFile,
    edit: (file, after) =>
      withCopy(after, (copy) => run(dirname(file), 'sh', '-c', 'cat "$1" > "$2"', 'sh', copy, file)),
  },
  {
    name: 'cp',
    inode: 'same',
    prepare: plainFile,
    edit: (file, after) => withCopy(after, (copy) => run(dirname(file), 'cp', copy, file)),
  },
];

export interface Edit {
  readonly length: 'same' | 'longer' | 'shorter';
  readonly before: string;
  readonly after: string;
}

/** One edit of each kind, crossing page boundaries: 5,000 bytes become 5,000, 13,000 or 7. */
export const edits: readonly Edit[] = [
  { length: 'same', before: `${'a'.repeat(4999)}\n`, after: `${'b'.repeat(4999)}\n` },
  { length: 'longer', before: `${'a'.repeat(4999)}\n`, after: `${'b'.repeat(12_999)}\n` },
  { length: 'shorter', before: `${'a'.repeat(4999)}\n`, after: `${'b'.repeat(6)}\n` },
];

/** Runs a tool and checks its promise against the host. */
export function editOnHost(tool: EditingTool, file: string, edit: Edit): void {
  tool.edit(file, edit.after);
  const content = readFileSync(file, 'utf8');
  if (content !== edit.after) throw new Error(`${tool.name} left ${content.length} bytes that are not the edit`);
}
