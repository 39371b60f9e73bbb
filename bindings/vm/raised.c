/* In: error values of any kind. Out: texts. Why: see raised.h. Tables are read without their metatables, but for
 * __tostring, which is called protected and under the guard. */
#include "raised.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES "chat.raised.names" /* C function -> "table.sort" */
#define FIELDS_MAX 8
#define FIELD_MAX 64
#define LEVELS_MAX 200 /* looked through; below, an error in a deep recursion has its place at the top anyway */

static const char SCRIPTS[] = "scripts/";

/* ---- where ---- */

static bool is_script(const lua_Debug *at) {
  return at->currentline > 0 && *at->source == '@' && strncmp(at->source + 1, SCRIPTS, sizeof SCRIPTS - 1) == 0;
}

static bool place_from(lua_State *co, int level, char *out, size_t room) {
  lua_Debug at;
  *out = 0;
  for (int last = level + LEVELS_MAX; level < last && lua_getstack(co, level, &at); level++) {
    lua_getinfo(co, "Sl", &at);
    if (is_script(&at)) {
      snprintf(out, room, "%.200s:%d", at.source + 1, at.currentline);
      return true;
    }
  }
  return false;
}

bool raised_place(lua_State *co, char *out, size_t room) {
  return place_from(co, 0, out, room);
}

char *raised_join(const char *place, const char *text) {
  bool placed = !*place || strncmp(text, SCRIPTS, sizeof SCRIPTS - 1) == 0;
  char *joined = NULL;
  return asprintf(&joined, "%s%s%s", placed ? "" : place, placed ? "" : ": ", text) < 0 ? NULL : joined;
}

/* ---- what ---- */

static bool put_scalar(lua_State *L, int index, char *out, size_t room) {
  switch (lua_type(L, index)) {
  case LUA_TSTRING:
    snprintf(out, room, "%.40s", lua_tostring(L, index));
    return true;
  case LUA_TNUMBER:
    snprintf(out, room, "%.14g", lua_tonumber(L, index));
    return true;
  case LUA_TBOOLEAN:
    snprintf(out, room, "%s", lua_toboolean(L, index) ? "true" : "false");
    return true;
  default:
    snprintf(out, room, "a %.20s", luaL_typename(L, index));
    return false;
  }
}

static int compare(const void *a, const void *b) {
  return strcmp(a, b);
}

/* { code = 3, detail = x }, in the order of the names, for a table has none. */
static void push_fields(lua_State *L, int index) {
  char fields[FIELDS_MAX][2 * FIELD_MAX + 4], key[FIELD_MAX], value[FIELD_MAX];
  size_t count = 0;
  for (lua_pushnil(L); count < FIELDS_MAX && lua_next(L, index); lua_pop(L, 1)) {
    (void)put_scalar(L, -1, value, sizeof value);
    if (put_scalar(L, -2, key, sizeof key)) {
      snprintf(fields[count++], sizeof fields[0], "%s = %s", key, value);
    }
  }
  lua_settop(L, index);
  qsort(fields, count, sizeof fields[0], compare);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  luaL_addstring(&text, count ? "{ " : "{}");
  for (size_t i = 0; i < count; i++) {
    luaL_addstring(&text, i ? ", " : "");
    luaL_addstring(&text, fields[i]);
  }
  luaL_addstring(&text, count ? " }" : "");
  luaL_pushresult(&text);
}

/* Of the value at 1, which has no text of its own. Pushes one, or nothing. */
static bool push_by_metatable(lua_State *L) {
  if (!lua_getmetatable(L, 1)) {
    return false;
  }
  lua_pushliteral(L, "__tostring");
  lua_rawget(L, -2);
  if (!lua_isfunction(L, -1)) {
    return false;
  }
  lua_pushvalue(L, 1);
  int failed = lua_pcall(L, 1, 1, 0);
  guard_poll(L);
  return !failed && lua_type(L, -1) == LUA_TSTRING;
}

/* describe(value) -> text */
static int l_describe(lua_State *L) {
  lua_settop(L, 1);
  int type = lua_type(L, 1);
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    lua_tostring(L, 1);
  } else if (type == LUA_TTABLE) {
    lua_pushliteral(L, "message");
    lua_rawget(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING && !push_by_metatable(L)) {
      lua_settop(L, 1);
      push_fields(L, 1);
    }
  } else if (type != LUA_TUSERDATA || !push_by_metatable(L)) {
    lua_pushfstring(L, "an error that is a %s", luaL_typename(L, 1));
  }
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  lua_pushlstring(L, text, len < RAISED_MAX ? len : RAISED_MAX - 1);
  return 1;
}

char *raised_text(struct vm *vm, lua_State *co, uint64_t *spent_ns) {
  lua_State *L = vm->L;
  char place[RAISED_MAX / 2];
  (void)raised_place(co, place, sizeof place);
  if (lua_gettop(co) && lua_isstring(co, -1)) {
    return raised_join(place, lua_tostring(co, -1));
  }
  lua_pushcfunction(L, l_describe);
  if (lua_gettop(co)) {
    lua_xmove(co, L, 1);
  } else {
    lua_pushnil(L);
  }
  guard_enter(&vm->guard, vm->guard.slice_ns, *spent_ns);
  int failed = lua_pcall(L, 1, 1, 0);
  *spent_ns = guard_leave(&vm->guard, *spent_ns);
  const char *text = lua_tostring(L, -1);
  char *joined = raised_join(place, failed || !text ? "an error whose __tostring has to be ended" : text);
  lua_pop(L, 1);
  return joined;
}

void raised_loading(struct vm *vm, char why[RAISED_MAX]) {
  char place[RAISED_MAX / 2];
  const char *text = lua_tostring(vm->L, -1);
  guard_place(&vm->guard, place, sizeof place);
  char *joined = raised_join(place, text ? text : "an error that is not a text");
  snprintf(why, RAISED_MAX, "%s", joined ? joined : "out of memory");
  free(joined);
}

/* ---- where nobody can wait ---- */

void raised_take_names(lua_State *L) {
  lua_setfield(L, LUA_REGISTRYINDEX, NAMES);
}

/* The name of the C function at this level, "" for Lua's own code and for what waiting passes through. */
static const char *c_name(lua_State *L, lua_Debug *at) {
  const char *name = "";
  lua_getinfo(L, "Snf", at);
  lua_getfield(L, LUA_REGISTRYINDEX, NAMES);
  lua_insert(L, -2);
  if (lua_istable(L, -2)) {
    lua_rawget(L, -2);
    name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : at->name ? at->name : "";
  }
  lua_pop(L, 2);
  return *at->what == 'C' && strcmp(name, "pcall") != 0 ? name : "";
}

bool raised_inside(lua_State *L, char out[RAISED_MAX]) {
  lua_Debug at;
  char place[RAISED_MAX / 2];
  if (lua_isyieldable(L)) {
    return false;
  }
  snprintf(out, RAISED_MAX, "a function of C");
  luaL_checkstack(L, 4, "no room to say why nobody can wait here");
  for (int level = 1; level < LEVELS_MAX && lua_getstack(L, level, &at); level++) {
    const char *name = c_name(L, &at);
    if (*name) {
      bool found = place_from(L, level, place, sizeof place);
      snprintf(out, RAISED_MAX, "%.100s%s%s%s", name, found ? " (" : "", place, found ? ")" : "");
      break;
    }
  }
  return true;
}

static int l_inside(lua_State *L) {
  char text[RAISED_MAX];
  if (!raised_inside(L, text)) {
    return 0;
  }
  lua_pushstring(L, text);
  return 1;
}

void bind_push_describe(lua_State *L) {
  lua_pushcfunction(L, l_describe);
}

void bind_push_inside(lua_State *L) {
  lua_pushcfunction(L, l_inside);
}
