/* In: values that scripts encode and texts that they decode. Out: the result of lua-cjson, if it is not too large.
 * Why: cjson is C code that cannot be interrupted, and its buffers are outside the memory of a VM: 25 nested tables
 * {t, t} would take ten seconds and 200 MB. So values are counted first. The memory cap is off while cjson runs,
 * because an error in the middle would leak its buffer. Bound: JSON_VALUES values in either direction, JSON_BYTES
 * bytes of text in one encode, JSON_TEXT bytes in one decode; nesting of 32, checked by cjson. */
#include "sandbox.h"

#include "bind.h"
#include "json.h"

static char marks[2]; /* their addresses are keys of the registry */

void json_marks_open(lua_State *L) {
  for (int i = 0; i < 2; i++) {
    lua_pushlightuserdata(L, &marks[i]);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
}

static void push_mark(lua_State *L, enum json_mark mark) {
  lua_pushlightuserdata(L, &marks[mark]);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

void json_mark(lua_State *L, enum json_mark mark) {
  push_mark(L, mark);
  lua_setmetatable(L, -2);
}

const void *json_mark_of(lua_State *L, enum json_mark mark) {
  push_mark(L, mark);
  const void *address = lua_topointer(L, -1);
  lua_pop(L, 1);
  return address;
}

static int l_json_decode(lua_State *L) {
  return json_read(L);
}

static int l_json_encode(lua_State *L) {
  struct vm *vm = bind_vm(L);
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  luaL_checkstack(L, JSON_DEPTH * 4 + 8, "no room for its depth");
  bool counting = vm && guard_count(&vm->guard, false);
  int count = json_write(L);
  if (vm) {
    guard_count(&vm->guard, counting);
  }
  return count;
}

/* A table that has a metatable already may be sealed by it. */
static int l_json_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getmetatable(L, 1)) {
    luaL_argcheck(L, lua_topointer(L, -1) == json_mark_of(L, JSON_ARRAY), 1, "this table has a metatable");
  }
  lua_settop(L, 1);
  json_mark(L, JSON_ARRAY);
  return 1;
}

static int l_json_raw(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  json_mark(L, JSON_RAW);
  return 1;
}

static void add(struct vm *vm, lua_State *L, const char *name, lua_CFunction fn) {
  lua_pushlightuserdata(L, vm);
  lua_pushcclosure(L, fn, 1);
  lua_setfield(L, -2, name);
}

void bind_push_json(struct vm *vm, lua_State *L) {
  json_marks_open(L);
  lua_createtable(L, 0, 5);
  add(vm, L, "decode", l_json_decode);
  add(vm, L, "encode", l_json_encode);
  add(vm, L, "array", l_json_array);
  add(vm, L, "raw", l_json_raw);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
}
