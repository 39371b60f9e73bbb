/* In: tables of options. Out: errors. Why: see known_options.h. */
#include "known_options.h"

#include "suggest.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#define OPTIONS_ROW(id, function, argument, names) {function, names, argument},
static const struct {
  const char *function, *names;
  int argument;
} rows[] = {OPTIONS_ALL(OPTIONS_ROW)};
#undef OPTIONS_ROW

/* Whether the word is one of those in the text. */
static bool has_word(const char *words, const char *word, size_t len) {
  for (size_t n; *words; words += n + strspn(words + n, " ")) {
    n = strcspn(words, " ");
    if (n == len && memcmp(words, word, n) == 0) {
      return true;
    }
  }
  return false;
}

static void refuse(lua_State *L, enum options which, const char *given) {
  struct suggest s;
  suggest_init(&s, given);
  suggest_words(&s, rows[which].names);
  luaL_error(L, which == OPTIONS_SET ? "%s cannot set %s%s" : "%s: there is no option %s%s", rows[which].function,
             given, suggest_push(&s, L));
}

void options_check(lua_State *L, int index, enum options which) {
  size_t len;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : NULL;
    if (!name) {
      luaL_error(L, "%s: options have names, and a %s is none", rows[which].function, luaL_typename(L, -2));
    } else if (!has_word(rows[which].names, name, len)) {
      refuse(L, which, name);
    }
  }
}
