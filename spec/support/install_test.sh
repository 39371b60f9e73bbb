#!/usr/bin/env bash
# In: build/release. Out: TAP lines. Why: what `cmake --install` lays out has to run from an empty prefix that knows
# nothing of the source tree, also after it was moved.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
place=$(mktemp -d)
pid=
failed=0
finish() {
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
  rm -rf "$place"
}
trap finish EXIT

check() { # NAME COMMAND…
  local name=$1
  shift
  if "$@" >"$place/output" 2>&1; then
    echo "ok - $name"
  else
    sed 's/^/# /' "$place/output"
    echo "not ok - $name"
    failed=1
  fi
}

get() { # PATH: the answer of the server to a GET, head and body
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
  timeout 10 cat <&3
  exec 3>&-
}

answers() { # PATH WORDS
  get "$1" | tee "$place/answer" | grep -q "$2" || {
    cat "$place/answer"
    return 1
  }
}

names_no_path() { # the installed program carries no path of the machine that built it
  ! grep -rl "$root" "$place/moved/bin" "$place/moved/share/chatbox"
}

stops_cleanly() {
  kill -TERM "$pid"
  wait "$pid"
  pid=
}

check "it installs into an empty prefix" cmake --install build/release --prefix "$place/first"
mv "$place/first" "$place/moved"
check "the program says what it can do" "$place/moved/bin/chatbox" --help
check "the program names no path of the source tree" names_no_path
check "the pages of the manual are there" test -s "$place/moved/share/doc/chatbox/README.md"
check "the client library is there, with its types and its manual" test -s "$place/moved/share/chatbox/web/chatbox-client.js" \
  -a -s "$place/moved/share/chatbox/web/chatbox-client.d.ts" -a -s "$place/moved/share/doc/chatbox/client.md"
check "manual pages and completion are there" test -s "$place/moved/share/man/man1/chatbox.1" \
  -a -s "$place/moved/share/man/man5/chatbox.conf.5" -a -s "$place/moved/share/bash-completion/completions/chatbox"

cd "$place"
mkdir run
export JWT_SECRET=0f-A-fr3sh-Prefix-0nly-Th1s-Ring-kn0ws STORE_URL="sqlite:$place/run/chatbox.db"
export SERVER_ADDRESS=127.0.0.1 SERVER_PORT=0 WORKERS=2 LOG_FORMAT=text
check "the installed scripts are sound" moved/bin/chatbox check
check "it mints a token" moved/bin/chatbox token --user alice --name Alice --ttl 1h

moved/bin/chatbox run 2>log &
pid=$!
# Ends with the line that names the port, or with the server.
port=$(timeout 20 grep -m 1 -oE 'port=[0-9]+' < <(tail -n +1 -f --pid=$pid log) | cut -d= -f2) || true
if [ -n "$port" ]; then
  check "it is alive" answers /chatbox/healthz '^HTTP/1.1 200'
  check "it is ready" answers /chatbox/readyz '^HTTP/1.1 200'
  check "it serves the installed pages" answers / '^HTTP/1.1 [23]0'
  check "it stops cleanly on SIGTERM" stops_cleanly
else
  sed 's/^/# /' log
  echo "not ok - it starts and names its port"
  failed=1
fi
exit $failed
