/* In: chat.limit calls. Out: yes, or no and for how long. Why: the limiters count for all workers together. */
#include "api.h"

#include "err.h"

static int l_limit_take(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *which = luaL_checkstring(L, 1), *key = luaL_checklstring(L, 2, &len);
  uint64_t retry_after_ms = 0;
  int code = limiters_take(vm->world->limiters, which, key, len, worker_turn_ms(vm->worker), &retry_after_ms);
  if (code == E_NOT_FOUND) {
    return luaL_argerror(L, 1, lua_pushfstring(L, "the limiters are %s", limiters_names));
  }
  int results = bind_result(L, code);
  if (code) {
    lua_pushnumber(L, (double)retry_after_ms);
    results++;
  }
  return results;
}

static const struct bind_function functions[] = {
  {"take", l_limit_take, "limiter string, key string", "true", false,
   "Counts one event of key, a user or for public an address, for the limiter messages, reads, ends, live, admin, "
   "admin_reads or public; refused: nil, message, LIMITED, ms to wait."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_limit = {"limit", "Rate limits.", functions, NULL};
