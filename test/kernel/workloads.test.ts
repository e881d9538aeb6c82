// Programs that people run in containers, run as uid 1000 of a container on a view: git, npm, gcc and make, sqlite3 with
// two writers, rsync and tar with everything they can keep.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ProgramOptions, run, runOk } from '../support/programs.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { mountView, type View } from '../support/view.js';

let view: View;
let home: string;

beforeAll(async () => {
  view = await mountView({ map: [CONTAINER_MAP] });
  await runOk(['install', '-d', '-o', '1000', '-g', '1000', `${view.source}/home`]);
  home = `${view.mountpoint}/home`;
});
afterAll(async () => {
  await view?.close();
});

/** Runs a shell script as uid 1000 of the container, in its home on the view. Returns its output. */
const asUser = (script: string, options: ProgramOptions = {}) =>
  runOk(['bash', '-euo', 'pipefail', '-c', script], {
    uid: 1000,
    gid: 1000,
    userns: [CONTAINER_MAP],
    cwd: '/',
    ...options,
    env: { HOME: home, PATH: process.env['PATH'] ?? '', LC_ALL: 'C', ...options.env },
  });

/** Everything below the directory in the underlay that does not belong to the host's uid and gid 1000. */
const foreignFiles = (name: string) =>
  runOk(['find', `${view.source}/home/${name}`, '!', '(', '-uid', '1000', '-gid', '1000', ')']);

const IN_HOME = 'cd "$HOME";';
const GIT = 'git -c user.name=Test -c user.email=test@example.org -c init.defaultBranch=main -c commit.gpgsign=false';

test('git: init, commit, clone, branch, rebase, gc, fsck', async () => {
  const output = await asUser(`${IN_HOME}
    mkdir origin; cd origin; ${GIT} init -q .
    for i in $(seq 60); do echo "line $i" > file$i; mkdir -p d$((i % 7)); echo $i > d$((i % 7))/f$i; done
    ${GIT} add .; ${GIT} commit -q -m one
    cd ..; ${GIT} clone -q --no-local origin clone; cd clone
    ${GIT} checkout -q -b topic; echo change >> file1; ${GIT} commit -q -a -m topic
    ${GIT} checkout -q main; echo other >> file2; ${GIT} commit -q -a -m main2
    ${GIT} checkout -q topic; ${GIT} rebase -q main
    ${GIT} gc -q --prune=now; ${GIT} fsck --strict --no-dangling
    ${GIT} status --porcelain; ${GIT} log --format=%s
  `);
  expect(output).toBe('topic\nmain2\none\n');
  expect(await foreignFiles('clone')).toBe('');
  // The host can use it too: the index knows inode numbers and times, which are the same on both sides.
  const host = await runOk(['git', '-c', 'safe.directory=*', 'status', '--porcelain'], {
    cwd: `${view.source}/home/clone`,
    uid: 1000,
    env: { HOME: '/nonexistent' },
  });
  expect(host).toBe('');
}, 120_000);

test('npm: a local package with a dependency is installed and runs', async () => {
  const output = await asUser(
    `${IN_HOME}
    mkdir -p npm/greeting npm/app; cd npm
    echo '{"name":"greeting","version":"1.0.0","main":"index.js","bin":{"greet":"index.js"}}' > greeting/package.json
    printf '#!/usr/bin/env node\\nmodule.exports = "hello";\\nif (require.main === module) console.log("hello from bin");\\n' > greeting/index.js
    (cd greeting; npm pack --silent > /dev/null)
    cd app; echo '{"name":"app","version":"1.0.0","private":true}' > package.json
    npm install --offline --no-audit --no-fund --silent ../greeting/greeting-1.0.0.tgz
    node -p 'require("greeting")'
    ./node_modules/.bin/greet
    npm ls --silent | grep -c greeting
  `,
    { env: { npm_config_cache: `${home}/npm-cache`, npm_config_update_notifier: 'false' } },
  );
  expect(output).toBe('hello\nhello from bin\n1\n');
  expect(await foreignFiles('npm')).toBe('');
}, 120_000);

test('gcc and make: a library and a program are built, changed on the host and built again', async () => {
  const build = () => asUser(`${IN_HOME} cd build; make -s -j2; ./program`);
  await asUser(`${IN_HOME}
    mkdir build; cd build
    printf 'int answer(void) { return 42; }\\n' > answer.c
    printf '#include <stdio.h>\\nint answer(void);\\nint main(void) { printf("%%d\\\\n", answer()); return 0; }\\n' > main.c
    printf 'program: main.o libanswer.a\\n\\tgcc -o $@ main.o -L. -lanswer\\nlibanswer.a: answer.o\\n\\tar rcs $@ $^\\n%%.o: %%.c\\n\\tgcc -c -g -o $@ $<\\n' > Makefile
  `);
  expect(await build()).toBe('42\n');
  await runOk(['sed', '-i', 's/42/43/', `${view.source}/home/build/answer.c`]);
  expect(await build()).toBe('43\n');
  expect(await asUser(`${IN_HOME} cd build; make -q program && echo up to date`)).toBe('up to date\n');
}, 120_000);

test('sqlite3: two writers in WAL mode, one in the container and one on the host', async () => {
  const database = 'test.db';
  await asUser(`${IN_HOME} sqlite3 ${database} 'PRAGMA journal_mode=WAL; CREATE TABLE t(who TEXT, n INTEGER);'`);
  const inserts = (who: string) =>
    Array.from({ length: 60 }, (_, n) => `INSERT INTO t VALUES('${who}', ${n});`).join('\n');
  const writer = (who: string, path: string, options: ProgramOptions) =>
    runOk(['sqlite3', '-cmd', '.timeout 30000', path], { input: inserts(who), uid: 1000, gid: 1000, ...options });
  await Promise.all([
    writer('view 1', `${home}/${database}`, { userns: [CONTAINER_MAP] }),
    writer('view 2', `${home}/${database}`, { userns: [CONTAINER_MAP] }),
    writer('host', `${view.source}/home/${database}`, {}),
  ]);
  const count = await asUser(
    `${IN_HOME} sqlite3 ${database} 'PRAGMA integrity_check; SELECT who, count(*), count(DISTINCT n) FROM t GROUP BY who;'`,
  );
  expect(count).toBe('ok\nhost|60|60\nview 1|60|60\nview 2|60|60\n');
}, 120_000);

/** A tree with everything that copying can lose. Made as root of the container. */
const MAKE_TREE = `
  mkdir -p tree/a/b tree/empty
  head -c 300000 /dev/urandom > tree/a/random; truncate -s 5M tree/a/sparse; echo end >> tree/a/sparse
  echo x > tree/a/b/file; ln tree/a/b/file tree/hard; ln -s a/b/file tree/soft; ln -s missing tree/dangling
  mkfifo tree/fifo; touch -d '2001-02-03 04:05:06.123456789' tree/a/b/file; touch 'tree/name with spaces and ü'
  setfattr -n user.note -v value tree/a/b/file; setfacl -m u:1000:rw tree/a/random; setfacl -d -m g:2000:rx tree/a
  chown 33:44 tree/a/random; chown -h 5:6 tree/soft; chmod 4711 tree/a/b/file; chmod 2775 tree/empty; chmod 1777 tree/a/b
`;

const asContainerRoot = (script: string) => asUser(script, { uid: 0, gid: 0 });

/** Names, types, modes, owners, sizes, times, link counts and targets, and attributes, as text. */
const describeTree = (directory: string, timesOf = '! -type d') => `
  (cd ${directory}; find . -printf '%P %y %m %U:%G %s %n %l ' -a \\( ${timesOf} -printf '%T+\\n' -o -printf '\\n' \\) | sort
  find . -type f -exec sha256sum {} + | sort; getfattr -R -h -d -m '^user' . | sort; getfacl -R -n . )
`;

test('rsync -aHAX copies a tree onto a view and back without a difference', async () => {
  await asContainerRoot(`${IN_HOME} mkdir rsync; cd rsync; ${MAKE_TREE}`);
  await asContainerRoot(`${IN_HOME} cd rsync; rsync -aHAXS tree/ copy/; rsync -aHAXS copy/ back/`);
  expect(await asContainerRoot(`${IN_HOME} cd rsync; rsync -aHAXnci --delete tree/ back/`)).toBe('');
  // Debian's rsync leaves the times of links and fifos alone, on any file system.
  const original = await asContainerRoot(`${IN_HOME} cd rsync; ${describeTree('tree', '-type f')}`);
  expect(original.length).toBeGreaterThan(1000);
  expect(await asContainerRoot(`${IN_HOME} cd rsync; ${describeTree('back', '-type f')}`)).toBe(original);
}, 120_000);

test('tar packs a view and unpacks it with owners, links, ACLs and attributes', async () => {
  await asContainerRoot(`${IN_HOME} mkdir tar; cd tar; ${MAKE_TREE}`);
  await asContainerRoot(`${IN_HOME} cd tar; tar --acls --xattrs --sparse --format=posix -cf tree.tar tree
    mkdir out; tar --acls --xattrs --same-owner -C out -xpf tree.tar; tar -df tree.tar`);
  const original = await asContainerRoot(`${IN_HOME} cd tar; ${describeTree('tree')}`);
  expect(await asContainerRoot(`${IN_HOME} cd tar; ${describeTree('out/tree')}`)).toBe(original);
  const { status, stdout } = await run([
    'tar',
    '-C',
    `${view.source}/home/tar/out`,
    '-df',
    `${view.source}/home/tar/tree.tar`,
  ]);
  expect(`${status} ${stdout}`).toBe('0 ');
}, 120_000);
