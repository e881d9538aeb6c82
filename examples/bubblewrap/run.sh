#!/bin/sh
# COMMAND in bubblewrap, with ROOTFS as its root and DIRECTORY on /mnt.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root. bwrap by itself maps one id only; unshare(1) makes the user namespace with all of them. Needs newuidmap
# (package uidmap) and a line such as root:100000:65536 in /etc/subuid and /etc/subgid.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }
directory=$1 rootfs=$2
shift 2

# --map-users is HOST,CONTAINER,COUNT: the opposite order of --map.
exec unshare --user --map-users=100000,0,65536 --map-groups=100000,0,65536 --setuid 0 --setgid 0 \
  bwrap --bind "$rootfs" / --bind "$directory" /mnt --proc /proc --dev /dev \
  --unshare-pid --unshare-ipc --unshare-uts --die-with-parent --cap-add ALL "$@"
