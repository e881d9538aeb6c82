// The commands that arrange things around a view: containers, the host's installation, and what this machine can do.

import { type Command, Option } from 'commander';
import { RUNTIMES, type RuntimeName } from '../container/runtime.js';

/** Adds them to the program; `done` takes the exit status. */
export function addHostCommands(program: Command, done: (exitCode: number) => void): void {
  program
    .command('share')
    .summary('mount a view of DIRECTORY for a container and attach it')
    .description(
      'Find the running container of LXD, Incus, LXC or podman, mount a view of DIRECTORY with its id map below ' +
        '/var/lib/fuse-shiftfs/shares, and attach it at PATH (/mnt/NAME unless given). Where a container cannot be given ' +
        'a directory while it runs, the line for its configuration is printed. Sharing again changes nothing.',
    )
    .argument('<directory>', 'directory to share')
    .requiredOption('--with <CONTAINER[:PATH]>', 'the container, and where DIRECTORY is to be in it')
    .option('--name <NAME>', "name of the share (default: the directory's own name)")
    .addOption(runtimeOption())
    .option('-o, --options <WORD,...>', 'options of the view, as for mount')
    .action(
      async (directory: string, options: { with: string; name?: string; runtime?: RuntimeName; options?: string }) => {
        const { share } = await import('./share.js');
        done(await share(directory, options));
      },
    );
  program
    .command('unshare')
    .summary('undo share')
    .description(
      'Detach the view of DIRECTORY from the container and unmount it. Works when the container is stopped, too.',
    )
    .argument('<directory>', 'directory that was shared')
    .requiredOption('--with <CONTAINER>', 'the container')
    .option('--name <NAME>', "name of the share (default: the directory's own name)")
    .addOption(runtimeOption())
    .action(async (directory: string, options: { with: string; name?: string; runtime?: RuntimeName }) => {
      const { unshare } = await import('./share.js');
      done(await unshare(directory, options));
    });
  program
    .command('doctor')
    .summary('tell what this kernel, file system and user can do')
    .description(
      'Try what views of SOURCE would use here: FUSE and its features, watching, limits, file handles, idmapped mounts. ' +
        'Each finding says what it means and what to change. Where an idmapped mount would serve better than a view, ' +
        'the command for it is printed. Nothing is changed.',
    )
    .argument('[source]', 'directory that a view would serve (default: /)')
    .option('--json', 'print JSON')
    .action(async (source: string | undefined, options: { json?: true }) => {
      const { doctor } = await import('./doctor.js');
      done(await doctor(source ?? '/', options.json === true));
    });
  program
    .command('install')
    .summary('put program, systemd unit, man page and completions in place')
    .description(
      'Put a start script for this program, the systemd unit fuse-shiftfs@.service, the man page and completions for bash, ' +
        'zsh and fish in place. The program itself stays where it is now.',
    )
    .option('--prefix <DIR>', 'directory that they are installed below', '/usr/local')
    .action(async ({ prefix }: { prefix: string }) => {
      const { install } = await import('./install.js');
      done(install(prefix));
    });
  program
    .command('uninstall')
    .summary('undo install')
    .description('Remove what install has put below DIR. Config files and mounted views stay.')
    .option('--prefix <DIR>', 'as for install', '/usr/local')
    .action(async ({ prefix }: { prefix: string }) => {
      const { uninstall } = await import('./install.js');
      done(uninstall(prefix));
    });
}

function runtimeOption(): Option {
  return new Option('--runtime <RUNTIME>', 'which one, when several have a container of that name').choices(RUNTIMES);
}
