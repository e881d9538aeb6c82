// The command table. Commands are loaded when they are run, so that --version and --help answer at once.

import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { EXIT, exitCodeOf } from '../exit-codes.js';
import { normalizeArguments } from './arguments.js';
import { addHostCommands } from './host-commands.js';

/** Runs the program and leaves it; `invokedAs` is the path it was started by. */
export async function run(args: readonly string[], invokedAs: string): Promise<never> {
  try {
    const code = await dispatch(normalizeArguments(args, invokedAs));
    return process.exit(code);
  } catch (error) {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage);
    const [{ asShiftfsError }, { formatError }] = await Promise.all([
      import('../daemon/control.js'),
      import('../daemon/report.js'),
    ]);
    const known = asShiftfsError(error);
    process.stderr.write(formatError(known));
    return process.exit(exitCodeOf(known.code));
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = await createProgram(args[0], (code) => {
    exitCode = code;
  });
  await program.parseAsync(args, { from: 'user' });
  return exitCode;
}

/** The command table, with the options of `mount` if that is the `command` or none is given. `done` takes the exit status. */
export async function createProgram(command: string | undefined, done: (exitCode: number) => void): Promise<Command> {
  const program = new Command('fuse-shiftfs')
    .description(
      'Serve a host directory with shifted uids and gids to user-namespaced containers, in step with changes on the host.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help; also after a command')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'fuse-shiftfs: ')),
    })
    .addHelpText('after', AFTER_HELP);

  const mount = program
    .command('mount')
    .summary('mount a view of SOURCE on MOUNTPOINT')
    .argument('[source]', 'directory to serve')
    .argument('[mountpoint]', 'directory to mount on');
  if (command === 'mount' || command === undefined) {
    const { configureMount } = await import('./mount.js');
    configureMount(mount, done);
  }
  program
    .command('umount')
    .summary('unmount a view')
    .description('Unmount a view and wait until its daemon is gone. Works when the daemon is dead or hangs, too.')
    .argument('[mountpoint]', 'where the view is mounted')
    .option('-l, --lazy', 'detach it at once; it ends with its last user')
    .option('--config <FILE>', 'take the mount point from the config file of the view')
    .option('--if-mounted', 'be content when no view is mounted there')
    .action(async (mountpoint: string | undefined, options: { lazy?: true; config?: string; ifMounted?: true }) => {
      const { umount, umountTarget } = await import('./umount.js');
      const target = await umountTarget(mountpoint, options.config, options.ifMounted === true);
      done(target === undefined ? EXIT.ok : await umount(target, options.lazy === true));
    });
  program
    .command('status')
    .summary('show what is mounted, and how it does')
    .description('Show every view of this machine, or the one at MOUNTPOINT.')
    .argument('[mountpoint]', 'where a view is mounted')
    .option('--json', 'print JSON: an array, or one object for MOUNTPOINT; with --watch one line each time')
    .addOption(
      new Option('--watch [SECONDS]', 'show it again and again, with requests per second, until interrupted')
        .preset(2)
        .argParser(parseSeconds),
    )
    .addOption(
      new Option('--prometheus', "print metrics for a node exporter's textfile collector").conflicts(['json', 'watch']),
    )
    .action(async (mountpoint: string | undefined, options: { json?: true; watch?: number; prometheus?: true }) => {
      const { status, watchStatus } = await import('./status.js');
      const form = options.json ? 'json' : 'text';
      if (options.watch !== undefined) done(await watchStatus(mountpoint, form, options.watch));
      else done(await status(mountpoint, options.prometheus ? 'prometheus' : form));
    });
  addHostCommands(program, done);
  for (const each of program.commands) each.helpOption('-h, --help', 'print this help');
  return program;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= 86400)) throw new InvalidArgumentError('It must be 0.1 to 86400 seconds.');
  return seconds;
}

export function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

const AFTER_HELP = `
"fuse-shiftfs SOURCE MOUNTPOINT [-o WORD,...]" is mount as well, in the form that mount(8) and /etc/fstab use.

Example: show files of ids 0 to 65535 as those of a container mapped to 100000:
  fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536

Exit status: 0 done, 1 usage or permission, 2 no FUSE, 4 bug, 8 interrupted, 32 mount or umount failed;
with --foreground also 70 the daemon failed, 71 the connection was aborted.
`;
