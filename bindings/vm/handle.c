/* In: sessions as C knows them. Out: handles, the only kind of userdata scripts get, and back. Why: see handle.h. */
#include "handle.h"

#include "bind.h"

#include <string.h>

/* The only userdata a script can get hold of; the VM pointer tells a genuine one from anything else. */
struct session_userdata {
  const struct vm *vm;
  session_handle value;
};

static void push_handle(struct vm *vm, lua_State *L, session_handle value) {
  struct session_userdata *h = lua_newuserdata(L, sizeof *h);
  *h = (struct session_userdata){vm, value};
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->metatable_ref);
  lua_setmetatable(L, -2);
}

/* Stores the value on top of the stack in the registry under *ref, reusing the slot. */
static void keep(lua_State *L, int *ref) {
  if (*ref) {
    lua_rawseti(L, LUA_REGISTRYINDEX, *ref);
  } else {
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
}

/* NULL when the session is gone. Pushes nothing. */
struct cached *handle_cached(struct vm *vm, lua_State *L, session_handle handle) {
  struct cached *c = &vm->cache[handle % VM_CACHE];
  if (c->handle == handle) {
    return c;
  }
  struct session *s = bind_session_ref(vm, handle);
  if (!s) {
    return NULL;
  }
  char id[STORE_ID_LEN + 1], user[TOKEN_USER_MAX + 1]; /* copies, because a push may raise */
  size_t user_len = strnlen(session_user(s), TOKEN_USER_MAX);
  memcpy(id, session_id(s), sizeof id);
  memcpy(user, session_user(s), user_len);
  session_unref(s);
  c->handle = 0;
  push_handle(vm, L, handle);
  keep(L, &c->handle_ref);
  lua_pushlstring(L, id, STORE_ID_LEN);
  keep(L, &c->id_ref);
  lua_pushlstring(L, user, user_len);
  keep(L, &c->user_ref);
  c->handle = handle;
  return c;
}

void bind_push_session(struct vm *vm, lua_State *L, session_handle value) {
  const struct cached *c = handle_cached(vm, L, value);
  if (c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->handle_ref);
  } else {
    push_handle(vm, L, value);
  }
}

session_handle bind_check_session(lua_State *L, int index) {
  const struct session_userdata *h = lua_touserdata(L, index);
  if (!h || lua_objlen(L, index) != sizeof *h || h->vm != bind_vm(L)) {
    return luaL_typerror(L, index, "session"), 0;
  }
  return h->value;
}
