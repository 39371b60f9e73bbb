/* In: any bytes. Out: an abort when the codec of the scripts takes what jansson refuses or the other way round (beyond
 * the bounds each has), when a value that was read, written and read again is not the same text, or when what is read
 * of a message in one go (json.reader) is not what stands in its value. Why: the codec is ours (bindings/vm/json.h),
 * what it reads comes from strangers, and what it writes goes to all. */
#include "json.h"
#include "sandbox.h"

#include <jansson.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(bool well, const char *what) {
  if (!well) {
    fprintf(stderr, "%s\n", what);
    abort();
  }
}

/* The reason at the top is one of the bounds, which jansson has not or elsewhere. */
static bool is_bound(lua_State *L) {
  const char *why = lua_tostring(L, -1);
  return strstr(why, "deeper") || strstr(why, "more than 50000") || strstr(why, "MiB") || strstr(why, "infinity");
}

/* Calls the codec's function with the text or value at the top, which it replaces by the result. */
static bool call(lua_State *L, int module, const char *name) {
  lua_getfield(L, module, name);
  lua_insert(L, -2);
  lua_call(L, 1, LUA_MULTRET);
  return !lua_isnil(L, 2) && lua_gettop(L) == 2;
}

/* jansson refuses numbers that no double holds; the scripts' reader makes infinities of them. */
static bool both_judge(const char *text, size_t len, bool taken) {
  json_error_t error;
  json_t *judged = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
  bool same = taken == (judged != NULL) || (!judged && json_error_code(&error) == json_error_numeric_overflow);
  json_decref(judged);
  return same;
}

/* A message is a t with a text a, perhaps a token b, a text c, and anything as d. */
static const char quickly[] =
  "local json = ...\n"
  "local read = json.reader({ 'a', 'b', 'c' }, { t = { { name = 'a', plain = 'string', low = 1, high = 9 },\n"
  "  { name = 'b', plain = 'token', optional = true, low = 0, high = 1 / 0 }, { name = 'd', optional = true },\n"
  "  { name = 'c', plain = 'string', optional = true, low = 0, high = 3000 } } })\n"
  "return function(text)\n"
  "  local kind, a, b, c, others = read(text)\n"
  "  if not kind then return true end\n"
  "  local value, _, halved = json.decode(text, 'metadata')\n"
  "  if halved or kind ~= 't' or value.type ~= 't' or value.a ~= a or value.b ~= b then return false end\n"
  "  if value.c ~= c and not (value.c == '' and c == nil) then return false end\n"
  "  if not a or #a < 1 or #a > 9 or a:find '^%s' or a:find '%s$' or a:find '%z' or (b and b:find '%c') then\n"
  "    return false\n"
  "  end\n"
  "  for name in pairs(others or {}) do if name ~= 'd' then return false end end\n"
  "  return (others and others.d) == value.d\n"
  "end\n";

static void check_quickly(lua_State *L, int fn, const char *text, size_t len) {
  lua_pushvalue(L, fn);
  lua_pushlstring(L, text, len);
  lua_call(L, 1, 1);
  check(lua_toboolean(L, -1), "what is read in one go is not what stands there");
  lua_pop(L, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  static lua_State *L;
  static int fn;
  if (!L) {
    L = luaL_newstate();
    luaL_openlibs(L);
    bind_push_json(NULL, L);
    check(luaL_loadstring(L, quickly) == 0, "a fault in the script");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    fn = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  lua_settop(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, fn);
  check_quickly(L, 2, (const char *)bytes, len);
  lua_settop(L, 1);
  lua_pushlstring(L, (const char *)bytes, len);
  bool taken = call(L, 1, "decode");
  if (!taken && is_bound(L)) {
    return 0;
  }
  if (memchr(bytes, 0, len)) { /* nowhere in a text of JSON; jansson takes one behind it for the end */
    check(!taken, "a NUL was read");
    return 0;
  }
  check(both_judge((const char *)bytes, len, taken), "jansson says otherwise");
  if (!taken) {
    return 0;
  }
  if (!call(L, 1, "encode")) {
    check(is_bound(L), "what was read cannot be written");
    return 0;
  }
  size_t first_len, second_len;
  const char *first = lua_tolstring(L, 2, &first_len);
  char *kept = malloc(first_len + 1);
  memcpy(kept, first, first_len + 1);
  check(both_judge(kept, first_len, true), "jansson refuses what was written");
  check(call(L, 1, "decode"), "what was written cannot be read");
  check(call(L, 1, "encode"), "what was read again cannot be written");
  lua_tolstring(L, 2, &second_len);
  check(first_len == second_len, "another text the second time"); /* the order of fields may differ, not their bytes */
  free(kept);
  return 0;
}
