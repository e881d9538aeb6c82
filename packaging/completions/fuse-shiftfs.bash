# Made from the command table of fuse-shiftfs: npm run packaging.
_fuse_shiftfs() {
  local word=$2 before=$3 command= at
  for ((at = 1; at < COMP_CWORD; at++)); do
    case ${COMP_WORDS[at]} in
      -*) ;;
      *) command=${COMP_WORDS[at]}; break ;;
    esac
  done
  compopt -o filenames 2>/dev/null
  case $command in
    mount)
      case $before in
        --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
        -o | --options) COMPREPLY=(); return ;;
        --map) COMPREPLY=(); return ;;
        --userns) COMPREPLY=(); return ;;
        --idmap) COMPREPLY=(); return ;;
        --overflow-uid) COMPREPLY=(); return ;;
        --overflow-gid) COMPREPLY=(); return ;;
        --squash-uid) COMPREPLY=(); return ;;
        --squash-gid) COMPREPLY=(); return ;;
        --create-owner) COMPREPLY=(); return ;;
        --coherence) COMPREPLY=(); return ;;
        --watcher) COMPREPLY=($(compgen -W 'auto fanotify chokidar' -- "$word")); return ;;
        --forward-events) COMPREPLY=($(compgen -W 'auto on off' -- "$word")); return ;;
        --driver) COMPREPLY=($(compgen -W 'kernel fuse-native' -- "$word")); return ;;
        --passthrough) COMPREPLY=($(compgen -W 'auto on off' -- "$word")); return ;;
        --io-uring) COMPREPLY=($(compgen -W 'auto on off' -- "$word")); return ;;
        --workers) COMPREPLY=(); return ;;
        --max-workers) COMPREPLY=(); return ;;
        --log-level) COMPREPLY=($(compgen -W 'fatal error warn info debug trace silent' -- "$word")); return ;;
        --log-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
        --fsname) COMPREPLY=(); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--config -o --options --map --userns --idmap --overflow-uid --overflow-gid --squash-uid --squash-gid --chown-ignore --create-owner --coherence --watcher --forward-events --read-only --allow-suid --allow-dev --no-allow-other --xdev --noexec --noatime --driver --passthrough --io-uring --workers --max-workers -f --foreground --auto-unmount --log-level --log-file --trace --fsname --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -d -- "$word")) ;;
      esac
      ;;
    umount)
      case $before in
        --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '-l --lazy --config --if-mounted --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "$(awk '$3 == "fuse.fuse-shiftfs" { print $2 }' /proc/self/mounts)" -- "$word")) ;;
      esac
      ;;
    status)
      case $before in
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--json --watch --prometheus --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "$(awk '$3 == "fuse.fuse-shiftfs" { print $2 }' /proc/self/mounts)" -- "$word")) ;;
      esac
      ;;
    share)
      case $before in
        --with) COMPREPLY=(); return ;;
        --name) COMPREPLY=(); return ;;
        --runtime) COMPREPLY=($(compgen -W 'lxd incus lxc podman' -- "$word")); return ;;
        -o | --options) COMPREPLY=(); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--with --name --runtime -o --options --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -d -- "$word")) ;;
      esac
      ;;
    unshare)
      case $before in
        --with) COMPREPLY=(); return ;;
        --name) COMPREPLY=(); return ;;
        --runtime) COMPREPLY=($(compgen -W 'lxd incus lxc podman' -- "$word")); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--with --name --runtime --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -d -- "$word")) ;;
      esac
      ;;
    doctor)
      case $before in
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--json --help' -- "$word")) ;;
        *) COMPREPLY=($(compgen -d -- "$word")) ;;
      esac
      ;;
    install)
      case $before in
        --prefix) COMPREPLY=($(compgen -f -- "$word")); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--prefix --help' -- "$word")) ;;
        *) COMPREPLY=() ;;
      esac
      ;;
    uninstall)
      case $before in
        --prefix) COMPREPLY=($(compgen -f -- "$word")); return ;;
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '--prefix --help' -- "$word")) ;;
        *) COMPREPLY=() ;;
      esac
      ;;
    *)
      COMPREPLY=($(compgen -W 'mount umount status share unshare doctor install uninstall --help --version' -- "$word"))
      [[ $word == -* ]] || COMPREPLY+=($(compgen -d -- "$word"))
      ;;
  esac
}
complete -F _fuse_shiftfs fuse-shiftfs
