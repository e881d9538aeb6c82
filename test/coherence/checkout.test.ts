// A host that checks out another branch of 10,000 files leaves nothing stale in the container: thousands of names are
// replaced, appear, vanish and change their kind within a second or two, while the container walks the tree.

import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountMode, selectedModes } from './modes.js';

const FILES = 10_000;
/** For the controls: what shows in these need not be looked for in all. */
const FEWER = 3000;
const inside = { uid: 0, gid: 0, userns: [CONTAINER_MAP] };

async function git(directory: string, args: readonly string[], input?: string): Promise<void> {
  const settings = ['user.name=Test', 'user.email=test@example.org', 'gc.auto=0'];
  await runOk(['git', '-C', directory, ...settings.flatMap((setting) => ['-c', setting]), ...args], {
    env: { GIT_CONFIG_NOSYSTEM: '1', HOME: '/nonexistent' },
    timeout: 120_000,
    ...(input === undefined ? {} : { input }),
  });
}

type Branch = 'main' | 'other';

/**
 * The files of a branch, path and content. Of every ten: two stay, four change (two of those keep their size), two are only
 * in this branch, two move or change their kind. Links have a content that begins with `->`.
 */
function* files(branch: Branch, count: number): Iterable<readonly [string, string]> {
  for (let i = 0; i < count; i++) {
    const parent = `d${i % 100}`;
    const kind = Math.floor(i / 100) % 10;
    const file = `${parent}/f${i}`;
    if (kind < 2) yield [file, `the same ${i}\n`];
    else if (kind < 4) yield [file, `${branch.padEnd(5)} ${i}\n`];
    else if (kind < 6) yield [file, `${i}\n`.repeat(branch === 'main' ? 1 : 300)];
    else if (kind < 8) yield [`${file}.${branch}`, `only ${branch}\n`];
    else if (kind === 8) yield [`${parent}/${branch}/f${i}`, `moved ${i}\n`];
    else if (branch === 'main') yield [file, `a file ${i}\n`];
    else if (i % 2 === 0) yield [file, `->target-${i}`];
    else yield [`${file}/inner`, `inner ${i}\n`];
  }
}

/** What git fast-import reads: both branches in one pack, without ten thousand little files of git's own. */
function fastImport(count: number): string {
  const parts: string[] = [];
  for (const branch of ['main', 'other'] as const) {
    parts.push(`commit refs/heads/${branch}\ncommitter Test <test@example.org> 1000000000 +0000\ndata 0\n`);
    for (const [path, content] of files(branch, count)) {
      const link = content.startsWith('->');
      const data = link ? content.slice(2) : content;
      parts.push(`M ${link ? '120000' : '100644'} inline ${path}\ndata ${data.length}\n${data}\n`);
    }
  }
  return parts.join('');
}

/**
 * First every name of either branch as one who knows it would ask for it (listings would make some servers look again):
 * kind, mode, size, time and owner, or that it is not there, and the content. Then every name that a walk finds.
 */
const MANIFEST = `cd "$1" && { xargs -0 stat -c '%n %F %a %s %Y %u:%g' <"$2" 2>&1
  xargs -0 sha1sum <"$2" 2>&1
  find . -name .git -prune -o -printf '%P %y %m %U:%G %l\\n'; } | LC_ALL=C sort`;

describe.each(selectedModes)('git checkout of another branch of 10,000 files, $name', (mode) => {
  test(mode.bound === null ? 'the test catches it' : 'nothing is stale', { timeout: 180_000 }, async () => {
    const count = mode.bound === null || mode.server === 'kernel' ? FEWER : FILES;
    const view = await mountMode(mode);
    try {
      const underlay = `${view.source}/project`;
      mkdirSync(underlay);
      await git(underlay, ['init', '-q', '-b', 'main']);
      await git(underlay, ['fast-import', '--quiet'], fastImport(count));
      await git(underlay, ['reset', '-q', '--hard', 'main']);
      const names = new Set(
        (['main', 'other'] as const).flatMap((branch) => [...files(branch, count)].map(([path]) => path)),
      );
      const nameFile = `${view.source}/names`;
      writeFileSync(nameFile, [...names].join('\0'));
      const list = (directory: string, options = {}): Promise<string> =>
        runOk(['sh', '-c', MANIFEST, 'sh', directory, nameFile], { ...options, timeout: 120_000 });
      const shown = (): Promise<string> => list(`${view.mountpoint}/project`, inside);
      const before = await shown();
      expect(before).toBe(await list(underlay));
      // Once more, so that what can be cached is.
      expect(await shown()).toBe(before);

      // Somebody works in the tree meanwhile: names come, go and change their kind, and that is all.
      let checkingOut = true;
      const walking = (async () => {
        const complaints = new Set<string>();
        // Not in a control: a walk heals it.
        while (checkingOut && mode.bound !== null) {
          const script = `find "$1" -name .git -prune -o -type f -exec cat {} + 2>&1 >/dev/null | grep -avE 'No such file|Is a directory|Not a directory' || true`;
          for (const line of (await runOk(['sh', '-c', script, 'sh', `${view.mountpoint}/project`], inside)).split(
            '\\n',
          ))
            if (line !== '') complaints.add(line);
        }
        return [...complaints].slice(0, 5);
      })();
      await git(underlay, ['checkout', '-q', 'other']);
      const done = performance.now();
      const expected = await list(underlay);

      let begun = 0;
      let seen = '';
      for (;;) {
        begun = performance.now() - done;
        seen = await shown();
        if (seen === expected || mode.bound === null || begun > mode.bound) break;
        await sleep(10);
      }
      checkingOut = false;
      const complaints = await walking;
      const right = new Set(expected.split('\n'));
      const stale = seen.split('\n').filter((line) => !right.has(line));
      if (mode.bound === null) expect(stale.length).toBeGreaterThan(100);
      else {
        expect(stale.slice(0, 5)).toEqual([]);
        expect(seen === expected).toBe(true);
        expect(complaints).toEqual([]);
        console.log(`${mode.name}: a walk begun ${begun.toFixed(0)} ms after the checkout shows all of it`);
      }
      await view.close();
    } finally {
      await view.destroy();
    }
  });
});
