// A small FUSE file system that shows another directory and fails on command: an underlay with I/O errors, one that stalls for
// seconds, one that takes less than it is given. Started by faulty-underlay.ts; talks to it over IPC.
//
// It shares no code with the product. The device is read on a thread of libuv and every request is served by a promise, so
// that one that stalls holds up nothing else. Paths are plain strings: nobody attacks this one.

import * as fs from 'node:fs';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { promisify } from 'node:util';
import koffi from 'koffi';

const [backing, mountpoint] = process.argv.slice(2);
const MAX_WRITE = 131072;
const OPS = {
  1: 'LOOKUP',
  2: 'FORGET',
  3: 'GETATTR',
  4: 'SETATTR',
  5: 'READLINK',
  6: 'SYMLINK',
  8: 'MKNOD',
  9: 'MKDIR',
  10: 'UNLINK',
  11: 'RMDIR',
  12: 'RENAME',
  13: 'LINK',
  14: 'OPEN',
  15: 'READ',
  16: 'WRITE',
  17: 'STATFS',
  18: 'RELEASE',
  20: 'FSYNC',
  25: 'FLUSH',
  26: 'INIT',
  27: 'OPENDIR',
  28: 'READDIR',
  29: 'RELEASEDIR',
  35: 'CREATE',
  36: 'INTERRUPT',
  38: 'DESTROY',
  42: 'BATCH_FORGET',
  45: 'RENAME2',
};

const libc = koffi.load('libc.so.6');
const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
);
const device = openSync('/dev/fuse', constants.O_RDWR);
const options = `fd=${device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions`;
if (mount('faulty', mountpoint, 'fuse.faulty', 0, options) !== 0) throw new Error(`mount: errno ${koffi.errno()}`);

/** @type {{ path: string, ops: string[] | null, errno: string | null, stall: boolean, short: number | null }[]} */
let rules = [];
/** Requests that wait, by unique. @type {Map<bigint, (errno: string | null) => void>} */
const stalled = new Map();
const report = () => process.send?.({ stalled: stalled.size });

process.on('message', (message) => {
  rules = message.rules;
  // Who was stalled by a rule that is gone goes on.
  for (const go of [...stalled.values()]) go(null);
});
process.on('disconnect', () => process.exit(0));

const ids = new Map([['', 1n]]);
const paths = new Map([[1n, '']]);
let lastId = 1n;
const idOf = (path) => {
  let id = ids.get(path);
  if (id === undefined) {
    id = ++lastId;
    ids.set(path, id);
    paths.set(id, path);
  }
  return id;
};
function moved(from, to) {
  forgetPath(to);
  for (const [path, id] of [...ids]) {
    if (path !== from && !path.startsWith(`${from}/`)) continue;
    const now = to + path.slice(from.length);
    ids.delete(path);
    ids.set(now, id);
    paths.set(id, now);
  }
}
/** The next file of this name is another one; whoever holds the old one goes on by its descriptor. */
function forgetPath(path) {
  const id = ids.get(path);
  ids.delete(path);
  if (id !== undefined) paths.set(id, `${path} (deleted)`);
}
const real = (path) => (path === '' ? backing : `${backing}/${path}`);
const join = (directory, name) => (directory === '' ? name : `${directory}/${name}`);

/** struct fuse_attr */
function attributes(buffer, at, stat, id) {
  buffer.writeBigUInt64LE(id, at);
  buffer.writeBigUInt64LE(stat.size, at + 8);
  buffer.writeBigUInt64LE(stat.blocks, at + 16);
  for (const [index, time] of [stat.atimeNs, stat.mtimeNs, stat.ctimeNs].entries()) {
    buffer.writeBigUInt64LE(time / 1_000_000_000n, at + 24 + index * 8);
    buffer.writeUInt32LE(Number(time % 1_000_000_000n), at + 48 + index * 4);
  }
  buffer.writeUInt32LE(Number(stat.mode), at + 60);
  buffer.writeUInt32LE(Number(stat.nlink), at + 64);
  buffer.writeUInt32LE(Number(stat.uid), at + 68);
  buffer.writeUInt32LE(Number(stat.gid), at + 72);
  buffer.writeUInt32LE(4096, at + 80);
}

function entry(path) {
  const buffer = Buffer.alloc(128);
  const id = idOf(path);
  attributes(buffer, 40, lstatSync(real(path), { bigint: true }), id);
  buffer.writeBigUInt64LE(id, 0);
  return buffer;
}

function attrOut(stat, id) {
  const buffer = Buffer.alloc(104);
  attributes(buffer, 16, stat, id);
  return buffer;
}

function openOut(fd) {
  const buffer = Buffer.alloc(16);
  buffer.writeBigUInt64LE(BigInt(fd), 0);
  return buffer;
}

/** Names that follow each other, each with its NUL. */
function strings(payload) {
  return payload.toString('utf8').split('\0').slice(0, -1);
}

/** One request to its reply's payload; null for none. Throws what node throws. */
function serve(opcode, id, body, path, uid, gid) {
  switch (OPS[opcode]) {
    case 'LOOKUP':
      return entry(join(path, strings(body)[0]));
    case 'GETATTR': {
      const fd = body.readUInt32LE(0) & 1 ? Number(body.readBigUInt64LE(8)) : -1;
      return attrOut(fd >= 0 ? fstatSync(fd, { bigint: true }) : lstatSync(real(path), { bigint: true }), id);
    }
    case 'SETATTR': {
      const valid = body.readUInt32LE(0);
      if (valid & 8) {
        const size = Number(body.readBigUInt64LE(16));
        if (valid & 64) ftruncateSync(Number(body.readBigUInt64LE(8)), size);
        else truncateSync(real(path), size);
      }
      const before = lstatSync(real(path), { bigint: true });
      const pick = (bit, offset, old) => (valid & bit ? body.readUInt32LE(offset) : Number(old));
      if (valid & 6) fs.lchownSync(real(path), pick(2, 76, before.uid), pick(4, 80, before.gid));
      if (valid & 1) fs.chmodSync(real(path), body.readUInt32LE(68) & 0o7777);
      if (valid & 0x1b0) {
        const time = (bit, now, offset, old) =>
          valid & now ? Date.now() / 1000 : valid & bit ? Number(body.readBigInt64LE(offset)) : Number(old) / 1e9;
        lutimesSync(real(path), time(16, 128, 32, before.atimeNs), time(32, 256, 40, before.mtimeNs));
      }
      return attrOut(lstatSync(real(path), { bigint: true }), id);
    }
    case 'READLINK':
      return Buffer.from(readlinkSync(real(path)));
    case 'SYMLINK': {
      const [name, target] = strings(body);
      symlinkSync(target, real(join(path, name)));
      fs.lchownSync(real(join(path, name)), uid, gid);
      return entry(join(path, name));
    }
    case 'MKDIR': {
      const name = join(path, strings(body.subarray(8))[0]);
      mkdirSync(real(name), body.readUInt32LE(0) & 0o7777);
      fs.lchownSync(real(name), uid, gid);
      return entry(name);
    }
    case 'UNLINK': {
      const name = join(path, strings(body)[0]);
      unlinkSync(real(name));
      forgetPath(name);
      return Buffer.alloc(0);
    }
    case 'RMDIR': {
      const name = join(path, strings(body)[0]);
      rmdirSync(real(name));
      forgetPath(name);
      return Buffer.alloc(0);
    }
    case 'RENAME':
    case 'RENAME2': {
      const fixed = OPS[opcode] === 'RENAME' ? 8 : 16;
      if (fixed === 16 && body.readUInt32LE(8) !== 0) return 'EINVAL';
      const [from, to] = strings(body.subarray(fixed));
      const target = join(paths.get(body.readBigUInt64LE(0)), to);
      renameSync(real(join(path, from)), real(target));
      moved(join(path, from), target);
      return Buffer.alloc(0);
    }
    case 'LINK': {
      const name = join(path, strings(body.subarray(8))[0]);
      linkSync(real(paths.get(body.readBigUInt64LE(0))), real(name));
      return entry(name);
    }
    case 'OPEN':
      return openOut(openSync(real(path), body.readUInt32LE(0) & ~(constants.O_CREAT | constants.O_EXCL)));
    case 'CREATE': {
      const name = join(path, strings(body.subarray(16))[0]);
      const fd = openSync(real(name), body.readUInt32LE(0) | constants.O_CREAT, body.readUInt32LE(4) & 0o7777);
      fs.fchownSync(fd, uid, gid);
      return Buffer.concat([entry(name), openOut(fd)]);
    }
    case 'READ': {
      const buffer = Buffer.alloc(body.readUInt32LE(16));
      const got = readSync(Number(body.readBigUInt64LE(0)), buffer, 0, buffer.length, Number(body.readBigUInt64LE(8)));
      return buffer.subarray(0, got);
    }
    case 'WRITE': {
      const short = rules.find((rule) => rule.short !== null && matches(rule, 'WRITE', path))?.short;
      const size = Math.min(body.readUInt32LE(16), short ?? MAX_WRITE);
      const out = Buffer.alloc(8);
      const data = body.subarray(40, 40 + size);
      out.writeUInt32LE(writeSync(Number(body.readBigUInt64LE(0)), data, 0, size, Number(body.readBigUInt64LE(8))), 0);
      return out;
    }
    case 'STATFS': {
      const stat = fs.statfsSync(backing, { bigint: true });
      const out = Buffer.alloc(80);
      for (const [index, value] of [stat.blocks, stat.bfree, stat.bavail, stat.files, stat.ffree].entries())
        out.writeBigUInt64LE(value, index * 8);
      out.writeUInt32LE(Number(stat.bsize), 40);
      out.writeUInt32LE(255, 44);
      out.writeUInt32LE(Number(stat.bsize), 48);
      return out;
    }
    case 'RELEASE':
      closeSync(Number(body.readBigUInt64LE(0)));
      return Buffer.alloc(0);
    case 'FSYNC':
      fsyncSync(Number(body.readBigUInt64LE(0)));
      return Buffer.alloc(0);
    case 'FLUSH':
    case 'RELEASEDIR':
      return Buffer.alloc(0);
    case 'OPENDIR':
      return openOut(0);
    case 'READDIR': {
      const names = ['.', '..', ...readdirSync(real(path))];
      const records = [];
      let left = body.readUInt32LE(16);
      for (let index = Number(body.readBigUInt64LE(8)); index < names.length; index++) {
        const name = Buffer.from(names[index]);
        const record = Buffer.alloc((24 + name.length + 7) & ~7);
        if (record.length > left) break;
        left -= record.length;
        record.writeBigUInt64LE(BigInt(index + 1), 0);
        record.writeBigUInt64LE(BigInt(index + 1), 8);
        record.writeUInt32LE(name.length, 16);
        name.copy(record, 24);
        records.push(record);
      }
      return Buffer.concat(records);
    }
    case 'INIT': {
      const out = Buffer.alloc(64);
      out.writeUInt32LE(7, 0);
      out.writeUInt32LE(31, 4);
      // BIG_WRITES, PARALLEL_DIROPS: without it one stalled lookup would hold up its whole directory.
      out.writeUInt32LE((1 << 5) | (1 << 18), 12);
      out.writeUInt16LE(512, 16);
      out.writeUInt32LE(MAX_WRITE, 20);
      out.writeUInt32LE(1, 24);
      return out;
    }
    case 'FORGET':
    case 'BATCH_FORGET':
    case 'INTERRUPT':
      return null;
    case 'DESTROY':
      return Buffer.alloc(0);
    default:
      return 'ENOSYS';
  }
}

/** A path and all below it; operations on a name in a directory count for the name. */
const matches = (rule, op, path) =>
  (rule.ops === null || rule.ops.includes(op)) &&
  (rule.path === '' || path === rule.path || path.startsWith(`${rule.path}/`));

const WITH_NAME = { LOOKUP: 0, SYMLINK: 0, UNLINK: 0, RMDIR: 0, MKDIR: 8, CREATE: 16, LINK: 8, RENAME: 8, RENAME2: 16 };

function answer(unique, result) {
  if (result === null) return;
  const error = typeof result === 'string' ? osConstants.errno[result] : 0;
  const payload = typeof result === 'string' ? Buffer.alloc(0) : result;
  const reply = Buffer.alloc(16 + payload.length);
  reply.writeUInt32LE(reply.length, 0);
  reply.writeInt32LE(-error, 4);
  reply.writeBigUInt64LE(unique, 8);
  payload.copy(reply, 16);
  try {
    writeSync(device, reply);
  } catch {
    // ENOENT: the caller was killed. ENODEV: unmounted.
  }
}

async function handle(request) {
  const opcode = request.readUInt32LE(4);
  const unique = request.readBigUInt64LE(8);
  const id = request.readBigUInt64LE(16);
  const body = request.subarray(40);
  const op = OPS[opcode] ?? 'UNKNOWN';
  const path = paths.get(id) ?? '';
  const subject = op in WITH_NAME ? join(path, strings(body.subarray(WITH_NAME[op]))[0]) : path;
  if (op === 'INTERRUPT') {
    // Like a network file system: who waits for a server that is gone can be killed.
    stalled.get(body.readBigUInt64LE(0))?.('EINTR');
    return;
  }
  const rule = op === 'INIT' || op === 'FORGET' ? undefined : rules.find((each) => matches(each, op, subject));
  if (rule?.stall) {
    const interrupted = await new Promise((resolve) => {
      stalled.set(unique, resolve);
      report();
    });
    stalled.delete(unique);
    report();
    if (interrupted !== null) return answer(unique, interrupted);
  }
  if (rule?.errno) return answer(unique, rule.errno);
  let result;
  try {
    result = serve(opcode, id, body, paths.get(id) ?? '', request.readUInt32LE(24), request.readUInt32LE(28));
  } catch (error) {
    result = error.code in osConstants.errno ? error.code : 'EIO';
  }
  answer(unique, result);
}

const readDevice = promisify(read);
process.umask(0);
process.send?.({ ready: true });
for (;;) {
  const buffer = Buffer.alloc(MAX_WRITE + 4096);
  let length;
  try {
    ({ bytesRead: length } = await readDevice(device, buffer, 0, buffer.length, null));
  } catch (error) {
    if (error.code === 'ENODEV') process.exit(0);
    continue;
  }
  void handle(buffer.subarray(0, length));
}
