// A container that swaps names for links to places outside, while files are opened through the view. Whatever has been
// opened in the view must be a file of the underlay. (CVE-2016-9602: a server that follows path strings can be led out.)

import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errnoOf, withActor } from '../support/actor.js';
import { O_CREAT, O_NOFOLLOW, O_RDONLY, O_WRONLY, RENAME_EXCHANGE } from '../support/constants.js';
import { withTempTree } from '../support/temp.js';
import { CONTAINER_MAP } from '../support/userns.js';
import { withView } from '../support/view.js';

const ROUNDS = 600;

test('a directory that becomes a link leads nobody out of the underlay', async () => {
  await withTempTree((outside) =>
    withView({ map: [CONTAINER_MAP] }, (view) =>
      withActor({ uid: 0, gid: 0 }, (attacker) =>
        withActor({ uid: 0, gid: 0 }, async (victim) => {
          writeFileSync(`${outside}/f`, 'secret');
          await attacker.mkdir(`${view.source}/d`);
          await attacker.writeFile(`${view.source}/d/f`, 'inside');
          await attacker.symlink(outside, `${view.source}/l`);
          let attacking = true;
          const attack = (async () => {
            while (attacking) {
              await attacker.batch(
                Array.from({ length: 50 }, () => ['rename', `${view.source}/d`, `${view.source}/l`, RENAME_EXCHANGE]),
              );
            }
          })();
          const { dev } = await victim.stat(view.mountpoint);
          const seen = { inside: 0, ownLink: 0, failed: 0 };
          try {
            for (let round = 0; round < ROUNDS; round++) {
              const fd = await victim.open(`${view.mountpoint}/d/f`, O_RDONLY).catch(() => null);
              if (fd === null) {
                seen.failed++;
                continue;
              }
              // The caller's own kernel follows a link in the caller's own namespace, which is no business of ours: that
              // file is on another device. What is on the view's device came from the daemon.
              const onView = (await victim.fstat(fd)).dev === dev;
              const content = String(await victim.read(fd, 100));
              await victim.close(fd);
              if (onView) {
                expect(content).toBe('inside');
                seen.inside++;
              } else seen.ownLink++;
              // A name made in the swapped directory must be in one of the two real ones, by who follows the link.
              await errnoOf(victim.mkdir(`${view.mountpoint}/d/made`));
              await errnoOf(victim.rmdir(`${view.mountpoint}/d/made`));
            }
          } finally {
            attacking = false;
            await attack;
          }
          // The race was run: both sides of it were met.
          expect(seen.inside).toBeGreaterThan(0);
          expect(seen.ownLink + seen.failed).toBeGreaterThan(0);
        }),
      ),
    ),
  );
}, 60_000);

test('a file that becomes a link is never followed by the daemon', async () => {
  await withTempTree((outside) =>
    withView({ map: [CONTAINER_MAP] }, (view) =>
      withActor({ uid: 0, gid: 0 }, (attacker) =>
        withActor({ uid: 100_000, gid: 100_000 }, async (victim) => {
          writeFileSync(`${outside}/secret`, 'secret', { mode: 0o600 });
          await attacker.writeFile(`${view.source}/f`, 'inside');
          await attacker.symlink(`${outside}/secret`, `${view.source}/l`);
          let attacking = true;
          const attack = (async () => {
            while (attacking) {
              await attacker.batch(
                Array.from({ length: 50 }, () => ['rename', `${view.source}/f`, `${view.source}/l`, RENAME_EXCHANGE]),
              );
            }
          })();
          let opened = 0;
          try {
            for (let round = 0; round < ROUNDS; round++) {
              const path = `${view.mountpoint}/f`;
              const reading = await victim.open(path, O_RDONLY | O_NOFOLLOW).catch(() => null);
              if (reading !== null) {
                expect(String(await victim.read(reading, 100))).toBe('inside');
                await victim.close(reading);
                opened++;
              }
              const writing = await victim.open(path, O_WRONLY | O_CREAT | O_NOFOLLOW).catch(() => null);
              if (writing !== null) {
                await victim.write(writing, 'inside');
                await victim.close(writing);
              }
              await errnoOf(victim.chmod(path, 0o644));
              await errnoOf(victim.truncate(path, 6));
            }
          } finally {
            attacking = false;
            await attack;
          }
          expect(opened).toBeGreaterThan(0);
          const secret = await attacker.stat(`${outside}/secret`);
          expect(secret).toMatchObject({ uid: 0, gid: 0 });
          expect(secret.mode & 0o777).toBe(0o600);
          expect(String(await attacker.readFile(`${outside}/secret`))).toBe('secret');
        }),
      ),
    ),
  );
}, 60_000);
