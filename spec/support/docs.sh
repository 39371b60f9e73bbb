#!/usr/bin/env bash
# In: build/dev/chatbox. Out: the pages of docs/ that are made from the program's own tables, and what is made from those
# (watching.mjs); with --check nothing is
# written and a page that differs is a failure. Why: a reference written by hand drifts from what it describes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
declare -A pages=([settings]=docs/settings.md [metrics]=docs/metrics.md [lua]=docs/lua.md [protocol]=docs/protocol.md [stubs]=docs/stubs/chat.lua)
failed=0
mkdir -p docs/stubs build

for what in "${!pages[@]}"; do
  page=${pages[$what]}
  SCRIPTS_DIR=scripts build/dev/chatbox docs "$what" >"build/$what.page"
  if [ "${1:-}" != --check ]; then
    mv "build/$what.page" "$page"
  elif ! diff -u "$page" "build/$what.page"; then
    echo "$page is out of date: ./dev docs"
    failed=1
  fi
done
node spec/support/watching.mjs "$@" || failed=1 # from what was just written: the dashboard, the rules for Kubernetes
exit $failed
