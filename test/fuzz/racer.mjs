// Uses names that somebody swaps for links meanwhile (race.c), straight through the file system operations: without a kernel in
// between, an attempt costs a few system calls, and a million fit into a minute.
//
// Usage: node racer.mjs '{"dist": URL, "underlay": PATH, "seed": N, "attempts": N}'

import { openFileSystem, REPLY_BYTES, Writer } from './filesystem.mjs';

const options = JSON.parse(process.argv[2]);
const { memory, handles, nodes, request, dispatcher, requestAt, replyAt, OP } = await openFileSystem(options);
const ROOT = [1, 0];
const counts = { attempts: 0, done: 0, failed: 0, links: 0, escapes: 0 };

let state = options.seed | 1;
function below(n) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
}

function send(op, nodeid, body) {
  const bytes = Buffer.concat([
    new Writer()
      .u32(40 + body.length, OP[op])
      .u64([0, 0], nodeid)
      .u32(100000, 100000, 1, 0)
      .done(),
    body,
  ]);
  memory.u8.set(bytes, requestAt);
  const error = request.attach(requestAt, bytes.length);
  const result = error === 0 ? dispatcher.dispatch(request, replyAt, REPLY_BYTES) : error;
  if (result >= 0) counts.done++;
  else counts.failed++;
  return result;
}

const word = (index) => memory.u32[(replyAt >> 2) + index];
const named = (text) => new Writer().string(Buffer.from(text)).done();
const twoNames = (from, to) => new Writer().string(Buffer.from(from)).string(Buffer.from(to));

/** The node of a name and its type, or null. Its lookup is given back by `forget`. */
function lookup(parent, name) {
  if (send('LOOKUP', parent, named(name)) < 0 || word(0) === 0) return null;
  return { id: [word(0), word(1)], type: word((40 + 60) >> 2) & 0o170000 };
}
const forget = (node) => {
  if (nodes.resolve(node.id[0], node.id[1]) !== 0) send('FORGET', node.id, new Writer().u64([1, 0]).done());
};

function readAll(node) {
  if (send('OPEN', node.id, new Writer().u32(0, 0).done()) < 0) return;
  const fh = [word(0), word(1)];
  const length = send('READ', node.id, new Writer().u64(fh, [0, 0]).u32(64, 0).u64([0, 0]).u32(0, 0).done());
  if (length > 0 && Buffer.from(memory.u8.buffer, replyAt, length).includes('secret')) counts.escapes++;
  if (handles.resolve(fh[0], fh[1], 1) !== 0)
    send('RELEASE', node.id, new Writer().u64(fh).u32(0, 0).u64([0, 0]).done());
}

/** Gives back what a create answered with. */
function drop(result, opened) {
  if (result < 0) return;
  const node = { id: [word(0), word(1)] };
  if (opened)
    send(
      'RELEASE',
      node.id,
      new Writer()
        .u64([word(32), word(33)])
        .u32(0, 0)
        .u64([0, 0])
        .done(),
    );
  forget(node);
}

const setattr = (valid, { mode = 0, uid = 0, size = 0 }) =>
  new Writer()
    .u32(valid, 0)
    .u64([0, 0], [size, 0], [0, 0], [0, 0], [0, 0], [0, 0])
    .u32(0, 0, 0, mode, 0, uid, uid, 0)
    .done();

const FILES = ['f', 'link-f'];
const DIRECTORIES = ['d', 'd2', 'link-d', 'link-up', 'sub', 'link-sub'];
for (; counts.attempts < options.attempts; counts.attempts++) {
  let directory = { id: ROOT };
  const path = [];
  for (let depth = below(3); depth > 0; depth--) {
    const next = lookup(directory.id, DIRECTORIES[below(DIRECTORIES.length)]);
    if (next === null) break;
    path.push(next);
    if (next.type === 0o120000) counts.links++;
    directory = next;
  }
  const { id } = directory;
  const name = FILES[below(2)];
  switch (below(11)) {
    case 0:
    case 1: {
      const node = lookup(id, name);
      if (node === null) break;
      readAll(node);
      forget(node);
      break;
    }
    case 2: {
      const node = lookup(id, name);
      if (node === null) break;
      send('SETATTR', node.id, setattr(1, { mode: 0o666 }));
      send('SETATTR', node.id, setattr(8, { size: 7 }));
      send('SETATTR', node.id, setattr(6, { uid: 100001 }));
      send(
        'SETXATTR',
        node.id,
        new Writer().u32(1, 0, 0, 0).string(Buffer.from('user.race')).bytes(Buffer.from('x')).done(),
      );
      forget(node);
      break;
    }
    case 3:
      drop(send('CREATE', id, new Writer().u32(0o1101, 0o644, 0, 0).string(Buffer.from('made')).done()), true);
      send('UNLINK', id, named('made'));
      break;
    case 4:
      drop(send('MKDIR', id, new Writer().u32(0o755, 0).string(Buffer.from('made-d')).done()), false);
      send('RMDIR', id, named('made-d'));
      break;
    case 5:
      drop(send('SYMLINK', id, twoNames('made-l', 'target').done()), false);
      send('UNLINK', id, named('made-l'));
      break;
    case 6:
      send('RENAME', id, new Writer().u64(id).bytes(twoNames('f', 'g').done()).done());
      send('RENAME', id, new Writer().u64(id).bytes(twoNames('g', 'f').done()).done());
      break;
    case 7: {
      const node = lookup(id, name);
      if (node === null) break;
      drop(send('LINK', id, new Writer().u64(node.id).string(Buffer.from('made-h')).done()), false);
      forget(node);
      send('UNLINK', id, named('made-h'));
      break;
    }
    case 8:
      drop(send('TMPFILE', id, new Writer().u32(0o20200002, 0o644, 0, 0).string(Buffer.from('/')).done()), true);
      break;
    case 9: {
      if (send('OPENDIR', id, new Writer().u32(0, 0).done()) < 0) break;
      const fh = [word(0), word(1)];
      send('READDIRPLUS', id, new Writer().u64(fh, [0, 0]).u32(4096, 0).u64([0, 0]).u32(0, 0).done());
      const length = send('READDIR', id, new Writer().u64(fh, [0, 0]).u32(4096, 0).u64([0, 0]).u32(0, 0).done());
      if (length > 0 && Buffer.from(memory.u8.buffer, replyAt, length).includes('only-outside')) counts.escapes++;
      send('RELEASEDIR', id, new Writer().u64(fh).u32(0, 0).u64([0, 0]).done());
      break;
    }
    default:
      send('STATFS', id, Buffer.alloc(0));
  }
  for (const node of path) forget(node);
}
process.stdout.write(`${JSON.stringify(counts)}\n`);
process.exit(counts.escapes > 0 ? 2 : 0);
