# In: nothing, or the name of one test. Out: every ring of tests (or that one test), a line for each when it ends, what failed in
# it below, and at last one line "N passed, N failed". Why: one command tells whether a change is good, on a laptop and in CI
# alike. Sourced by ./dev. A ring is a command and the kind of its output (see count.awk); its log stays in build/test/.
# A ring that looks at time runs alone (`ring`); the others run three at a time (`ring_beside`). Meanwhile the other
# presets are built.
# shellcheck shell=bash disable=SC2154  # root, build, need_npm and need_packages come from ./dev

logs=$root/build/test
declare -A failure_lines=(
  [ctest]='FAILED|\*\*\*|error:|ERROR:|WARNING: ThreadSan' [busted]='^(Failure|Error) ->|ERROR:|WARNING: ThreadSan|lua_host:'
  [node]='^ *not ok ' [tap]='^not ok '
)
passed_all=0 failed_all=0 skipped_all=0
beside_max=3          # rings at a time; most of them wait most of their time
ahead=''              # process that builds the other presets while the rings that run alone wait
declare -A running=() # of each ring that runs: process -> start, kind, log, name
round=''              # with --times: which one this is

# --- rings ----------------------------------------------------------------------------------------------------------

ring_begin() { # NAME KIND COMMAND…
  local name=$1$round kind=$2 log
  log=$logs/$(tr -cs 'a-z0-9\n' '-' <<<"${name,,}").log
  shift 2
  ("$@") >"$log" 2>&1 </dev/null &
  running[$!]=$SECONDS$'\t'$kind$'\t'$log$'\t'$name
}

# Waits for one of those that run, whichever ends first, and says how it went.
ring_end() {
  local pid='' code=0 start kind log name passed failed skipped
  wait -n -p pid "${!running[@]}" 2>/dev/null || code=$?
  # One that ended before it was asked for may be no job any more; how it ended is still known.
  if [ -z "${pid:-}" ]; then
    for pid in "${!running[@]}"; do kill -0 "$pid" 2>/dev/null || break; done
    code=0
    wait "$pid" || code=$?
  fi
  IFS=$'\t' read -r start kind log name <<<"${running[$pid]}"
  unset "running[$pid]"
  read -r passed failed skipped <<<"$(awk -v kind="$kind" -f spec/support/count.awk "$log")"
  # What dies without naming a test, and what ran nothing at all, has failed.
  if ((failed == 0 && (code != 0 || passed + skipped == 0))); then failed=1; fi
  ring_count "$passed" "$failed" "$skipped"
  printf '  %-36s%5d passed, %d failed, %d skipped, %d s\n' "$name" "$passed" "$failed" "$skipped" $((SECONDS - start))
  if ((failed)); then
    grep -E "${failure_lines[$kind]}" "$log" | head -n 20 | sed 's/^ */      /'
    printf '      exit code %d; all of it: %s\n' "$code" "${log#"$root"/}"
  fi
  grep -E '^ *ok .*# SKIP|^Pending ->|^[0-9]+: SKIPPED: ' "$log" | sed 's/^ */      /'
}

rings_settle() {
  while ((${#running[@]})); do ring_end; done
}

ring() { # NAME KIND COMMAND…: alone
  rings_settle
  ring_begin "$@"
  rings_settle
}

ring_beside() { # NAME KIND COMMAND…: while others run
  while ((${#running[@]} >= beside_max)); do ring_end; done
  ring_begin "$@"
}

process_end() { # PID: with all that it has started, which may be in process groups of their own
  local child
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do process_end "$child"; done
  kill -TERM "$1" 2>/dev/null
}

rings_abort() { # a signal came: nothing is left behind
  local pid
  for pid in "${!running[@]}" $ahead; do process_end "$pid"; done
  exit 130
}

ring_count() {
  passed_all=$((passed_all + $1)) failed_all=$((failed_all + $2)) skipped_all=$((skipped_all + $3))
}

rings_last() {
  printf '%d passed, %d failed' "$passed_all" "$failed_all"
  if ((skipped_all)); then printf ', %d skipped' "$skipped_all"; fi
  printf '\n'
}

ring_skip() { # NAME REASON
  printf '  %-36s SKIPPED: %s\n' "$1" "$2"
  ring_count 0 0 1
}

# Rings that look at time need a processor, not the machine: what builds meanwhile steps back for whoever wants to run.
builds_begin() { # PRESET…
  (
    renice -n 19 -p "$BASHPID" >/dev/null
    for preset in "$@"; do build "$preset" >"$logs/build-$preset-ahead.log" 2>&1 </dev/null; done
  ) &
  ahead=$!
}

builds_settle() { # what it could not build is built again, and said then
  if [ -n "$ahead" ]; then wait "$ahead"; fi
  ahead=''
}

# Builds a preset; a failed build is a failed test, and the rings on it are left out.
ring_build() { # PRESET [TARGET…]
  local start=$SECONDS log=$logs/build-$1.log
  if build "$@" >"$log" 2>&1 </dev/null; then
    printf '  %-36s%5d s\n' "build $1" $((SECONDS - start))
    return
  fi
  printf '  %-36sFAILED\n' "build $1"
  grep -E 'error:|Error' "$log" | head -n 20 | sed 's/^/      /'
  printf '      all of it: %s\n' "${log#"$root"/}"
  ring_count 0 1 0
  return 1
}

# How fast this processor is, once, for every budget of the specs (spec/support/speed.lua). What the environment says already
# is taken.
measure_speed() {
  if [ -z "${SPEC_SLOWNESS:-}" ]; then
    build dev lua_host >"$logs/build-lua-host.log" 2>&1 && SPEC_SLOWNESS=$(build/dev/lua_host spec/support/speed.lua)
    export SPEC_SLOWNESS=${SPEC_SLOWNESS:-1}
  fi
  printf '  %-36s%s times the time of the reference (SPEC_SLOWNESS)\n' "this processor takes" "$SPEC_SLOWNESS"
}

# --- what the rings run ---------------------------------------------------------------------------------------------

# What waits most of its time for a database runs where something can come of it: all of it on dev, the slow part not
# again under a sanitizer, nothing of it for clang, whose point is its warnings.
unit() { # PRESET [NAME]
  local left_out=()
  case $1 in
  asan | tsan) left_out=(-LE slow) ;;
  clang) left_out=(-LE mongo) ;;
  esac
  if [ -n "${2:-}" ] || [ -n "${SPEC_LONG:-}" ]; then left_out=(); fi
  ctest --test-dir "build/$1" -V -j 2 --no-tests=error "${left_out[@]}" ${2:+-R "^$2\$"}
}

# Seconds that one spec may take, on a slow machine more: far more than any takes, far less than one that never ends.
spec_deadline() { # PRESET
  local each=240
  if [ "$1" != dev ] || [ -n "${SPEC_LONG:-}" ] || [ -n "${SPEC_GC:-}" ]; then each=900; fi
  awk -v each=$each -v times="${SPEC_SLOWNESS:-1}" 'BEGIN { print int(each * (times > 1 ? times : 1)) }'
}

specs() { # PRESET FILE-OR-FOLDER…
  local preset=$1
  shift
  export LUA_CPATH="$root/build/$preset/?.so;;" SPEC_DEADLINE
  SPEC_DEADLINE=$(spec_deadline "$preset")
  timeout -k 10 1800 "build/$preset/lua_host" "$(command -v busted)" --ignore-lua --helper=spec/support/deadline.lua \
    -o plainTerminal "$@"
}

specs_collected() {
  SPEC_GC=aggressive specs "$@"
}

dialogues() { # PRESET FILE…: one after the other, so that one that hangs is named and the rest still runs
  local preset=$1 file code=0 failed=0 deadline=900
  shift
  if [ -n "${SPEC_LONG:-}" ]; then deadline=4000; fi
  export CHATBOX_BIN=$root/build/$preset/chatbox 
  export TSAN_OPTIONS=suppressions=$root/spec/support/tsan.supp
  for file in "$@"; do
    code=0
    timeout -k 10 "$deadline" node --test --test-reporter=tap "$file" || code=$?
    ((code == 0)) || failed=1
    if ((code == 124 || code == 137)); then printf 'not ok %s did not end\n# fail 1\n' "$file"; fi
  done
  return $failed
}

# What makes images and boots systems takes minutes, root and the network. Only a run that is asked for it does it.
slow_deployments=(spec/deployments/slow/*_test.mjs)

deployments_slow() { # FILE…: a ring for each
  local file
  if ((EUID == 0)) && ! (need_packages "${deployment_packages[@]}"); then ring_count 0 1 0 && return 1; fi
  for file in "$@"; do
    if ((EUID == 0)); then
      SPEC_LONG=1 ring "$file" node dialogues dev "$file"
    else
      ring_skip "$file" "only root can make what it looks at"
    fi
  done
}

deployments_slow_skip() {
  local file
  for file in "${slow_deployments[@]}"; do ring_skip "$file" "takes minutes: ./dev test deployments, or --long"; done
}

own_tests() {
  local file failed=0
  for file in spec/support/{rings,stamps}_test.sh; do "$file" || failed=1; done
  return $failed
}

# --- all of them ----------------------------------------------------------------------------------------------------

# Dialogues that measure, or that begin a server whose budgets are those of this processor.
dialogues_of_time() {
  grep -lE 'SLOWNESS|performance\.now|Date\.now|budget\(' "$@"
}

rings_of() { # PRESET LABEL HOW: everything that runs on one build, by ring or by ring_beside
  "$3" "unit tests, $2" ctest unit "$1"
  "$3" "Lua specs, $2" busted specs "$1" spec/bindings spec/scripts
  # The browser tests look at the page, those on MongoDB at the database, not at the server: once is enough.
  local files=(spec/e2e/[!mp]*_test.mjs) timed=()
  if [ "$1" = dev ]; then files+=(spec/e2e/mongo_test.mjs spec/e2e/page_test.mjs); fi
  if [ "$3" = ring ]; then
    mapfile -t timed < <(dialogues_of_time "${files[@]}")
    "$3" "dialogues about time, $2" node dialogues "$1" "${timed[@]}"
    mapfile -t files < <(printf '%s\n' "${files[@]}" "${timed[@]}" | sort | uniq -u)
  fi
  ring_beside "dialogues, $2" node dialogues "$1" "${files[@]}"
}

# On the dev build is looked at time. What is left of it, and what is slow anyway, runs while the others are built.
rings_all() {
  need_npm
  ring "the runner itself" tap own_tests
  if ring_build dev; then
    ring "the walls between rooms" tap spec/support/rooms_test.sh
    ring "the deadline of a spec" tap spec/support/deadline_test.sh
    builds_begin asan tsan clang fuzz
    rings_of dev gcc ring
    builds_settle
    ring_beside "lint" tap spec/support/lint.sh
    ring_beside "Lua specs, aggressive collector" busted specs_collected dev spec/bindings spec/scripts
    ring_beside "pages" node dialogues dev spec/web/*_test.mjs
    ring_beside "deployments" node dialogues dev spec/deployments/*_test.mjs
    if [ -n "${SPEC_LONG:-}" ]; then deployments_slow "${slow_deployments[@]}"; else deployments_slow_skip; fi
  fi
  if ring_build asan; then rings_of asan "address + undefined" ring_beside; fi
  if ring_build tsan; then
    if build/tsan/lua_host /dev/null >"$logs/tsan.log" 2>&1; then
      rings_of tsan thread ring_beside
    else
      ring_skip "everything under ThreadSanitizer" "it does not start on this kernel, see build/test/tsan.log"
    fi
  fi
  if ring_build clang; then ring_beside "unit tests, clang" ctest unit clang; fi
  if ring_build release chatbox; then ring_beside "install" tap spec/support/install_test.sh; fi
  if ring_build fuzz; then ring_beside "fuzzers" tap spec/support/fuzz.sh all "${SPEC_LONG:+120}"; fi
  rings_settle
}

# A file or folder of spec/ by its path, by its name, or by the name of what it tests; a name may begin with the folders
# the file is in: pool_test and store_mongo_pool_test are both spec/unit/store/mongo/pool_test.c.
rings_named() { # NAME
  local wanted path flat found=()
  wanted=${1#./} wanted=${wanted%/}
  while IFS= read -r path; do
    flat=_${path//\//_}
    if [ "$path" = "$wanted" ]; then
      found+=("$path")
    elif [[ $wanted != */* && ${flat%.*} =~ _"$wanted"(_test|_spec|_fuzz)?$ ]]; then
      found+=("$path")
    elif [[ $wanted != */* && $flat == *_"$wanted" ]]; then
      found+=("$path")
    fi
  done < <(find spec -not -path 'spec/fuzz/*/*' -not -path 'spec/support/*.[chl]*' | sort)
  ((${#found[@]})) || die "there is no test called $1 under spec/"
  for path in "${found[@]}"; do ring_of "$path"; done
}

ring_of() { # PATH
  local name
  name=$(basename "${1%.*}")
  case $1 in
  spec/unit) ring_build dev && ring "$1" ctest unit dev ;;
  spec/unit/*_test.c)
    name=${1#spec/unit/} name=${name%.c} name=${name//\//_} # as CMakeLists.txt calls the program
    ring_build dev "$name" && ring "$1" ctest unit dev "$name"
    ;;
  spec/unit/*)
    name=${1#spec/unit/} name=${name//\//_}
    ring_build dev && ring "$1" ctest unit dev "${name}_.*"
    ;;
  spec/scripts* | spec/bindings*) ring_build dev chatbox_spec lua_host && ring "$1" busted specs dev "$1" ;;
  spec/e2e) need_npm && ring_build dev chatbox && ring "$1" node dialogues dev spec/e2e/*_test.mjs ;;
  spec/e2e/*_test.mjs) need_npm && ring_build dev chatbox && ring "$1" node dialogues dev "$1" ;;
  spec/deployments)
    need_npm && ring_build dev chatbox && ring "$1" node dialogues dev spec/deployments/*_test.mjs
    deployments_slow "${slow_deployments[@]}"
    ;;
  spec/deployments/slow) need_npm && ring_build dev chatbox && deployments_slow "${slow_deployments[@]}" ;;
  spec/deployments/slow/*_test.mjs) need_npm && ring_build dev chatbox && deployments_slow "$1" ;;
  spec/deployments/*_test.mjs) need_npm && ring_build dev chatbox && ring "$1" node dialogues dev "$1" ;;
  spec/web) need_npm && ring_build dev chatbox && ring "$1" node dialogues dev spec/web/*_test.mjs ;;
  spec/web/*_test.mjs) need_npm && ring_build dev chatbox && ring "$1" node dialogues dev "$1" ;;
  spec/fuzz) ring_build fuzz && ring "$1" tap spec/support/fuzz.sh all ;;
  spec/fuzz/*_fuzz.c) ring_build fuzz && ring "$1" tap spec/support/fuzz.sh "$name" ;;
  spec/support/install_test.sh) ring_build release chatbox && ring "$1" tap "$1" ;;
  spec/support/rooms_test.sh) ring_build dev && ring "$1" tap "$1" ;;
  spec/support/deadline_test.sh) ring_build dev lua_host && ring "$1" tap "$1" ;;
  spec/support/*_test.sh) ring "$1" tap "$1" ;;
  *) die "$1 is not a test" ;;
  esac
}

rings() { # [NAME…] [--long] [--times N]
  set +e # a failed command is what this is about
  local names=() name times=1 i
  while (($#)); do
    case $1 in
    --long) export SPEC_LONG=1 ;;
    --times)
      [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || die "--times takes a number from 1 to 9999"
      times=$2
      shift
      ;;
    *) names+=("$1") ;;
    esac
    shift
  done
  mkdir -p "$logs"
  trap rings_abort INT TERM
  measure_speed
  for ((i = 1; i <= times; i++)); do
    if ((times > 1)); then round=", $i of $times"; fi
    if ((${#names[@]})); then
      for name in "${names[@]}"; do rings_named "$name"; done
    else
      rings_all
    fi
  done
  printf '  %-36s%5d s\n' "in all" "$SECONDS"
  rings_last
  ((failed_all == 0))
}
