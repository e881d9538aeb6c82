// Files registered with the kernel for passthrough (FUSE_DEV_IOC_BACKING_OPEN, Linux 6.9). Any clone of the device will do
// for any of them.

import { Memory } from '../linux/memory.js';
import { ioctl } from '../linux/syscalls.js';
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from './protocol.js';

export class BackingFiles {
  private readonly device: () => number;
  /** struct fuse_backing_map { s32 fd; u32 flags; u64 padding; }, or the id alone. Nobody else's: files go at any time. */
  private readonly memory = new Memory(16);

  /** `device`: a descriptor of the view's device. */
  constructor(device: () => number) {
    this.device = device;
  }

  /** The id, or -errno. */
  open(fd: number): number {
    const { i32, u32, address } = this.memory;
    u32.fill(0);
    i32[0] = fd;
    return ioctl(this.device(), FUSE_DEV_IOC_BACKING_OPEN, address);
  }

  close(id: number): void {
    this.memory.i32[0] = id;
    ioctl(this.device(), FUSE_DEV_IOC_BACKING_CLOSE, this.memory.address);
  }
}
