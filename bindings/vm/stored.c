/* In: the names of the types that are stored. Out: refusals that others wait for, or not. Why: see stored.h. */
#include "stored.h"

#include "err.h"
#include "peek.h"
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int add(struct vm *vm, const char *name) {
  char *copy = strdup(name);
  char **grown = copy ? realloc(vm->stored, (vm->stored_count + 1) * sizeof *grown) : NULL;
  if (!grown) {
    free(copy);
    return UV_ENOMEM;
  }
  vm->stored = grown;
  vm->stored[vm->stored_count++] = copy;
  return 0;
}

/* Raw access: a metatable could raise, and this is not protected. */
int stored_take(struct vm *vm, char why[512]) {
  lua_State *L = vm->L;
  int code = 0;
  lua_pushliteral(L, "stored");
  lua_rawget(L, -2);
  bool absent = lua_isnil(L, -1), good = lua_istable(L, -1);
  for (lua_pushnil(L); good && lua_next(L, -2); lua_pop(L, 1)) {
    good = lua_type(L, -2) == LUA_TSTRING && vm->stored_count < STORED_TYPES;
    if (good && lua_toboolean(L, -1)) {
      code = code ? code : add(vm, lua_tostring(L, -2));
    }
  }
  if (!good && !absent) {
    snprintf(why, 512, "scripts/init.lua:1: its stored is a table of at most %d types of messages", STORED_TYPES);
    code = E_SCRIPT;
  }
  return code;
}

void stored_free(struct vm *vm) {
  for (size_t i = 0; i < vm->stored_count; i++) {
    free(vm->stored[i]);
  }
  free(vm->stored);
}

static bool is_stored(const struct vm *vm, const char *type, size_t len) {
  for (size_t i = 0; i < vm->stored_count; i++) {
    if (strlen(vm->stored[i]) == len && memcmp(vm->stored[i], type, len) == 0) {
      return true;
    }
  }
  return false;
}

struct conn_refusal vm_refusal(const struct vm *vm, const char *text, size_t len, int code, uint32_t wait_ms,
                               char cid[STORE_CID_MAX + 1]) {
  const char *type, *at = "";
  size_t type_len = peek_type(text, len, &type), cid_len = peek_cid(text, len, &at);
  memcpy(cid, at, cid_len);
  cid[cid_len] = 0;
  return conn_refusal_of(cid, is_stored(vm, type, type_len) ? cid_len : 0, code, wait_ms, worker_turn_ms(vm->worker));
}
