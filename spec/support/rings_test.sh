#!/usr/bin/env bash
# In: outputs of test runners as they look when things go well and badly. Out: TAP lines. Why: what decides between
# "passed" and "failed" has to be right itself; above all, nothing that died may count as passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
failed=0

counts() { # NAME KIND "PASSED FAILED SKIPPED", the output on standard input
  local is
  is=$(awk -v kind="$2" -f spec/support/count.awk)
  if [ "$is" = "$3" ]; then echo "ok - $1"; else echo "not ok - $1: $is instead of $3" && failed=1; fi
}

rings_end() { # NAME "LAST LINE" COMMAND…: a run of one ring
  local name=$1 last=$2 is
  shift 2
  # shellcheck disable=SC2030,SC2034 # logs and root are read by ring
  is=$(
    root=$(mktemp -d)
    source spec/support/rings.sh
    logs=$root
    ring probe tap "$@" >/dev/null
    rings_last
    rm -r "$root"
  )
  if [ "$is" = "$last" ]; then echo "ok - $name"; else echo "not ok - $name: $is" && failed=1; fi
}

counts "each test of a program counts" ctest "5 0 1" <<'TXT'
1: [  PASSED  ] 3 test(s).
1: [  SKIPPED ] 1 test(s), listed below:
1/2 Test #1: a_test ...........   Passed    0.01 sec
2: [  PASSED  ] 2 test(s).
2/2 Test #2: b_test ...........   Passed    0.01 sec
TXT
counts "failed tests count once, a failed set-up too" ctest "1 2 0" <<'TXT'
1: [  FAILED  ] one
1: [  PASSED  ] 1 test(s).
1: [  FAILED  ] 1 test(s), listed below:
1: [  FAILED  ] one
1:  2 FAILED TEST(S)
1/1 Test #1: a_test ...........***Failed    0.01 sec
TXT
counts "a program that crashes has failed" ctest "0 1 0" <<'TXT'
1: [       OK ] one
1/1 Test #1: a_test ...........Subprocess aborted***Exception:   0.01 sec
TXT
counts "a leak found after the last test is a failure" ctest "3 1 0" <<'TXT'
1: [  PASSED  ] 3 test(s).
1: ==7==ERROR: LeakSanitizer: detected memory leaks
1/1 Test #1: a_test ...........***Failed    0.01 sec
TXT
counts "errors of a spec are failures" busted "7 3 1" <<'TXT'
7 successes / 1 failure / 2 errors / 1 pending : 0.01 seconds
TXT
counts "a cancelled dialogue has failed" node "4 3 2" <<'TXT'
# pass 4
# fail 2
# cancelled 1
# skipped 1
# todo 1
TXT
counts "a TAP line counts" tap "1 1 1" <<'TXT'
ok - one
ok - two # SKIP no chromium
not ok - three
TXT
rings_end "a ring that passes passes" "1 passed, 0 failed" echo "ok - one"
rings_end "a ring that runs nothing has failed" "0 passed, 1 failed" true
rings_end "a ring that dies has failed, whatever it said" "1 passed, 1 failed" bash -c 'echo "ok - one"; kill -9 $$'
rings_end "what is skipped is named in the last line" "0 passed, 0 failed, 1 skipped" echo "ok - one # SKIP no docker"
exit $failed
