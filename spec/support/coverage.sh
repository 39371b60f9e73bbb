# In: build/coverage, and all tests but the slow ones of the deployments. Out: build/coverage/html, and one line with what share
# of the lines of C (core, bindings) and of Lua (scripts, bindings) has run. Why: it shows what no test has ever touched; it
# says nothing about whether a test looks at what came of it. Sourced by ./dev behind rings.sh.
# What a killed process has run is lost, so a line that only runs before a crash counts as one that does not.
# shellcheck shell=bash disable=SC2154  # root, build and logs come from ./dev and rings.sh

coverage_goal=90 # per cent of the lines

coverage_run() { # NAME…: those tests, or all
  local files=(spec/e2e/*_test.mjs) path half
  local slowness
  slowness=$(build/coverage/lua_host spec/support/speed.lua) # with the hook
  export SPEC_SLOWNESS=${SPEC_SLOWNESS:-$slowness}
  measure_speed
  export LUA_LINES_DIR=$root/build/coverage/lines
  if (($#)); then
    for path in "$@"; do coverage_ring "$path"; done
  else
    ring_beside "unit tests" ctest unit coverage
    ring_beside "Lua specs" busted specs coverage spec/bindings spec/scripts
    half=$(((${#files[@]} + 1) / 2))
    ring_beside "dialogues, first half" node dialogues coverage "${files[@]:0:half}"
    ring_beside "dialogues, second half" node dialogues coverage "${files[@]:half}"
    ring_beside "pages" node dialogues coverage spec/web/*_test.mjs
  fi
  rings_settle
  unset LUA_LINES_DIR
}

coverage_ring() { # PATH
  case $1 in
  *_test.mjs) ring_beside "$1" node dialogues coverage "$1" ;;
  *_spec.lua | spec/scripts* | spec/bindings*) ring_beside "$1" busted specs coverage "$1" ;;
  unit) ring_beside "unit tests" ctest unit coverage ;;
  *) die "coverage of all tests, or of: unit, spec/…_spec.lua, spec/…_test.mjs" ;;
  esac
}

# "93.4 12345": per cent of the lines, and how many there are.
coverage_share() { # TRACEFILE
  awk -F'[:,]' '$1 == "DA" { all++; ran += $3 > 0 } END { printf "%.1f %d\n", all ? 100 * ran / all : 0, all }' "$1"
}

coverage() { # NAME…
  local c lua c_lines lua_lines
  set +e
  mkdir -p "$logs"
  trap rings_abort INT TERM
  rm -rf build/coverage/lines build/coverage/html
  mkdir -p build/coverage/lines
  find build/coverage -name '*.gcda' -delete
  coverage_run "$@"
  build/coverage/lua_host spec/support/coverage.lua build/coverage/lines >build/coverage/lua.info || die "no figures of Lua"
  node spec/support/coverage_c.mjs >build/coverage/c.info || die "no figures of C"
  genhtml --quiet --prefix "$root" --title "Chatbox" --output-directory build/coverage/html build/coverage/c.info \
    build/coverage/lua.info >build/coverage/genhtml.log 2>&1 || die "genhtml failed: build/coverage/genhtml.log"
  read -r c c_lines < <(coverage_share build/coverage/c.info)
  read -r lua lua_lines < <(coverage_share build/coverage/lua.info)
  printf '  %-36s%5d s\n' "in all" "$SECONDS"
  if ((failed_all)); then say "$failed_all tests failed: what they would have run may be missing"; fi
  printf 'coverage: C %s %% of %d lines, Lua %s %% of %d lines (goal: %d %%), build/coverage/html/index.html\n' \
    "$c" "$c_lines" "$lua" "$lua_lines" "$coverage_goal"
  ((failed_all == 0)) && awk -v a="$c" -v b="$lua" -v goal=$coverage_goal 'BEGIN { exit !(a >= goal && b >= goal) }'
}
