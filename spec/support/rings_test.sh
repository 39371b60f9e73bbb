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

# Rings side by side: NAME, then a function that begins them; it runs in a folder of its own, what they print is in ./printed.
beside() {
  local name=$1 why
  # shellcheck disable=SC2030,SC2031,SC2034
  why=$(
    set +e
    root=$(mktemp -d)
    source spec/support/rings.sh
    logs=$root
    cd "$root" || exit
    ln -s "$OLDPWD/spec" spec
    "$2" 2>&1
    cd / && rm -r "$root"
  )
  if [ -z "$why" ]; then echo "ok - $name"; else echo "not ok - $name: $why" && failed=1; fi
}

last_is() { # LINE
  local is
  is=$(rings_last)
  [ "$is" = "$1" ] || echo "$is instead of $1"
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

meet() { # two that wait for each other
  mkfifo there back
  ring_beside a tap timeout 60 bash -c 'echo >there; read -r _ <back && echo "ok - a"' >>printed
  ring_beside b tap timeout 60 bash -c 'read -r _ <there; echo >back; echo "ok - b"' >>printed
  rings_settle >>printed
  last_is "2 passed, 0 failed"
}
beside "two rings run at a time" meet

# shellcheck disable=SC2016 # the ring's shell expands
crowd() {
  local i
  mkdir here
  for i in {1..6}; do
    ring_beside "$i" tap bash -c 'mkdir here/$$; set -- here/*; rmdir here/$$; (($# <= 2)) && echo "ok - $$"'
  done >>printed
  rings_settle >>printed
  last_is "6 passed, 0 failed"
}
beside "and no more than two" crowd

sums() {
  ring_beside a tap printf 'ok - %s\n' 1 2 3 >>printed
  ring_beside b tap printf 'not ok - %s\n' 1 2 >>printed
  ring_beside c tap bash -c 'echo "ok - 1"; exit 3' >>printed
  ring_beside d tap bash -c 'echo "ok - 1"; kill -9 $$' >>printed
  ring_beside e tap true >>printed
  ring_beside f tap echo "ok - 1 # SKIP no docker" >>printed
  rings_settle >>printed
  last_is "5 passed, 5 failed, 1 skipped"
}
beside "one that fails, dies or runs nothing fails the whole; counts add up" sums

readable() {
  local name
  for name in a b c d; do ring_beside "ring $name" tap printf "not ok - $name %s\\n" 1 2 >>printed; done
  rings_settle >>printed
  awk '/^  ring/ { name = $2; lines++; left = 2; next }
    /not ok/ && ($4 != name || left-- <= 0) { print "stands under " name ": " $0 }
    END { if (lines != 4) print lines " lines for 4 rings" }' printed
  grep -q '^  ring a  *0 passed, 2 failed, 0 skipped, [0-9]* s$' printed || cat printed
}
beside "each has one line, what failed in it stands below" readable

# shellcheck disable=SC2016
alone() {
  ring_beside long tap bash -c 'for ((i = 0; i < 100000; i++)); do :; done; touch ended; echo "ok - long"' >>printed
  ring short tap bash -c '[ -e ended ] && echo "ok - short"' >>printed
  last_is "2 passed, 0 failed"
}
beside "a ring that looks at time begins when the others have ended" alone

# shellcheck disable=SC2016
aborted() {
  mkfifo begun
  ring_beside a tap timeout 600 bash -c 'echo $$ >begun; read -r _ <begun; exec tail -f /dev/null'
  local inner
  read -r inner <begun
  (rings_abort)
  echo >begun & # whoever still lives would go on here
  local goes_on=$!
  wait -n "${!running[@]}"
  timeout 60 tail -s 0.1 --pid="$inner" -f /dev/null || echo "it lives on"
  kill "$goes_on" "$inner" 2>/dev/null
}
beside "a signal ends what was started, also in other process groups" aborted

# A file that is there on one machine alone is missed on every other: what ./dev starts has to be in the repository.
absent=''
for file in $(grep -ohE '\b(spec|deployments|bench)/[a-z0-9/_]+[a-z0-9](\.[a-z]+)?\b' dev spec/support/rings.sh | sort -u); do
  if [ -d "$file" ]; then continue; fi
  if [ -e .git ]; then git ls-files --error-unmatch "$file" >/dev/null 2>&1 || absent+=" $file"; fi
  [ -x "$file" ] || [[ -f $file && $file == *.* ]] || absent+=" $file"
done
if [ -z "$absent" ]; then echo "ok - what ./dev starts is there"; else echo "not ok - what ./dev starts is there: not$absent" && failed=1; fi
exit $failed
