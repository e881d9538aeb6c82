// LP1879196: after the underlay was changed directly, the mounted file system went on showing what had been there. The
// fix drops an entry when its underlay entry was renamed away or its directory is dead.
// https://bugs.launchpad.net/bugs/1879196
//
// This test: the container has looked at everything; then the host moves a file over another, creates, unlinks, removes and
// renames a parent; the container's next look must show it. What the reporter's emacs and bzr did is in editors.test.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ModeView, mountMode, selectedModes } from '../coherence/modes.js';
import { type Actor, errnoOf, startActor } from '../support/actor.js';
import { O_DIRECTORY, O_RDONLY } from '../support/constants.js';
import { CONTAINER_MAP } from '../support/userns.js';

describe.each(selectedModes.filter(({ bound }) => bound !== null))('$name', (mode) => {
  let view: ModeView;
  let root: Actor;
  let host: Actor;
  let serial = 0;
  let directory = '';
  const here = (...names: string[]): string => [view.mountpoint, directory, ...names].join('/');
  const there = (...names: string[]): string => [view.source, directory, ...names].join('/');

  beforeAll(async () => {
    view = await mountMode(mode);
    root = await startActor({ uid: 0, gid: 0, userns: [CONTAINER_MAP] });
    host = await startActor({ uid: 0, gid: 0 });
  });
  afterAll(async () => {
    await root.stop();
    await host.stop();
    await view.close();
  });
  beforeEach(async () => {
    directory = `case${serial++}`;
    await host.mkdir(there());
    await host.mkdir(there('d'));
    await host.writeFile(there('old'), 'old');
    await host.writeFile(there('new'), 'new');
    await host.writeFile(there('d', 'inner'), 'inner');
    // Twice: the first look fills the caches, the second uses them.
    for (let twice = 0; twice < 2; twice++) {
      for (const name of ['old', 'new', 'd', 'd/inner', 'absent', 'd/absent', 'e'])
        await errnoOf(root.stat(here(name)));
      for (const name of ['', 'd']) await root.readdir(here(name));
      for (const name of ['old', 'new', 'd/inner']) await root.readFile(here(name));
    }
  });

  /** The first answer (an error is one, too), or in a mode with a bound the first right one within it. */
  async function soon<T>(ask: () => Promise<T>, wanted: T): Promise<void> {
    const start = performance.now();
    for (;;) {
      const begun = performance.now() - start;
      const answer = await ask().catch((failure: { readonly code?: string }) => failure.code);
      if (JSON.stringify(answer) === JSON.stringify(wanted) || begun > mode.bound!)
        return expect(answer).toEqual(wanted);
      await sleep(5);
    }
  }
  const content =
    (...names: string[]) =>
    async () =>
      (await root.readFile(here(...names))).toString();
  const listing =
    (...names: string[]) =>
    async () =>
      (await root.readdir(here(...names))).map(String).sort();
  const error =
    (...names: string[]) =>
    async () =>
      errnoOf(root.stat(here(...names)));

  test('mv new old', async () => {
    await host.rename(there('new'), there('old'));
    await soon(content('old'), 'new');
    await soon(error('new'), 'ENOENT');
    await soon(listing(), ['d', 'old']);
  });
  test('a name that was absent is created', async () => {
    await host.writeFile(there('absent'), 'here');
    await soon(error('absent'), 'no error');
    await soon(content('absent'), 'here');
    await soon(listing(), ['absent', 'd', 'new', 'old']);
  });
  test('unlink', async () => {
    await host.unlink(there('old'));
    await soon(error('old'), 'ENOENT');
    await soon(listing(), ['d', 'new']);
    // The name is free.
    await root.mkdir(here('old'));
    expect(await errnoOf(host.readdir(there('old')))).toBe('no error');
  });
  test('unlink, then a directory under the same name', async () => {
    await host.unlink(there('old'));
    await host.mkdir(there('old'));
    await host.writeFile(there('old', 'x'), 'x');
    await soon(listing('old').bind(null), ['x']);
  });
  test('rmdir', async () => {
    const fd = await root.open(here('d'), O_RDONLY | O_DIRECTORY);
    await host.unlink(there('d', 'inner'));
    await host.rmdir(there('d'));
    await soon(error('d'), 'ENOENT');
    await soon(error('d', 'inner'), 'ENOENT');
    await soon(listing(), ['new', 'old']);
    // Through what is still open on the dead directory, nothing can be made.
    expect(await errnoOf(root.mkdir({ dir: fd, name: 'late' }))).toBe('ENOENT');
    await root.close(fd);
  });
  test('rename of a parent, and another directory in its place', async () => {
    await host.rename(there('d'), there('e'));
    await host.mkdir(there('d'));
    await host.writeFile(there('d', 'absent'), 'other');
    await soon(content('e', 'inner'), 'inner');
    await soon(error('d', 'inner'), 'ENOENT');
    await soon(content('d', 'absent'), 'other');
    await soon(listing('d'), ['absent']);
  });
  test('a process that sits in the renamed parent stays there', async () => {
    const fd = await root.open(here('d'), O_RDONLY | O_DIRECTORY);
    await host.rename(there('d'), there('e'));
    await host.writeFile(there('e', 'later'), 'later');
    const names = async (): Promise<string[]> => (await root.readdir({ dir: fd, name: '.' })).map(String).sort();
    await soon(names, ['inner', 'later']);
    await root.writeFile({ dir: fd, name: 'made' }, 'made');
    expect((await host.readFile(there('e', 'made'))).toString()).toBe('made');
    await root.close(fd);
  });
  const attributes =
    (...names: string[]) =>
    async () => {
      const { mode: bits, uid, gid, mtime } = await root.stat(here(...names));
      return [bits.toString(8), uid, gid, mtime].join(' ');
    };
  test('chmod, chown, truncate and a change of the time', async () => {
    await host.chmod(there('old'), 0o600);
    await host.chown(there('old'), 33, 44);
    await host.truncate(there('old'), 1);
    await host.utimens(there('old'), ['omit', 1_000_000_000n]);
    await soon(attributes('old'), '100600 33 44 1000000000');
    expect((await root.stat(here('old'))).size).toBe(1);
  });
  // fanotify(7) tells what happens to a directory itself in another form than what happens to a file.
  test('chmod, chown and a change of the time, each alone, of a directory', async () => {
    await host.utimens(there('d'), ['omit', 1_000_000_000n]);
    await soon(attributes('d'), '40755 0 0 1000000000');
    await host.chmod(there('d'), 0o711);
    await soon(attributes('d'), '40711 0 0 1000000000');
    await host.chown(there('d'), 33, 44);
    await soon(attributes('d'), '40711 33 44 1000000000');
    await soon(listing('d'), ['inner']);
  });
  test('chmod of a directory shuts out who was let in before, and the other way round', async () => {
    const user = await startActor({ uid: 1000, gid: 1000, userns: [CONTAINER_MAP] });
    const look = () => errnoOf(user.stat(here('d', 'inner')));
    try {
      expect(await look()).toBe('no error');
      await host.chmod(there('d'), 0o700);
      await soon(look, 'EACCES');
      await host.chmod(there('d'), 0o755);
      await soon(look, 'no error');
    } finally {
      await user.stop();
    }
  });
  test('chmod and a change of the time of the root of the view', async () => {
    const shown = async (): Promise<string> => {
      const { mode: bits, mtime } = await root.stat(view.mountpoint);
      return `${bits.toString(8)} ${mtime}`;
    };
    await shown();
    await host.utimens(view.source, ['omit', 1_000_000_000n]);
    await soon(shown, '40755 1000000000');
    await host.chmod(view.source, 0o751);
    await soon(shown, '40751 1000000000');
    await host.chmod(view.source, 0o755);
    await soon(shown, '40755 1000000000');
  });
  test('a symbolic link that is replaced', async () => {
    await host.symlink('old', there('link'));
    expect((await root.readFile(here('link'))).toString()).toBe('old');
    await host.symlink('new', there('link2'));
    await host.rename(there('link2'), there('link'));
    await soon(async () => (await root.readlink(here('link'))).toString(), 'new');
    await soon(content('link'), 'new');
  });
  test('a change through another name of a hard link', async () => {
    await host.link(there('old'), there('d', 'alias'));
    await soon(async () => (await root.stat(here('old'))).nlink, 2);
    await host.writeFile(there('d', 'alias'), 'longer than before');
    await soon(content('old'), 'longer than before');
    await soon(async () => (await root.stat(here('old'))).size, 18);
  });
});
