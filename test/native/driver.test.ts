// What is this driver's own: how it mounts, what it says of itself and refuses, whom a new file belongs to, and what
// happens when one of its two processes, or the connection, comes to an end.

import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { LIMITS } from '../../src/driver/limits.js';
import { withContainer } from '../regressions/harness.js';
import { ACL_ACCESS, acl } from '../support/acl.js';
import { errnoOf } from '../support/actor.js';
import { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY, S_IFIFO } from '../support/constants.js';
import { abortFuse, mountAt } from '../support/mounts.js';
import { run, runOk } from '../support/programs.js';
import { makeTempDirectory, removeTempDirectory } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { CLI, mountView, type View, withView } from '../support/view.js';

const MODE = 0o7777;
const END_MS = 15_000;

/** The process that serves: the daemon's only child. */
function servingProcess(view: View): number {
  return Number(readFileSync(`/proc/${view.pid}/task/${view.pid}/children`, 'latin1').trim());
}

/** Whatever state it is in: one that is stopped notices nothing by itself. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = performance.now() + END_MS; !condition(); await sleep(10))
    if (performance.now() > end) throw new Error(`${what}: not within ${END_MS} ms`);
}

interface Status {
  readonly driver: string;
  readonly limits: readonly string[];
  readonly view: { readonly coherence: string; readonly openFiles: number; readonly requests: object };
}

async function statusOf(view: View): Promise<Status> {
  return JSON.parse(await runOk([process.execPath, CLI, 'status', '--json', view.mountpoint])) as Status;
}

test('the mount table shows a view like any other', async () => {
  await withView({ options: ['--fsname', 'a,b\\c'] }, async (view) => {
    expect(mountAt(view.mountpoint)).toMatchObject({ type: 'fuse.fuse-shiftfs' });
    expect(mountAt(view.mountpoint)?.options).toEqual(expect.arrayContaining(['rw', 'nosuid', 'nodev']));
    expect(readFileSync('/proc/self/mounts', 'latin1')).toContain(`a,b\\134c ${view.mountpoint} fuse.fuse-shiftfs`);
  });
  await withView({ options: ['--read-only', '--noexec', '--noatime', '--allow-dev'] }, async (view) => {
    const options = mountAt(view.mountpoint)?.options ?? [];
    expect(options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'noexec', 'noatime']));
    expect(options).not.toContain('nodev');
    expect((await run(['touch', `${view.mountpoint}/f`])).stderr).toMatch(/Read-only file system/);
  });
});

test('mount and status say what the driver cannot do', async () => {
  await withView({}, async (view) => {
    for (const limit of Object.values(LIMITS)) expect(view.output()).toContain(limit.split(':')[0]);
    const status = await statusOf(view);
    expect(status).toMatchObject({ driver: 'fuse-native', view: { coherence: 'strict' } });
    expect(status.limits).toEqual(Object.values(LIMITS));
    expect(Object.keys(status.view.requests)).toContain('GETATTR');
  });
});

test.each([
  ['--coherence', 'lease'],
  ['--coherence', 'ttl=5'],
  ['--watcher', 'fanotify'],
  ['--passthrough', 'on'],
  ['--io-uring', 'on'],
  ['--forward-events', 'on'],
  ['--workers', '4'],
])('%s %s is refused, not ignored', async (option, value) => {
  const made = makeTempDirectory('refused');
  for (const name of ['s', 'm']) mkdirSync(`${made}/${name}`);
  const result = await run([
    ...[process.execPath, CLI, 'mount', `${made}/s`, `${made}/m`, '--driver', 'fuse-native', option, value],
  ]);
  expect(result.status).not.toBe(0);
  expect(result.stderr).toMatch(/\[(UNSUPPORTED|BAD_OPTION)\]/);
  expect(result.stderr).toContain(value);
  expect(mountAt(`${made}/m`)).toBeUndefined();
  removeTempDirectory(made);
});

test('without the package the error says how to install it', async () => {
  const made = makeTempDirectory('without');
  for (const name of ['s', 'm', 'node_modules']) mkdirSync(`${made}/${name}`);
  const root = fileURLToPath(new URL('../../', import.meta.url));
  cpSync(`${root}dist`, `${made}/dist`, { recursive: true });
  cpSync(`${root}package.json`, `${made}/package.json`);
  for (const name of readdirSync(`${root}node_modules`))
    if (name !== 'fuse-native') symlinkSync(`${root}node_modules/${name}`, `${made}/node_modules/${name}`);
  const mount = (driver: string) =>
    run([process.execPath, `${made}/dist/main.js`, 'mount', `${made}/s`, `${made}/m`, '--driver', driver]);
  const refused = await mount('fuse-native');
  expect(refused.status).toBe(32);
  expect(refused.stderr).toMatch(
    /fuse-native is not installed \[UNSUPPORTED\]\n.*npm install --no-save --ignore-scripts fuse-native@/,
  );
  expect(mountAt(`${made}/m`)).toBeUndefined();
  // And nothing else misses it.
  expect(await mount('kernel')).toMatchObject({ status: 0 });
  await runOk([process.execPath, `${made}/dist/main.js`, 'umount', `${made}/m`]);
  removeTempDirectory(made);
});

test('what is created belongs to the owner of its directory, from the first moment', async () => {
  await withContainer(async ({ root, user, host, in: here, under }) => {
    await host.mkdir(under('home'));
    await host.chown(under('home'), 1000, 1001);
    await host.chmod(under('home'), 0o777);
    const maker = await user(5, { gid: 6 });
    for (const who of [root, maker]) {
      const name = (kind: string): string => here('home', `${kind}-${who === root ? 'root' : 'user'}`);
      await who.close(await who.open(name('file'), O_CREAT | O_RDWR, 0o644));
      await who.mkdir(name('directory'));
      await who.symlink('x', name('link'));
      await who.mknod(name('fifo'), S_IFIFO | 0o600);
    }
    for (const name of await host.readdir(under('home')))
      expect(await host.lstat(under('home', String(name)))).toMatchObject({ uid: 1000, gid: 1001 });
    expect(await maker.stat(here('home', 'file-user'))).toMatchObject({ uid: 1000, gid: 1001, mode: 0o100644 });

    // A directory of somebody who is not in the map is nobody's, and nothing can be made in it.
    await host.mkdir(under('foreign'));
    await host.chown(under('foreign'), 70_000, 70_000);
    await host.chmod(under('foreign'), 0o777);
    expect(await errnoOf(maker.mkdir(here('foreign', 'd')))).toBe('EOVERFLOW');
    expect(await host.readdir(under('foreign'))).toEqual([]);
  });
});

test('--create-owner chooses another owner, in view ids', async () => {
  await withContainer(
    async ({ root, host, in: here, under }) => {
      await root.mkdir(here('d'));
      await root.writeFile(here('d', 'f'), 'x');
      for (const name of ['d', 'd/f']) expect(await host.stat(under(name))).toMatchObject({ uid: 33, gid: 44 });
    },
    { options: ['--create-owner', '100033:100044'] },
  );
});

test('no set-id bits for root of the host, and none that outlive a write', async () => {
  await withContainer(async ({ root, user, host, in: here, under }) => {
    await root.writeFile(here('program'), 'x');
    await root.chmod(here('program'), 0o6755);
    await root.mknod(here('node'), 0o106755);
    for (const name of ['program', 'node']) expect((await host.stat(under(name))).mode & 0o6000).toBe(0);

    const owner = await user(1000);
    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW.
    const capability = Buffer.alloc(20);
    capability.writeUInt32LE(0x0200_0001, 0);
    capability.writeUInt32LE(1 << 13, 4);
    const changes: Record<string, () => Promise<unknown>> = {
      write: async () => {
        const fd = await owner.open(here('mine'), O_WRONLY);
        await owner.write(fd, 'y');
        await owner.close(fd);
      },
      truncate: () => owner.truncate(here('mine'), 0),
      chown: () => root.chown(here('mine'), 1000, 2000),
    };
    for (const [what, change] of Object.entries(changes)) {
      await host.writeFile(under('mine'), 'x');
      await host.chown(under('mine'), 1000, 1000);
      await host.chmod(under('mine'), 0o6755);
      await host.setxattr(under('mine'), 'security.capability', capability);
      await change();
      expect(`${what} ${(await host.stat(under('mine'))).mode & MODE}`).toBe(`${what} ${0o755}`);
      expect(await errnoOf(host.getxattr(under('mine'), 'security.capability'))).toBe('ENODATA');
    }
  });
});

test('an ACL gives nobody more through the mode than it says', async () => {
  await withContainer(async ({ user, host, in: here, under }) => {
    const file = async (spec: Parameters<typeof acl>[0]): Promise<void> => {
      await host.writeFile(under('f'), 'x');
      await host.chown(under('f'), 1000, 2000);
      await host.setxattr(under('f'), ACL_ACCESS, acl(spec));
    };
    const named = await user(1001, { gid: 3000 });
    const member = await user(1002, { gid: 2000 });
    const stranger = await user(1003, { gid: 4000 });
    const opens = async (): Promise<string[]> =>
      Promise.all([named, member, stranger].map((actor) => errnoOf(actor.open(here('f'), O_RDONLY))));

    // The mask lets a named user in, and the group's own entry keeps the group out.
    await file({ owner: 6, users: { 1001: 4 }, group: 0, mask: 4, others: 0 });
    expect(await opens()).toEqual(['EACCES', 'EACCES', 'EACCES']);
    // Everybody may read but one.
    await file({ owner: 6, users: { 1001: 0 }, group: 4, mask: 4, others: 4 });
    expect(await opens()).toEqual(['EACCES', 'EACCES', 'EACCES']);
    // A named group may not, its members are others otherwise.
    await file({ owner: 6, group: 4, groups: { 3000: 0 }, mask: 4, others: 4 });
    expect(await opens()).toEqual(['EACCES', 'no error', 'EACCES']);
    await file({ owner: 6, users: { 1001: 4 }, group: 4, mask: 4, others: 4 });
    expect(await opens()).toEqual(['no error', 'no error', 'no error']);
  });
});

test('a buffer that is too small for an attribute is refused', async () => {
  await withContainer(async ({ root, in: here }) => {
    await root.writeFile(here('f'), '');
    await root.setxattr(here('f'), 'user.long', Buffer.alloc(1000, 'v'));
    expect(await errnoOf(root.getxattr(here('f'), 'user.long', 10))).toBe('ERANGE');
    expect(await errnoOf(root.listxattr(here('f'), 3))).toBe('ERANGE');
    expect(await root.getxattr(here('f'), 'user.long')).toHaveLength(1000);
  });
});

test('what is open stays itself while others come and go', async () => {
  await withContainer(async ({ root, in: here }) => {
    const open: number[] = [];
    for (let i = 0; i < 20; i++) {
      const fd = await root.open(here(`kept${i}`), O_CREAT | O_RDWR);
      await root.write(fd, `content ${i}`);
      open.push(fd);
      // Nodes that last: they would take the place of the one that is open if that were free.
      await root.mkdir(here(`d${i}`));
      await root.writeFile(here(`d${i}`, 'f'), '');
    }
    for (const [i, fd] of open.entries()) {
      expect((await root.pread(fd, 100, 0)).toString()).toBe(`content ${i}`);
      expect((await root.fstat(fd)).size).toBe(`content ${i}`.length);
      await root.close(fd);
      expect(await root.readdir(here(`d${i}`))).toHaveLength(1);
      expect((await root.readFile(here(`kept${i}`))).toString()).toBe(`content ${i}`);
    }
  });
});

test('the serving process dies with the daemon, even when it is stuck', async () => {
  const view = await mountView({ map: [CONTAINER_MAP] });
  const server = servingProcess(view);
  try {
    // The thread that serves has changed its fsuid, which takes PR_SET_PDEATHSIG from it.
    await runOk(['touch', `${view.mountpoint}/f`], { uid: 100_000, gid: 100_000 });
    process.kill(server, 'SIGSTOP');
    await view.kill();
    await until('end of the serving process', () => !isAlive(server));
    expect((await run(['stat', view.mountpoint])).stderr).toMatch(/not connected/);
    await runOk(['umount', view.mountpoint]);
  } finally {
    kill(server);
    await view.destroy();
  }
});

test('a serving process that dies takes the view away', async () => {
  const view = await mountView();
  try {
    process.kill(servingProcess(view), 'SIGKILL');
    expect(await view.ended).toBe(70);
    expect(mountAt(view.mountpoint)).toBeUndefined();
    expect(view.output()).toContain('killed by SIGKILL');
  } finally {
    await view.destroy();
  }
});

test('an aborted connection ends the daemon', async () => {
  const view = await mountView();
  const server = servingProcess(view);
  try {
    abortFuse(mountAt(view.mountpoint)!);
    expect(await view.ended).toBe(71);
    expect(mountAt(view.mountpoint)).toBeUndefined();
    await until('end of the serving process', () => !isAlive(server));
  } finally {
    kill(server);
    await view.destroy();
  }
});

test('status and a lazy unmount work while the serving process is stuck', async () => {
  const view = await mountView();
  const server = servingProcess(view);
  try {
    writeFileSync(`${view.source}/f`, 'x');
    process.kill(server, 'SIGSTOP');
    expect((await statusOf(view)).driver).toBe('fuse-native');
    await runOk([process.execPath, CLI, 'umount', '--lazy', view.mountpoint]);
    expect(mountAt(view.mountpoint)).toBeUndefined();
    process.kill(server, 'SIGCONT');
    expect(await view.ended).toBe(0);
  } finally {
    kill(server);
    await view.destroy();
  }
});
