// --auto-unmount: a process that outlives the daemon and detaches its mount. It is a shell that waits on a pipe whose other
// end only the daemon has; the kernel closes that end however the daemon dies. It takes away the very mount it was started
// for, never what somebody mounted there afterwards.

import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { mountAt, readMounts, VIEW_FSTYPE } from '../linux/mountinfo.js';
import { pipe } from '../linux/process.js';

const DISMISS = 'dismiss';

// A service manager signals the whole group before it kills: the guardian stays until the daemon is gone. Mount ids and
// device numbers are given out again once they are free, so what has them must be dead, too: statfs(2) asks the server,
// where stat(2) may be answered from what the kernel has cached.
const SCRIPT = `
trap '' HUP INT TERM
read -r word
[ "$word" = ${DISMISS} ] && exit 0
while read -r id parent device rest; do
  [ "$id $device" = "$1" ] && ! stat -f -- "$2" >/dev/null 2>&1 && exec umount -i -l -- "$2"
done </proc/self/mountinfo
exit 0
`;

export interface Guardian {
  /** The mount is gone, or is to stay: do nothing. */
  dismiss(): void;
}

/** To be called when the view is mounted. Undefined when it is already gone. */
export function startGuardian(mountpoint: string): Guardian | undefined {
  const mount = mountAt(readMounts(), mountpoint);
  if (mount?.fstype !== VIEW_FSTYPE) return undefined;
  const channel = pipe();
  const guardian = spawn(
    '/bin/sh',
    ['-c', SCRIPT, 'fuse-shiftfs-guardian', `${mount.id} ${mount.device}`, mountpoint],
    {
      stdio: [channel.read, 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
    },
  );
  guardian.unref();
  closeSync(channel.read);
  return {
    dismiss: () => {
      try {
        writeSync(channel.write, `${DISMISS}\n`);
      } catch {
        // EPIPE: it was killed.
      }
    },
  };
}
