#!/usr/bin/env bash
# In: tar; new FOLDER; enter FOLDER COMMAND…; alone COMMAND…; boot FOLDER. Out: a minimal Debian 12 as a tar archive or unpacked
# in FOLDER, a command in it or beside it, or systemd in it as process 1. Why: an image, a package and a unit are true only when
# they have run on a fresh system, and this machine is none. Needs root, debootstrap and util-linux.
#   tar      prints the path of the archive; it is made when there is none, or one older than a week (about a minute)
#   new      unpacks it into FOLDER, with this machine's package sources, so that apt-get works in it
#   enter    COMMAND with FOLDER as its root, in namespaces of its own (mounts, processes, ipc, host name, control groups), but
#            on this machine's network: for apt-get
#   alone    COMMAND on this machine's own files in the same namespaces, for container engines; and no mount outlives it
#   boot     systemd as process 1 of FOLDER, with a network of its own, in which there is only loopback
# When enter, alone or boot is killed, everything that runs inside goes with it. The exit code of COMMAND is passed on.
set -euo pipefail
self=$(realpath "${BASH_SOURCE[0]}")
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/chatbox
archive=$cache/debian-12.tar

die() {
  echo "root.sh: $*" >&2
  exit 1
}

mirror() { # where this machine has Debian from
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 2>/dev/null | grep -m 1 '^http' || true)
  [ -n "$uri" ] || die "apt knows no source of Debian 12 by HTTP: apt-get update"
  echo "$uri"
}

tar_make() {
  mkdir -p "$cache"
  exec 9>"$archive.lock"
  flock 9
  if [ -z "$(find "$archive" -mtime -7 2>/dev/null)" ]; then
    local place from
    from=$(mirror)
    place=$(mktemp -d)
    # shellcheck disable=SC2064 # place is known now and not later
    trap "rm -rf --one-file-system '$place'" EXIT
    debootstrap --variant=minbase bookworm "$place/root" "$from" >"$place/log" 2>&1 9>&- || {
      tail -n 20 "$place/log" >&2
      die "debootstrap failed"
    }
    rm -rf "$place"/root/var/cache/apt/archives/*.deb "$place"/root/var/lib/apt/lists/*
    tar -C "$place/root" --numeric-owner -cf "$archive.part" .
    mv "$archive.part" "$archive"
  fi
  echo "$archive"
}

new() { # FOLDER
  local from
  from=$("$self" tar)
  mkdir -p "$1"
  tar -C "$1" --numeric-owner -xpf "$from"
  cp /etc/resolv.conf "$1/etc/resolv.conf"
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    cp /etc/apt/sources.list.d/debian.sources "$1/etc/apt/sources.list.d/"
    : >"$1/etc/apt/sources.list"
  fi
  # shellcheck disable=SC2016
  apt-config shell proxy Acquire::http::Proxy check Acquire::Check-Valid-Until | {
    eval "$(cat)"
    if [ -n "${proxy:-}" ]; then echo "Acquire::http::Proxy \"$proxy\";"; fi
    if [ -n "${check:-}" ]; then echo "Acquire::Check-Valid-Until \"$check\";"; fi
    echo 'APT::Install-Recommends "false";'
  } >"$1/etc/apt/apt.conf.d/99this-machine"
  # Nothing that is installed is started by its package: there is nobody to start it.
  printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
  chmod 755 "$1/usr/sbin/policy-rc.d"
}

spaces() { # FLAGS WORD ARGUMENT…: this script once more, as WORD, in new namespaces
  local flags=$1 group='' unified code=0
  shift
  ((EUID == 0)) || die "only root can do this"
  unified=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
  [ -n "$unified" ] || die "this kernel has no unified control groups"
  group=$unified/chatbox-test-$$
  mkdir "$group"
  # shellcheck disable=SC2086 # flags are words
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    exec unshare --mount --pid --fork --kill-child --ipc --uts --cgroup $flags -- "$self" "$@"
  ) &
  local child=$! tries=50
  trap 'kill -KILL $child 2>/dev/null' TERM INT HUP
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child" || code=$?; done # a trapped signal ends a wait early
  # After a kill the last of them is gone a moment later than the first.
  until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || ((--tries == 0)); do read -rt 0.1 <> <(:) || true; done
  return $code
}

mounts() { # FOLDER: what a system finds under its root
  local name
  mount --make-rprivate /
  if [ "$1" != / ]; then mount --bind "$1" "$1"; fi
  mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
  if [ "$1" != / ]; then mount -t sysfs -o nosuid,nodev,noexec sysfs "$1/sys"; fi
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$1/sys/fs/cgroup"
  if [ "$1" = / ]; then return; fi
  mount -t tmpfs -o nosuid,mode=755 tmpfs "$1/dev"
  mkdir "$1/dev/pts" "$1/dev/shm"
  for name in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$1/dev/${name%:*}" c 1 "${name#*:}"; done
  mknod -m 666 "$1/dev/tty" c 5 0
  ln -s /proc/self/fd "$1/dev/fd"
  for name in in:0 out:1 err:2; do ln -s "/proc/self/fd/${name#*:}" "$1/dev/std${name%:*}"; done
  mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$1/dev/pts"
  ln -s pts/ptmx "$1/dev/ptmx"
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$1/dev/shm"
  mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$1/run"
}

pivot() { # FOLDER: it is the root from now on, for everybody in here
  cd "$1"
  mkdir -p .before
  pivot_root . .before
  cd /
  umount -l /.before
  rmdir /.before
}

entered() { # FOLDER COMMAND…
  mounts "$1"
  pivot "$1"
  shift
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
  "$@"
}

stayed() { # COMMAND…
  mounts /
  "$@"
}

booted() { # FOLDER
  ip link set lo up
  hostname chatbox-test
  mounts "$1"
  pivot "$1"
  # Nobody here has devices, disks or other machines.
  local unit
  for unit in systemd-udevd.service systemd-udev-trigger.service systemd-networkd.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer getty.target; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
  done
  : >/etc/machine-id
  unset "${!SUDO_@}" NOTIFY_SOCKET LISTEN_FDS
  exec env -i container=chroot PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=console --show-status=0
}

case ${1:-} in
tar) tar_make ;;
new) new "$2" ;;
enter) spaces '' .entered "$(realpath "$2")" "${@:3}" ;;
alone) spaces '' .stayed "${@:2}" ;;
boot) spaces --net .booted "$(realpath "$2")" ;;
.entered) entered "${@:2}" ;;
.stayed) stayed "${@:2}" ;;
.booted) booted "$2" ;;
*) die "tar, new FOLDER, enter FOLDER COMMAND…, alone COMMAND… or boot FOLDER" ;;
esac
