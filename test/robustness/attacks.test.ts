// Attacks on the daemon as a process, and on what lies around it: by a container's root, and by unprivileged users of the host.
// Exhaustion: limits.test.ts; ways out of the underlay: escape.test.ts; set-id, devices, attributes: privileges.test.ts; the
// protocol: fuzz.test.ts.

import { readdirSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { type Actor, errnoOf, withActor } from '../support/actor.js';
import { O_RDONLY, O_RDWR, O_WRONLY } from '../support/constants.js';
import { run, runOk, startProgram } from '../support/programs.js';
import { statusOf } from '../support/status.js';
import { withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, withView } from '../support/view.js';

const REFUSED = ['EACCES', 'EPERM', 'ESRCH'];

/** What of /proc/PID would hand over its memory, its files or its place in the tree. */
const SECRETS: readonly (readonly [string, number])[] = [
  ['mem', O_RDWR],
  ['mem', O_RDONLY],
  ['maps', O_RDONLY],
  ['environ', O_RDONLY],
  ['syscall', O_RDONLY],
  ['auxv', O_RDONLY],
  ['pagemap', O_RDONLY],
  ['clear_refs', O_WRONLY],
  ['oom_score_adj', O_WRONLY],
];

/** The ways of one process into another. */
async function expectClosed(actor: Actor, pid: number): Promise<void> {
  for (const [name, flags] of SECRETS) {
    const opened = actor.open(`/proc/${pid}/${name}`, flags).then(
      // Some files open for all and refuse to be read.
      (fd) => actor.read(fd, 16).then((bytes) => `read ${bytes.length} bytes`),
    );
    expect(REFUSED, `/proc/PID/${name}`).toContain(await errnoOf(opened));
  }
  for (const name of ['cwd', 'root', 'exe', 'fd/0', 'ns/mnt']) {
    expect(REFUSED, `/proc/PID/${name}`).toContain(await errnoOf(actor.readlink(`/proc/${pid}/${name}`)));
  }
  for (const name of ['fd', 'fdinfo', 'map_files']) {
    expect(REFUSED, `/proc/PID/${name}`).toContain(await errnoOf(actor.readdir(`/proc/${pid}/${name}`)));
  }
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    expect(REFUSED).toContain(await errnoOf(actor.open(`/proc/${pid}/task/${thread}/mem`, O_RDWR)));
    expect(REFUSED).toContain(await errnoOf(actor.readdir(`/proc/${pid}/task/${thread}/fd`)));
  }
}

const TRACE = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
for request in (PTRACE_ATTACH, PTRACE_SEIZE):
    print('ptrace', libc.ptrace(request, pid, None, None))
class Iovec(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(16)
local = Iovec(ctypes.addressof(buffer), 16)
remote = Iovec(0x400000, 16)
print('process_vm_readv', libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
pidfd = libc.syscall(434, pid, 0)
print('pidfd_getfd', -1 if pidfd < 0 else libc.syscall(438, pidfd, 0, 0))
for signal in (0, 15, 9, 19):
    try:
        os.kill(pid, signal)
        print('kill', signal)
    except PermissionError:
        print('kill', -1)
`;

test.each([
  ["the container's root", { uid: 0, gid: 0, userns: [CONTAINER_MAP] }],
  ['an unprivileged user of the host', { uid: 4321, gid: 4321 }],
] as const)('%s cannot trace, signal or read the daemon', async (_, identity) => {
  await withContainer(async ({ view, root, in: here }) => {
    await withActor(identity, (actor) => expectClosed(actor, view.pid));
    const { stdout, stderr } = await run(['/usr/bin/python3', '-c', TRACE, `${view.pid}`], identity);
    expect(stderr).toBe('');
    const lines = stdout.toString().trim().split('\n');
    expect(lines.length).toBe(8);
    for (const line of lines) expect(line).toMatch(/ -1$/);
    // It did not even stand still for it.
    await root.within(5_000).writeFile(here('f'), 'served');
  });
});

test('users of the host see through a view what its modes and the way to it allow, and nothing more', async () => {
  await withTempTree(async (tree) => {
    const source = `${tree}/hidden/source`;
    await mkdir(source, { recursive: true });
    await chmod(`${tree}/hidden`, 0o700);
    for (const directory of ['closed', 'open']) {
      await mkdir(`${tree}/${directory}/view`, { recursive: true });
    }
    await chmod(`${tree}/closed`, 0o700);
    await writeFile(`${source}/public`, 'public');
    await writeFile(`${source}/private`, 'private', { mode: 0o600 });
    await mkdir(`${source}/locked`, { mode: 0o700 });
    await writeFile(`${source}/locked/file`, 'locked');
    const stranger = { uid: 4321, gid: 4321 } as const;
    const look = async (mountpoint: string, options: readonly string[]): Promise<Record<string, string>> =>
      withView({ source, mountpoint, map: [CONTAINER_MAP], options }, () =>
        withActor(stranger, async (actor) => ({
          root: await errnoOf(actor.readdir(mountpoint)),
          public: await errnoOf(actor.readFile(`${mountpoint}/public`)),
          private: await errnoOf(actor.readFile(`${mountpoint}/private`)),
          locked: await errnoOf(actor.readFile(`${mountpoint}/locked/file`)),
          write: await errnoOf(actor.writeFile(`${mountpoint}/new`, '')),
          chmod: await errnoOf(actor.chmod(`${mountpoint}/public`, 0o666)),
        })),
      );
    const none = {
      root: 'EACCES',
      public: 'EACCES',
      private: 'EACCES',
      locked: 'EACCES',
      write: 'EACCES',
      chmod: 'EACCES',
    };
    // The directory above the mount point is the gate, as that above the source was.
    expect(await look(`${tree}/closed/view`, [])).toEqual(none);
    expect(await look(`${tree}/open/view`, ['--no-allow-other'])).toEqual(none);
    expect(await look(`${tree}/open/view`, [])).toEqual({
      ...none,
      root: 'no error',
      public: 'no error',
      chmod: 'EPERM',
    });
  });
});

test('the status socket answers nobody else, and those who do not listen hold up nothing', async () => {
  await withContainer(async ({ view, root, in: here }) => {
    const sockets = readdirSync('/run/fuse-shiftfs')
      .filter((name) => name.includes(`-${view.pid}.`) && name.endsWith('.sock'))
      .map((name) => `/run/fuse-shiftfs/${name}`);
    expect(sockets.length).toBe(1);
    for (const identity of [
      { uid: 4321, gid: 4321 },
      { uid: 0, gid: 0, userns: [CONTAINER_MAP] },
    ]) {
      await withActor(identity, async (actor) => {
        expect(await errnoOf(actor.connectUnix(sockets[0]!))).toBe('EACCES');
        expect(await errnoOf(actor.readdir('/run/fuse-shiftfs'))).toBe('EACCES');
      });
    }
    // Root itself, with connections that nobody reads or ends.
    await withActor({ uid: 0, gid: 0 }, async (host) => {
      for (let i = 0; i < 300; i++) await host.connectUnix(sockets[0]!);
      await root.within(5_000).writeFile(here('f'), 'served');
      expect((await statusOf(view)).nodes).toBeGreaterThan(0);
    });
  });
});

test('a config file that others may write is not believed', async () => {
  await withTempTree(async (tree) => {
    const file = `${tree}/view.json`;
    for (const directory of ['source', 'view']) await mkdir(`${tree}/${directory}`);
    writeFileSync(file, JSON.stringify({ source: `${tree}/source`, mountpoint: `${tree}/view` }));
    const attempt = async (): Promise<string> => {
      const { status, stderr } = await run([process.execPath, CLI, 'mount', '--config', file]);
      return status === 0 ? 'mounted' : stderr;
    };
    await chmod(file, 0o666);
    expect(await attempt()).toMatch(/others than its owner may change it \[BAD_CONFIG\]/);
    await runOk(['chown', '4321:4321', file]);
    await chmod(file, 0o644);
    expect(await attempt()).toMatch(/it belongs to user 4321 \[BAD_CONFIG\]/);
    await runOk(['chown', '0:4321', file]);
    await chmod(file, 0o664);
    expect(await attempt()).toMatch(/others than its owner may change it/);
    await chmod(file, 0o644);
    expect(await attempt()).toBe('mounted');
    await runOk([process.execPath, CLI, 'umount', `${tree}/view`]);
  });
});

/** Opens files by the thousand, each process as many as it may, and goes on asking when it is refused. */
const OPENER = `
const [directory, files, asks, shift] = process.argv.slice(1);
const count = { open: 0, ENFILE: 0, EMFILE: 0 };
for (let i = 0; i < Number(asks); i++) {
  try {
    fs.openSync(directory + '/f' + ((i + Number(shift)) % Number(files)), 'r');
    count.open++;
  } catch (error) {
    if (!(error.code in count)) throw error;
    count[error.code]++;
    // Its own limit is no answer of the daemon: it makes room and asks again.
    if (error.code === 'EMFILE') for (let fd = 64; fd < 2064; fd++) try { fs.closeSync(fd) } catch {}
  }
}
console.log(JSON.stringify(count));
setInterval(() => {}, 1e6);
`;
/** `FUSE_SHIFTFS_TEST_OPENS=1000000` by hand. */
const OPENS = Number(process.env['FUSE_SHIFTFS_TEST_OPENS'] ?? 40_000);

test(
  'open files asked for by the ten thousand are refused beyond the limit, and others are served',
  async () => {
    const limit = 2048;
    const files = 4000;
    const processes = 4;
    await withContainer(
      async ({ root, host, view, in: here, under }) => {
        for (let start = 0; start < files; start += 500) {
          await host.batch(
            Array.from({ length: 500 }, (_, index) => ['writeFile', under(`f${start + index}`), 'x']) as never,
          );
        }
        const greedy = await Promise.all(
          Array.from({ length: processes }, async (_, index) => {
            const shift = index * (files / processes);
            const child = await startProgram(
              [process.execPath, '-e', OPENER, view.mountpoint, `${files}`, `${OPENS / processes}`, `${shift}`],
              { uid: 1000, userns: [CONTAINER_MAP] },
            );
            const counts = new Promise<{ open: number; ENFILE: number; EMFILE: number }>((resolve, reject) => {
              child.stdout!.once('data', (data: Buffer) => resolve(JSON.parse(data.toString())));
              child.once('close', () => reject(new Error('it ended without a word')));
              child.stderr!.on('data', (data: Buffer) => process.stderr.write(data));
            });
            return { child, counts };
          }),
        );
        const counts = await Promise.all(greedy.map((each) => each.counts));
        const sum = (pick: (each: (typeof counts)[number]) => number): number =>
          counts.reduce((total, each) => total + pick(each), 0);
        const { openFiles } = await statusOf(view);
        console.log(
          `${OPENS} opens asked for with ${limit} descriptors: ${sum(({ open }) => open)} granted, ` +
            `${sum(({ ENFILE }) => ENFILE)} refused by the daemon; ${openFiles} open at the end`,
        );
        expect(sum(({ ENFILE }) => ENFILE)).toBeGreaterThan(0);
        // Another user is served while they hold all that they got.
        await root.mkdir(here('other'));
        for (let index = 0; index < 20; index++) {
          await root.within(10_000).writeFile(here(`other/${index}`), 'served');
          expect((await root.within(10_000).readFile(here(`other/${index}`))).toString()).toBe('served');
        }
        for (const { child } of greedy) child.kill('SIGKILL');
      },
      { wrapper: ['prlimit', `--nofile=${limit}:${limit}`] },
    );
  },
  180_000 + OPENS,
);
