#!/usr/bin/env bash
# In: build/dev, built. Out: the circles between files of core and bindings, with the calls and includes that close them;
# fails when there is one. Why: two files that need each other can only be read, tested and changed together. A file here
# is x.c with its x.h. It calls another when its object file needs a symbol that the other's defines; it includes another
# when its header does (what a .c includes without calling it are types, which call nobody).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Circles that stay, each with its reason, as the sorted names of its files: "core/x/a core/x/b".
kept=()

# From the build, not from the folder: there may be old objects. "core/chat/conn build/dev/…/conn.c.o"
objects() {
  node -e '
    for (const { file, command } of JSON.parse(require("fs").readFileSync("build/dev/compile_commands.json"))) {
      const name = file.slice(process.cwd().length + 1).match(/^((core|bindings)\/.*)\.c$/);
      if (name) console.log(name[1] + " build/dev/" + command.match(/ -o (\S+)/)[1]);
    }' | sort -u
}

symbols() { # "D file symbol" for what it defines, "U file symbol" for what it needs
  local name object
  while read -r name object; do
    nm "$object" | awk -v file="$name" 'NF == 2 && $1 == "U" { print "U", file, $2 }
      NF == 3 && $2 ~ /[TDBRV]/ { print "D", file, $3 }'
  done
}

headers() { # "H file" for each header, "I file basename" for what it includes
  local header
  find core bindings -name '*.h' | while read -r header; do
    echo "H ${header%.h}"
    sed -nE 's/^#include "([^"]+)\.h".*/\1/p' "$header" | sed "s|^|I ${header%.h} |"
  done
}

{
  objects | symbols
  headers
} | awk -v kept="$(IFS='|'; echo "${kept[*]-}")" '
  function reach(from,    i) { # adds to seen[] what can be reached
    seen[from] = 1
    for (i = 1; i <= out[from]; i++) if (!(next_of[from, i] in seen)) reach(next_of[from, i])
  }
  function edge(a, b, by) {
    if (a == b) return
    if (!((a, b) in why)) next_of[a, ++out[a]] = b
    why[a, b] = why[a, b] " " by
    nodes[a]; nodes[b]
  }
  $1 == "D" { home[$3] = $2 }
  $1 == "U" { need[++needs] = $2 " " $3 }
  $1 == "H" { name = $2; sub(/.*\//, "", name); header[name] = $2 }
  $1 == "I" { include[++includes] = $2 " " $3 }
  END {
    for (i = 1; i <= needs; i++) { split(need[i], p, " "); if (p[2] in home) edge(p[1], home[p[2]], p[2]) }
    for (i = 1; i <= includes; i++) { split(include[i], p, " "); if (p[2] in header) edge(p[1], header[p[2]], "(include)") }
    if (needs == 0) { print "no object files: is build/dev built?"; exit 1 }
    for (n in nodes) {
      split("", seen); reach(n)
      for (m in seen) reaches[n, m] = 1
    }
    for (n in nodes) {
      if (n in done) continue
      count = 1; names[1] = n
      for (m in nodes) if (m != n && (n, m) in reaches && (m, n) in reaches) names[++count] = m
      if (count == 1) continue
      for (i = 1; i < count; i++) for (j = i + 1; j <= count; j++)
        if (names[j] < names[i]) { t = names[i]; names[i] = names[j]; names[j] = t }
      text = ""
      for (i = 1; i <= count; i++) { done[names[i]]; text = text (i > 1 ? " " : "") names[i] }
      if (index("|" kept "|", "|" text "|")) continue
      found++
      print "a circle of " count " files: " text
      for (i = 1; i <= count; i++) for (j = 1; j <= count; j++)
        if ((names[i], names[j]) in why) print "  " names[i] " -> " names[j] ":" why[names[i], names[j]]
    }
    exit found > 0
  }'
