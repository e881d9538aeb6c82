// Runs the fuzzer (fuzzer.mjs) in a process of its own, over a small file system of its own, and judges what it did: what lies
// outside the underlay must be as it was, everything must be let go in the end, and the process must have come to it.
//
// Takes root: it mounts a tmpfs, and the operations under test change ids.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FUZZER = fileURLToPath(new URL('fuzzer.mjs', import.meta.url));
const DIST = new URL('../../dist/', import.meta.url).href;
const SECRET = 'the secret that lies outside';
/** Descriptors of a process that holds nothing: node's own, the root, devices. */
const IDLE_DESCRIPTORS = 60;

function mustRun(command, ...args) {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Everything that can be seen of a tree, but access times: reading is no change. */
function snapshot(path) {
  const stat = lstatSync(path, { bigint: true });
  const { mode, uid, gid, size, nlink, ino, mtimeNs, ctimeNs } = stat;
  const facts = [mode, uid, gid, size, nlink, ino, mtimeNs, ctimeNs].join(' ');
  if (stat.isDirectory()) {
    return [
      `${path} ${facts}`,
      ...readdirSync(path)
        .sort()
        .flatMap((name) => snapshot(`${path}/${name}`)),
    ];
  }
  if (stat.isSymbolicLink()) return [`${path} ${facts} ${readlinkSync(path)}`];
  return [`${path} ${facts} ${stat.isFile() ? readFileSync(path, 'latin1') : ''}`];
}

/** What lies around the underlay. Anybody may change it, so that only the daemon's own care protects it. */
function makeOutside(outside) {
  mkdirSync(outside, { mode: 0o777 });
  mustRun('chmod', '777', outside);
  writeFileSync(`${outside}/secret`, SECRET, { mode: 0o666 });
  mustRun('chmod', '666', `${outside}/secret`);
  mkdirSync(`${outside}/d`);
  writeFileSync(`${outside}/d/f`, SECRET);
}

function makeUnderlay(underlay, outside) {
  mkdirSync(`${underlay}/d/deep`, { recursive: true });
  writeFileSync(`${underlay}/f`, 'content');
  writeFileSync(`${underlay}/g`, 'x'.repeat(100_000));
  writeFileSync(`${underlay}/empty`, '');
  mustRun('ln', '-s', `${outside}/secret`, `${underlay}/link-out`);
  mustRun('ln', '-s', 'f', `${underlay}/link-in`);
  mustRun('ln', '-s', '../outside', `${underlay}/link-up`);
  mustRun('ln', `${underlay}/f`, `${underlay}/hard`);
  mustRun('mkfifo', `${underlay}/fifo`);
  mustRun('mknod', `${underlay}/tmp`, 'c', '1', '3');
  mustRun('chmod', '-R', '777', underlay);
}

/**
 * One run in `directory`, which is made and is the caller's to remove. Returns the fuzzer's report and what is wrong, in words;
 * nothing when all is well.
 *
 * @param {{ directory: string, seed: number, seconds?: number, requests?: number, dist?: string }} options
 */
export async function fuzz({ directory, seed, seconds, requests, dist = DIST }) {
  const underlay = `${directory}/underlay`;
  const outside = `${directory}/outside`;
  const trace = `${directory}/last-request`;
  mkdirSync(underlay, { recursive: true });
  mustRun('mount', '-t', 'tmpfs', '-o', 'size=64m,nr_inodes=20000,mode=777', 'tmpfs', underlay);
  try {
    makeOutside(outside);
    makeUnderlay(underlay, outside);
    const before = snapshot(outside);
    const options = { dist, underlay, outside, seed, seconds, requests, secret: SECRET, trace };
    const child = spawn(process.execPath, [FUZZER, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    // A request that does not come to an end is a finding; a slow machine is none.
    const patience = ((seconds ?? 60) * 3 + 60) * 1000;
    const timer = setTimeout(() => child.kill('SIGKILL'), patience);
    const [status, signal] = await new Promise((resolve) => child.once('close', (...end) => resolve(end)));
    clearTimeout(timer);
    const wrong = [];
    let report = null;
    if (status === 0) report = JSON.parse(stdout);
    else {
      const last = existsSync(trace) ? readFileSync(trace, 'latin1').trim().slice(0, 600) : 'none';
      wrong.push(`the process ended with ${signal ?? status}, in the middle of request ${last}\n${stderr}`);
    }
    for (const { where, count, request, bytes } of report?.exceptions ?? []) {
      wrong.push(`${count} exceptions, first at request ${request} (${bytes}): ${where}`);
    }
    for (const { what, request, bytes } of report?.broken ?? []) wrong.push(`request ${request} (${bytes}): ${what}`);
    if (report !== null) {
      const { nodes, files, directories, counted } = report.left;
      if (nodes !== 1 || files !== 0 || directories !== 0 || counted !== 0)
        wrong.push(`not let go: ${JSON.stringify(report.left)}`);
      // Owners of locks that were made up are never released: a kernel releases its own.
      const held = report.descriptors.after - report.lockOwners;
      if (held > IDLE_DESCRIPTORS) wrong.push(`${held} descriptors are left`);
    }
    const after = snapshot(outside);
    if (JSON.stringify(after) !== JSON.stringify(before)) {
      const changed = after.filter((line) => !before.includes(line));
      wrong.push(`what lies outside was changed: ${changed.join('; ') || 'something is gone'}`);
    }
    return { report, wrong };
  } finally {
    mustRun('umount', '--lazy', underlay);
  }
}
