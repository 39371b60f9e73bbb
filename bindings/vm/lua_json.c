/* In: what scripts decode and encode. Out: what the codec (json.h) makes of it. Why here: it runs in C that nobody can
 * interrupt, so both ways are bounded; the text that is encoded is C's until it is pushed, so memory is not capped
 * meanwhile: an error in the middle would leave it behind. */
#include "sandbox.h"

#include "bind.h"
#include "json.h"

static int l_json_decode(lua_State *L) {
  return json_read(L);
}

static bool count_not(struct vm *vm) {
  return vm && guard_count(&vm->guard, false);
}

static void count_again(struct vm *vm, bool counting) {
  if (vm) {
    guard_count(&vm->guard, counting);
  }
}

static int l_json_encode(lua_State *L) {
  struct vm *vm = bind_vm(L);
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  luaL_checkstack(L, JSON_DEPTH * 4 + 8, "no room for its depth");
  bool counting = count_not(vm);
  int count = json_write(L);
  count_again(vm, counting);
  return count;
}

/* Upvalues: the VM, the template. */
static int l_json_fill(lua_State *L) {
  struct vm *vm = bind_vm(L);
  const struct json_template *t = lua_touserdata(L, lua_upvalueindex(2));
  luaL_checkstack(L, JSON_DEPTH * 4 + 8, "no room for its depth");
  bool counting = count_not(vm);
  int count = json_fill(L, t);
  count_again(vm, counting);
  return count;
}

static int l_json_template(lua_State *L) {
  json_template(L);
  lua_pushlightuserdata(L, bind_vm(L));
  lua_insert(L, -2);
  lua_pushcclosure(L, l_json_fill, 2);
  return 1;
}

/* A table that has a metatable already may be sealed by it. */
static int l_json_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getmetatable(L, 1)) {
    luaL_argcheck(L, lua_topointer(L, -1) == json_mark_of(L, JSON_MARK_ARRAY), 1, "this table has a metatable");
  }
  lua_settop(L, 1);
  json_mark(L, JSON_MARK_ARRAY);
  return 1;
}

static int l_json_raw(lua_State *L) {
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  json_mark(L, JSON_MARK_RAW);
  return 1;
}

/* Upvalues: the VM, the reader. */
static int l_json_take(lua_State *L) {
  return json_take(L, lua_touserdata(L, lua_upvalueindex(2)));
}

static int l_json_reader(lua_State *L) {
  json_reader(L);
  lua_pushlightuserdata(L, bind_vm(L));
  lua_insert(L, -2);
  lua_pushcclosure(L, l_json_take, 2);
  return 1;
}

static void add(struct vm *vm, lua_State *L, const char *name, lua_CFunction fn) {
  lua_pushlightuserdata(L, vm);
  lua_pushcclosure(L, fn, 1);
  lua_setfield(L, -2, name);
}

void bind_push_json(struct vm *vm, lua_State *L) {
  json_marks_open(L);
  lua_createtable(L, 0, 8);
  add(vm, L, "decode", l_json_decode);
  add(vm, L, "encode", l_json_encode);
  add(vm, L, "array", l_json_array);
  add(vm, L, "raw", l_json_raw);
  add(vm, L, "reader", l_json_reader);
  add(vm, L, "template", l_json_template);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
}
