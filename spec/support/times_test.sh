#!/usr/bin/env bash
# In: the sources, docs/limits.md, docs/settings.md. Out: TAP lines. Why: a time that nobody ever waited for is a guess.
# Each constant that is a time has a row in docs/limits.md, with its value and a test; each test named there and in
# docs/settings.md exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
failed=0

say() { # OK(0|1) NAME
  if [ "$1" = 0 ]; then echo "ok - $2"; else echo "not ok - $2" && failed=1; fi
}

unit() { # ms, s, min or h: how many ms
  case $1 in ms) echo 1 ;; s) echo 1000 ;; min) echo 60000 ;; h) echo 3600000 ;; *) echo 0 ;; esac
}

# NAME FILE MILLISECONDS of every constant of the sources
constants() {
  grep -rE '^#define [A-Z0-9_]+_(MS|NS|S) ' core bindings --include='*.[ch]' | grep -vE '#define (DAY_MS|YEAR_10000_S) ' |
    sed -E 's|^([^:]+):#define ([A-Z0-9_]+) +([^/]*).*$|\2 \1 \3|'
  grep -rE '^local [A-Z0-9_]+_MS = [0-9]+$' scripts --include='*.lua' | sed -E 's|^([^:]+):local ([A-Z0-9_]+) = ([0-9]+)$|\2 \1 \3|'
}

while read -r name file value; do
  ms=$((${value//[\"ul]/}))
  case $name in *_NS) ms=$((ms / 1000000)) ;; *_S) ms=$((ms * 1000)) ;; esac
  row=$(grep -F "| \`$name\` (\`$file\`) |" docs/limits.md || true)
  read -r _ number of _ <<<"$row"
  if [ -z "$row" ]; then
    echo "# $file: $name is a time without a row in docs/limits.md, Times"
    say 1 "$name of $file has a test"
  elif [ "$((number * $(unit "$of")))" != "$ms" ]; then
    echo "# $file: $name is $ms ms, docs/limits.md says $number $of"
    say 1 "$name of $file has a test"
  else
    say 0 "$name of $file has a test"
  fi
done < <(constants)

there() { # FILE TITLE: the test exists
  local path
  path=$(find spec -name "$1" -not -path '*/node_modules/*')
  grep -qF -- "$2" "${path:-/dev/null}"
}

# What docs/limits.md names: file, constant, test
while IFS='|' read -r _ _ constant _ test _; do
  name=$(sed -E 's/^ `([^`]+)` .*/\1/' <<<"$constant") source=$(sed -E 's/.*\(`([^`]+)`\).*/\1/' <<<"$constant")
  file=$(sed -E 's/^ `([^`]+)`: .*/\1/' <<<"$test") title=$(sed -E 's/^ `[^`]+`: (.*[^ ]) *$/\1/' <<<"$test")
  grep -qE "(#define|local) $name\b" "$source" && there "$file" "$title" && result=0 || result=1
  [ $result = 0 ] || echo "# $source: $name; $file: $title"
  say $result "$name is there, and so is its test"
done < <(sed -n '/^## Times/,$p' docs/limits.md | grep -E '^\| [0-9]+ (ms|s|min|h) \|')

while IFS='|' read -r _ name test title _; do
  test=$(tr -d ' `' <<<"$test")
  there "$test" "\"$(sed -E 's/^ +| +$//g' <<<"$title")\"" && result=0 || result=1
  [ $result = 0 ] || echo "# $name: $test has no $title"
  say $result "the test of$name is there"
done < <(sed -n '/^| Name | File | Test |/,/^$/p' docs/settings.md | tail -n +3 | grep '^|')
exit $failed
