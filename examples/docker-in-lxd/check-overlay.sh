#!/bin/sh
# Does overlayfs work here with all its directories in DIRECTORY, as Docker's overlay2 driver needs it? Run it as root of
# the container. What it creates in DIRECTORY it removes.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }

place=$(mktemp -d "$1/check-overlay.XXXXXX")
cd "$place"
trap 'cd / && { umount "$place/merged" 2>/dev/null || :; } && rm -rf "$place"' EXIT
fail() { echo "$*: does not work" >&2; exit 1; }

mkdir base image upper work merged image/directory
echo base >base/file
echo below >image/removed
echo below >image/directory/file
# In a user namespace overlayfs keeps its notes in user.* attributes; Docker asks for that by itself.
mount -t overlay overlay -o lowerdir=image:base,upperdir=upper,workdir=work,userxattr merged || fail "mounting"

echo more >>merged/file
[ "$(cat merged/file)" = "base
more" ] && [ "$(cat base/file)" = base ] || fail "copying up"
rm merged/removed
[ ! -e merged/removed ] && [ -e image/removed ] && [ -c upper/removed ] || fail "removing (a whiteout is a device 0/0)"
rm -r merged/directory && mkdir merged/directory
[ -z "$(ls -A merged/directory)" ] || fail "replacing a directory (an opaque directory has an attribute)"
mv merged/file merged/renamed && [ -c upper/file ] || fail "renaming"
touch merged/owned && chown 33:33 merged/owned && chmod 4755 merged/owned
[ "$(stat -c %u:%g:%a upper/owned)" = 33:33:4755 ] || fail "changing owner and mode"
ln merged/owned merged/link && [ "$(stat -c %h merged/owned)" = 2 ] || fail "linking"
echo "overlayfs works on $1"
