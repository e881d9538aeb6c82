// The FUSE wire protocol, as include/uapi/linux/fuse.h has it (7.31 to 7.45): opcodes, flags, and where each field of
// each struct lies. Offsets are in bytes from the start of the struct. Everything is little-endian u32 or u64.

export const FUSE_KERNEL_VERSION = 7;
/** The newest minor version that is understood here. */
export const FUSE_KERNEL_MINOR_VERSION = 45;
/** The oldest that is accepted: Linux 5.4, the first with every opcode that the view cannot do without. */
export const FUSE_MINOR_VERSION_MIN = 31;

export const FUSE_ROOT_ID = 1;

export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

export type OpName = keyof typeof OP;

/** Opcodes are below this. */
export const OP_LIMIT = 64;

/** Name of an opcode, for figures and traces; `OP99` for one without a name. */
export function opName(opcode: number): string {
  for (const [name, value] of Object.entries(OP)) if (value === opcode) return name;
  return `OP${opcode}`;
}

/** struct fuse_in_header */
export const IN_HEADER = {
  size: 40,
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  total_extlen: 36,
} as const;

/** struct fuse_out_header */
export const OUT_HEADER = { size: 16, len: 0, error: 4, unique: 8 } as const;

/** struct fuse_attr */
export const ATTR = {
  size: 88,
  ino: 0,
  st_size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
} as const;

export const FUSE_ATTR_SUBMOUNT = 1 << 0;

/** struct fuse_entry_out, with its fuse_attr */
export const ENTRY_OUT = {
  size: 128,
  nodeid: 0,
  generation: 8,
  entry_valid: 16,
  attr_valid: 24,
  entry_valid_nsec: 32,
  attr_valid_nsec: 36,
  attr: 40,
} as const;

/** struct fuse_attr_out */
export const ATTR_OUT = { size: 104, attr_valid: 0, attr_valid_nsec: 8, attr: 16 } as const;

/** struct fuse_statx_out; `stat` is laid out as struct statx. */
export const STATX_OUT = { size: 288, attr_valid: 0, attr_valid_nsec: 8, flags: 12, stat: 32 } as const;

/** struct fuse_open_out */
export const OPEN_OUT = { size: 16, fh: 0, open_flags: 8, backing_id: 12 } as const;

/** struct fuse_kstatfs */
export const KSTATFS = {
  size: 80,
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
} as const;

/** struct fuse_dirent; records are padded to 8 bytes. */
export const DIRENT = { size: 24, ino: 0, off: 8, namelen: 16, type: 20 } as const;

/** struct fuse_file_lock */
export const FILE_LOCK = { size: 24, start: 0, end: 8, type: 16, pid: 20 } as const;

/** struct fuse_init_in (7.36 and later) and struct fuse_init_out */
export const INIT_IN = { size: 64, oldSize: 16, major: 0, minor: 4, max_readahead: 8, flags: 12, flags2: 16 } as const;
export const INIT_OUT = {
  size: 64,
  major: 0,
  minor: 4,
  max_readahead: 8,
  flags: 12,
  max_background: 16,
  congestion_threshold: 18,
  max_write: 20,
  time_gran: 24,
  max_pages: 28,
  map_alignment: 30,
  flags2: 32,
  max_stack_depth: 36,
} as const;

/** INIT flags; those from 1 << 32 on live in flags2, shifted down. */
export const INIT = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  ATOMIC_O_TRUNC: 1 << 3,
  EXPORT_SUPPORT: 1 << 4,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  SPLICE_WRITE: 1 << 7,
  SPLICE_MOVE: 1 << 8,
  SPLICE_READ: 1 << 9,
  FLOCK_LOCKS: 1 << 10,
  HAS_IOCTL_DIR: 1 << 11,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  HANDLE_KILLPRIV: 1 << 19,
  POSIX_ACL: 1 << 20,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  EXPLICIT_INVAL_DATA: 1 << 25,
  SUBMOUNTS: 1 << 27,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

export const INIT2 = {
  CREATE_SUPP_GROUP: 1 << 2,
  HAS_EXPIRE_ONLY: 1 << 3,
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5,
  HAS_RESEND: 1 << 7,
  OVER_IO_URING: 1 << 9,
} as const;

/** Flags of an OPEN reply. */
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_CACHE_DIR = 1 << 3;
export const FOPEN_NOFLUSH = 1 << 5;
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;
export const FOPEN_PASSTHROUGH = 1 << 7;

export const FUSE_OPEN_KILL_SUIDGID = 1 << 0;
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2;
export const FUSE_GETATTR_FH = 1 << 0;
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1;
export const FUSE_LK_FLOCK = 1 << 0;
export const FUSE_FSYNC_FDATASYNC = 1 << 0;
export const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0;
export const FUSE_IOCTL_DIR = 1 << 4;
export const FATTR_FH = 1 << 6;
/** Extension of a create request with the one supplementary group that matters (enum fuse_ext_type). */
export const FUSE_EXT_GROUPS = 32;

export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3, DELETE: 6 } as const;
export const FUSE_EXPIRE_ONLY = 1 << 0;

/** _IOR(229, 0, uint32_t), _IOW(229, 1, struct fuse_backing_map), _IOW(229, 2, uint32_t) */
export const FUSE_DEV_IOC_CLONE = 0x8004e500;
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501;
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502;

/** Commands of FUSE over io_uring (enum fuse_uring_cmd). */
export const FUSE_URING = { REGISTER: 1, COMMIT_AND_FETCH: 2 } as const;

/** struct fuse_uring_req_header: the header, the opcode's struct, and struct fuse_uring_ent_in_out. */
export const URING_HEADER = { size: 288, op_in: 128, flags: 256, commit_id: 264, payload_sz: 272 } as const;

/**
 * Size of the fixed struct that follows the header, by opcode; what comes after it (names, data) is the payload. -1: the
 * opcode is not served. With FUSE over io_uring the two arrive in different places.
 */
export function argumentSizes(setxattrExt: boolean): Int16Array {
  const sizes = new Int16Array(OP_LIMIT).fill(-1);
  const known: ReadonlyArray<readonly [number, number]> = [
    [OP.LOOKUP, 0],
    [OP.FORGET, 8],
    [OP.GETATTR, 16],
    [OP.SETATTR, 88],
    [OP.READLINK, 0],
    [OP.SYMLINK, 0],
    [OP.MKNOD, 16],
    [OP.MKDIR, 8],
    [OP.UNLINK, 0],
    [OP.RMDIR, 0],
    [OP.RENAME, 8],
    [OP.LINK, 8],
    [OP.OPEN, 8],
    [OP.READ, 40],
    [OP.WRITE, 40],
    [OP.STATFS, 0],
    [OP.RELEASE, 24],
    [OP.FSYNC, 16],
    [OP.SETXATTR, setxattrExt ? 16 : 8],
    [OP.GETXATTR, 8],
    [OP.LISTXATTR, 8],
    [OP.REMOVEXATTR, 0],
    [OP.FLUSH, 24],
    [OP.INIT, 16],
    [OP.OPENDIR, 8],
    [OP.READDIR, 40],
    [OP.RELEASEDIR, 24],
    [OP.FSYNCDIR, 16],
    [OP.GETLK, 48],
    [OP.SETLK, 48],
    [OP.SETLKW, 48],
    [OP.CREATE, 16],
    [OP.INTERRUPT, 8],
    [OP.DESTROY, 0],
    [OP.IOCTL, 32],
    [OP.BATCH_FORGET, 8],
    [OP.FALLOCATE, 32],
    [OP.READDIRPLUS, 40],
    [OP.RENAME2, 16],
    [OP.LSEEK, 24],
    [OP.COPY_FILE_RANGE, 56],
    [OP.SYNCFS, 8],
    [OP.TMPFILE, 16],
    [OP.STATX, 24],
    [OP.COPY_FILE_RANGE_64, 56],
  ];
  for (const [opcode, size] of known) sizes[opcode] = size;
  return sizes;
}

/** Where the fixed struct of an opcode holds the fh it works on, by opcode; -1: none. COPY_FILE_RANGE has a second. */
export function handleOffsets(): Int8Array {
  const offsets = new Int8Array(OP_LIMIT).fill(-1);
  const first = [
    OP.READ,
    OP.WRITE,
    OP.FSYNC,
    OP.READDIR,
    OP.READDIRPLUS,
    OP.FSYNCDIR,
    OP.GETLK,
    OP.SETLK,
    OP.SETLKW,
    OP.IOCTL,
    OP.FALLOCATE,
    OP.LSEEK,
    OP.COPY_FILE_RANGE,
    OP.COPY_FILE_RANGE_64,
  ];
  for (const opcode of first) offsets[opcode] = 0;
  for (const opcode of [OP.GETATTR, OP.SETATTR, OP.STATX]) offsets[opcode] = 8;
  return offsets;
}

export const COPY_TARGET_HANDLE = 24;
