// Struct layouts shared with the kernel: byte offsets, and nothing but offsets. Each is named as in its header.

/** struct statx, include/uapi/linux/stat.h */
export const STATX = {
  size: 256,
  mask: 0,
  blksize: 4,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  st_size: 40,
  blocks: 48,
  attributes_mask: 56,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdev_major: 128,
  rdev_minor: 132,
  dev_major: 136,
  dev_minor: 140,
  mnt_id: 144,
} as const;

/** struct file_handle, include/linux/fcntl.h: handle_bytes is in and out. */
export const FILE_HANDLE = { handle_bytes: 0, handle_type: 4, f_handle: 8, maxBytes: 128 } as const;

/** struct linux_dirent64, include/linux/dirent.h */
export const DIRENT64 = {
  d_ino: 0,
  d_off: 8,
  d_reclen: 16,
  d_type: 18,
  d_name: 19,
  minSize: 24,
  maxSize: 280,
} as const;

/** struct statfs of 64-bit architectures, include/uapi/asm-generic/statfs.h: 64-bit fields */
export const STATFS = {
  size: 120,
  f_type: 0,
  f_bsize: 8,
  f_blocks: 16,
  f_bfree: 24,
  f_bavail: 32,
  f_files: 40,
  f_ffree: 48,
  f_fsid: 56,
  f_namelen: 64,
  f_frsize: 72,
  f_flags: 80,
} as const;

/** struct flock, include/uapi/asm-generic/fcntl.h */
export const FLOCK = { size: 32, l_type: 0, l_whence: 2, l_start: 8, l_len: 16, l_pid: 24 } as const;

/** glibc's makedev: the number that mknod(2) and st_rdev carry (include/linux/kdev_t.h, new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
