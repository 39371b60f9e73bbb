# In: the output of a test runner, and kind=ctest|busted|node|tap. Out: "passed failed skipped" of its individual tests.
# Why: `./dev test` ends in one line for all rings. A test program of ctest that failed without saying which test (a crash,
# a sanitizer's report, a time-out) counts as one failure.

function number_before(word,   i) {
  for (i = 2; i <= NF; i++)
    if (index($i, word) == 1)
      return $(i - 1)
  return 0
}

kind == "ctest" && /^[0-9]+: \[  (PASSED|SKIPPED) +\] [0-9]+ test/ {
  split($0, parts, "]")
  if (/PASSED/) passed += parts[2]
  else skipped += parts[2]
  counted[$1 + 0] = 1
}
kind == "ctest" && /^[0-9]+: +[0-9]+ FAILED TEST/ { failed += $2; blamed[$1 + 0] = 1 }
kind == "ctest" && /^ *[0-9]+\/[0-9]+ +Test +#[0-9]+:/ {
  program = $0
  sub(/^[^#]*#/, "", program)
  program += 0
  if ($0 !~ / Passed +[0-9.]+ sec/) broken[program] = 1
  else if (!(program in counted)) passed++
}

kind == "busted" && / success(es)? \/ [0-9]+ failures? \/ / {
  passed += number_before("success")
  failed += number_before("failure") + number_before("error")
  skipped += number_before("pending")
}

kind == "node" && /^# pass [0-9]+$/ { passed += $3 }
kind == "node" && /^# (fail|cancelled) [0-9]+$/ { failed += $3 }
kind == "node" && /^# (skipped|todo) [0-9]+$/ { skipped += $3 }

kind == "tap" && /^not ok / { failed++ }
kind == "tap" && /^ok .*# SKIP/ { skipped++; next }
kind == "tap" && /^ok / { passed++ }

END {
  for (program in broken)
    if (!(program in blamed)) failed++
  print passed + 0, failed + 0, skipped + 0
}
