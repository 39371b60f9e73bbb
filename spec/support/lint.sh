#!/usr/bin/env bash
# In: the sources and build/dev. Out: one TAP line per check, and at the end the files and functions that are longer than
# a reader can hold (a list, not a failure). Why: what a machine can see, a reviewer should not have to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mapfile -t c_files < <(find core bindings bench spec -name node_modules -prune -o -name '*.[ch]' -print | sort)
mapfile -t lua_files < <(find scripts bindings spec bench -name node_modules -prune -o -name '*.lua' -print | sort)
mapfile -t shell_files < <(grep -lE '^#!.*(bash|/sh)|shellcheck shell=' dev .ci/* spec/support/*.sh bench/* deployments/*/* 2>/dev/null)
failed=0

check() { # NAME COMMAND…
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok - $name"
  else
    head -n 100 <<<"$output" | sed 's/^/# /'
    echo "not ok - $name"
    failed=1
  fi
}

formatted() { # names the files that are not
  local file bad=0
  for file in "${c_files[@]}"; do
    clang-format --dry-run --Werror "$file" >/dev/null 2>&1 || { echo "clang-format -i $file" && bad=1; }
  done
  return $bad
}

tidy() {
  find core bindings -name '*.c' | sort | xargs -P 2 -n 4 clang-tidy --quiet --warnings-as-errors='*' -p build/dev \
    --extra-arg=-Wno-unknown-warning-option # gcc's options, clang's eyes
}

check "clang-format" formatted
check "clang-tidy" tidy
check "luacheck" luacheck --quiet --no-color "${lua_files[@]}"
check "shellcheck" shellcheck -x -S warning "${shell_files[@]}"
check "the reference pages are what the program says" spec/support/docs.sh --check

wc -l "${c_files[@]}" "${lua_files[@]}" | awk '$2 != "total" && $1 > 400 { print "# " $1 " lines: " $2 }'
# A function begins with a line that opens a brace in column 1 or ends in one there, and ends with a brace in column 1.
awk 'FNR == 1 { start = 0 }
  /^[a-z].*[^=] \{$/ && /\(/ { start = FNR; name = $0 }
  /^\}/ && start { if (FNR - start > 60) print "# " FNR - start " lines: " FILENAME ": " name; start = 0 }' "${c_files[@]}"
exit $failed
