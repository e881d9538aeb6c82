#!/bin/sh
# COMMAND in a container of an OCI runtime (runc, or crun with RUNTIME=crun), with ROOTFS as its root and DIRECTORY on
# /mnt, as config.json beside this script says. In that file the lines that matter are the mount of /srv/view and the
# uidMappings and gidMappings, which are the view's --map with the sides named.
#
#   fuse-shiftfs mount /srv/data /srv/view --map 0:100000:65536
#   ./run.sh /srv/view ROOTFS COMMAND [ARGUMENT]...
#   fuse-shiftfs umount /srv/view
#
# Run it as root. Needs jq.
set -eu
[ $# -ge 3 ] || { echo "usage: $0 DIRECTORY ROOTFS COMMAND [ARGUMENT]..." >&2; exit 2; }
directory=$1 rootfs=$2
shift 2

bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
jq --arg directory "$directory" --arg rootfs "$rootfs" '
    .process.args = $ARGS.positional
    | .root.path = $rootfs
    | (.mounts[] | select(.destination == "/mnt") | .source) = $directory' \
  "$(dirname "$0")/config.json" --args -- "$@" >"$bundle/config.json"
"${RUNTIME:-runc}" --root "$bundle/state" run --bundle "$bundle" "shifted-$$"
