# In: lines "KEY FILE", where KEY is a hash of everything the verdict of a check on FILE depends on. Out: the lines for which
# that check has not passed yet. Why: clang-tidy takes minutes for all files and a second for one, and most commits change few.
# A stamp is a line of the file build/lint/NAME: a KEY for which the check passed. Keys of what is gone are dropped.
# shellcheck shell=bash

stamps=${stamps:-build/lint}

stamps_left() { # NAME <KEYS: those without a stamp; all of them in CI
  mkdir -p "$stamps"
  touch "$stamps/$1"
  if [ "${CI:-}" = true ]; then
    cat
  else
    awk -v stamps="$stamps/$1" 'BEGIN { while ((getline key <stamps) > 0) passed[key] = 1 } !($1 in passed)'
  fi
}

# Runs COMMAND… FILE for each line, two at a time, and stamps those that pass; it has failed when one did.
stamps_run() { # NAME COMMAND… <KEYS
  local name=$1
  shift
  # shellcheck disable=SC2016 # the inner shell expands
  xargs -r -P 2 -L 1 bash -c '
    stamps=$1 key=${*: -2:1} file=${*: -1}
    set -- "${@:2:$#-3}"
    output=$("$@" "$file" 2>&1) && printf "%s\n" "$key" >>"$stamps" && exit
    printf "%s\n" "$output"
    exit 1' - "$stamps/$name" "$@"
}

stamps_keep() { # NAME <KEYS: of the stamps, those for these keys stay
  awk -v stamps="$stamps/$1" '{ now[$1] = 1 }
    END { while ((getline key <stamps) > 0) if (key in now && !seen[key]++) print key }' >"$stamps/$1.new"
  mv "$stamps/$1.new" "$stamps/$1"
}

# The key of a source is made of its own text, the text of every file of the project it includes, how it is compiled, and the
# rules. A file that was not compiled has no key to stay with: it is checked each time.
stamps_sources() { # BUILD RULES FILE…: keys of C sources
  local build=$1 rules=$2 file dep
  local -A hash=() deps=() command=()
  shift 2
  while read -r file dep; do deps[$file]+=" $dep"; done < <(ninja -C "$build" -t deps | awk -v root="$PWD/" '
    /^[^ ]/ { first = 1; next }
    NF && index($1, root) == 1 { $1 = substr($1, length(root) + 1) }
    NF && $1 !~ /^\/usr\// { if (first) { source = $1; first = 0 } print source, $1 }')
  while read -r file dep; do command[$file]=$dep; done < <(awk -v root="$PWD/" '
    /^ *"command": / { command = $0 }
    /^ *"file": / { file = $2; gsub(/[",]/, "", file); print substr(file, length(root) + 1), command }' "$build/compile_commands.json")
  while read -r dep file; do hash[$file]=$dep; done < <(printf '%s\n' "$@" "${deps[@]}" | tr ' ' '\n' | grep . | sort -u |
    while read -r file; do
      if [ -f "$file" ]; then printf '%s\n' "$file"; elif [ -f "$build/$file" ]; then printf '%s\n' "$build/$file"; fi
    done | xargs -r sha256sum)
  for file in "$@"; do
    printf '%s %s\n' "$(
      {
        printf '%s\n' "$rules" "${command[$file]-}" "${deps[$file]-$RANDOM$RANDOM}"
        for dep in $file ${deps[$file]-}; do printf '%s\n' "${hash[$dep]-${hash[$build/$dep]-}}"; done
      } | sha256sum | cut -c1-32
    )" "$file"
  done
}
