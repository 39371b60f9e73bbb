#!/usr/bin/env bash
# In: the sources and build/dev. Out: one TAP line per check, and at the end the files and functions that are longer than
# a reader can hold (a list, not a failure). Why: what a machine can see, a reviewer should not have to.
# clang-tidy looks only at what has changed since it last passed, a changed header being a change of all that include it;
# with CI=true at everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mapfile -t c_files < <(find core bindings bench spec -name node_modules -prune -o -name '*.[ch]' -print | sort)
mapfile -t lua_files < <(find scripts bindings spec bench -name node_modules -prune -o -name '*.lua' -print | sort)
mapfile -t shell_files < <(grep -lE '^#!.*(bash|/sh)|shellcheck shell=' dev .ci/* spec/support/*.sh spec/deployments/*.sh bench/* deployments/*/* 2>/dev/null)
failed=0

# shellcheck source=spec/support/stamps.sh
source spec/support/stamps.sh

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
  local output
  output=$(clang-format --dry-run --Werror "${c_files[@]}" 2>&1) && return
  grep -oE '^[^:]+:[0-9]+:[0-9]+: error' <<<"$output" | cut -d: -f1 | sort -u | sed 's/^/clang-format -i /' | grep . || cat <<<"$output"
  return 1
}

tidy_keys() {
  local files
  mapfile -t files < <(find core bindings -name '*.c' | sort)
  stamps_sources build/dev "$(clang-tidy --version) $(<.clang-tidy)" "${files[@]}"
}

tidy() { # <KEYS of what is to be looked at
  stamps_run tidy clang-tidy --quiet --warnings-as-errors='*' -p build/dev \
    --extra-arg=-Wno-unknown-warning-option # gcc's options, clang's eyes
}

struct_names() { # names those that are given to two structs
  grep -rnE '^ *(static |const |typedef )*struct [a-z_0-9]+ \{' core bindings --include='*.[ch]' |
    sed -E 's/^([^:]+:[0-9]+):.*struct ([a-z_0-9]+) \{.*/\2 \1/' | sort |
    awk '$1 == name { print name ": " at ", " $2; twice = 1 } { name = $1; at = $2 } END { exit twice }'
}

check "clang-format" formatted
check "a struct has a name of its own" struct_names
keys=$(tidy_keys)
left=$(stamps_left tidy <<<"$keys")
echo "# clang-tidy: $(grep -c . <<<"$left") of $(grep -c . <<<"$keys") files"
check "clang-tidy" tidy <<<"$left"
stamps_keep tidy <<<"$keys"
check "luacheck" luacheck --quiet --no-color "${lua_files[@]}"
check "shellcheck" shellcheck -x -S warning "${shell_files[@]}"
check "a pointer is tested as (p) or (!p)" bash -c '! grep -rnE "[!=]= NULL" core bindings --include="*.[ch]"'
check "every time has a test" spec/support/times_test.sh
check "no circles between files" spec/support/circles.sh
check "the reference pages are what the program says" spec/support/docs.sh --check
check "the types of the client library are what its comments say" spec/support/types.sh --check

wc -l "${c_files[@]}" "${lua_files[@]}" | awk '$2 != "total" && $1 > 400 { print "# " $1 " lines: " $2 }'
# A function begins with a line that opens a brace in column 1 or ends in one there, and ends with a brace in column 1.
awk 'FNR == 1 { start = 0 }
  /^[a-z].*[^=] \{$/ && /\(/ { start = FNR; name = $0 }
  /^\}/ && start { if (FNR - start > 60) print "# " FNR - start " lines: " FILENAME ": " name; start = 0 }' "${c_files[@]}"
exit $failed
