#!/usr/bin/env bash
# In: build/dev, as it was configured. Out: TAP lines. Why: a room sees only what lies below it and the private headers
# of nobody else; the compiler has to say so, or the first hurried change makes a circle. Each case is one file of one
# line, compiled with the options its room's own sources have.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
failed=0

options_of() { # ROOM: those of its first source, without what names a file
  node -e '
    const [, folder] = process.argv;
    const row = JSON.parse(require("fs").readFileSync("build/dev/compile_commands.json"))
      .find((r) => r.file.replace(/\/[^/]*$/, "").endsWith("/" + folder));
    if (!row) { console.error("nothing is compiled in " + folder); process.exit(1); }
    console.log(row.command.replace(/ -o \S+ -c \S+$/, ""));' "$1"
}

says() { # WANTED(yes|no) ROOM HEADER NAME
  local command result=yes
  echo "#include \"$3\"" >"$place/try.c"
  command="$(options_of "$2") -fsyntax-only $place/try.c"
  (cd build/dev && eval "$command") >"$place/said" 2>&1 || result=no
  if [ "$result" = "$1" ] && { [ "$1" = yes ] || grep -qE "$3: No such file|private to" "$place/said"; }; then
    echo "ok - $4"
  else
    sed 's/^/# /' "$place/said"
    echo "not ok - $4"
    failed=1
  fi
}

# The rooms from the ground up, each with a header it offers; what stands side by side does not see each other.
floors=("core/base err.h" "core/config config.h" "core/identity token.h" "core/store store.h" "core/chat session.h"
  "core/net net.h" "bindings/vm vm.h" "bindings/api api.h" "bindings/check check.h" "bindings/versions scripts.h" "core/server server.h")
for ((low = 0; low < ${#floors[@]}; low++)); do
  read -r room header <<<"${floors[low]}"
  for ((high = low + 1; high < ${#floors[@]}; high++)); do
    read -r above offered <<<"${floors[high]}"
    says no "$room" "$offered" "$room does not see $offered of $above"
  done
  says yes "$room" "$header" "$room sees its own $header"
  says yes "$room" err.h "$room sees err.h of core/base"
done
says yes core/client wire.h "core/client sees its own wire.h"
says no core/client config.h "core/client sees nothing of the server but core/base"
for room in core/net core/chat bindings/api; do says no "$room" wire.h "$room does not see wire.h of core/client"; done
says no core/store sqlite_impl.h "core/store does not see its backends"
for room in core/store/sqlite core/store/mongo core/store/memory; do
  says yes "$room" store.h "$room sees store.h"
  says no "$room" session.h "$room does not see session.h of core/chat"
  says no "$room" store_backends.h "$room does not see the list of backends"
done
says no core/net session_impl.h "core/net does not see the inside of a session"
says no bindings/check api.h "bindings/check does not see what scripts call"
says no core/server machine.h "core/server does not see the inside of a VM"
says no core/server scripts_impl.h "core/server does not see the inside of the versions"
says no bindings/vm net_impl.h "bindings/vm does not see the inside of the transport"
says no core/server sqlite_impl.h "core/server does not see the inside of a backend"

if grep -rnE '#include "[^"]*/' core bindings; then
  echo "not ok - no include names a folder (that would go round the walls)"
  failed=1
else
  echo "ok - no include names a folder (that would go round the walls)"
fi
exit $failed
