#!/bin/sh
# Shows the bug that made Ubuntu's shiftfs unusable for editing (LP1879196, LXC forum 10725), and that it is gone: emacs saves a
# file on the host, or `bzr revert` puts one back, and a container goes on reading the old content.
#
#   sudo ./reproduce.sh              both: with plain timeouts (stale) and with the default (right)
#
# Needs root, emacs and brz (Debian: emacs-nox, brz), and fuse-shiftfs in PATH or FUSE_SHIFTFS=/path/to/it. Works below
# /var/tmp, because emacs makes no backups below /tmp and the bug does not show without. Leaves nothing behind. Exit status 0:
# stale with timeouts and right with the default, as described.
set -eu

fuse_shiftfs=${FUSE_SHIFTFS:-fuse-shiftfs}
for program in emacs brz setpriv "$fuse_shiftfs"; do
  command -v "$program" >/dev/null || { echo "$program is missing; see the first lines of $0" >&2; exit 2; }
done

work=$(mktemp -d /var/tmp/emacs-bzr-bug.XXXXXX)
cleanup() {
  exec 8<&- 9<&- 2>/dev/null || :
  "$fuse_shiftfs" umount "$work/view" >/dev/null 2>&1 || umount --lazy "$work/view" 2>/dev/null || :
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"
export HOME="$work" BRZ_LOG=/dev/null BRZ_EMAIL='You <you@example.org>'

# As the container's root, whose uid is 100000 on the host.
in_container() { setpriv --reuid=100000 --regid=100000 --clear-groups "$@"; }

wrong=0
# look WHAT FILE: prints what the container reads, and counts it when it is not what the host has. The report of a change takes
# milliseconds, on a busy machine more: a second is given to it, of the sixty that the timeout lasts.
look() {
  host=$(cat "$work/host/$2")
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    seen=$(in_container cat "$work/view/$2")
    [ "$seen" != "$host" ] || break
    sleep 0.1
  done
  if [ "$seen" = "$host" ]; then verdict=right; else verdict=STALE wrong=$((wrong + 1)); fi
  printf '  %-28s host: %-12s container: %-12s %s\n' "$1" "$host" "$seen" "$verdict"
}

scene() {
  echo "fuse-shiftfs mount $*"
  rm -rf "$work/host" && mkdir -p "$work/host" "$work/view"
  (cd "$work/host" && brz init -q && echo committed >reverted && brz add -q reverted && brz commit -q -m first)
  echo 'my change' >"$work/host/reverted"
  echo before >"$work/host/saved"
  "$fuse_shiftfs" mount "$work/host" "$work/view" --map 0:100000:65536 "$@"
  wrong=0
  # A program of the container has both files open, and so the kernel knows them: a server, an editor, `tail -f`.
  exec 8<"$work/view/saved" 9<"$work/view/reverted"
  look 'at first' saved
  look 'at first' reverted
  # The same length, within the same second: neither size nor time of whole seconds gives it away.
  emacs -Q --batch --eval "(progn (find-file \"$work/host/saved\") (erase-buffer) (insert \"after!\n\") (save-buffer))" 2>/dev/null
  look 'after emacs saved' saved
  (cd "$work/host" && brz revert -q --no-backup reverted)
  look 'after bzr revert' reverted
  exec 8<&- 9<&-
  "$fuse_shiftfs" umount "$work/view" >/dev/null
  echo
}

scene --coherence ttl=60
with_timeouts=$wrong
scene
by_default=$wrong

if [ "$with_timeouts" -eq 2 ] && [ "$by_default" -eq 0 ]; then
  echo 'With timeouts the container reads the old files; by default it reads what the host has.'
else
  echo "not as described: $with_timeouts of 2 stale with timeouts, $by_default by default" >&2
  exit 1
fi
