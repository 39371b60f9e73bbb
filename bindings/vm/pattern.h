/* In: a text and a Lua pattern. Out: where it matches, and what it captured.
 * Why: LuaJIT's own matcher is C that nobody can interrupt, and a short pattern can keep it busy for years. This one
 * looks up every thousand steps (guard_poll). Same patterns, same results; raises what LuaJIT raises. Bound:
 * PATTERN_CAPTURES captures, PATTERN_DEPTH levels of backtracking ("pattern too complex"). */
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
/* Matches p (without its anchor) at `at`, exactly there: the end of the match, or NULL. */
const char *pattern_at(struct pattern *m, const char *at, const char *p);
/* Pushes capture i, or the whole match when there is none and i is 0. */
void pattern_push(struct pattern *m, int i, const char *from, const char *to);
/* Pushes all of them, or the whole match (unless from is NULL); their number. */
int pattern_push_all(struct pattern *m, const char *from, const char *to);
