/* In: string.rep, reverse, lower and upper of a script. Out: the same results as LuaJIT's own. Why: a text may have
 * many megabytes; LuaJIT's versions go through it byte by byte and cannot be ended meanwhile. These look up after each
 * piece. What they make is C's until it is pushed, and memory is not capped in that moment: an error would leave it
 * behind. Bound: guard_text_max for rep; the others make as much as they are given. */
#include "sandbox.h"

#include <stdlib.h>
#include <string.h>

#define SMALL 512   /* bytes; most texts are shorter and need no memory of their own */
#define PIECE 65536 /* bytes between two checks whether the slice has to end */

struct made {
  char *bytes; /* small, or malloc'ed */
  size_t len;
  char small[SMALL];
};

static void begin(lua_State *L, struct made *m, size_t len) {
  m->len = len;
  m->bytes = len <= SMALL ? m->small : malloc(len);
  if (!m->bytes) {
    luaL_error(L, "not enough memory");
  }
}

static int finish(lua_State *L, struct made *m) {
  struct guard *g = guard_running();
  bool ending = guard_ending(), counting = g && guard_count(g, false);
  if (!ending) {
    lua_pushlstring(L, m->bytes, m->len);
  }
  if (g) {
    guard_count(g, counting);
  }
  if (m->bytes != m->small) {
    free(m->bytes);
  }
  guard_poll(L);
  return 1;
}

/* Each makes bytes from..to of the result; len: of all. */
typedef void piece_fn(char *out, const char *text, size_t len, size_t from, size_t to);

static int each_piece(lua_State *L, piece_fn *fn) {
  struct made m;
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  begin(L, &m, len);
  for (size_t from = 0; from < len && !guard_ending(); from += PIECE) {
    fn(m.bytes, text, len, from, len - from < PIECE ? len : from + PIECE);
  }
  return finish(L, &m);
}

static void reverse(char *out, const char *text, size_t len, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    out[i] = text[len - 1 - i];
  }
}

static void lower(char *out, const char *text, size_t len, size_t from, size_t to) {
  (void)len;
  for (size_t i = from; i < to; i++) {
    char c = text[i];
    out[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
  }
}

static void upper(char *out, const char *text, size_t len, size_t from, size_t to) {
  (void)len;
  for (size_t i = from; i < to; i++) {
    char c = text[i];
    out[i] = c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
  }
}

static int l_string_reverse(lua_State *L) {
  return each_piece(L, reverse);
}

static int l_string_lower(lua_State *L) {
  return each_piece(L, lower);
}

static int l_string_upper(lua_State *L) {
  return each_piece(L, upper);
}

/* Repeats the first `unit` bytes until there are `len`, a piece at a time. */
static void repeat(char *bytes, size_t unit, size_t len) {
  for (size_t have = unit; have < len && !guard_ending();) {
    size_t within = have % unit, more = have - within < PIECE ? have - within : PIECE;
    more = more < len - have ? more : len - have;
    memcpy(bytes + have, bytes + within, more);
    have += more;
  }
}

static int l_string_rep(lua_State *L) {
  size_t len, between;
  const char *text = luaL_checklstring(L, 1, &len);
  double times = luaL_checknumber(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &between);
  size_t most = guard_text_max(guard_running());
  if (!(times >= 1)) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (times > (double)most || (double)(len + between) * times > (double)(most + between)) {
    return luaL_error(L, "string.rep: the result would be over %d bytes (SCRIPT_ALLOCATION_LIMIT)", (int)most);
  }
  struct made m;
  size_t unit = len + between;
  begin(L, &m, unit * (size_t)times - between);
  /* The separator follows each text but the last: the unit is cut short there. */
  size_t first = unit < m.len ? unit : m.len;
  if (m.len) {
    memcpy(m.bytes, text, len);
    memcpy(m.bytes + len, separator, first - len);
    repeat(m.bytes, unit, m.len);
  }
  return finish(L, &m);
}

void bind_add_texts(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"rep", l_string_rep}, {"reverse", l_string_reverse}, {"lower", l_string_lower}, {"upper", l_string_upper},
    {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
