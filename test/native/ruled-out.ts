// What the driver fuse-native cannot do, test by test: each is in the suite of the kernel driver, and its name here says
// which missing capability rules it out. setup.ts prints this list as it meets them, and has each of them fail.

import type { Capability } from '../../src/driver/limits.js';

/** By the name of the test. */
export type RuledOut = Readonly<Record<string, Capability>>;

const between = (...names: string[]): RuledOut =>
  Object.fromEntries(names.map((name) => [`${name} a process here and one in the underlay`, 'locks' as const]));

const conformance: RuledOut = {
  'both sides see the same inode number, size, blocks, times and birth time': 'newerCalls',
  'chmod moves ctime and leaves mtime': 'timeGranularity',
  'times keep their nanoseconds': 'timeGranularity',
  'UTIME_OMIT leaves one time alone, whichever it is': 'singleTimes',
  'UTIME_NOW and a null pointer take the time of now': 'singleTimes',
  'futimens works on an open file and utimensat on a link itself': 'timeGranularity',
  'times before 1970 and after 2038 are kept': 'timeGranularity',
  'times of a directory can be set': 'timeGranularity',
  'a fifo that was removed while open still works and has no name': 'openInodes',
  'O_TMPFILE makes a file without a name that can get one': 'newerCalls',
  'O_TMPFILE with O_EXCL can never get a name': 'newerCalls',
  'in a sticky directory only owners remove and rename': 'callerIds',
  'what is made in a setgid directory takes its group, directories the bit too': 'newerCalls',
  'a name made by one user is a file of that user for everybody': 'callerIds',
  'RENAME_NOREPLACE replaces nothing': 'renameFlags',
  'RENAME_EXCHANGE swaps two files, a file and a directory, and nothing with nothing': 'renameFlags',
  'RENAME_EXCHANGE between directories keeps their counts right': 'renameFlags',
  "one may not link what is not one's own to use (protected_hardlinks)": 'callerIds',
  'holes read as zeros and SEEK_DATA and SEEK_HOLE find them': 'newerCalls',
  'fallocate allocates and grows': 'newerCalls',
  'fallocate with KEEP_SIZE allocates behind the end': 'newerCalls',
  'fallocate goes past 4 GiB': 'newerCalls',
  'fallocate punches holes and zeroes': 'newerCalls',
  'fallocate refuses what it must': 'newerCalls',
  'a shared memory map and read and write see each other': 'sharedMaps',
  'a map lives on after close and unlink': 'sharedMaps',
  'maps of both sides share their memory': 'sharedMaps',
  'what the host writes into an open, mapped file is seen at once': 'sharedMaps',
  'attributes of an unlinked open file can be changed': 'timeGranularity',
  'a file that the host unlinked goes on for who has it open': 'openInodes',
  'a removed directory lists as ENOENT for who has it open': 'openInodes',
  'a removed working directory has no path, makes nothing and can be left': 'openInodes',
  'a working directory that was removed and made again is not the same': 'openInodes',
  'an ACL lets in who it names': 'acls',
  'an ACL names groups too, and the mask limits them': 'acls',
  'setting an ACL changes the mode, and chmod changes the mask': 'acls',
  'ACLs set by the host count here': 'acls',
  'a default ACL takes the place of the umask and is inherited by directories': 'acls',
  'a default ACL counts for O_TMPFILE and not for links': 'newerCalls',
  ...between(
    'POSIX locks exclude',
    'POSIX read locks are shared by',
    'POSIX locks hold for their range only, for',
    'flock excludes',
    'OFD locks exclude',
    'a waiting POSIX lock is granted when the holder lets go, for',
    'a waiting flock is granted when the holder closes, for',
    'a waiting lock is interrupted by a signal, for',
    'who waits for a lock can be killed, and leaves no lock behind, for',
    'a dead process holds no locks, for',
  ),
  'FS_IOC_GETFLAGS shows the flags of the underlay, of files and directories': 'newerCalls',
  'FS_IOC_SETFLAGS sets a flag that the owner may set': 'newerCalls',
  'only root of the host makes a file immutable, and not through a view': 'newerCalls',
  'FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR work': 'newerCalls',
};

const ownership: RuledOut = {
  'whatever is made in the container belongs to the same ids in the underlay': 'callerIds',
  'ids of the host that the map does not show cannot be given away or make anything (EOVERFLOW)': 'callerIds',
  'a host process with a view id is that user': 'callerIds',
  'supplementary groups open and create': 'callerIds',
  'what is made in a setgid directory takes its group, and directories the bit': 'callerIds',
  'suid and sgid go when a user of the container writes, cuts or gives away': 'callerIds',
  'capabilities of a file go when it is written (CVE-2021-20263)': 'callerIds',
  'the ids of an ACL are shifted both ways': 'acls',
  'the id that is passed through belongs to the host user of that number': 'callerIds',
  'only that id has a place': 'callerIds',
  'each kind of id goes through its own map': 'callerIds',
  'cp -a, rsync -A and tar --acls copy owners and ACLs within a view, and the host has its own ids in them': 'acls',
};

/** What a test that goes through the coherence modes asks for beyond strict. */
const leases = (...names: string[]): RuledOut =>
  Object.fromEntries(names.map((name) => [`${name}, lease`, 'invalidation' as const]));

/** Once with passthrough where there is any, once without. */
const bothWays = (name: string, reason: Capability): RuledOut => ({
  [`${name}, passthrough as the daemon decides`]: reason,
  [`${name}, through the daemon`]: reason,
});

const regressions: RuledOut = {
  'read-only': 'newerCalls',
  'immutable directory and file': 'newerCalls',
  'a full file system': 'newerCalls',
  'a FIFO that nobody writes to': 'parallel',
  'overlayfs with all its directories in the view': 'renameFlags',
  'nlink follows link and unlink by either side': 'openInodes',
  'a process that sits in the renamed parent stays there': 'openInodes',
  'a FIFO that the host unlinks while it is open': 'openInodes',
  'a FIFO that the container unlinks while it is open': 'openInodes',
  'deleted by the container while open': 'singleTimes',
  'deleted by the host while open': 'openInodes',
  'deleted by the host, by another file while open': 'openInodes',
  'O_TMPFILE: reopened, given a name': 'newerCalls',
  'ACL entries of users and groups, access and default, in both directions': 'acls',
  'the directory is removed': 'openInodes',
  'the parent is renamed, and the grandparent replaced': 'openInodes',
  ...leases('path walks while every step is replaced'),
  'path walks while every step is replaced, ttl=0.01': 'invalidation',
  'a rename that meets a directory the host has moved, lease --watcher fanotify': 'invalidation',
  'a rename that meets a directory the host has moved, lease --watcher chokidar': 'invalidation',
  'a rename that meets a directory the host has moved, ttl=60': 'invalidation',
  'overlayfs on leases keeps what it holds, fanotify': 'invalidation',
  'overlayfs on leases keeps what it holds, chokidar': 'invalidation',
  'no file of host root gets a set-id bit from a container': 'newerCalls',
  'ioctls that name a descriptor': 'newerCalls',
  'ids mean what they are in the initial namespace, whoever calls': 'callerIds',
  'more names than descriptors': 'passthrough',
  'devices are neither opened nor made': 'openInodes',
  'with --allow-dev, whoever may open the node opens it': 'openInodes',
  ...bothWays('capabilities do not survive a change of the content', 'newerCalls'),
  'set-group-id directories': 'newerCalls',
  'the bits that root leaves': 'newerCalls',
  'the bits that owner leaves': 'newerCalls',
  'the bits that other leaves': 'newerCalls',
  ...bothWays('beyond 2 and 4 GiB', 'newerCalls'),
  'fallocate of more than 2 GiB in one call': 'newerCalls',
  ...bothWays('reserved blocks stay reserved', 'newerCalls'),
  'a view of a view': 'callerIds',
  'every operation on ext4': 'newerCalls',
  'every operation on xfs': 'newerCalls',
  'every operation on btrfs': 'newerCalls',
  'every operation on tmpfs': 'newerCalls',
  'a mapping is not cut by a truncation that was taken back': 'sharedMaps',
  'setfacl and cp -a, then stat': 'acls',
  'touch -m, touch -a and touch -d': 'singleTimes',
  'nothing is ever visible with the wrong owner': 'callerIds',
  'NOREPLACE, EXCHANGE, WHITEOUT and what is none of them': 'renameFlags',
  ...leases(
    'rm -rf under load',
    'what was absent appears',
    'both sides make, move and remove the same names at once',
    'concurrent readers and writers of a great directory',
  ),
};

/** By the file of this suite: run all the same, and must fail. */
export const ruledOut: Readonly<Record<string, RuledOut>> = {
  'conformance.test.ts': conformance,
  'ownership.test.ts': ownership,
  'regressions.test.ts': regressions,
};

/** Not run: where they fail they leave calls behind that nobody waits for, or take long to do so. */
export const leftOut: Readonly<Record<string, RuledOut>> = {
  'regressions.test.ts': {
    'a directory that becomes a link while others create below it': 'renameFlags',
    ...bothWays('a mapped file that grows while its directory is listed', 'sharedMaps'),
  },
};
