// The helper: repeats on the view what the host did to the underlay, so that inotify watchers in containers wake. It is a
// process of its own, because the kernel's events come from its own work on the view, and no thread of the daemon may
// touch the view.
//
// It can touch nothing but the view: it works from a clone of the view's mount that it alone holds, in a mount namespace
// whose root is that clone (where one may be made), reaches directories by the kernel's own handles of inodes it has, and
// names in them as single components without following symlinks. What it asks for is answered by the daemon without
// touching the underlay, so the worst it could do is to wake somebody. It holds no descriptor of the FUSE device. It leaves
// when the daemon does (its pipe ends; a signal would be forgotten with the first setfsgid(2), see prctl(2)), and when the
// view is no longer mounted, as its clone would keep the view alive.

import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  MNT_DETACH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_WRONLY,
  S_IFDIR,
  S_IFLNK,
  SEEK_SET,
  UTIME_NOW,
  UTIME_OMIT,
} from '../linux/abi.js';
import { EAGAIN, EEXIST, EINTR, EISDIR, ENOENT, ENOTDIR, EPERM, ESTALE, errnoName } from '../linux/errno.js';
import { mapSharedBlock } from '../linux/foreign.js';
import { STATX } from '../linux/layout.js';
import { Memory } from '../linux/memory.js';
import { CAP, dropPrivileges, setNotDumpable } from '../linux/process.js';
import { call2, call4, call6, close, exitGroup, lseek, NR, openat, read, statx, write } from '../linux/syscalls.js';
import { waitToEnter } from './gate.js';
import {
  ACK_AGAIN,
  ACK_BYTES,
  ACK_DONE,
  ACK_FAILED,
  ACK_GONE,
  ACK_HELLO,
  ELSEWHERE,
  GATE_BYTES,
  HELPER_EXIT,
  JOB,
  KIND,
  placeElsewhere,
  tagOf,
  WINDOW,
} from './jobs.js';

const CLONE_NEWNS = 0x20000;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;
/** FILEID_INO64_GEN (include/linux/exportfs.h): fs/fuse/inode.c, fuse_encode_fh: nodeid, high half first; generation. */
const FUSE_HANDLE = 0x81;
const FUSE_HANDLE_BYTES = 12;
const POLLIN = 1;
const POLLPRI = 2;
const POLLERR = 8;

const AT_RECORDS = 0;
const RECORDS_BYTES = WINDOW * 2 * JOB.bytes;
const AT_ACK = RECORDS_BYTES;
const AT_HANDLE = AT_ACK + 64;
const AT_TIMES = AT_HANDLE + 64;
const AT_POLL = AT_TIMES + 64;
const AT_TEXT = AT_POLL + 64;
const AT_PATH = AT_TEXT + 64;
const SIZE = AT_PATH + 8192;

const JOBS_FD = 3;
const ACKS_FD = 4;
const GATE_FD = 5;

const [, , mountpoint = '', device = ''] = process.argv;

function refuse(what: string, error: number): never {
  process.stderr.write(`${what}: ${errnoName(-error)}\n`);
  return exitGroup(HELPER_EXIT.failed);
}

class Helper {
  private readonly memory = new Memory(SIZE);
  private readonly gate = mapSharedBlock(GATE_FD, GATE_BYTES);
  private readonly mountinfo = openSync('/proc/self/mountinfo', 'r');
  private readonly empty: number;
  private readonly target: number;
  private readonly root: number;
  /** The directory of jobs.ts that is elsewhere. */
  private readonly elsewhere: number;
  /** The directory that was used last, by nodeid. */
  private directory = -1;
  private directorySlot = 0;
  private directoryGeneration = 0;
  /** The job to do next; 0 before SYNC. */
  private expected = 0;

  constructor() {
    const { memory } = this;
    this.empty = memory.setString(AT_TEXT, '');
    this.target = memory.setString(AT_TEXT + 8, 'x');
    const mount = this.cloneView();
    this.isolate(mount);
    // open_by_handle_at(2) takes no O_PATH descriptor, which is what open_tree(2) gives.
    this.root = openat(mount, memory.setString(AT_PATH, '.'), O_DIRECTORY | O_CLOEXEC, 0);
    if (this.root < 0) refuse('cannot open the view', this.root);
    close(mount);
    this.elsewhere = this.openDirectory(ELSEWHERE);
    dropPrivileges([CAP.DAC_OVERRIDE, CAP.DAC_READ_SEARCH, CAP.FOWNER, CAP.SETGID, CAP.MKNOD]);
  }

  /** A mount of the view that nobody else has: it makes no umount of the view fail. */
  private cloneView(): number {
    const path = this.memory.setString(AT_PATH, mountpoint);
    const fd = call4(NR.open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC, 0);
    if (fd < 0) refuse(`open_tree ${mountpoint}`, fd);
    const stat = AT_PATH;
    // No field is asked for, so nothing is asked of the daemon.
    const error = statx(fd, this.empty, AT_EMPTY_PATH, 0, this.memory.address + stat);
    if (error < 0) refuse('statx', error);
    const { u32 } = this.memory;
    const found = `${u32[(stat + STATX.dev_major) >> 2]}:${u32[(stat + STATX.dev_minor) >> 2]}`;
    if (found !== device) {
      // Somebody has mounted over it, or it is gone.
      exitGroup(HELPER_EXIT.gone);
    }
    return fd;
  }

  /**
   * A mount namespace with the view and nothing else in it. Where none may be made (RestrictNamespaces= of systemd), the
   * capabilities and descriptors that are kept have to do.
   */
  private isolate(root: number): void {
    const { memory, empty } = this;
    if (call2(NR.unshare, CLONE_NEWNS, 0) < 0) {
      call2(NR.fchdir, root, 0);
      return;
    }
    const slash = memory.setString(AT_PATH, '/');
    const dot = memory.setString(AT_PATH + 8, '.');
    // First of all, so that nothing done here reaches the namespace this one was copied from.
    let error = call6(NR.mount, 0, slash, 0, MS_REC | MS_PRIVATE, 0, 0);
    if (error < 0) refuse('mount', error);
    error = call6(NR.move_mount, root, empty, AT_FDCWD, slash, MOVE_MOUNT_F_EMPTY_PATH, 0);
    if (error === 0) error = call2(NR.fchdir, root, 0);
    // pivot_root(2), NOTES: with twice the same directory the old root lands on top of the new one, and goes.
    if (error === 0) error = call2(NR.pivot_root, dot, dot);
    if (error === 0) error = call2(NR.umount2, dot, MNT_DETACH);
    if (error < 0) refuse('cannot make a mount namespace of the view', error);
  }

  run(): never {
    this.acknowledge(ACK_HELLO, 0, 0);
    const { memory } = this;
    const poll = AT_POLL >> 2;
    for (;;) {
      memory.i32[poll] = JOBS_FD;
      memory.u16[(AT_POLL + 4) >> 1] = POLLIN;
      memory.u16[(AT_POLL + 6) >> 1] = 0;
      memory.i32[poll + 2] = this.mountinfo;
      memory.u16[(AT_POLL + 12) >> 1] = POLLPRI;
      memory.u16[(AT_POLL + 14) >> 1] = 0;
      const ready = call6(NR.ppoll, memory.address + AT_POLL, 2, 0, 0, 8, 0);
      if (ready < 0 && ready !== -EINTR) refuse('ppoll', ready);
      if ((memory.u16[(AT_POLL + 14) >> 1]! & (POLLPRI | POLLERR)) !== 0 && !this.isMounted()) {
        exitGroup(HELPER_EXIT.gone);
      }
      if (memory.u16[(AT_POLL + 6) >> 1] === 0) continue;
      const length = read(JOBS_FD, memory.address + AT_RECORDS, RECORDS_BYTES);
      if (length === -EINTR) continue;
      if (length <= 0) exitGroup(HELPER_EXIT.gone);
      this.work(length);
      // A descriptor would keep the directory in the kernel's cache.
      this.leaveDirectory();
    }
  }

  /** Whether the view is mounted anywhere in the namespace we were started in. */
  private isMounted(): boolean {
    lseek(this.mountinfo, 0, SEEK_SET);
    return readFileSync(this.mountinfo, 'latin1').includes(` ${device} `);
  }

  private work(length: number): void {
    const { u32 } = this.memory;
    let done = 0;
    for (let at = AT_RECORDS; at + JOB.bytes <= length; at += JOB.bytes) {
      const word = at >> 2;
      const sequence = u32[word + JOB.sequence]!;
      if (u32[word + JOB.kind] === KIND.SYNC) {
        if (u32[word + JOB.parent] === process.pid) this.expected = sequence;
        continue;
      }
      if (sequence !== this.expected) continue;
      const error = this.perform(at);
      if (shouldRepeat(u32[word + JOB.kind]!, error)) {
        // What comes after it is passed over until it comes again.
        this.acknowledge(ACK_AGAIN, sequence, -error);
        done = 0;
        continue;
      }
      this.expected = (sequence + 1) >>> 0;
      done = sequence;
      if (error === 0) continue;
      this.acknowledge(error === GONE ? ACK_GONE : ACK_FAILED, sequence, error === GONE ? 0 : -error);
      done = 0;
    }
    if (done !== 0) this.acknowledge(ACK_DONE, done, 0);
  }

  /** Does a job. 0, -errno, or GONE. */
  private perform(at: number): number {
    const { memory, empty } = this;
    const { u32 } = memory;
    const word = at >> 2;
    const kind = u32[word + JOB.kind]!;
    if (kind === KIND.NOTHING) return 0;
    const sequence = u32[word + JOB.sequence]!;
    call2(NR.setfsgid, tagOf(sequence, false), 0);
    const named = u32[word + JOB.nameLength] !== 0;
    const type = u32[word + JOB.type]!;
    const slot = u32[word + JOB.parent]!;
    const generation = u32[word + JOB.parentGeneration]!;
    // A file without a name: only who watches the file itself is to be told, not who watches a directory it is in.
    if (!named && type !== S_IFDIR) this.enter(slot, generation, this.openPlace(slot, generation));
    const fd = this.open(slot, generation);
    if (fd < 0) return fd === -ESTALE ? fd : GONE;
    const name = named ? memory.address + at + JOB.name : empty;
    switch (kind) {
      case KIND.MODIFY:
      case KIND.ATTRIB:
        // The kernel tells IN_MODIFY for a change of mtime alone, IN_ATTRIB for one of both (fsnotify.h, fsnotify_change).
        // truncate(2) would do, too, but needs write access: it makes an exec of the file at that moment fail.
        this.setTimes(kind === KIND.ATTRIB);
        return call4(
          NR.utimensat,
          fd,
          name,
          memory.address + AT_TIMES,
          named ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
        );
      case KIND.CLOSE_WRITE: {
        const file = openat(fd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
        if (file < 0) return file;
        close(file);
        return 0;
      }
      case KIND.CREATE:
      case KIND.DELETE:
      case KIND.RENAME: {
        waitToEnter(this.gate);
        const newName = memory.address + at + JOB.newName;
        if (u32[word + JOB.again] !== 0 && kind !== KIND.CREATE) {
          call2(NR.setfsgid, tagOf(sequence, true), 0);
          this.lookAgain(fd, name);
          if (kind === KIND.RENAME) this.lookAgain(fd, newName);
          call2(NR.setfsgid, tagOf(sequence, false), 0);
        }
        return this.changeNames(kind, type, fd, name, newName);
      }
      default:
        return -EPERM;
    }
  }

  private changeNames(kind: number, type: number, fd: number, name: number, newName: number): number {
    if (kind === KIND.RENAME) return call6(NR.renameat2, fd, name, fd, newName, 0, 0);
    if (kind === KIND.DELETE) return call4(NR.unlinkat, fd, name, type === S_IFDIR ? AT_REMOVEDIR : 0, 0);
    if (type === S_IFDIR) return call4(NR.mkdirat, fd, name, 0o777, 0);
    if (type === S_IFLNK) return call4(NR.symlinkat, this.target, fd, name, 0);
    return call4(NR.mknodat, fd, name, type | 0o666, 0);
  }

  /**
   * Makes the kernel ask again for a name, or its absence, that it has cached: it always does before it creates something
   * (LOOKUP_EXCL). Nothing is created: the daemon refuses.
   */
  private lookAgain(fd: number, name: number): void {
    call4(NR.mkdirat, fd, name, 0o777, 0);
  }

  /** A directory (or, without a name, the object itself) by its nodeid. */
  private open(slot: number, generation: number): number {
    if (this.directory >= 0 && this.directorySlot === slot && this.directoryGeneration === generation) {
      return this.directory;
    }
    return this.enter(slot, generation, this.openHandle(slot, generation));
  }

  private enter(slot: number, generation: number, fd: number): number {
    this.leaveDirectory();
    this.directory = fd;
    this.directorySlot = slot;
    this.directoryGeneration = generation;
    return fd;
  }

  private openHandle(slot: number, generation: number): number {
    const { u32, address } = this.memory;
    const word = AT_HANDLE >> 2;
    u32[word] = FUSE_HANDLE_BYTES;
    u32[word + 1] = FUSE_HANDLE;
    u32[word + 2] = generation;
    u32[word + 3] = slot;
    u32[word + 4] = 0;
    const fd = call4(NR.open_by_handle_at, this.root, address + AT_HANDLE, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    // A directory whose place in the tree the kernel has dropped: it stays in use by who watches it. It is given another
    // place for the moment.
    return fd === -ESTALE ? this.openPlace(slot, generation) : fd;
  }

  private openPlace(slot: number, generation: number): number {
    const name = this.memory.setString(AT_PATH, placeElsewhere(slot, generation));
    return openat(this.elsewhere, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  }

  private openDirectory(name: string): number {
    const path = this.memory.setString(AT_PATH, name);
    const fd = openat(this.root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return fd >= 0 ? fd : refuse(`cannot open ${name} in the view`, fd);
  }

  private leaveDirectory(): void {
    if (this.directory >= 0) close(this.directory);
    this.directory = -1;
  }

  /** Two struct timespec: what is set is set to now, which the daemon does not do. */
  private setTimes(both: boolean): void {
    const { u32 } = this.memory;
    const word = AT_TIMES >> 2;
    u32.fill(0, word, word + 8);
    u32[word + 2] = both ? UTIME_NOW : UTIME_OMIT;
    u32[word + 6] = UTIME_NOW;
  }

  private acknowledge(kind: number, sequence: number, errno: number): void {
    const { u32, address } = this.memory;
    const word = AT_ACK >> 2;
    u32[word] = kind;
    u32[word + 1] = sequence;
    u32[word + 2] = errno;
    u32[word + 3] = process.pid;
    let written: number;
    do written = write(ACKS_FD, address + AT_ACK, ACK_BYTES);
    while (written === -EINTR);
    if (written < 0) exitGroup(HELPER_EXIT.gone);
  }
}

/** The directory of a job is not there any more. */
const GONE = 1;

/** Whether the kernel's cache of names stood in the way, which can be taken back. */
function shouldRepeat(kind: number, error: number): boolean {
  switch (error) {
    case -EAGAIN:
      return true;
    case -EEXIST:
      return kind === KIND.CREATE;
    // A directory was looked up by two at once, in its old place and in its new one (fs/dcache.c, __d_unalias).
    case -ESTALE:
      return true;
    case -ENOENT:
    case -EISDIR:
    case -ENOTDIR:
      return kind === KIND.DELETE || kind === KIND.RENAME;
    default:
      return false;
  }
}

/** When memory is short this process goes before the daemon, whose adjustment it has inherited (proc_pid_oom_score_adj(5)). */
function goFirst(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // It goes like anybody else then.
  }
}

process.title = `fuse-shiftfs-forward ${mountpoint}`;
goFirst();
setNotDumpable();
closeSync(0);
const helper = new Helper();
helper.run();
