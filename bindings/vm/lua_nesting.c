/* In: pcall and coroutine.resume of the sandbox (sandbox.lua), before and behind. Out: whether there is room for one
 * more, counted in nesting.c. Why: every place that can catch the error that ends a handler meets it again, so there
 * are not too many of them inside one another (NESTING_MAX). */
#include "sandbox.h"

#include "bind.h"

static int push_before(lua_State *L, bool fits, unsigned before) {
  if (fits) {
    lua_pushinteger(L, (lua_Integer)before);
  } else {
    lua_pushnil(L);
  }
  return 1;
}

/* protect() -> before, or nil: too many */
static int l_nesting_protect(lua_State *L) {
  unsigned before = 0;
  bool fits = nesting_protect(&bind_vm(L)->guard.nesting, &before);
  return push_before(L, fits, before);
}

/* release(before) */
static int l_nesting_release(lua_State *L) {
  nesting_release(&bind_vm(L)->guard.nesting, (unsigned)lua_tointeger(L, 1));
  return 0;
}

/* resume(inside) -> before, or nil: too many, or too much of the C stack is in use */
static int l_nesting_resume(lua_State *L) {
  unsigned before = 0;
  bool fits = !guard_deep(L) && nesting_resume(&bind_vm(L)->guard.nesting, (unsigned)lua_tointeger(L, 1), &before);
  return push_before(L, fits, before);
}

/* back(before) -> inside */
static int l_nesting_back(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)nesting_back(&bind_vm(L)->guard.nesting, (unsigned)lua_tointeger(L, 1)));
  return 1;
}

void bind_push_nesting(struct vm *vm, lua_State *L) {
  static const luaL_Reg all[] = {{"protect", l_nesting_protect},
                                 {"release", l_nesting_release},
                                 {"resume", l_nesting_resume},
                                 {"back", l_nesting_back},
                                 {NULL, NULL}};
  lua_createtable(L, 0, 4);
  for (const luaL_Reg *f = all; f->name; f++) {
    bind_push_function(vm, L, f->func);
    lua_setfield(L, -2, f->name);
  }
}
