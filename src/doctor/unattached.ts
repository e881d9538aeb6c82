// A FUSE file system that is attached nowhere: nobody can see it, and it ends with its descriptors (fsopen(2), fsmount(2), Linux
// 5.2). `doctor` asks it what the kernel offers and whether a cached absence can be taken back.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ATTR, ATTR_OUT, ENTRY_OUT, IN_HEADER, INIT_OUT, NOTIFY, OP, OUT_HEADER } from '../fuse/protocol.js';
import { EAGAIN, EINTR, EINVAL, ENOENT, ENOSYS } from '../linux/errno.js';
import { Memory } from '../linux/memory.js';
import { call2, call4, call6, close, read, write } from '../linux/syscalls.js';

/** The same on x86-64 and arm64: include/uapi/asm-generic/unistd.h. */
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;

const REQUEST_BYTES = 1 << 18;
/** Behind the requests: what is written to the device. */
const AT_REPLY = REQUEST_BYTES;
const REPLY_BYTES = 4096;
const ROOT = 1;
const ABSENT = 'absent';
const DIRECTORY = 0o40755;
const HOUR = 3600;
/** For a shell that looks once, on a busy machine. */
const LOOK_MS = 10_000;

export class UnattachedFuse {
  private readonly memory: Memory;
  private readonly device: number;
  private readonly context: number;

  private constructor(memory: Memory, device: number, context: number) {
    this.memory = memory;
    this.device = device;
    this.context = context;
  }

  /** With its INIT request in `init`, or -errno when /dev/fuse or fsopen refuses. */
  static create(): UnattachedFuse | number {
    let device: number;
    try {
      device = openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK);
    } catch (error) {
      return (error as NodeJS.ErrnoException).errno ?? -EINVAL;
    }
    const memory = new Memory(REQUEST_BYTES + REPLY_BYTES);
    const context = call2(SYS_FSOPEN, memory.setString(0, 'fuse'), FSOPEN_CLOEXEC);
    const made = new UnattachedFuse(memory, device, context);
    const error = context < 0 ? context : made.start();
    if (error >= 0) return made;
    made.close();
    return error;
  }

  private start(): number {
    const { memory, context } = this;
    const text = (offset: number, value: string): number => memory.setString(offset, value);
    const parameters = { fd: String(this.device), rootmode: '40000', user_id: '0', group_id: '0' };
    for (const [name, value] of Object.entries(parameters)) {
      const error = call6(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, text(0, name), text(64, value), 0, 0);
      if (error < 0) return error;
    }
    const created = call6(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, 0, 0, 0, 0);
    if (created < 0) return created;
    const length = read(this.device, memory.address, REQUEST_BYTES);
    if (length < 0) return length;
    return this.opcode === OP.INIT ? length : -EINVAL;
  }

  /** The request that was read last: u32 `word` of what follows its header. */
  word(word: number): number {
    return this.memory.u32[(IN_HEADER.size >> 2) + word]!;
  }

  private get opcode(): number {
    return this.memory.u32[IN_HEADER.opcode >> 2]!;
  }

  /** Bytes of the request that was read last. */
  get length(): number {
    return this.memory.u32[IN_HEADER.len >> 2]!;
  }

  /**
   * Answers INIT, has a process look for a name that is not there and lets the kernel cache that. Whether the kernel then
   * drops it when it is told to; null when it could not be tried. Once only.
   */
  async takesBackAbsences(): Promise<boolean | null> {
    const { u32 } = this.memory;
    const out = this.clearReply(INIT_OUT.size);
    u32[(out + INIT_OUT.major) >> 2] = this.word(0);
    u32[(out + INIT_OUT.minor) >> 2] = this.word(1);
    u32[(out + INIT_OUT.max_write) >> 2] = 4096;
    u32[(out + INIT_OUT.time_gran) >> 2] = 1;
    this.reply(0, INIT_OUT.size);
    const mount = call4(SYS_FSMOUNT, this.context, FSMOUNT_CLOEXEC, 0, 0);
    if (mount < 0) return null;
    // Another process, because whoever looks waits for us.
    const looker = spawn('/bin/sh', ['-c', `test -e /proc/self/fd/3/${ABSENT}`], {
      stdio: ['ignore', 'ignore', 'ignore', mount],
    });
    try {
      if (!(await this.serve(looker))) return null;
      const error = this.invalidateAbsence();
      return error === 0 ? true : error === -ENOENT ? false : null;
    } finally {
      looker.kill('SIGKILL');
      close(mount);
    }
  }

  /** Until `looker` has ended; whether it was told that the name is absent. */
  private async serve(looker: ChildProcess): Promise<boolean> {
    let ended = false;
    for (const event of ['exit', 'error']) {
      looker.once(event, () => {
        ended = true;
      });
    }
    let told = false;
    for (const end = performance.now() + LOOK_MS; !ended && performance.now() < end; ) {
      const length = read(this.device, this.memory.address, REQUEST_BYTES);
      if (length >= 0) told = this.answer() || told;
      else if (length === -EAGAIN || length === -EINTR) await sleep(1);
      else return false;
    }
    return ended && told;
  }

  /** Whether the request was the one for the absent name. */
  private answer(): boolean {
    const { u32 } = this.memory;
    switch (this.opcode) {
      case OP.LOOKUP: {
        const out = this.clearReply(ENTRY_OUT.size);
        u32[(out + ENTRY_OUT.entry_valid) >> 2] = HOUR;
        this.reply(0, ENTRY_OUT.size);
        return true;
      }
      case OP.GETATTR: {
        const out = this.clearReply(ATTR_OUT.size);
        const attributes = (out + ATTR_OUT.attr) >> 2;
        u32[attributes + (ATTR.ino >> 2)] = ROOT;
        u32[attributes + (ATTR.mode >> 2)] = DIRECTORY;
        u32[attributes + (ATTR.nlink >> 2)] = 2;
        this.reply(0, ATTR_OUT.size);
        return false;
      }
      case OP.FORGET:
      case OP.BATCH_FORGET:
      case OP.INTERRUPT:
        return false;
      default:
        this.reply(-ENOSYS, 0);
        return false;
    }
  }

  /** FUSE_NOTIFY_INVAL_ENTRY for the absent name. 0, or -errno. */
  private invalidateAbsence(): number {
    const { memory } = this;
    const length = ABSENT.length;
    const out = this.clearReply(16 + length + 1);
    memory.u32[out >> 2] = ROOT;
    memory.u32[(out >> 2) + 2] = length;
    memory.setString(out + 16, ABSENT);
    return this.send(NOTIFY.INVAL_ENTRY, 0, 0, 16 + length + 1);
  }

  /** Where the `bytes` after the header of the next reply go. */
  private clearReply(bytes: number): number {
    this.memory.u8.fill(0, AT_REPLY, AT_REPLY + OUT_HEADER.size + bytes);
    return AT_REPLY + OUT_HEADER.size;
  }

  private reply(error: number, bytes: number): void {
    const unique = IN_HEADER.unique >> 2;
    this.send(error, this.memory.u32[unique]!, this.memory.u32[unique + 1]!, bytes);
  }

  private send(error: number, uniqueLo: number, uniqueHi: number, bytes: number): number {
    const { memory } = this;
    const at = AT_REPLY >> 2;
    const length = OUT_HEADER.size + bytes;
    memory.u32[at] = length;
    memory.i32[at + 1] = error;
    memory.u32[at + 2] = uniqueLo;
    memory.u32[at + 3] = uniqueHi;
    return Math.min(write(this.device, memory.address + AT_REPLY, length), 0);
  }

  close(): void {
    // The device first: the file system then ends without waiting for its server.
    closeSync(this.device);
    if (this.context >= 0) close(this.context);
  }
}
