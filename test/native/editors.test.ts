// The product's main test over fuse-native: somebody on the host saves a file with a real tool, and the container's very
// next look shows it, content and attributes, by name, in the listing and in a private mapping. What the kernel driver's
// test asks beyond that, a shared mapping and the identity of an open file, this driver cannot give (ruled-out.ts).

import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Actor, errnoOf, startActor } from '../support/actor.js';
import { MAP_PRIVATE, O_RDONLY, PROT_READ } from '../support/constants.js';
import { editingTools, editOnHost, edits } from '../support/editors.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView, type View } from '../support/view.js';

/** Names that the tools use on the way, and one that nobody does. */
const PASSING_NAMES = ['file~', 'file.~1~', '.file.swp', '4913', '.#file', '#file#', 'file.new', 'nothing'];

let view: View;
let container: Actor;

beforeAll(async () => {
  view = await mountView({ map: [CONTAINER_MAP] });
  container = await startActor({ uid: 0, gid: 0, userns: [CONTAINER_MAP] });
});
afterAll(async () => {
  await container?.stop();
  await view?.close();
});

async function mapped(file: string, length: number): Promise<string> {
  const fd = await container.open(file, O_RDONLY);
  const map = await container.mmap(fd, length, PROT_READ, MAP_PRIVATE);
  const content = (await container.mapRead(map, 0, length)).toString('latin1');
  await container.munmap(map);
  await container.close(fd);
  return content;
}

/** Every tool with the hardest edit, of the same length; emacs and brz, which found what all others did not, with each. */
const cases = editingTools.flatMap((tool) =>
  edits
    .filter(({ length }) => length === 'same' || /^(emacs|brz)/.test(tool.name))
    .map((edit) => ({ tool, edit, title: `${tool.name}, ${edit.length}` })),
);

test.each(cases)('$title', async ({ tool, edit }) => {
  const name = `${tool.name} ${edit.length}`.replaceAll(/[^a-z0-9]+/g, '-');
  const [here, there] = [`${view.mountpoint}/${name}`, `${view.source}/${name}`];
  mkdirSync(there);
  tool.prepare(`${there}/file`, edit.before, edit.after);

  // Whatever the kernel may cache, it has now; and the file stays open.
  for (let twice = 0; twice < 2; twice++) {
    expect((await container.readFile(`${here}/file`)).toString('latin1')).toBe(edit.before);
    expect(await mapped(`${here}/file`, edit.before.length)).toBe(edit.before);
    await container.readdir(here);
    for (const passing of PASSING_NAMES) await errnoOf(container.stat(`${here}/${passing}`));
  }
  const open = await container.open(`${here}/file`, O_RDONLY);

  editOnHost(tool, `${there}/file`, edit);

  expect(await mapped(`${here}/file`, edit.after.length)).toBe(edit.after);
  expect((await container.readFile(`${here}/file`)).toString('latin1')).toBe(edit.after);
  const host = statSync(`${there}/file`, { bigint: true });
  expect(await container.stat(`${here}/file`)).toMatchObject({
    ino: host.ino,
    size: Number(host.size),
    mode: Number(host.mode),
    nlink: Number(host.nlink),
    mtime: host.mtimeNs,
    ctime: host.ctimeNs,
  });
  const names = readdirSync(there).sort();
  expect((await container.readdir(here)).map(String).sort()).toEqual(names);
  for (const passing of PASSING_NAMES) {
    const wanted = names.includes(passing) ? 'no error' : 'ENOENT';
    expect(`${passing} ${await errnoOf(container.lstat(`${here}/${passing}`))}`).toBe(`${passing} ${wanted}`);
  }
  // What was opened before goes on being read.
  const content = (await container.pread(open, 20_000, 0)).toString('latin1');
  expect(content).toBe(tool.inode === 'same' ? readFileSync(`${there}/file`, 'latin1') : edit.before);
  await container.close(open);
});
