/* In: chat.store.list and totals. Out: pages of all conversations, and sums. Why: an operator's questions have many
 * fields, each checked here before the store is asked. */
#include "lua_store_impl.h"

#include "err.h"
#include "id.h"
#include "known_options.h"

#include <stdlib.h>
#include <string.h>

#define TIME_MAX 8640000000000000.0 /* ms; of a JavaScript date */

static const char *const sorts[STORE_SORTS] = {
  [STORE_BY_START] = "start_time",      [STORE_BY_END] = "end_time", [STORE_BY_MESSAGES] = "message_count",
  [STORE_BY_TOKENS] = "total_tokens",   [STORE_BY_USER] = "user_id", [STORE_BY_DURATION] = "duration",
  [STORE_BY_ACTIVITY] = "last_activity"};

/* A boolean, or -1. */
static int flag_field(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, 1);
  int flag = lua_isnil(L, -1) ? -1 : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static enum store_sort sort_field(lua_State *L) {
  const char *name = bind_field(L, 1, "sort", 32, NULL);
  for (int i = 0; i < STORE_SORTS; i++) {
    if (!name || strcmp(name, sorts[i]) == 0) {
      return (enum store_sort)i;
    }
  }
  luaL_error(L, "chat.store.list: cannot sort by %s", name);
  return STORE_BY_START;
}

static void times_field(lua_State *L, struct store_filter *f) {
  f->from_ms = (int64_t)bind_number(L, 1, "from_ms", -TIME_MAX, -TIME_MAX, TIME_MAX);
  f->to_ms = (int64_t)bind_number(L, 1, "to_ms", TIME_MAX, -TIME_MAX, TIME_MAX);
}

void store_after_field(lua_State *L, struct store_place *after) {
  lua_getfield(L, 1, "after");
  if (lua_istable(L, -1)) {
    int at = lua_gettop(L);
    const char *id = bind_field(L, at, "id", STORE_ID_LEN, NULL);
    luaL_argcheck(L, id && id_valid(id), 1, "after has an id");
    memcpy(after->id, id, STORE_ID_LEN + 1);
    after->start_ms = (int64_t)bind_number(L, at, "start_ms", 0, -TIME_MAX, TIME_MAX);
  }
  lua_pop(L, 1);
}

/* What else a place has; user borrowed from the table. */
static void last_field(lua_State *L, struct store_filter *f, const char **user) {
  *user = "";
  lua_getfield(L, 1, "after");
  if (lua_istable(L, -1)) {
    int at = lua_gettop(L);
    const char *id = bind_field(L, at, "user_id", 1000, NULL);
    *user = id ? id : "";
    f->after_value = (int64_t)bind_number(L, at, "value", 0, -TIME_MAX, TIME_MAX);
    f->now_ms = (int64_t)bind_number(L, at, "now_ms", (double)f->now_ms, 0, TIME_MAX);
  }
  lua_pop(L, 1);
}

int store_list(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  options_check(L, 1, OPTIONS_LIST);
  const char *user = bind_field(L, 1, "user_id", 1000, NULL), *after_user;
  struct store_filter f = {.sort = sort_field(L),
                           .ascending = flag_field(L, "ascending") == 1,
                           .active = flag_field(L, "active"),
                           .assisted = flag_field(L, "assisted"),
                           .now_ms = (int64_t)worker_wall_ms(bind_vm(L)->worker)};
  struct store_place after = {0};
  uint32_t limit = store_limit_field(L);
  times_field(L, &f);
  if (f.from_ms == (int64_t)-TIME_MAX && f.to_ms == (int64_t)TIME_MAX) {
    f.from_ms = f.to_ms = 0; /* all */
  }
  f.offset = (uint32_t)bind_number(L, 1, "offset", 0, 0, STORE_OFFSET_MAX);
  store_after_field(L, &after);
  last_field(L, &f, &after_user);
  bind_task(L);
  struct store_op *op = store_op_new(STORE_LIST);
  if (op) {
    op->limit = limit;
    op->filter = f;
    op->after = after;
    op->after_user = strdup(after_user);
    op->session.user_id = user ? strdup(user) : NULL;
  }
  return store_wait_for(L, op, "chat.store.list", store_begin_ask);
}

int store_totals(lua_State *L) {
  struct store_filter f = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  options_check(L, 1, OPTIONS_TOTALS);
  times_field(L, &f);
  bind_task(L);
  struct store_op *op = store_op_new(STORE_TOTALS);
  if (op) {
    op->filter = f;
  }
  return store_wait_for(L, op, "chat.store.totals", store_begin_ask);
}
