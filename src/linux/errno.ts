// Error numbers of Linux (include/uapi/asm-generic/errno-base.h, errno.h): the same on x86-64 and arm64.

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const E2BIG = 7;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const EXDEV = 18;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOTTY = 25;
export const EFBIG = 27;
export const ENOSPC = 28;
export const EROFS = 30;
export const ERANGE = 34;
export const ENAMETOOLONG = 36;
export const ENOLCK = 37;
export const ENOSYS = 38;
export const ENOTEMPTY = 39;
export const ELOOP = 40;
export const ENODATA = 61;
export const EPROTO = 71;
export const EOVERFLOW = 75;
export const EOPNOTSUPP = 95;
export const ENOTCONN = 107;
export const ECONNABORTED = 103;
export const ESTALE = 116;
export const EDQUOT = 122;
export const ECANCELED = 125;

const names = new Map<number, string>();

/** `ENOENT` for 2; numbers without a name here come back as `E123`. */
export function errnoName(errno: number): string {
  if (names.size === 0) {
    for (const [name, value] of Object.entries(table)) names.set(value, name);
  }
  return names.get(errno) ?? `E${errno}`;
}

const table: Readonly<Record<string, number>> = {
  EPERM,
  ENOENT,
  ESRCH,
  EINTR,
  EIO,
  ENXIO,
  E2BIG,
  ENOEXEC: 8,
  EBADF,
  ECHILD: 10,
  EAGAIN,
  ENOMEM,
  EACCES,
  EFAULT: 14,
  ENOTBLK: 15,
  EBUSY,
  EEXIST,
  EXDEV,
  ENODEV,
  ENOTDIR,
  EISDIR,
  EINVAL,
  ENFILE,
  EMFILE,
  ENOTTY,
  ETXTBSY: 26,
  EFBIG,
  ENOSPC,
  ESPIPE: 29,
  EROFS,
  EMLINK: 31,
  EPIPE: 32,
  EDOM: 33,
  ERANGE,
  EDEADLK: 35,
  ENAMETOOLONG,
  ENOLCK,
  ENOSYS,
  ENOTEMPTY,
  ELOOP,
  ENODATA,
  ETIME: 62,
  EREMOTE: 66,
  EPROTO,
  EBADMSG: 74,
  EOVERFLOW,
  EUSERS: 87,
  EOPNOTSUPP,
  ECONNABORTED,
  ENOTCONN,
  ETIMEDOUT: 110,
  ESTALE,
  EUCLEAN: 117,
  EREMOTEIO: 121,
  EDQUOT,
  ENOMEDIUM: 123,
  ECANCELED,
};
