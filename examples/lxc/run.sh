#!/bin/sh
# COMMAND in a container of LXC, with ROOTFS as its root and DIRECTORY on /mnt, as container.conf beside this script says.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root. The container exists for as long as COMMAND runs. Do not lxc-destroy it: that deletes ROOTFS.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }
directory=$1 rootfs=$2
shift 2

state=$(mktemp -d)
chmod 711 "$state" # the root of the container walks through it
trap 'rm -rf "$state"' EXIT
sed -e "s,/srv/view,$directory," -e "s,/srv/rootfs,$rootfs," "$(dirname "$0")/container.conf" >"$state/container.conf"
lxc-execute -P "$state" -n "shifted-$$" -f "$state/container.conf" -- "$@"
