#!/bin/sh
# A container made by unshare(1) and chroot alone: COMMAND runs in ROOTFS with DIRECTORY on /mnt.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root. Needs newuidmap (package uidmap) and a line such as root:100000:65536 in /etc/subuid and /etc/subgid.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }

# --map-users is HOST,CONTAINER,COUNT: the opposite order of --map.
# shellcheck disable=SC2016
exec unshare --user --map-users=100000,0,65536 --map-groups=100000,0,65536 --setuid 0 --setgid 0 \
  --mount --pid --fork --kill-child --uts --ipc --cgroup sh -euc '
    directory=$1 rootfs=$2
    shift 2
    mount --bind "$rootfs" "$rootfs"
    mount --rbind "$directory" "$rootfs/mnt"
    mount -t proc proc "$rootfs/proc"
    exec chroot "$rootfs" "$@"' sh "$@"
