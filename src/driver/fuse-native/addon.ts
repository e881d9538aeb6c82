// The compiled half of the npm package fuse-native, which runs libfuse's threads and hands each request to JavaScript. Its
// JavaScript half is left out: it drops sizes (getxattr and listxattr read past the end of a buffer), error codes and
// time stamps on the way.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shellWord } from '../../container/command.js';
import { ShiftfsError } from '../../errors.js';
import { loadLibrary } from '../../linux/foreign.js';

/** The only version whose requests we know the layout of (frame.ts). */
const VERSION = '2.2.6';

/** A request: the addon's fuse_thread_locals_t. The same object comes back with each request of one libfuse thread. */
export type NativeFrame = Buffer;

/** `args` begins with the paths. For READ, WRITE and the attributes one of them is a buffer, see operations.ts. */
export type Handler = (frame: NativeFrame, op: number, ...args: unknown[]) => void;

/** Answers a request with 0, a length or -errno. The frame must not be touched afterwards. */
export type Signal = (frame: NativeFrame, result: number, ...rest: unknown[]) => void;

/** Names of the package's operations; `op_NAME` is the number of each, and its place among the handlers. */
export const OPERATIONS = [
  'init',
  'statfs',
  'fgetattr',
  'getattr',
  'fsync',
  'fsyncdir',
  'readdir',
  'truncate',
  'ftruncate',
  'utimens',
  'readlink',
  'chown',
  'chmod',
  'mknod',
  'setxattr',
  'getxattr',
  'listxattr',
  'removexattr',
  'open',
  'opendir',
  'read',
  'write',
  'release',
  'releasedir',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const;

export type Operation = (typeof OPERATIONS)[number];

type Addon = { readonly [name in `op_${Operation}`]: number } & {
  readonly [name in `fuse_native_signal_${Operation}`]: Signal;
} & {
  readonly sizeof_fuse_thread_t: number;
  fuse_native_mount(
    mountpoint: string,
    options: string,
    state: Buffer,
    self: object,
    allocate: (bytes: number) => Buffer,
    handlers: readonly Handler[],
    implemented: Uint32Array,
  ): void;
};

/** Handlers there is room for in the addon's table. */
const HANDLERS = 35;

function missing(what: string, hint: string, cause?: unknown): ShiftfsError {
  return new ShiftfsError('UNSUPPORTED', `--driver fuse-native: ${what}`, hint, { cause });
}

/** Without the package's install script: where there is no libfuse2 that wants a compiler, and nothing it does is needed. */
function howToInstall(): string {
  const ours = fileURLToPath(new URL('../../../', import.meta.url));
  const words = `--ignore-scripts fuse-native@${VERSION}`;
  // Beside us, where node looks, too; in our own directory npm would bring what developers need as well.
  if (ours.includes('/node_modules/')) return `npm install --global ${words}`;
  return `cd ${shellWord(ours)} && npm install --no-save ${words}`;
}

/** Throws ShiftfsError UNSUPPORTED when the package, or what it stands on, is not there. */
export function loadAddon(): Addon {
  const require = createRequire(import.meta.url);
  let directory: string;
  let version: string;
  try {
    const description = require.resolve('fuse-native/package.json');
    directory = dirname(description);
    version = (JSON.parse(readFileSync(description, 'utf8')) as { version: string }).version;
  } catch (error) {
    throw missing('the npm package fuse-native is not installed', howToInstall(), error);
  }
  if (version !== VERSION) {
    throw missing(`fuse-native ${version} is not known to work`, howToInstall());
  }
  // The addon asks for libfuse.so.2 by that name. Where the system has none, the package's own, loaded first, serves.
  if (!loadLibrary('libfuse.so.2')) loadLibrary(join(directory, 'prebuilds', `linux-${process.arch}`, 'libfuse.so'));
  try {
    return createRequire(join(directory, 'package.json'))('node-gyp-build')(directory) as Addon;
  } catch (error) {
    throw missing(
      `the package fuse-native does not load: ${(error as Error).message.split('\n')[0]}`,
      'It needs libfuse 2.9 (Debian: apt-get install libfuse2) and is prebuilt for x86-64 only; elsewhere python3, make, ' +
        'g++ and npm rebuild fuse-native.',
      error,
    );
  }
}

/**
 * Mounts, and starts libfuse's threads; `handle` is called on this thread for each request. Throws ShiftfsError INTERNAL:
 * libfuse has then written to stderr why.
 */
export function mountWithAddon(
  addon: Addon,
  mountpoint: string,
  options: string,
  allocate: (bytes: number) => Buffer,
  handlers: Readonly<Record<Operation, Handler>>,
): void {
  const table = new Array<Handler>(HANDLERS).fill(() => {});
  const implemented = new Uint32Array(HANDLERS);
  for (const name of OPERATIONS) {
    table[addon[`op_${name}`]] = handlers[name];
    implemented[addon[`op_${name}`]] = 1;
  }
  const state = Buffer.alloc(addon.sizeof_fuse_thread_t);
  kept.push(state);
  try {
    addon.fuse_native_mount(mountpoint, `-o${options}`, state, {}, allocate, table, implemented);
  } catch (error) {
    throw new ShiftfsError('INTERNAL', `libfuse cannot mount on ${mountpoint}`, undefined, { cause: error });
  }
}

/** What libfuse's threads have the address of. */
const kept: Buffer[] = [];
