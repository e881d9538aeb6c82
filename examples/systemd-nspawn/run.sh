#!/bin/sh
# COMMAND in systemd-nspawn, with ROOTFS as its root and DIRECTORY on /mnt.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root; NSPAWN holds more options. Where the file system of /srv/data has idmapped mounts, nspawn can do without
# a view: --bind=/srv/data:/mnt:idmap ("fuse-shiftfs doctor /srv/data" tells).
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }
directory=$1 rootfs=$2
shift 2

# The option says the id on the host first and how many follow: nspawn's root is 100000.
# shellcheck disable=SC2086
exec systemd-nspawn --quiet --directory="$rootfs" --private-users=100000:65536 --private-users-ownership=off \
  --bind="$directory:/mnt" --as-pid2 ${NSPAWN-} -- "$@"
