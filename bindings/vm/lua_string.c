/* In: string.find, match, gmatch and gsub of a script. Out: the same results as LuaJIT's own. Why: these can be
 * interrupted (pattern.h), and functions they call cannot exhaust the C stack (guard_deep). */
#include "sandbox.h"

#include "bind.h"
#include "pattern.h"

#include <string.h>

#define PLAIN_PIECE 65536 /* bytes searched between two checks whether the slice has to end */

struct subject {
  const char *text, *pattern;
  size_t len, pattern_len;
  bool anchored;
};

static struct subject subject_at(lua_State *L) {
  struct subject s;
  s.text = luaL_checklstring(L, 1, &s.len);
  s.pattern = luaL_checklstring(L, 2, &s.pattern_len);
  s.anchored = s.pattern_len > 0 && *s.pattern == '^';
  return s;
}

/* The optional third argument: from 1, or from the end when negative. */
static size_t start_of(lua_State *L, size_t len) {
  ptrdiff_t at = luaL_optinteger(L, 3, 1);
  at = at < 0 ? at + (ptrdiff_t)len : at - 1;
  return at < 0 ? 0 : (size_t)at > len ? len : (size_t)at;
}

static bool is_plain(const struct subject *s) {
  static const bool special[256] = {['^'] = true, ['$'] = true, ['*'] = true, ['+'] = true, ['?'] = true,
                                    ['.'] = true, ['('] = true, ['['] = true, ['%'] = true, ['-'] = true};
  size_t i = 0;
  while (i < s->pattern_len && !special[(unsigned char)s->pattern[i]]) {
    i++;
  }
  return i == s->pattern_len;
}

/* In pieces: for some patterns of up to 256 bytes memmem takes text length times pattern length. */
static const char *search_plain(lua_State *L, const struct subject *s, size_t start) {
  size_t piece = PLAIN_PIECE + 8 * s->pattern_len; /* for longer patterns memmem first reads the whole pattern */
  const char *at = NULL;
  for (size_t from = start; !at && from <= s->len; from += piece) {
    size_t left = s->len - from, most = piece + s->pattern_len;
    guard_poll(L);
    at = memmem(s->text + from, left < most ? left : most, s->pattern, s->pattern_len);
  }
  return at;
}

static int find_plain(lua_State *L, const struct subject *s, size_t start) {
  const char *at = search_plain(L, s, start);
  if (!at) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, at - s->text + 1);
  lua_pushinteger(L, at - s->text + (ptrdiff_t)s->pattern_len);
  return 2;
}

static int search(lua_State *L, bool find) {
  struct subject s = subject_at(L);
  size_t start = start_of(L, s.len);
  if (find && (lua_toboolean(L, 4) || is_plain(&s))) {
    return find_plain(L, &s, start);
  }
  struct pattern m;
  pattern_init(&m, L, s.text, s.len, s.pattern + s.pattern_len);
  for (const char *at = s.text + start; at <= m.text_end; at++) {
    const char *to = pattern_at(&m, at, s.pattern + s.anchored);
    if (to && find) {
      lua_pushinteger(L, at - s.text + 1);
      lua_pushinteger(L, to - s.text);
      return 2 + pattern_push_all(&m, NULL, NULL);
    }
    if (to) {
      return pattern_push_all(&m, at, to);
    }
    if (s.anchored) {
      break;
    }
  }
  lua_pushnil(L);
  return 1;
}

static int l_string_find(lua_State *L) {
  return search(L, true);
}

static int l_string_match(lua_State *L) {
  return search(L, false);
}

/* Upvalues: text, pattern, position to continue at. */
static int l_string_gmatch_next(lua_State *L) {
  size_t len, pattern_len;
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &len);
  const char *p = lua_tolstring(L, lua_upvalueindex(2), &pattern_len);
  struct pattern m;
  pattern_init(&m, L, text, len, p + pattern_len);
  for (const char *at = text + lua_tointeger(L, lua_upvalueindex(3)); at <= m.text_end; at++) {
    const char *to = pattern_at(&m, at, p);
    if (to) {
      lua_pushinteger(L, to - text + (to == at));
      lua_replace(L, lua_upvalueindex(3));
      return pattern_push_all(&m, at, to);
    }
  }
  return 0;
}

static int l_string_gmatch(lua_State *L) {
  subject_at(L);
  lua_settop(L, 2);
  lua_tostring(L, 1); /* converts a number to a string in place */
  lua_tostring(L, 2);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, l_string_gmatch_next, 3);
  return 1;
}

/* ---- gsub ---- */

/* In the replacement, %0 to %9 are captures; % before any other character is that character. */
static void add_template(struct pattern *m, luaL_Buffer *out, const char *from, const char *to) {
  size_t len;
  const char *t = lua_tolstring(m->L, 3, &len), *end = t + len;
  for (; t < end; t++) {
    if (*t != '%') {
      const char *piece = t, *most = end - t > PLAIN_PIECE ? t + PLAIN_PIECE : end;
      while (t + 1 < most && t[1] != '%') {
        t++;
      }
      guard_poll(m->L);
      luaL_addlstring(out, piece, (size_t)(t + 1 - piece));
    } else if (++t == end || *t < '0' || *t > '9') {
      luaL_addchar(out, t == end ? '\0' : *t);
    } else if (*t == '0') {
      luaL_addlstring(out, from, (size_t)(to - from));
    } else {
      pattern_push(m, *t - '1', from, to);
      luaL_addvalue(out);
    }
  }
}

static void add_value(struct pattern *m, luaL_Buffer *out, const char *from, const char *to) {
  lua_State *L = m->L;
  int type = lua_type(L, 3);
  guard_poll(L); /* what it calls may be C, in which no hook is called */
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    add_template(m, out, from, to);
    return;
  }
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, pattern_push_all(m, from, to), 1);
  } else {
    pattern_push(m, 0, from, to);
    lua_gettable(L, 3);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(out, from, (size_t)(to - from));
  } else if (lua_isstring(L, -1)) {
    luaL_addvalue(out);
  } else {
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  }
}

static int l_string_gsub(lua_State *L) {
  struct subject s = subject_at(L);
  int type = lua_type(L, 3);
  luaL_argcheck(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                "string/function/table expected");
  ptrdiff_t most = luaL_optinteger(L, 4, (ptrdiff_t)s.len + 1), count = 0;
  if (guard_deep(L)) {
    return luaL_error(L, "string.gsub: too many inside one another");
  }
  lua_settop(L, 4);
  struct pattern m;
  pattern_init(&m, L, s.text, s.len, s.pattern + s.pattern_len);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  const char *at = s.text;
  while (count < most) {
    const char *to = pattern_at(&m, at, s.pattern + s.anchored);
    if (to) {
      count++;
      add_value(&m, &out, at, to);
    }
    if (to && to > at) {
      at = to;
    } else if (at < m.text_end) {
      luaL_addchar(&out, *at++);
    } else {
      break;
    }
    if (s.anchored) {
      break;
    }
  }
  luaL_addlstring(&out, at, (size_t)(m.text_end - at));
  luaL_pushresult(&out);
  lua_pushinteger(L, count);
  return 2;
}

void bind_push_strings(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"find", l_string_find},
    {"match", l_string_match},
    {"gmatch", l_string_gmatch},
    {"gsub", l_string_gsub},
    {NULL, NULL},
  };
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  bind_add_texts(L);
}
