/* In: chat.metrics calls. Out: counters, and all metrics as text. Why: what a script counts takes effect with the
 * rest of its slice, so a handler that fails has counted nothing. */
#include "api.h"

#include "err.h"
#include "metrics.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const struct {
  const char *name;
  enum metric metric;
} countable[] = {
  {"messages_received", METRIC_MESSAGES_RECEIVED}, {"message_errors", METRIC_MESSAGE_ERRORS},
  {"messages_sent", METRIC_MESSAGES_SENT},         {"sessions_created", METRIC_SESSIONS_CREATED},
  {"sessions_ended", METRIC_SESSIONS_ENDED},       {"admin_takeovers", METRIC_ADMIN_TAKEOVERS},
};

/* Takes name and labels. */
static int defer(struct task *t, char *name, char *labels, int metric, double n) {
  if (t->slice.count_used == t->slice.count_room) {
    size_t room = t->slice.count_room ? t->slice.count_room * 2 : 4;
    struct count *all = room <= 1024 ? realloc(t->slice.counts, room * sizeof *all) : NULL;
    if (!all) {
      free(name);
      free(labels);
      return room > 1024 ? E_FULL : UV_ENOMEM;
    }
    t->slice.counts = all;
    t->slice.count_room = room;
  }
  t->slice.counts[t->slice.count_used++] = (struct count){.name = name, .labels = labels, .metric = metric, .n = n};
  return 0;
}

static int l_metrics_count(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  double n = luaL_optnumber(L, 2, 1);
  luaL_argcheck(L, n >= 0 && n <= 1e12, 2, "a counter only grows");
  for (size_t i = 0; i < sizeof countable / sizeof *countable; i++) {
    if (strcmp(name, countable[i].name) == 0) {
      return bind_result(L, defer(bind_task(L), NULL, NULL, countable[i].metric, n));
    }
  }
  return luaL_error(L, "chat.metrics.count: the server has no counter %s", name);
}

static bool name_ok(const char *name, size_t len) {
  return len > 0 && len <= 100 && (name[0] < '0' || name[0] > '9') &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static void add_escaped(luaL_Buffer *b, const char *text) {
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') {
      luaL_addchar(b, '\\');
      luaL_addchar(b, *text);
    } else {
      luaL_addchar(b, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
  }
}

/* Pushes `name="value",…` of the table at index 3, in one order for one set of labels. */
static const char *push_labels(lua_State *L) {
  const char *names[8];
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    luaL_argcheck(L, name_ok(name, strlen(name)) && lua_type(L, -1) == LUA_TSTRING, 3,
                  "labels are texts under names of [a-z_][a-z0-9_]*");
    luaL_argcheck(L, count < 8, 3, "at most 8 labels");
    size_t at = count++;
    for (; at && strcmp(names[at - 1], name) > 0; at--) {
      names[at] = names[at - 1];
    }
    names[at] = name;
  }
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < count; i++) {
    luaL_addstring(&b, i ? "," : "");
    luaL_addstring(&b, names[i]);
    luaL_addstring(&b, "=\"");
    lua_getfield(L, 3, names[i]);
    size_t len;
    const char *value = lua_tolstring(L, -1, &len);
    bind_check_utf8(L, names[i], value, len);
    lua_pop(L, 1); /* the table still holds it, and the buffer needs the top of the stack */
    add_escaped(&b, value);
    luaL_addstring(&b, "\"");
  }
  luaL_pushresult(&b);
  return lua_tostring(L, -1);
}

static int l_metrics_add(lua_State *L) {
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  double n = luaL_optnumber(L, 2, 1);
  luaL_argcheck(L, name_ok(name, len), 1, "a name is [a-z_][a-z0-9_]*, at most 100 bytes");
  luaL_argcheck(L, n >= 0 && n <= 1e15, 2, "a counter only grows");
  const char *labels = NULL;
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    labels = push_labels(L);
  }
  struct task *t = bind_task(L);
  char *name_copy = strdup(name), *labels_copy = labels && *labels ? strdup(labels) : NULL;
  if (!name_copy || (labels && *labels && !labels_copy)) {
    free(name_copy);
    free(labels_copy);
    return bind_result(L, UV_ENOMEM);
  }
  return bind_result(L, defer(t, name_copy, labels_copy, 0, n));
}

static int l_metrics_render(lua_State *L) {
  size_t len;
  process_measure();
  char *text = metrics_render(&len);
  if (!text) {
    return bind_result(L, UV_ENOMEM);
  }
  lua_pushlstring(L, text, len);
  free(text);
  return 1;
}

static const struct bind_function functions[] = {
  {"add", l_metrics_add, "name string, n? number, labels? table", "true", false,
   "Adds to a counter of your own, shown as chatbox_script_NAME."},
  {"count", l_metrics_count, "name string, n? number", "true", false, "Adds to a counter of the server."},
  {"render", l_metrics_render, "", "string", false, "All metrics in Prometheus' text format."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_metrics = {"metrics", "Counters.", functions, NULL};
