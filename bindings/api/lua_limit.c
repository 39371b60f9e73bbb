/* In: chat.limit calls. Out: yes, or no and for how long. Why: the limiters count for all workers together. */
#include "api.h"

#include "err.h"
#include "metrics.h"

#include <string.h>

static int l_limit_take(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *which = luaL_checkstring(L, 1), *key = luaL_checklstring(L, 2, &len);
  bool messages = strcmp(which, "messages") == 0;
  luaL_argcheck(L, messages || strcmp(which, "public") == 0, 1, "the limiters are messages and public");
  struct ratelimit *r = messages ? vm->world->messages : vm->world->public_requests;
  uint64_t retry_after_ms = 0;
  int code = ratelimit_take(r, key, len, worker_turn_ms(vm->worker), &retry_after_ms);
  int results = bind_result(L, code);
  if (code) {
    metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, messages ? "limiter=\"message\"" : "limiter=\"public\"", 1);
    lua_pushnumber(L, (double)retry_after_ms);
    results++;
  }
  return results;
}

static const struct bind_function functions[] = {
  {"take", l_limit_take, "limiter string, key string", "true", false,
   "Counts one event of key for the limiter messages or public; refused: nil, message, LIMITED, ms to wait."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_limit = {"limit", "Rate limits.", functions, NULL};
