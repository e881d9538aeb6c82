// A file that somebody in the view has just written: the events of that, which look like the host's, must take nothing back of
// what the container itself has changed since. They did: a notification that meets a GETATTR makes the kernel go on with
// the attributes it had before (fs/fuse/inode.c, fuse_change_attributes), and who was just let in was refused.

import { expect, test } from 'vitest';
import { withContainer } from '../regressions/harness.js';
import { ACL_ACCESS, acl } from '../support/acl.js';
import { errnoOf } from '../support/actor.js';

const FILES = 400;

test.each(['fanotify', 'chokidar'])('who is let in just after the file was written is let in, %s', async (watcher) => {
  await withContainer(
    async ({ root, user, in: here }) => {
      const [owner, other] = [await user(1000), await user(2000)];
      await root.chmod(here(), 0o777);
      const refused: string[] = [];
      for (let i = 0; i < FILES; i++) {
        const file = here(`f${i}`);
        await owner.writeFile(file, 'secret');
        await owner.chmod(file, 0o600);
        await owner.setxattr(file, ACL_ACCESS, acl({ owner: 6, users: { 2000: 4 }, group: 0, mask: 4, others: 0 }));
        const error = await errnoOf(other.readFile(file));
        if (error !== 'no error') refused.push(`f${i}: ${error}`);
      }
      expect(refused).toEqual([]);
    },
    { options: ['--coherence', 'lease', '--watcher', watcher] },
  );
});
