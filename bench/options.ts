// The command line of `npm run bench`, as one value that says all of a run.

import { Command, InvalidArgumentError } from 'commander';
import { ROW_IDS } from './rows.js';
import { TARGET_IDS } from './targets.js';

export interface BenchOptions {
  readonly rows: readonly string[];
  readonly targets: readonly string[];
  readonly rounds: number;
  /** Size of the tree that the name workloads walk. */
  readonly files: number;
  readonly dirs: number;
  /** Operations of the one-small-operation workloads (create, chmod, random read ...). */
  readonly operations: number;
  /** Bytes of the file that is read, and of the file that is written. */
  readonly readBytes: number;
  readonly writeBytes: number;
  /** Files of the archive that is unpacked, sources of the program that is built, packages that npm installs. */
  readonly archiveFiles: number;
  readonly sources: number;
  readonly packages: number;
  readonly allMounted: boolean;
  /** Where the underlay is made; its file system is the one that is measured. */
  readonly base: string;
  readonly json: string | null;
  readonly svg: string | null;
  readonly markdown: string | null;
  readonly enableUring: boolean;
  /** Extra words for our own `mount` command, for experiments. */
  readonly mountArguments: readonly string[];
}

const MIB = 1024 * 1024;

/** A commander parser for whole numbers from 1 on. */
export function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on is needed');
  return value;
}

/** A commander parser for a list with commas, of known words; it keeps their order. */
export function choice(known: readonly string[]): (text: string) => string[] {
  return (text) => {
    const chosen = text.split(',').filter((word) => word !== '');
    for (const word of chosen) {
      if (!known.includes(word)) {
        throw new InvalidArgumentError(`there is no ${JSON.stringify(word)}; there are ${known.join(', ')}`);
      }
    }
    if (chosen.length === 0) throw new InvalidArgumentError('nothing is chosen');
    return known.filter((word) => chosen.includes(word));
  };
}

interface RawOptions {
  only?: string[];
  targets?: string[];
  rounds?: number;
  files?: number;
  dirs?: number;
  ops?: number;
  json?: string;
  svg?: string;
  markdown?: string;
  base: string;
  mountArguments?: string;
  allMounted?: true;
  quick?: true;
  enableUring?: true;
}

/**
 * Parses the words after `npm run bench --`.
 *
 * @throws CommanderError for a wrong word and after --help; with `exitOverride` only, otherwise commander exits.
 */
export function parseOptions(words: readonly string[], configure: (command: Command) => void = () => {}): BenchOptions {
  const command = new Command('npm run bench --')
    .description('Measure fuse-shiftfs against its peers, interleaved round by round.')
    .option('--only <rows>', `rows to run: ${ROW_IDS.join(', ')}`, choice(ROW_IDS))
    .option('--targets <targets>', `targets to run: ${TARGET_IDS.join(', ')}`, choice(TARGET_IDS))
    .option('--rounds <n>', 'rounds; medians are printed (default 5; 3 with --quick)', count)
    .option('--files <n>', 'files in the tree (default 18000; 1800 with --quick)', count)
    .option('--dirs <n>', 'directories in the tree (default 200; 20 with --quick)', count)
    .option('--ops <n>', 'operations a sample of create, chmod ... (default 4000; 500 with --quick)', count)
    .option('--all-mounted', 'mount all targets at the same time (default: one at a time)')
    .option('--quick', 'small sizes and three rounds: shows that it works, not how fast')
    .option('--enable-uring', 'switch /sys/module/fuse/parameters/enable_uring on for the run, then back')
    .option('--base <dir>', 'directory on the file system to measure', '/var/tmp')
    .option('--mount-arguments <words>', 'more words for our own mount command')
    .option('--json <file>', 'write everything that was measured')
    .option('--svg <file>', 'write a chart')
    .option('--markdown <file>', 'write a table for README')
    .allowExcessArguments(false);
  configure(command);
  const raw = command.parse([...words], { from: 'user' }).opts<RawOptions>();
  const quick = raw.quick === true;
  const files = raw.files ?? (quick ? 1800 : 18_000);
  const dirs = raw.dirs ?? (quick ? 20 : 200);
  if (dirs > files) command.error('error: --dirs cannot be more than --files');
  return {
    rows: raw.only ?? ROW_IDS,
    targets: raw.targets ?? TARGET_IDS,
    rounds: raw.rounds ?? (quick ? 3 : 5),
    files,
    dirs,
    operations: raw.ops ?? (quick ? 500 : 4000),
    readBytes: (quick ? 64 : 1024) * MIB,
    writeBytes: (quick ? 32 : 512) * MIB,
    archiveFiles: quick ? 1000 : 20_000,
    sources: quick ? 10 : 200,
    packages: quick ? 5 : 40,
    allMounted: raw.allMounted === true,
    base: raw.base,
    json: raw.json ?? null,
    svg: raw.svg ?? null,
    markdown: raw.markdown ?? null,
    enableUring: raw.enableUring === true,
    mountArguments: raw.mountArguments?.split(' ').filter((word) => word !== '') ?? [],
  };
}
