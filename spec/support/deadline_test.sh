#!/usr/bin/env bash
# In: specs that end and specs that do not. Out: TAP lines. Why: what the specs end may be what does not end any more, and
# then the ring has to be red soon and say which spec it was (lua_host.c, deadline.lua).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
failed=0

# NAME EXPECTED-EXIT WORDS: a spec that is on standard input, each of its tests with two seconds of its own
ends() {
  local code=0
  cat >"$folder/some_spec.lua"
  SPEC_DEADLINE=2 timeout -k 1 60 build/dev/lua_host "$(command -v busted)" --ignore-lua --helper=spec/support/deadline.lua \
    -o plainTerminal "$folder/some_spec.lua" >"$folder/said" 2>&1 || code=$?
  if [ $code = "$2" ] && grep -qF "$3" "$folder/said"; then
    echo "ok - $1"
  else
    echo "not ok - $1: exit $code, $(tail -n 3 "$folder/said")"
    failed=1
  fi
}

ends "a spec that never ends is ended and named" 3 "ended: $folder/some_spec.lua a loop goes on" <<'LUA'
describe("a loop", function() it("ends", function() end) it("goes on", function() while true do end end) end)
LUA
ends "one that blocks in C, too" 3 "a block waits" <<'LUA'
describe("a block", function() it("waits", function() io.popen "sleep 30":read "*a" end) end)
LUA
ends "a set-up that never ends is one of its file" 3 "ended: $folder/some_spec.lua a set-up" <<'LUA'
describe("a set-up", function() setup(function() while true do end end) it("comes to nothing", function() end) end)
LUA
ends "many together may take longer than one" 0 "6 successes" <<'LUA'
describe("one second", function()
  for i = 1, 6 do it("is short " .. i, function() local from = os.clock() while os.clock() - from < 0.5 do end end) end
end)
LUA
exit $failed
