#!/bin/sh
# Runs inside a container: what does the directory $1 look like from here, and what do root and uid 1000 get to do in it?
# One KEY=VALUE a line.
cd "$1" || exit 1
as_user() { su user -c "$1" 2>/dev/null; }
if_done() { if "$@" 2>/dev/null; then echo yes; else echo no; fi; }

echo "uid_map=$(awk '{ print $1, $2 }' /proc/self/uid_map)"
echo "owner_of_root_file=$(stat -c %u:%g root.txt)"
echo "owner_of_user_file=$(stat -c %u:%g user.txt)"
echo "content=$(cat user.txt)"
echo "root_writes=$(if_done sh -c 'echo root > written-by-root')"
echo "root_chowns=$(if_done chown 33:33 written-by-root)"
echo "owner_after_chown=$(stat -c %u:%g written-by-root 2>/dev/null)"
echo "user_writes_in_own=$(if_done as_user 'echo user > home/written-by-user')"
echo "owner_of_new_file=$(stat -c %u:%g home/written-by-user 2>/dev/null)"
echo "user_writes_in_roots=$(if_done as_user 'echo user >> root.txt')"
