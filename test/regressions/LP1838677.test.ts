// LP1838677, LP1842382, LP1846272: overlayfs on top did not work, and /proc/PID/maps showed "/" for what was mapped there.
// https://bugs.launchpad.net/bugs/1838677 https://bugs.launchpad.net/bugs/1842382 https://bugs.launchpad.net/bugs/1846272
//
// This test: the container's root mounts an overlay whose lower, upper and work directories are in the view, uses it, and
// runs a program from both; the maps name the program.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { run, runOk } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withContainer } from './harness.js';

const container = { uid: 0, gid: 0, userns: [CONTAINER_MAP], mountNamespace: true };

/** Prints where a running program says that its text comes from. */
const MAPS = `
"$program" 30 & pid=$!
until [ "$(readlink /proc/$pid/exe)" = "$(readlink -f "$program")" ]; do :; done
while read -r _range _perms _offset _device _inode file; do
  case "$_perms" in *x*) case "$file" in *sleep*) echo "$file";; esac;; esac
done < /proc/$pid/maps
kill $pid`;

/** Somebody who is busy elsewhere on the file system of the source: its events reach the watcher, too. */
function startNoise(path: string): () => Promise<void> {
  const child = spawn('sh', ['-c', `while :; do echo > "$0"; mv "$0" "$0~"; sleep 0.001; done`, path], {
    stdio: 'ignore',
  });
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
    for (const name of [path, `${path}~`]) rmSync(name, { force: true });
  };
}

test('overlayfs with all its directories in the view', async () => {
  await withContainer(async ({ host, view, under }) => {
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(under(name));
    for (const name of ['changed', 'removed', 'kept']) writeFileSync(under('lower', name), `${name}\n`);
    const script = `set -e
cd "$1"
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
cat merged/kept merged/changed
echo more >> merged/changed
rm merged/removed
mkdir merged/d
mv merged/d merged/e
echo new > merged/e/new
ls merged merged/e
cat merged/changed
cp /bin/sleep merged/sleep
program=merged/sleep
${MAPS}`;
    const output = await runOk(['sh', '-c', script, 'sh', view.mountpoint], container);
    const [shown, mapped] = output.split(/(?<=\nmore\n)/);
    expect(shown).toBe('kept\nchanged\nmerged:\nchanged\ne\nkept\n\nmerged/e:\nnew\nchanged\nmore\n');
    // With passthrough below it, overlayfs names the file from the top of its upper directory.
    expect(mapped).toMatch(/^(\/\S+)?\/sleep\n$/);
    expect((await host.readFile(under('lower', 'changed'))).toString()).toBe('changed\n');
    expect((await host.readFile(under('upper', 'changed'))).toString()).toBe('changed\nmore\n');
    expect((await host.stat(under('upper', 'e', 'new'))).uid).toBe(0);
    // A whiteout: character device 0:0.
    expect(await host.stat(under('upper', 'removed'))).toMatchObject({ mode: 0o020000, rdev: { major: 0, minor: 0 } });
  });
});

// overlayfs keeps the entries it has looked up below it across several steps, and answers EIO when one was dropped in between
// (fs/overlayfs, ovl_lock_rename_workdir): what the container itself does through the view must not be taken back under it.
test.each(['fanotify', 'chokidar'])('overlayfs on leases keeps what it holds, %s', async (watcher) => {
  await withContainer(
    async ({ view, under }) => {
      for (const name of ['lower', 'upper', 'work', 'merged', 'lower/d']) mkdirSync(under(name));
      writeFileSync(under('lower', 'f'), 'f');
      const script = `cd "$1" && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
for i in $(seq 60); do
  mkdir merged/new && rmdir merged/new
  rmdir merged/d && mkdir merged/d
  rm merged/f && echo $i > merged/f
  mkdir merged/d/s && mv merged/d/s merged/t && rmdir merged/t
done 2>&1
cat merged/f`;
      const noise = startNoise(`${view.source}-noise`);
      try {
        expect(await runOk(['sh', '-c', script, 'sh', view.mountpoint], container)).toBe('60\n');
      } finally {
        await noise();
      }
      // chokidar cannot tell whose change it reports, so there a name may be looked at in the middle of one.
      if (watcher === 'fanotify') {
        const { counters } = await statusOf(view);
        expect(counters).toMatchObject({ doubts: 0, broken_appeared: 0, broken_vanished: 0, broken_replaced: 0 });
        expect(counters['events']).toBeGreaterThan(0);
      }
    },
    { options: ['--coherence', 'lease', '--watcher', watcher] },
  );
});

test('maps of a program in the view name it', async () => {
  await withContainer(async ({ view, under, in: here }) => {
    copyFileSync('/bin/sleep', under('sleep'));
    const output = await run(['sh', '-c', `program=$1\n${MAPS}`, 'sh', here('sleep')], container);
    expect(output.stdout.toString()).toBe(`${view.mountpoint}/sleep\n`);
  });
});
