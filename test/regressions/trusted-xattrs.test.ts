// Read in shiftfs's source: listxattr showed trusted.* to the container.
//
// This test: trusted.* that the host has set is neither listed nor read nor set nor removed in the container; user.* is.

import { expect, test } from 'vitest';
import { errnoOf } from '../support/actor.js';
import { withContainer } from './harness.js';

test('trusted.* is not there for the container', async () => {
  await withContainer(async ({ root, host, in: here, under }) => {
    await host.writeFile(under('f'), 'x');
    await host.setxattr(under('f'), 'trusted.secret', 'secret');
    await host.setxattr(under('f'), 'user.open', 'open');
    expect(await root.listxattr(here('f'))).toEqual(['user.open']);
    expect(await root.listxattr(here('f'), 0)).toBe('user.open'.length + 1);
    expect((await root.getxattr(here('f'), 'user.open')).toString()).toBe('open');
    expect(['EPERM', 'ENODATA', 'EOPNOTSUPP']).toContain(await errnoOf(root.getxattr(here('f'), 'trusted.secret')));
    expect(['EPERM', 'EOPNOTSUPP']).toContain(await errnoOf(root.setxattr(here('f'), 'trusted.secret', 'mine')));
    expect(['EPERM', 'ENODATA', 'EOPNOTSUPP']).toContain(await errnoOf(root.removexattr(here('f'), 'trusted.secret')));
    expect((await host.getxattr(under('f'), 'trusted.secret')).toString()).toBe('secret');
    // An overlay of the host hides what it knows in trusted.overlay.*: the same.
    await host.setxattr(under(), 'trusted.overlay.opaque', 'y');
    expect(await root.listxattr(here())).toEqual([]);
  });
});
