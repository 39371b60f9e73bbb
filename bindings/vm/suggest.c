/* In: names. Out: the nearest. Why: see suggest.h. Near is what one slip, of long names two, makes of the other: a
 * letter too many, too few or wrong, or two that have changed places. */
#include "suggest.h"

#include <lauxlib.h>
#include <string.h>

#define LONG 6 /* bytes; from then on two slips are allowed */

static unsigned least(unsigned a, unsigned b) {
  return a < b ? a : b;
}

static int lower(char c) {
  return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* Of two names of at most SUGGEST_MAX bytes. Three rows of the usual table: two that change places look two back. */
static unsigned distance(const char *a, size_t m, const char *b, size_t n) {
  unsigned rows[3][SUGGEST_MAX + 1];
  for (size_t j = 0; j <= n; j++) {
    rows[0][j] = (unsigned)j;
  }
  for (size_t i = 1; i <= m; i++) {
    unsigned *row = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= n; j++) {
      unsigned differ = lower(a[i - 1]) != lower(b[j - 1]);
      row[j] = least(least(before[j] + 1, row[j - 1] + 1), before[j - 1] + differ);
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1])) {
        row[j] = least(row[j], two_before[j - 2] + 1);
      }
    }
  }
  return rows[m % 3][n];
}

void suggest_init(struct suggest *s, const char *given) {
  size_t len = given ? strlen(given) : 0;
  *s = (struct suggest){.given = len && len <= SUGGEST_MAX ? given : NULL};
  s->distance = len >= LONG ? 3 : len > 2 ? 2 : 1;
}

void suggest_try(struct suggest *s, const char *name, size_t len) {
  if (!s->given || !len || len > SUGGEST_MAX) {
    return;
  }
  unsigned d = distance(s->given, strlen(s->given), name, len);
  bool first = strncmp(name, s->best, len) < 0; /* of two that are equally near: always the same */
  if (d < s->distance || (d == s->distance && *s->best && first)) {
    s->distance = d;
    memcpy(s->best, name, len);
    s->best[len] = 0;
  }
}

void suggest_words(struct suggest *s, const char *words) {
  for (size_t len; *words; words += len + strspn(words + len, " ")) {
    len = strcspn(words, " ");
    suggest_try(s, words, len);
  }
}

void suggest_keys(struct suggest *s, lua_State *L, int index) {
  int looked = 0;
  luaL_checkstack(L, 3, "too many names");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (++looked > SUGGEST_NAMES) {
      *s->best = 0;
      lua_pop(L, 2);
      return;
    }
    if (lua_type(L, -2) == LUA_TSTRING) {
      size_t len;
      const char *name = lua_tolstring(L, -2, &len);
      suggest_try(s, name, len);
    }
  }
}

const char *suggest_push(const struct suggest *s, lua_State *L) {
  return *s->best ? lua_pushfstring(L, ": did you mean %s?", s->best) : lua_pushfstring(L, "");
}

int l_suggest(lua_State *L) {
  struct suggest s;
  luaL_checktype(L, 2, LUA_TTABLE);
  suggest_init(&s, lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL);
  suggest_keys(&s, L, 2);
  (void)suggest_push(&s, L);
  return 1;
}
