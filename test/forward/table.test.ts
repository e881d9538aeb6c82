// What a watcher in a container is told when the host changes something, compared with what a watcher on the host's own
// file system is told of the same change: the same names in the same order, and the same files said to have changed. Only a move
// between directories is told otherwise (forwarder.ts).

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { editingTools, editOnHost } from '../support/editors.js';
import { IO_URING } from '../support/io-uring.js';
import { runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { mountView, type View } from '../support/view.js';
import { asForwarded, changeEvents, MAP, nameEvents, renames, Watcher, within } from './watcher.js';

interface Operation {
  readonly name: string;
  /** Shell commands, run in a directory of their own; `$OUT` is one outside the view on the same file system. */
  readonly prepare: string;
  readonly act: string;
}

const operations: readonly Operation[] = [
  { name: 'append', prepare: 'echo a > f', act: 'echo b >> f' },
  { name: 'overwrite', prepare: 'echo a > f', act: 'echo b > f' },
  { name: 'create', prepare: '', act: 'echo a > f' },
  { name: 'touch of a new file', prepare: '', act: 'touch f' },
  { name: 'touch', prepare: 'touch f', act: 'touch f' },
  { name: 'chmod', prepare: 'touch f', act: 'chmod 600 f' },
  { name: 'chown', prepare: 'touch f', act: 'chown 1:1 f' },
  { name: 'truncate', prepare: 'echo a > f', act: 'truncate -s 100 f' },
  { name: 'rm', prepare: 'touch f', act: 'rm f' },
  { name: 'mkdir', prepare: '', act: 'mkdir d' },
  { name: 'rmdir', prepare: 'mkdir d', act: 'rmdir d' },
  { name: 'symlink', prepare: '', act: 'ln -s nowhere s' },
  { name: 'symlink replaced', prepare: 'ln -s nowhere s', act: 'ln -sfn elsewhere s' },
  { name: 'rm of a symlink', prepare: 'ln -s nowhere s', act: 'rm s' },
  { name: 'fifo', prepare: '', act: 'mkfifo p' },
  { name: 'link', prepare: 'echo a > f', act: 'ln f g' },
  { name: 'rm of one of two names', prepare: 'echo a > f; ln f g', act: 'rm g' },
  { name: 'mv', prepare: 'echo a > f', act: 'mv f g' },
  { name: 'mv over another', prepare: 'echo a > f; echo b > g', act: 'mv f g' },
  { name: 'mv between directories', prepare: 'mkdir a b; touch a/f', act: 'mv a/f b/g' },
  {
    name: 'mv between directories over another',
    prepare: 'mkdir a b; echo a > a/f; echo b > b/g',
    act: 'mv a/f b/g',
  },
  { name: 'mv of a directory', prepare: 'mkdir -p a/b; touch a/b/f', act: 'mv a c' },
  { name: 'mv of a directory between directories', prepare: 'mkdir -p a/d b; touch a/d/f', act: 'mv a/d b/e' },
  { name: 'mv out of the view', prepare: 'echo a > f', act: 'mv f "$OUT/f"' },
  { name: 'mv into the view', prepare: 'echo a > "$OUT/g"', act: 'mv "$OUT/g" f' },
  { name: 'mv of a directory out of the view', prepare: 'mkdir -p d/e', act: 'mv d "$OUT/d"' },
  { name: 'rm -rf', prepare: 'mkdir -p d/e/f; touch d/1 d/e/2 d/e/f/3', act: 'rm -rf d' },
  { name: 'sed -i', prepare: 'echo a > f', act: 'sed -i s/a/b/ f' },
  { name: 'made and gone', prepare: '', act: 'echo a > f; rm f; mkdir f; rmdir f; ln -s x f; rm f; echo b > f' },
  { name: 'written while open', prepare: '', act: 'exec 7> f; echo a >&7; sleep 0.1; echo b >&7; exec 7>&-' },
  { name: 'renamed while open', prepare: '', act: 'exec 7> f; mv f g; echo a >&7; exec 7>&-; mv g h' },
  { name: 'a chain of renames', prepare: 'echo a > 1', act: 'for i in 1 2 3 4 5 6 7 8 9; do mv $i $((i + 1)); done' },
  { name: 'names swapped', prepare: 'echo a > f; echo b > g', act: 'mv f t; mv g f; mv t g' },
  { name: 'a file without permission', prepare: 'echo a > f; chmod 0 f', act: 'echo b >> f; mv f g; rm g' },
  { name: 'a directory without permission', prepare: 'mkdir -m 0 d', act: 'echo a > d/f; rm d/f' },
  { name: 'a file of somebody else', prepare: 'echo a > f; chown 200000:200000 f', act: 'echo b >> f; chmod 640 f' },
  {
    name: 'names of any bytes',
    prepare: '',
    act: `n=$(printf '\\377\\001 \\n\\t\\303x'); echo a > "$n"; mv "$n" "$n$n"; rm "$n$n"; touch "$(printf '%0255d' 0)"`,
  },
  {
    name: 'a deep tree',
    prepare: `d=$(printf 'dd/%.0s' $(seq 60)); mkdir -p "$d"; echo "$d" > path`,
    act: 'd=$(cat path); echo a > "$d/f"; echo b >> "$d/f"; mv "$d/f" "$d/g"; rm "$d/g"',
  },
  { name: 'cp -a', prepare: 'mkdir -p "$OUT/s"; echo a > "$OUT/s/f"; mkdir d', act: 'cp -a "$OUT/s/f" d/f' },
];

let made = 0;
/** A directory's name, another one when a test is repeated. */
const fresh = (name: string): string => `${name.replaceAll(/[^a-z]/g, '-')}-${++made}`;

interface Place {
  readonly name: string;
  readonly options: readonly string[];
}

const places: readonly Place[] = [
  { name: 'requests by the device', options: ['--io-uring', 'off'] },
  { name: 'requests over io_uring', options: ['--io-uring', 'on'] },
];

describe.each(places)('$name', ({ options }) => {
  let view: View;
  let out: string;
  // `--io-uring on` switches it on for the machine.
  const before = readFileSync(IO_URING, 'latin1').trim();

  beforeAll(async () => {
    view = await mountView({ map: [MAP], options: [...options, '--forward-events', 'on'] });
    out = makeTempDirectory('outside');
  });

  afterAll(async () => {
    await view?.close();
    if (out !== undefined) removeTempDirectory(out);
    if (readFileSync(IO_URING, 'latin1').trim() !== before) writeFileSync(IO_URING, before);
  });

  /** Acts on the host with both watchers watching. */
  async function compare(directory: string, act: () => Promise<void> | void): Promise<void> {
    const underlay = `${view.source}/${directory}`;
    // First the view, so that the host's watcher causes nothing there.
    const container = await Watcher.start({ directory: `${view.mountpoint}/${directory}`, container: true });
    const host = await Watcher.start({ directory: underlay, container: false });
    try {
      // What it took to prepare is told to whoever watches by now.
      await container.settled(underlay);
      await host.settled(underlay);
      container.take();
      host.take();
      const directories = new Set(['']);
      const existing = new Set<string>();
      for (const entry of readdirSync(underlay, { withFileTypes: true, recursive: true, encoding: 'utf8' })) {
        const path = relative(underlay, `${entry.parentPath}/${entry.name}`);
        existing.add(path);
        if (entry.isDirectory()) directories.add(path);
      }
      await act();
      await container.settled(underlay);
      await host.settled(underlay);
      const told = within(directories, container.take());
      const expected = within(directories, asForwarded(host.take(), existing));
      expect(renames(told)).toEqual(renames(expected));
      expect(nameEvents(told)).toEqual(nameEvents(expected));
      expect(changeEvents(told)).toEqual(changeEvents(expected));
      expect(expected.length).toBeGreaterThan(0);
    } finally {
      await container.stop();
      await host.stop();
    }
  }

  test.each(operations)('$name', async ({ name, prepare, act }) => {
    const directory = fresh(name);
    const underlay = `${view.source}/${directory}`;
    mkdirSync(underlay);
    const env = { OUT: `${out}/${directory}` };
    mkdirSync(env.OUT);
    await runOk(['sh', '-e', '-c', prepare], { cwd: underlay, env });
    await compare(directory, async () => {
      await runOk(['sh', '-e', '-c', act], { cwd: underlay, env });
    });
  });

  test.each(editingTools)('$name', async (tool) => {
    const directory = fresh(`tool ${tool.name}`);
    const underlay = `${view.source}/${directory}`;
    mkdirSync(underlay);
    const edit = { length: 'longer', before: 'before\n', after: 'after that\n' } as const;
    tool.prepare(`${underlay}/file`, edit.before, edit.after);
    writeFileSync(`${underlay}/other`, basename(underlay));
    await compare(directory, () => editOnHost(tool, `${underlay}/file`, edit));
  });
});
