#!/usr/bin/env bash
# In: [NAME|all] [SECONDS each]. Out: one TAP line per fuzzer of build/fuzz. Why: what parses a stranger's bytes is run on
# the known inputs (spec/fuzz/corpus), on every input that ever crashed it (spec/fuzz/regression), and on new ones.
# New inputs go to build/fuzz/corpus; one that crashes is left in build/fuzz and belongs into spec/fuzz/regression/NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
only=${1:-all} seconds=${2:-5} failed=0

for fuzzer in build/fuzz/*_fuzz; do
  name=$(basename "$fuzzer" _fuzz)
  case $only in all | "$name" | "${name}_fuzz") ;; *) continue ;; esac
  mkdir -p "build/fuzz/corpus/$name"
  inputs=() dictionary=spec/fuzz/$name.dict
  for folder in "spec/fuzz/corpus/$name" "spec/fuzz/regression/$name"; do
    [ -d "$folder" ] && inputs+=("$folder")
  done
  # The requests of the framing test are the seeds of the head's fuzzer: one table, two uses.
  if [ "$name" = head ]; then node spec/e2e/framing_table.mjs "build/fuzz/corpus/$name"; fi
  [ -f "$dictionary" ] && inputs+=("-dict=$dictionary")
  if "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" "${inputs[@]}" >"build/fuzz/$name.log" 2>&1; then
    echo "ok - $name, $(awk '/number_of_executed_units/ { print $2 }' "build/fuzz/$name.log") inputs in $seconds s"
  else
    sed 's/^/# /' "build/fuzz/$name.log" | tail -n 40
    echo "not ok - $name"
    failed=1
  fi
done
exit $failed
