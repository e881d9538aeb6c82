// An actor: a process of its own that makes system calls on command, as a given identity and, if asked, inside a user
// namespace. The suites use actors for everything that touches a mount, so that
//
// - what is tested went through the real kernel with the credentials it says;
// - a call that hangs cannot hang the runner: after its timeout the test fails, the actor is killed and the FUSE
//   connections of this test process that owe an answer are aborted.
//
// Errors are SyscallError with the errno's name.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { abortHungFuse } from './mounts.js';
import { baseDirectory, childEnvironment } from './temp.js';
import { type MapArgument, writeIdMaps } from './userns.js';

/** A name or path: any bytes but NUL. */
export type Name = string | Buffer;
/** A path, or a name below an open directory (the *at calls). */
export type Path = Name | { readonly dir: number; readonly name: Name };
/** Offsets and lengths in bytes; bigint beyond 2^53. */
export type Offset = number | bigint;
/** Nanoseconds since 1970, or what utimensat(2) calls UTIME_NOW and UTIME_OMIT. */
export type TimeArgument = bigint | 'now' | 'omit';

/** statx(2). Times are nanoseconds since 1970; btime is null where the file system has none. */
export interface Stat {
  readonly blksize: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Type and permissions. */
  readonly mode: number;
  readonly ino: bigint;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly atime: bigint;
  readonly btime: bigint | null;
  readonly ctime: bigint;
  readonly mtime: bigint;
  readonly rdev: { readonly major: number; readonly minor: number };
  /** `major:minor` of the file system. */
  readonly dev: string;
}

/** statfs(2). */
export interface Statfs {
  readonly type: number;
  readonly bsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly namelen: number;
  readonly frsize: number;
  /** ST_RDONLY and the like. */
  readonly flags: number;
}

export interface DirectoryEntry {
  readonly ino: bigint;
  /** What lseek takes to go on behind this entry. */
  readonly off: bigint;
  readonly type: number;
  readonly name: Buffer;
}

export interface LockArgument {
  /** F_RDLCK, F_WRLCK or F_UNLCK. */
  readonly type: number;
  readonly whence?: number;
  readonly start?: Offset;
  readonly length?: Offset;
}

export interface LockResult extends Required<LockArgument> {
  readonly pid: number;
}

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
  /** 0o022 when left out. */
  readonly umask?: number;
  /** Bit mask of capabilities to keep; all for uid 0 and none for others when left out. */
  readonly capabilities?: bigint;
}

/** The calls, each with the arguments of its man page. `open` adds O_CLOEXEC and creates with 0666 unless told. */
export interface Calls {
  /** Takes on an identity for good: what uid 0 may do is gone once it is left. */
  become(identity: Identity): void;
  setfsids(uid: number, gid: number): void;
  /** Returns the old one. */
  umask(mask: number): number;
  pid(): number;

  open(path: Path, flags: number, mode?: number): number;
  close(fd: number): void;
  dup(fd: number): number;
  read(fd: number, length: number): Buffer;
  pread(fd: number, length: number, offset: Offset): Buffer;
  write(fd: number, data: Name): number;
  pwrite(fd: number, data: Name, offset: Offset): number;
  lseek(fd: number, offset: Offset, whence: number): number | bigint;
  truncate(path: Path, length: Offset): void;
  ftruncate(fd: number, length: Offset): void;
  fallocate(fd: number, mode: number, offset: Offset, length: Offset): void;
  /** A null offset uses and moves the position of the descriptor. */
  copyFileRange(fdIn: number, offsetIn: Offset | null, fdOut: number, offsetOut: Offset | null, length: number): number;
  sendfile(out: number, input: number, length: number): number;

  stat(path: Path): Stat;
  lstat(path: Path): Stat;
  fstat(fd: number): Stat;
  statfs(path: Path): Statfs;
  fstatfs(fd: number): Statfs;

  mkdir(path: Path, mode?: number): void;
  mknod(path: Path, mode: number, dev?: number): void;
  unlink(path: Path): void;
  rmdir(path: Path): void;
  /** renameat2(2). */
  rename(from: Path, to: Path, flags?: number): void;
  link(from: Path, to: Path, flags?: number): void;
  /** linkat(2) of /proc/self/fd/FD, which gives a name to what O_TMPFILE made. */
  linkFd(fd: number, to: Path): void;
  symlink(target: Name, path: Path): void;
  readlink(path: Path, size?: number): Buffer;
  chmod(path: Path, mode: number): void;
  fchmod(fd: number, mode: number): void;
  chown(path: Path, uid: number, gid: number): void;
  lchown(path: Path, uid: number, gid: number): void;
  fchown(fd: number, uid: number, gid: number): void;
  /** Access and modification time; null is now for both. */
  utimens(path: Path, times: readonly [TimeArgument, TimeArgument] | null, flags?: number): void;
  futimens(fd: number, times: readonly [TimeArgument, TimeArgument] | null): void;
  access(path: Path, mode: number, flags?: number): void;

  setxattr(path: Path, name: Name, value: Name, flags?: number): void;
  lsetxattr(path: Path, name: Name, value: Name, flags?: number): void;
  fsetxattr(fd: number, name: Name, value: Name, flags?: number): void;
  /** With a size of 0 the answer is the length of the value. */
  getxattr(path: Path, name: Name, size: 0): number;
  getxattr(path: Path, name: Name, size?: number): Buffer;
  lgetxattr(path: Path, name: Name, size?: number): Buffer;
  fgetxattr(fd: number, name: Name, size?: number): Buffer;
  /** Sorted. With a size of 0 the answer is the length of the list. */
  listxattr(path: Path, size: 0): number;
  listxattr(path: Path, size?: number): string[];
  llistxattr(path: Path): string[];
  flistxattr(fd: number): string[];
  removexattr(path: Path, name: Name): void;
  lremovexattr(path: Path, name: Name): void;
  fremovexattr(fd: number, name: Name): void;

  flock(fd: number, operation: number): void;
  /** fcntl(2) with a struct flock: F_SETLK, F_SETLKW, F_GETLK and their F_OFD_ forms. */
  lock(fd: number, command: number, lock: LockArgument): LockResult;
  /** fcntl(2) with a number. */
  fcntl(fd: number, command: number, argument?: number): number;

  /** One getdents64(2); an empty list is the end. */
  getdents(fd: number, size?: number): DirectoryEntry[];
  /** All names but `.` and `..`, in the order of the directory. */
  readdir(path: Path): Buffer[];

  fsync(fd: number): void;
  fdatasync(fd: number): void;
  syncfs(fd: number): void;

  /** Returns a number for the other map calls. */
  mmap(fd: number, length: number, protection: number, flags: number, offset?: Offset): number;
  mapRead(map: number, offset: number, length: number): Buffer;
  mapWrite(map: number, offset: number, data: Name): void;
  msync(map: number, flags: number): void;
  munmap(map: number): void;

  /** `data` is the argument's buffer after the call. */
  ioctl(fd: number, request: number, argument?: Buffer): { result: number; data: Buffer };

  chdir(path: Path): void;
  fchdir(fd: number): void;
  getcwd(): Buffer;

  mount(source: Name, target: Name, type: string, flags: number, data?: string): void;
  umount(target: Name, flags?: number): void;
  openTree(path: Path, flags: number): number;
  mountSetattr(fd: number, flags: number, attributes: { set?: bigint; clear?: bigint; usernsFd?: number }): void;
  moveMount(fd: number, target: Name): void;

  /** A listening Unix socket. Paths hold at most 107 bytes. */
  bindUnix(path: Name): number;
  connectUnix(path: Name): number;

  /** The signal interrupts calls (EINTR) instead of killing the actor. */
  catchSignal(signal: number): void;

  nameToHandle(path: Path): Buffer;
  openByHandle(mountFd: number, handle: Buffer, flags: number): number;

  readFile(path: Path): Buffer;
  /** Truncates. */
  writeFile(path: Path, data: Name, mode?: number): void;
}

type CallName = keyof Calls;
/** One call of a batch. Its arguments are checked by the kernel, not by the compiler. */
export type BatchedCall = readonly [CallName, ...unknown[]];

/** Distributes over the overloads that Calls has. */
type Asynchronous<F> = F extends {
  (...args: infer A): infer R;
  (...args: infer B): infer S;
}
  ? { (...args: A): Promise<R>; (...args: B): Promise<S> }
  : F extends (...args: infer A) => infer R
    ? (...args: A) => Promise<R>
    : never;

export interface ActorControl {
  /** In the pid namespace of the runner. */
  readonly processId: number;
  readonly alive: boolean;
  /** The same calls with another timeout, in milliseconds. */
  within(milliseconds: number): Actor;
  /** Many calls in one message, for speed; the first failure rejects. */
  batch(calls: readonly BatchedCall[]): Promise<unknown[]>;
  /** Resolves when the actor has been blocked in one system call for a while. */
  untilBlocked(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Kills it and waits until it is gone. Calls in flight reject. */
  stop(): Promise<void>;
}

export type Actor = ActorControl & { readonly [K in CallName]: Asynchronous<Calls[K]> };

/** A system call that failed. `code` is the errno's name. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly code: string;
  readonly syscall: string;

  constructor(code: string, syscall: string, call: string) {
    super(`${call}: ${code}`);
    this.code = code;
    this.syscall = syscall;
  }
}

/** A call that did not return. Its actor has been killed, and hung connections were aborted. */
export class ActorTimeout extends Error {
  override readonly name = 'ActorTimeout';
}

export interface ActorOptions extends Identity {
  /** A new user namespace with this map; uid, gid and groups are ids of that namespace. */
  readonly userns?: readonly MapArgument[];
  /** A mount namespace of its own, where it may mount. It keeps a copy of every mount until the actor stops. */
  readonly mountNamespace?: boolean;
  /** Milliseconds a call may take. */
  readonly timeout?: number;
  /** Put before the program: `prlimit --nofile=64` and the like. */
  readonly wrapper?: readonly string[];
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly code: string | null; readonly syscall: string | null };
}

const SCRIPT = fileURLToPath(new URL('actor-process.mjs', import.meta.url));
const DEFAULT_TIMEOUT = 10_000;
const START_TIMEOUT = 20_000;

function show(value: unknown): string {
  if (Buffer.isBuffer(value))
    return value.length > 80 ? `<${value.length} bytes>` : JSON.stringify(value.toString('latin1'));
  if (typeof value === 'bigint') return `${value}n`;
  const text =
    JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item)) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

class ActorProcess {
  private readonly child: ChildProcess;
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private stderr = '';
  private gone = false;
  readonly exited: Promise<void>;
  readonly ready: Promise<void>;

  constructor(command: readonly string[]) {
    const [program = '', ...args] = command;
    this.child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      serialization: 'advanced',
      env: childEnvironment(),
      cwd: '/',
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    let nowReady!: () => void;
    let notReady!: (error: Error) => void;
    let nowExited!: () => void;
    this.ready = new Promise((resolve, reject) => {
      nowReady = resolve;
      notReady = reject;
    });
    this.exited = new Promise((resolve) => {
      nowExited = resolve;
    });
    const ended = (why: string) => {
      this.gone = true;
      const error = new Error(`actor ended: ${why} ${this.stderr}`);
      notReady(error);
      for (const { reject } of this.pending.values()) reject(error);
      this.pending.clear();
      nowExited();
    };
    this.child.once('error', (error) => ended(error.message));
    this.child.once('close', (code, signal) => ended(signal ?? `exit code ${code}`));
    this.child.on('message', (message) => {
      if (typeof message === 'object' && message !== null && 'ready' in message) return nowReady();
      const reply = message as Reply;
      const waiting = this.pending.get(reply.id);
      this.pending.delete(reply.id);
      if (reply.error === undefined) waiting?.resolve(reply.result);
      else waiting?.reject(Object.assign(new Error(reply.error.message), reply.error));
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the actor did not start');
    return this.child.pid;
  }

  get alive(): boolean {
    return !this.gone;
  }

  async call(name: string, args: readonly unknown[], timeout: number): Promise<unknown> {
    const described = () => `${name}(${args.map(show).join(', ')})`;
    if (this.gone) throw new Error(`${described()}: the actor has ended ${this.stderr}`);
    const id = this.nextId++;
    const reply = new Promise<unknown>((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
    });
    this.child.send({ id, name, args });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const where = this.whereBlocked();
        this.child.kill('SIGKILL');
        this.gone = true;
        const aborted = abortHungFuse(baseDirectory());
        reject(
          new ActorTimeout(
            `${described()}: no answer after ${timeout} ms (${where}); aborted: ${aborted.join(' ') || '-'}`,
          ),
        );
      }, timeout);
    });
    try {
      return await Promise.race([reply, late]);
    } catch (error) {
      const { code, syscall } = error as { code?: string | null; syscall?: string | null };
      if (code && syscall) throw new SyscallError(code, syscall, described());
      throw error;
    } finally {
      clearTimeout(timer);
      this.pending.delete(id);
    }
  }

  private whereBlocked(): string {
    try {
      return `wchan ${readFileSync(`/proc/${this.pid}/wchan`, 'latin1')}, syscall ${this.currentSyscall()}`;
    } catch {
      return 'gone';
    }
  }

  /** `running`, or number and arguments. */
  private currentSyscall(): string {
    return readFileSync(`/proc/${this.pid}/syscall`, 'latin1').trim();
  }

  async untilBlocked(): Promise<void> {
    // The event loop's own wait is one of these (epoll_wait, epoll_pwait); arguments tell calls apart.
    const idle = process.arch === 'x64' ? ['232', '281'] : ['22'];
    const needed = 5;
    let last = '';
    for (let same = 0; same < needed; ) {
      if (this.pending.size === 0) throw new Error('the call returned instead of blocking');
      const now = this.currentSyscall();
      const number = now.split(' ')[0] ?? '';
      same = now === last && number !== 'running' && !idle.includes(number) ? same + 1 : 0;
      last = now;
      await sleep(10);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async stop(): Promise<void> {
    this.child.kill('SIGKILL');
    const late = sleep(5_000, 'late' as const, { ref: false });
    if ((await Promise.race([this.exited, late])) === 'late') {
      const aborted = abortHungFuse(baseDirectory());
      if ((await Promise.race([this.exited, sleep(5_000, 'late' as const, { ref: false })])) === 'late')
        throw new Error(`actor ${this.pid} cannot be killed; aborted: ${aborted.join(' ') || '-'}`);
    }
  }
}

function actorFor(target: ActorProcess, timeout: number): Actor {
  const control: ActorControl = {
    get processId() {
      return target.pid;
    },
    get alive() {
      return target.alive;
    },
    within: (milliseconds) => actorFor(target, milliseconds),
    batch: (calls) => target.call('batch', [calls], timeout) as Promise<unknown[]>,
    untilBlocked: () => target.untilBlocked(),
    signal: (signal) => target.signal(signal),
    stop: () => target.stop(),
  };
  return new Proxy(control, {
    get(own, name) {
      // A proxy that answered `then` would be taken for a promise.
      if (name in own || typeof name === 'symbol' || name === 'then') return Reflect.get(own, name);
      return (...args: unknown[]) => target.call(name, args, timeout);
    },
  }) as Actor;
}

/** Starts an actor. The caller stops it; a runner that dies takes it along. */
export async function startActor(options: ActorOptions): Promise<Actor> {
  const { userns, mountNamespace = false, timeout = DEFAULT_TIMEOUT, wrapper = [], ...identity } = options;
  const command = [...wrapper];
  if (userns !== undefined || mountNamespace) command.push('unshare');
  // Ambient capabilities survive the exec that follows, which happens before the map is written.
  if (userns !== undefined) command.push('--user', '--keep-caps');
  if (mountNamespace) command.push('--mount', '--propagation', 'slave');
  command.push(process.execPath, SCRIPT);

  const target = new ActorProcess(command);
  try {
    const late = sleep(START_TIMEOUT, 'late' as const, { ref: false });
    if ((await Promise.race([target.ready, late])) === 'late') throw new Error('the actor did not start in time');
    if (userns !== undefined) writeIdMaps(target.pid, userns);
    await target.call('become', [identity], START_TIMEOUT);
  } catch (error) {
    await target.stop();
    throw error;
  }
  return actorFor(target, timeout);
}

/** Runs `fn` with an actor and stops it afterwards. */
export async function withActor<T>(options: ActorOptions, fn: (actor: Actor) => Promise<T>): Promise<T> {
  const actor = await startActor(options);
  try {
    return await fn(actor);
  } finally {
    await actor.stop();
  }
}

/** The errno's name, or `no error`. Anything that is not a failed system call is thrown on. */
export async function errnoOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'no error';
  } catch (error) {
    if (error instanceof SyscallError) return error.code;
    throw error;
  }
}
