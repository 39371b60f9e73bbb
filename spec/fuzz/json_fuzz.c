/* In: any bytes. Out: an abort when the codec of the scripts takes what jansson refuses or the other way round (beyond
 * the bounds each has), or when a value that was read, written and read again is not the same text.
 * Why: the codec is ours (bindings/vm/json.h), what it reads comes from strangers, and what it writes goes to all. */
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

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  static lua_State *L;
  if (!L) {
    L = luaL_newstate();
    bind_push_json(NULL, L);
  }
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
