/* In: chat.shared calls. Out: small values that all workers see. Why: VMs keep no state, so shared state is here. It
 * is immediate and not part of a slice: it stays even when the handler fails later. */
#include "api.h"

#include "err.h"
#include "shared.h"

#include <stdlib.h>

static const char *check_key(lua_State *L, size_t *len) {
  const char *key = luaL_checklstring(L, 1, len);
  luaL_argcheck(L, *len >= 1 && *len <= SHARED_KEY_MAX, 1, "a key is 1 to 255 bytes");
  return key;
}

static uint64_t ttl(lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? 0 : bind_duration(L, index);
}

static int l_shared_get(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *key = check_key(L, &len);
  struct shared_value v;
  int code = shared_get(vm->world->shared, key, len, worker_now_ms(vm->worker), &v);
  if (code) {
    return bind_result(L, code);
  }
  switch (v.type) {
  case SHARED_TEXT:
    lua_pushlstring(L, v.text, v.len);
    free(v.text);
    break;
  case SHARED_NUMBER:
    lua_pushnumber(L, v.number);
    break;
  case SHARED_BOOL:
    lua_pushboolean(L, v.number != 0);
    break;
  default:
    lua_pushnil(L);
  }
  return 1;
}

static int l_shared_set(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *key = check_key(L, &len);
  struct shared_value v = {.type = SHARED_NONE};
  if (lua_type(L, 2) == LUA_TSTRING) {
    v.type = SHARED_TEXT;
    v.text = (char *)lua_tolstring(L, 2, &v.len);
  } else if (lua_type(L, 2) == LUA_TNUMBER) {
    v.type = SHARED_NUMBER;
    v.number = lua_tonumber(L, 2);
  } else {
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    v.type = SHARED_BOOL;
    v.number = lua_toboolean(L, 2);
  }
  char script[BIND_SCRIPT_MAX + 1];
  bind_script(L, script);
  return bind_result(L, shared_set(vm->world->shared, script, key, len, &v, ttl(L, 3), worker_now_ms(vm->worker)));
}

static int l_shared_add(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *key = check_key(L, &len);
  double sum, n = luaL_checknumber(L, 2);
  char script[BIND_SCRIPT_MAX + 1];
  bind_script(L, script);
  int code = shared_add(vm->world->shared, script, key, len, n, ttl(L, 3), worker_now_ms(vm->worker), &sum);
  if (code) {
    return bind_result(L, code);
  }
  lua_pushnumber(L, sum);
  return 1;
}

static int l_shared_delete(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *key = check_key(L, &len);
  struct shared_value none = {.type = SHARED_NONE};
  int code = shared_set(vm->world->shared, "", key, len, &none, 0, worker_now_ms(vm->worker));
  lua_pushboolean(L, code == 0);
  return 1;
}

static const struct bind_function functions[] = {
  {"get", l_shared_get, "key string", "string|number|boolean|nil", false, "What is kept under key."},
  {"set", l_shared_set, "key string, value string|number|boolean, ttl? string|number", "true", false,
   "Keeps a value, for ever or for a duration. FULL when there is no room."},
  {"add", l_shared_add, "key string, n number, ttl? string|number", "number", false,
   "Adds to a number and returns the sum; the duration is set when it is new."},
  {"delete", l_shared_delete, "key string", "boolean", false, "Forgets it; whether it was there."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_shared = {"shared", "Small values all workers see at once. Immediate.", functions, NULL};
