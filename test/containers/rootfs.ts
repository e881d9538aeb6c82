// The root file system that the containers of this suite run on: static busybox and nothing else, 2 MB. There is no image
// server, and none is needed.

import { spawnSync } from 'node:child_process';

const SCRIPT = `
set -eu
mkdir -p bin sbin etc proc sys dev tmp root mnt run var usr/bin usr/sbin
cp /bin/busybox bin/busybox
for applet in $(bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s /bin/busybox "bin/$applet"
done
ln -s /bin/busybox sbin/init
printf 'root:x:0:0:root:/root:/bin/sh\\nuser:x:1000:1000::/tmp:/bin/sh\\nwww-data:x:33:33::/tmp:/bin/sh\\n' > etc/passwd
printf 'root:x:0:\\nuser:x:1000:\\nwww-data:x:33:\\n' > etc/group
printf '::sysinit:/bin/true\\n::respawn:/bin/sleep 3600\\n' > etc/inittab
chmod 1777 tmp
install -m 755 "$2" bin/probe
chown -hR "$1:$1" .
`;

/** Fills the existing, empty `directory`; the files are owned by `owner`, the host id of the container's root. */
export function makeRootfs(directory: string, owner: number, probe: string): void {
  const { status, stderr } = spawnSync('sh', ['-c', SCRIPT, 'sh', String(owner), probe], {
    cwd: directory,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`busybox root file system (package busybox-static): ${stderr}`);
}
