/* In: what scripts decode and encode. Out: what lua-cjson makes of it, if it is not too much.
 * Why: cjson is C that nobody can interrupt, and its buffers are outside a VM's memory: 25 tables {t, t} inside one
 * another would take ten seconds and 200 MB. So values are counted before it begins. While it runs memory is not
 * capped: an error in the middle would leave its buffer behind. Bound: JSON_VALUES values both ways, JSON_BYTES bytes
 * of text encoded at once, JSON_TEXT bytes decoded; cjson's own depth of 32. */
#include "sandbox.h"

#include "bind.h"

#include <stdbool.h>
#include <string.h>

#define JSON_DEPTH 32
#define JSON_VALUES 50000
#define JSON_BYTES (1u << 20)
#define JSON_TEXT (4u << 20)         /* bytes */
#define JSON_PLAIN 1024              /* bytes */
#define JSON_SMALL (2 * JSON_VALUES) /* a text of this size cannot hold more values */

int luaopen_cjson_safe(lua_State *L); /* of lua-cjson, whose header wants another Lua's path */

/* Calls cjson's function, which is the second upvalue, with the one argument. */
static int call(lua_State *L) {
  struct guard *g = &bind_vm(L)->guard;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  bool counting = guard_count(g, false);
  lua_call(L, 1, 2); /* never raises: it answers nil and why */
  guard_count(g, counting);
  lua_settop(L, lua_isnil(L, -2) ? 2 : 1);
  return lua_gettop(L);
}

static int too_much(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

/* An upper bound: what opens and what separates, outside strings. */
static size_t values_in(const char *text, size_t len) {
  size_t count = 1;
  bool quoted = false;
  for (size_t i = 0; i < len; i++) {
    if (quoted && text[i] == '\\') {
      i++;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
  }
  return count;
}

static int l_json_decode(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  if (len > JSON_TEXT) {
    return too_much(L, "more than 4 MiB of text");
  }
  if (len > JSON_SMALL && values_in(text, len) > JSON_VALUES) {
    return too_much(L, "more than 50000 values");
  }
  return call(L);
}

struct weight {
  size_t values, bytes;
  bool deep;
};

/* Adds the value at the top; stops where it is too much. */
static void weigh(lua_State *L, struct weight *w, int depth) {
  size_t len = 0;
  int type = lua_type(L, -1);
  w->values++;
  if (type == LUA_TSTRING) {
    lua_tolstring(L, -1, &len);
    w->bytes += len;
  } else if (type == LUA_TTABLE && depth == JSON_DEPTH) {
    w->deep = true;
  } else if (type == LUA_TTABLE) {
    for (lua_pushnil(L); w->values <= JSON_VALUES && !w->deep && lua_next(L, -2); lua_pop(L, 1)) {
      lua_pushvalue(L, -2);
      if (lua_type(L, -1) == LUA_TSTRING) {
        weigh(L, w, depth);
      }
      lua_pop(L, 1);
      weigh(L, w, depth + 1);
    }
  }
}

/* Most of what is encoded are short texts in which nothing has to be escaped. */
static bool push_plain(lua_State *L) {
  static const bool escaped[256] = {[0 ... ' ' - 1] = true, ['"'] = true, ['\\'] = true, ['/'] = true, [0x7F] = true};
  char quoted[JSON_PLAIN + 2];
  size_t len = 0, i = 0;
  const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
  if (!text || len > JSON_PLAIN) {
    return false;
  }
  while (i < len && !escaped[(unsigned char)text[i]]) {
    i++;
  }
  if (i < len) {
    return false;
  }
  quoted[0] = quoted[len + 1] = '"';
  memcpy(quoted + 1, text, len);
  lua_pushlstring(L, quoted, len + 2);
  return true;
}

static int l_json_encode(lua_State *L) {
  struct weight w = {0};
  if (push_plain(L)) {
    return 1;
  }
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  luaL_checkstack(L, JSON_DEPTH * 4, "no room for its depth");
  weigh(L, &w, 0);
  if (w.values > JSON_VALUES) {
    return too_much(L, "more than 50000 values");
  } else if (w.bytes > JSON_BYTES) {
    return too_much(L, "more than 1 MiB of text");
  } else if (w.deep) {
    return too_much(L, "deeper than 32");
  }
  lua_settop(L, 1);
  return call(L);
}

static void set_limit(lua_State *L, const char *name, int value) {
  lua_getfield(L, -1, name);
  lua_pushinteger(L, value);
  lua_call(L, 1, 0);
}

/* Replaces a function of the table at the top by one that looks first. */
static void wrap(struct vm *vm, lua_State *L, const char *name, lua_CFunction fn) {
  lua_pushlightuserdata(L, vm);
  lua_getfield(L, -2, name);
  lua_pushcclosure(L, fn, 2);
  lua_setfield(L, -2, name);
}

void bind_push_json(struct vm *vm, lua_State *L) {
  lua_pushcfunction(L, luaopen_cjson_safe);
  lua_call(L, 0, 1);
  set_limit(L, "decode_max_depth", JSON_DEPTH);
  set_limit(L, "encode_max_depth", JSON_DEPTH);
  lua_getfield(L, -1, "decode_invalid_numbers");
  lua_pushboolean(L, 0);
  lua_call(L, 1, 0);
  wrap(vm, L, "decode", l_json_decode);
  wrap(vm, L, "encode", l_json_encode);
}
