// The file systems met below the source: the one it is on, those mounted below it, and btrfs subvolumes. Each has a
// descriptor to decode file handles with. Shared by all threads; grows, never shrinks.

import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../linux/abi.js';
import { close, openat } from '../linux/syscalls.js';
import { lock, unlock } from './mutex.js';

const WORDS = 6;
const MOUNT = 0;
const MAJOR = 1;
const MINOR = 2;
const FD = 3;
const FLAGS = 4;
const H_LOCK = 0;
const H_COUNT = 1;
const H_WORDS = 4;
const CAPACITY = 4096;

/** Handles of this file system can be decoded: nodes need no descriptor and no name. */
export const DEVICE_HANDLES = 1;
/** FUSE passthrough was refused for files of this file system. */
export const DEVICE_NO_PASSTHROUGH = 2;

/** Changes on this file system are reported (a fanotify mark on all of it). */
export const DEVICE_WATCHED = 4;
/** They cannot be. */
export const DEVICE_UNWATCHABLE = 8;

export type DevicesShared = SharedArrayBuffer;

export function createDevices(): DevicesShared {
  return new SharedArrayBuffer((H_WORDS + CAPACITY * WORDS) * 4);
}

export class Devices {
  private readonly words: Int32Array;
  private last = 0;

  constructor(shared: DevicesShared) {
    this.words = new Int32Array(shared);
  }

  /** Index of a file system by its mount and device numbers, or -1 when it was never met. */
  find(mount: number, major: number, minor: number): number {
    if (this.matches(this.last, mount, major, minor)) return this.last;
    const count = Atomics.load(this.words, H_COUNT);
    for (let index = 0; index < count; index++) {
      if (this.matches(index, mount, major, minor)) {
        this.last = index;
        return index;
      }
    }
    return -1;
  }

  /**
   * Adds a file system; `fd` is an open directory on it for open_by_handle_at(2), owned from here on, or -1. Returns its
   * index, or -1 when there are too many.
   */
  add(mount: number, major: number, minor: number, fd: number, flags: number): number {
    lock(this.words, H_LOCK);
    let index = this.find(mount, major, minor);
    if (index >= 0) {
      if (fd >= 0) close(fd);
    } else {
      const count = this.words[H_COUNT]!;
      if (count < CAPACITY) {
        const base = H_WORDS + count * WORDS;
        this.words[base + MOUNT] = mount;
        this.words[base + MAJOR] = major;
        this.words[base + MINOR] = minor;
        this.words[base + FD] = fd;
        this.words[base + FLAGS] = flags;
        Atomics.store(this.words, H_COUNT, count + 1);
        index = count;
      }
    }
    unlock(this.words, H_LOCK);
    return index;
  }

  get count(): number {
    return Atomics.load(this.words, H_COUNT);
  }

  fd(index: number): number {
    return this.words[H_WORDS + index * WORDS + FD]!;
  }

  major(index: number): number {
    return this.words[H_WORDS + index * WORDS + MAJOR]!;
  }

  minor(index: number): number {
    return this.words[H_WORDS + index * WORDS + MINOR]!;
  }

  has(index: number, flag: number): boolean {
    return (Atomics.load(this.words, H_WORDS + index * WORDS + FLAGS) & flag) !== 0;
  }

  set(index: number, flag: number): void {
    Atomics.or(this.words, H_WORDS + index * WORDS + FLAGS, flag);
  }

  private matches(index: number, mount: number, major: number, minor: number): boolean {
    const base = H_WORDS + index * WORDS;
    return (
      index < Atomics.load(this.words, H_COUNT) &&
      this.words[base + MOUNT] === mount &&
      this.words[base + MAJOR] === major &&
      this.words[base + MINOR] === minor
    );
  }
}

/** Opens a directory for reading below /proc/self/fd, the working directory of a serving thread. */
export function reopenDirectory(fdName: number): number {
  return openat(AT_FDCWD, fdName, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}
