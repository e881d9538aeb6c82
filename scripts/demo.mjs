// `npm run demo`: what fuse-shiftfs is for, in a few lines. Serves a small project to a container's user namespace (a real
// one, mapped 0:100000:65536) and shows who owns what on either side, and that a host edit by rename is seen.
//
// Needs root and /dev/fuse. Exits with 0 only when everything it shows held; leaves nothing behind.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, lchownSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CLI = `${ROOT}dist/main.js`;
const MAP = '0:100000:65536';
const STEP_LIMIT_MS = 10_000;

let failures = 0;

/** Prints one line of the story, and whether it was as it has to be. */
function show(what, got, wanted) {
  const held = got === wanted;
  if (!held) failures++;
  console.log(`  ${held ? 'ok ' : 'NO '} ${what}: ${got}${held ? '' : ` (expected ${wanted})`}`);
}

/** A shell in a new user namespace: `run` gives it one command and returns what that wrote. */
async function startContainer() {
  const child = spawn('unshare', ['--user', '--keep-caps', 'sh'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const end = '--end of command--';
  const run = async (command) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STEP_LIMIT_MS);
    child.stdin.write(`{ ${command}; } 2>&1; echo; echo "${end}"\n`);
    const output = [];
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the container ended during: ${command}`);
      if (value === end) break;
      output.push(value);
    }
    clearTimeout(timer);
    return output.join('\n').trim();
  };
  await run('true');
  // What newuidmap would write for a user with a line in /etc/subuid; root may write it directly.
  writeFileSync(`/proc/${child.pid}/uid_map`, `${MAP.replaceAll(':', ' ')}\n`);
  writeFileSync(`/proc/${child.pid}/gid_map`, `${MAP.replaceAll(':', ' ')}\n`);
  /** Runs a command as an id of the container. */
  const as = (id, command) =>
    run(`setpriv --reuid ${id} --regid ${id} --clear-groups --inh-caps=-all sh -c '${command}'`);
  return { as, stop: () => child.kill('SIGKILL') };
}

const ownerOnHost = (path) => {
  const { uid, gid } = statSync(path);
  return `${uid}:${gid}`;
};

async function story(directory) {
  const project = `${directory}/project`;
  const view = `${directory}/view`;
  mkdirSync(project);
  mkdirSync(view);
  writeFileSync(`${project}/config`, 'version 1\n');
  mkdirSync(`${project}/home`);
  lchownSync(`${project}/home`, 1000, 1000);

  console.log('A project on the host: config belongs to root, home to uid 1000.');
  console.log(`A container whose root is host uid 100000 (map ${MAP}).\n`);
  const container = await startContainer();
  try {
    console.log('Without fuse-shiftfs the container looks at the directory itself:');
    show('owner of config', await container.as(0, `stat -c %U ${project}/config`), 'nobody');
    show('container root may write', await container.as(0, `test -w ${project}/config && echo yes || echo no`), 'no');

    console.log(`\nfuse-shiftfs mount PROJECT VIEW --map ${MAP}`);
    execFileSync(process.execPath, [CLI, 'mount', project, view, '--map', MAP], { stdio: 'inherit' });
    console.log('and the container looks at the view:');
    show('owner of config', await container.as(0, `stat -c %u:%g ${view}/config`), '0:0');
    show('owner of home', await container.as(0, `stat -c %u:%g ${view}/home`), '1000:1000');

    console.log('\nBoth sides write:');
    await container.as(1000, `echo hello > ${view}/home/from-container`);
    show('made by uid 1000 of the container, on the host', ownerOnHost(`${project}/home/from-container`), '1000:1000');
    await container.as(0, `echo hello > ${view}/by-root`);
    show('made by root of the container, on the host', ownerOnHost(`${project}/by-root`), '0:0');
    writeFileSync(`${project}/home/from-host`, 'hello\n');
    lchownSync(`${project}/home/from-host`, 1000, 1000);
    show(
      'made by uid 1000 of the host, in the container',
      await container.as(1000, `stat -c %u:%g ${view}/home/from-host`),
      '1000:1000',
    );

    console.log('\nThe host saves config the way editors do, by renaming a new file over it:');
    show('the container reads', await container.as(0, `cat ${view}/config`), 'version 1');
    let seen = 0;
    let atFirst = 0;
    const saves = 20;
    for (let save = 2; save < saves + 2; save++) {
      const content = `version ${save}${'!'.repeat(save % 3)}`;
      writeFileSync(`${project}/.config.new`, `${content}\n`);
      renameSync(`${project}/.config.new`, `${project}/config`);
      // A lease is broken when its event has been read, a few milliseconds after the save; never later than a second.
      const saved = performance.now();
      let looks = 1;
      while ((await container.as(0, `cat ${view}/config`)) !== content && performance.now() - saved < 1_000) looks++;
      if (performance.now() - saved < 1_000) seen++;
      if (looks === 1) atFirst++;
    }
    show('saves that the container saw', `${seen} of ${saves}`, `${saves} of ${saves}`);
    console.log(`      ${atFirst} of them at the first look after the save`);
  } finally {
    container.stop();
    unmount(view);
  }
  console.log('\nfuse-shiftfs umount VIEW');
  show('config in the view', existsSync(`${view}/config`) ? 'still there' : 'gone', 'gone');
}

function unmount(view) {
  try {
    execFileSync(process.execPath, [CLI, 'umount', view], { stdio: 'pipe' });
  } catch {
    // The story broke off before there was a view, or the view is what broke.
    spawnSync('umount', ['--lazy', view]);
  }
}

if (process.getuid() !== 0) {
  console.error('The demo mounts a view and makes a user namespace with a map of 65536 ids: run it as root.');
  process.exit(1);
}
if (!existsSync(CLI)) execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: 'inherit' });

const directory = mkdtempSync('/var/tmp/fuse-shiftfs-demo-');
execFileSync('chmod', ['755', directory]);
try {
  await story(directory);
} catch (error) {
  failures++;
  console.error(`\nThe demo broke off: ${error.message}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
console.log(failures === 0 ? '\nAll of it held.' : `\n${failures} did not hold.`);
process.exitCode = failures === 0 ? 0 : 1;
