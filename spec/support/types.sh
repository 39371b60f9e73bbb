#!/usr/bin/env bash
# In: web/chatbox-client.js and its JSDoc. Out: web/chatbox-client.d.ts, for whoever writes TypeScript; with --check nothing
# is written, and a file that differs is a failure. Why: types written by hand drift from what they describe. What TypeScript
# finds wrong in the library is a failure, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

node node_modules/typescript/bin/tsc --strict --allowJs --checkJs --declaration --emitDeclarationOnly --outDir "$place" \
  --target es2023 --lib es2023,dom,dom.iterable --module nodenext --moduleResolution nodenext --typeRoots "$place" web/chatbox-client.js
made=$place/chatbox-client.d.ts
{
  echo '// Made from chatbox-client.js by ./dev docs.'
  cat "$made"
  printf 'declare global {\n    var ChatboxClient: typeof import("./chatbox-client.js").ChatboxClient;\n}\n'
} >"$place/whole.d.ts"

if [ "${1:-}" != --check ]; then
  cp "$place/whole.d.ts" web/chatbox-client.d.ts
elif ! diff -u web/chatbox-client.d.ts "$place/whole.d.ts"; then
  echo "web/chatbox-client.d.ts is out of date: ./dev docs"
  exit 1
fi
