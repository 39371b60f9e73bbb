/* In: a text and a Lua pattern. Out: where it matches, and the captures.
 * Why: LuaJIT's own matcher is C code that cannot be interrupted, and a short pattern can keep it busy for years.
 * This one checks every thousand steps whether the slice has to end (guard_poll). It matches the same, and raises
 * the same errors. Bound: PATTERN_CAPTURES captures, PATTERN_DEPTH levels of backtracking ("pattern too complex"). */
#pragma once
#include "attr.h"

#include <lua.h>
#include <stddef.h>

#define PATTERN_CAPTURES 32
#define PATTERN_DEPTH 200

struct pattern {
  lua_State *L;
  const char *text, *text_end; /* borrowed */
  const char *end;             /* of the pattern */
  unsigned steps, depth;
  int captured;
  struct {
    const char *at;
    ptrdiff_t len; /* or one of the two below */
  } captures[PATTERN_CAPTURES];
};
#define CAPTURE_OPEN (-1)
#define CAPTURE_POSITION (-2)

void pattern_init(struct pattern *m, lua_State *L, const char *text, size_t len, const char *pattern_end);
/* Matches p (without its anchor) exactly at `at`. Returns the end of the match, or NULL. */
const char *pattern_at(struct pattern *m, const char *at, const char *p);
/* Pushes capture i, or the whole match when there is none and i is 0. */
void pattern_push(struct pattern *m, int i, const char *from, const char *to);
/* Pushes all captures, or the whole match when there is none and from is not NULL. Returns how many. */
int pattern_push_all(struct pattern *m, const char *from, const char *to);
