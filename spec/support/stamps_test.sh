#!/usr/bin/env bash
# In: sources that change. Out: TAP lines. Why: a check that is left out has to be one that would pass.
set -uo pipefail
stamps_sh=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/stamps.sh
unset CI
failed=0
place=$(mktemp -d)
trap 'rm -r "$place"' EXIT
cd "$place" || exit 1
# shellcheck source=spec/support/stamps.sh
source "$stamps_sh"

is() { # NAME EXPECTED IS
  if [ "$2" = "$3" ]; then echo "ok - $1"; else echo "not ok - $1: '$3' instead of '$2'" && failed=1; fi
}

# --- sources: two that include a header, one that does not, one with a header that is made ---------------------------

mkdir build src
echo '#define A 1' >src/a.h
echo '#define MADE 1' >build/made.h
printf '#include "a.h"\nint %s = A;\n' one >src/one.c
printf '#include "a.h"\nint %s = A;\n' two >src/two.c
echo 'int three = 3;' >src/three.c
printf '#include "made.h"\nint four = MADE;\n' >src/four.c
{
  printf 'rule cc\n  command = gcc -iquote. -MMD -MF $out.d -c $in -o $out\n  deps = gcc\n  depfile = $out.d\n'
  for name in one two three four; do printf 'build %s.o: cc %s\n' "$name" "$PWD/src/$name.c"; done
} >build/build.ninja
commands() { # OPTION
  local name
  for name in one two three four; do printf '"command": "gcc %s",\n"file": "%s"\n' "$1" "$PWD/src/$name.c"; done
}
commands -O1 >build/compile_commands.json
make() { ninja -C build >/dev/null; }
make

keys() { stamps_sources build "${1:-rules}" src/one.c src/two.c src/three.c src/four.c; }
# The files that are looked at now; all of them pass.
look() {
  keys "$@" >keys
  stamps_left check <keys >left
  stamps_run check true <left
  stamps_keep check <keys
  cut -d' ' -f2 left | xargs
}

is "at first everything is looked at" "src/one.c src/two.c src/three.c src/four.c" "$(look)"
is "then nothing" "" "$(look)"
echo '// changed' >>src/three.c && make
is "then what has changed" "src/three.c" "$(look)"
echo '// changed' >>src/a.h && make
is "with a header all that include it" "src/one.c src/two.c" "$(look)"
echo '// changed' >>build/made.h && make
is "also with one that is made" "src/four.c" "$(look)"
commands -O2 >build/compile_commands.json
is "everything when it is compiled otherwise" "src/one.c src/two.c src/three.c src/four.c" "$(look)"
is "everything when the rules change" "src/one.c src/two.c src/three.c src/four.c" "$(look others)"
is "everything in CI" "src/one.c src/two.c src/three.c src/four.c" "$(CI=true look others)"
is "what was never compiled, each time" "src/five.c src/five.c" "$(
  for _ in 1 2; do stamps_sources build rules src/five.c | tee five | stamps_left other; stamps_run other true <five; done | cut -d' ' -f2 | xargs
)"

# --- what passes and what does not ---------------------------------------------------------------------------------

printf '%s\n' "k1 good" "k2 bad" "k3 good" >keys
only_good() { [ "$1" = --rules ] && [ "$2" != bad ] || { echo "$2 is bad" && return 1; }; }
export -f only_good
is "what fails is named" "bad is bad" "$(stamps_run some bash -c 'only_good "$@"' - --rules <keys)"
stamps_run some bash -c 'only_good "$@"' - --rules <keys >said && echo "a check that failed passed" >said
is "and the check has failed" "bad is bad" "$(cat said)"
is "it is looked at again, the others are not" "k2 bad" "$(stamps_left some <keys)"
echo "k3 good" | stamps_keep some
is "stamps of what is gone are dropped" "k3" "$(cat build/lint/some)"
exit $failed
