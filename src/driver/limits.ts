// What a driver lacks, in words: shown by mount and status, and the same in docs/drivers.md.

import type { DriverCapabilities } from './driver.js';

export type Capability = keyof DriverCapabilities;

/** For each thing that may be missing: what it is, a colon, and what happens instead. */
export const LIMITS: Readonly<Record<Capability, string>> = {
  callerIds: 'no caller ids: what is created belongs to the owner of its directory, or to --create-owner',
  invalidation: 'no invalidation: nothing is cached, every look asks the underlay (coherence strict only)',
  renameFlags: 'no rename flags: RENAME_NOREPLACE and RENAME_EXCHANGE are EINVAL',
  locks: 'no shared locks: locks hold among the users of the view, and the host does not see them',
  passthrough: 'no passthrough: every read and write goes through the daemon',
  acls: 'no ACL checks: ACLs are kept, but the mode decides, and shows only what they leave to everybody',
  sharedMaps: 'no shared memory maps: MAP_SHARED is ENODEV',
  openInodes:
    'no inodes: an open file is read on when the host replaces it, but has the attributes of what has its name now',
  newerCalls: 'no newer calls: fallocate, O_TMPFILE and inode flags are refused, SEEK_DATA finds no holes',
  timeGranularity: 'coarse times: time stamps are set in milliseconds (and shown in nanoseconds)',
  singleTimes: 'no single times: touch -a and touch -m change nothing',
  parallel: 'no parallel requests: a slow underlay holds up everybody, and who waits for it cannot be killed',
};

/** Empty for a driver that lacks nothing. */
export function limitsOf(capabilities: DriverCapabilities): readonly string[] {
  return (Object.keys(LIMITS) as Capability[])
    .filter((name) => (name === 'timeGranularity' ? capabilities[name] > 1 : !capabilities[name]))
    .map((name) => LIMITS[name]);
}
