// Writes from and reads into memory of which the second half may not be touched, and says what the kernel made of it: one
// JSON line. Started by CVE-2021-3492.test.ts inside a container; plain JavaScript, because it is started by node as it is.

import { constants } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const mmap = libc.func(
  'intptr_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const mprotect = libc.func('int mprotect(uint64_t address, size_t length, int protection)');
const open = libc.func('int open(const char *path, int flags, uint mode)');
const pwrite = libc.func('long pwrite64(int fd, uint64_t buffer, size_t length, int64_t offset)');
const pread = libc.func('long pread64(int fd, uint64_t buffer, size_t length, int64_t offset)');
const fstat = libc.func('int fsync(int fd)');
const ioctl = libc.func('int ioctl(int fd, ulong request, uint64_t argument)');

const PAGE = 4096;
const PROT_NONE = 0;
const READ_WRITE = 3;
const PRIVATE_ANONYMOUS = 0x22;
const FS_IOC_SETFLAGS = 0x40086602;

const address = BigInt(mmap(0, 2 * PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0));
Buffer.from(koffi.view(address, PAGE)).fill('w');
mprotect(address + BigInt(PAGE), PAGE, PROT_NONE);

const outcome = (result) => (Number(result) >= 0 ? Number(result) : `errno ${koffi.errno()}`);
const fd = open(process.argv[2], constants.O_RDWR | constants.O_CREAT, 0o644);
const results = {
  // Half of it can be read.
  crossing: outcome(pwrite(fd, address + BigInt(PAGE - 1000), 2000, 0)),
  none: outcome(pwrite(fd, address + BigInt(PAGE), 1000, 50_000)),
  nowhere: outcome(pwrite(fd, 8n, 1000, 60_000)),
  readCrossing: outcome(pread(fd, address + BigInt(PAGE - 500), 1000, 0)),
  readNone: outcome(pread(fd, address + BigInt(PAGE), 100, 0)),
  ioctl: outcome(ioctl(fd, FS_IOC_SETFLAGS, 8n)),
  after: outcome(fstat(fd)),
};
console.log(JSON.stringify(results));
