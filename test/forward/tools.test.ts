// Programs that wait for files to change, in the view, and a save on the host: node, vite and chokidar see it at once. tail(1)
// does not watch files on FUSE, but looks once a second (coreutils, src/fs.h); it must go on all the same. The compiler of
// TypeScript 7 watches with fanotify, and has no group for FUSE beside other file systems (EXDEV): it watches nothing.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { editingTools } from '../support/editors.js';
import { startProgram } from '../support/programs.js';
import { childEnvironment, makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView, type View } from '../support/view.js';
import { helperOf, until } from './support.js';
import { MAP } from './watcher.js';

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
/** A program may not run for seconds here. */
const PATIENCE = 60_000;

let view: View;
let out: string;
let child: ChildProcess | undefined;
let said = '';
/** Of each test, in the view and on the host. */
let inside: string;
let underlay: string;
let count = 0;

beforeAll(async () => {
  view = await mountView({ map: [MAP], options: ['--forward-events', 'on'] });
  await helperOf(view);
});
afterAll(async () => {
  await view?.close();
});
beforeEach(() => {
  out = makeTempDirectory('tools');
  const name = `project-${++count}`;
  inside = `${view.mountpoint}/${name}`;
  underlay = `${view.source}/${name}`;
  mkdirSync(`${underlay}/src`, { recursive: true });
});
afterEach(async () => {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    const ended = new Promise((resolve) => child!.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
  child = undefined;
  removeTempDirectory(out);
});

function listen(program: ChildProcess): void {
  child = program;
  said = '';
  for (const stream of [program.stdout, program.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
}

/** Node, as root of the host: what it runs need not be readable for a container. */
function startNode(...args: readonly string[]): void {
  const env = { ...childEnvironment(), NO_COLOR: '1' };
  listen(spawn(process.execPath, args, { cwd: inside, stdio: ['ignore', 'pipe', 'pipe'], env }));
}

async function says(text: string): Promise<void> {
  await until(`"${text}" in\n${said}`, () => said.includes(text), PATIENCE).catch((error: Error) => {
    throw new Error(`${error.message}\nit said:\n${said}`);
  });
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function shows(path: string, text: string): Promise<void> {
  await until(`"${text}" in ${path}`, () => contentOf(path).includes(text), PATIENCE).catch((error: Error) => {
    throw new Error(`${error.message}\nit said:\n${said}`);
  });
}

/** The way most editors save. */
function saveByRename(path: string, content: string): void {
  writeFileSync(`${path}.tmp`, content);
  renameSync(`${path}.tmp`, path);
}

const TIMEOUT = { timeout: 4 * PATIENCE };

test('node --watch, in a container', TIMEOUT, async () => {
  writeFileSync(`${underlay}/src/word.mjs`, "export const word = 'first';\n");
  writeFileSync(`${underlay}/src/main.mjs`, "import { word } from './word.mjs'; console.log(word);\n");
  const place = { uid: 0, gid: 0, userns: [CONTAINER_MAP], cwd: inside, env: { NO_COLOR: '1' } };
  listen(await startProgram([process.execPath, '--watch', 'src/main.mjs'], place));
  await says('first');
  await says('Completed running');
  writeFileSync(`${underlay}/src/word.mjs`, "export const word = 'second';\n");
  await says('second');
  saveByRename(`${underlay}/src/word.mjs`, "export const word = 'third';\n");
  await says('third');
});

test('vite build --watch', TIMEOUT, async () => {
  writeFileSync(`${underlay}/index.html`, '<script type="module" src="/src/main.js"></script>');
  writeFileSync(`${underlay}/src/main.js`, "import { word } from './word.js'; document.title = word;\n");
  writeFileSync(`${underlay}/src/word.js`, "export const word = 'first';\n");
  writeFileSync(
    `${underlay}/vite.config.mjs`,
    `export default { cacheDir: '${out}/cache', build: { minify: false, emptyOutDir: true, outDir: '${out}/dist',
      rollupOptions: { output: { entryFileNames: 'main.js' } } } };\n`,
  );
  startNode(`${MODULES}/vite/bin/vite.js`, 'build', '--watch', '--configLoader', 'native');
  await shows(`${out}/dist/main.js`, 'first');
  writeFileSync(`${underlay}/src/word.js`, "export const word = 'second';\n");
  await shows(`${out}/dist/main.js`, 'second');
  saveByRename(`${underlay}/src/word.js`, "export const word = 'third';\n");
  await shows(`${out}/dist/main.js`, 'third');
});

test('chokidar', TIMEOUT, async () => {
  writeFileSync(`${underlay}/src/kept`, 'a');
  const script = `import { watch } from '${MODULES}/chokidar/index.js';
    watch('.').on('all', (what, path) => console.log(what + ' ' + path + ';')).on('ready', () => console.log('ready'));`;
  startNode('--input-type=module', '--eval', script);
  await says('ready');
  writeFileSync(`${underlay}/src/kept`, 'changed');
  await says('change src/kept;');
  saveByRename(`${underlay}/src/saved`, 'a');
  await says('add src/saved;');
  mkdirSync(`${underlay}/deep/er`, { recursive: true });
  await says('addDir deep/er;');
  writeFileSync(`${underlay}/deep/er/f`, 'a');
  await says('add deep/er/f;');
  renameSync(`${underlay}/deep/er`, `${underlay}/src/er`);
  await says('add src/er/f;');
  rmSync(`${underlay}/src/er`, { recursive: true });
  await says('unlink src/er/f;');
});

test('tail -F, in a container', TIMEOUT, async () => {
  const log = `${underlay}/log`;
  writeFileSync(log, 'first\n');
  const command = ['tail', '-F', `${inside}/log`];
  listen(await startProgram(command, { uid: 0, gid: 0, userns: [CONTAINER_MAP] }));
  await says('first');
  writeFileSync(log, 'second\n', { flag: 'a' });
  await says('second');
  // What logrotate(8) does.
  renameSync(log, `${log}.1`);
  writeFileSync(log, 'third\n');
  await says('third');
  writeFileSync(log, 'fourth\n', { flag: 'a' });
  await says('fourth');
});

test.each(editingTools.filter(({ name }) => ['emacs', 'vim', 'brz revert', 'git checkout'].includes(name)))(
  'chokidar, after $name',
  TIMEOUT,
  async (tool) => {
    const file = `${underlay}/src/file`;
    tool.prepare(file, 'before\n', 'after that\n');
    const script = `import { watch } from '${MODULES}/chokidar/index.js'; import { readFileSync } from 'node:fs';
      const see = () => { try { console.log(readFileSync('src/file', 'utf8')); } catch {} };
      watch('src', { ignored: /\\.(git|bzr)/ }).on('all', see).on('ready', () => console.log('ready'));`;
    startNode('--input-type=module', '--eval', script);
    await says('ready');
    tool.edit(file, 'after that\n');
    await says('after that');
    expect(said).toContain('before');
  },
);
