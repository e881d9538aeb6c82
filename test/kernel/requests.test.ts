// How many requests the usual operations cost: each is two wake-ups, which is most of what a caller waits for. What is
// counted here is what the kernel asks at least (docs/performance.md); more of them is a lease that is not granted.

import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runOk } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { type View, withView } from '../support/view.js';

const FILES = 200;
/** Requests that come with starting to work in a directory, and those of a program that was kept from its core for a while. */
const MARGIN = 40;

/** Requests, by name, that `script` costs for the files 0 to FILES: `i`, in the directory `here`. Not those of MARGIN or less. */
async function requestsOf(view: View, script: string): Promise<Record<string, number>> {
  const before = (await statusOf(view)).requests;
  const all = `const fs = require('node:fs'); const here = process.argv[1];
    for (let i = 0; i < ${FILES}; i++) { ${script} }`;
  await runOk([process.execPath, '-e', all, `${view.mountpoint}/d`]);
  const after = (await statusOf(view)).requests;
  const counts = Object.entries(after).map(([name, { count }]): [string, number] => [
    name,
    count - (before[name]?.count ?? 0),
  ]);
  return Object.fromEntries(counts.filter(([, count]) => count > MARGIN));
}

test('a file is created with five requests, read with two, looked at with none', { timeout: 60_000 }, async () => {
  await withView({ options: ['--coherence', 'lease', '--watcher', 'fanotify'] }, async (view) => {
    mkdirSync(`${view.source}/d`);
    for (let i = 0; i < FILES; i++) writeFileSync(`${view.source}/d/f${i}`, 'content');
    const about = (count: number) => {
      expect(count).toBeGreaterThanOrEqual(FILES);
      expect(count).toBeLessThan(FILES + MARGIN);
    };

    const create = "const fd = fs.openSync(here + '/n' + i, 'wx'); fs.writeSync(fd, 'x'); fs.closeSync(fd);";
    const { LOOKUP, CREATE, GETXATTR, RELEASE, GETATTR, ...others } = await requestsOf(view, create);
    expect(others).toEqual({});
    for (const count of [LOOKUP, CREATE, GETXATTR, RELEASE]) about(count ?? 0);
    // Of the directory. Now and then once more, when events of the files before were just being handled.
    expect(GETATTR).toBeLessThan(1.75 * FILES);

    const lstat = "fs.lstatSync(here + '/f' + i);";
    // Node asks for the time of birth, too, which a LOOKUP does not tell.
    expect(Object.keys(await requestsOf(view, lstat)).toSorted()).toEqual(['LOOKUP', 'STATX']);
    // The events of what was written a moment ago may have taken it back once more.
    await requestsOf(view, lstat);
    expect(await requestsOf(view, lstat)).toEqual({});
    const absent = "fs.existsSync(here + '/absent' + i);";
    await requestsOf(view, absent);
    expect(await requestsOf(view, absent)).toEqual({});

    const read = "const fd = fs.openSync(here + '/f' + i); fs.readSync(fd, Buffer.alloc(100)); fs.closeSync(fd);";
    const { OPEN, RELEASE: closed, ...rest } = await requestsOf(view, read);
    expect(rest).toEqual({});
    for (const count of [OPEN, closed]) about(count ?? 0);
  });
});
