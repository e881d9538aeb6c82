#!/bin/sh
# COMMAND in a container of podman, with ROOTFS as its root and DIRECTORY on /mnt.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root. With an image instead of a directory, put its name in place of --rootfs ROOTFS. PODMAN holds the options
# of podman itself, e.g. PODMAN="--runtime runc --cgroup-manager cgroupfs", and RUN more of "podman run".
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }
directory=$1 rootfs=$2
shift 2

# rslave: what is mounted below DIRECTORY on the host later shows in the container, too.
# shellcheck disable=SC2086
exec podman ${PODMAN-} run --rm --network none ${RUN-} --uidmap 0:100000:65536 --gidmap 0:100000:65536 \
  --volume "$directory:/mnt:rw,rslave" --rootfs "$rootfs" "$@"
