/* In: chat.log calls. Out: lines of the server's log. Why: a script's line looks like every other, and says which
 * version of the scripts wrote it. Bound: 16 fields; a line is cut at 4 KiB (core/base/log.h);
 * SCRIPT_LOG_RATE lines of one file. */
#include "api.h"

#include "log.h"
#include "log_share.h"

#include <stdio.h>
#include <string.h>

#define FIELDS_MAX 16

static size_t collect(lua_State *L, struct log_field *out, char numbers[FIELDS_MAX][32]) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      luaL_error(L, "chat.log: field names are texts");
    }
    if (count == FIELDS_MAX) {
      luaL_error(L, "chat.log: at most %d fields", FIELDS_MAX);
    }
    struct log_field *f = &out[count];
    size_t len;
    const char *key = lua_tolstring(L, -2, &len);
    bind_check_utf8(L, "chat.log: the name of a field", key, len);
    *f = LSTR(key, "");
    if (lua_type(L, -1) == LUA_TSTRING) {
      f->text = lua_tolstring(L, -1, &len);
      bind_check_utf8(L, f->key, f->text, len);
    } else if (lua_isboolean(L, -1)) {
      f->text = lua_toboolean(L, -1) ? "true" : "false";
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
      snprintf(numbers[count], 32, "%.14g", lua_tonumber(L, -1));
      f->text = numbers[count];
    } else {
      luaL_error(L, "chat.log: field %s is a text, a number or a boolean", f->key);
    }
    count++;
  }
  return count;
}

/* A script that logs in a loop leaves room for the lines of the others. */
static bool may_write(lua_State *L) {
  struct vm *vm = bind_vm(L);
  char script[BIND_SCRIPT_MAX + 1];
  bind_script(L, script);
  return !vm->world->log_shares || log_shares_take(vm->world->log_shares, script, worker_now_ms(vm->worker));
}

static int write_line(lua_State *L, enum log_level level) {
  size_t len;
  const char *message = luaL_checklstring(L, 1, &len);
  struct log_field fields[FIELDS_MAX + 1];
  char numbers[FIELDS_MAX][32];
  size_t count = 0;
  bind_check_utf8(L, "chat.log", message, len);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    count = collect(L, fields, numbers);
  }
  fields[count++] = LSTR("version", vm_version(bind_vm(L)));
  if (log_enabled(level) && may_write(L)) {
    log_write(level, "script", message, fields, count);
  }
  return 0;
}

static int l_log_debug(lua_State *L) {
  return write_line(L, LOG_DEBUG);
}

static int l_log_info(lua_State *L) {
  return write_line(L, LOG_INFO);
}

static int l_log_warn(lua_State *L) {
  return write_line(L, LOG_WARN);
}

static int l_log_error(lua_State *L) {
  return write_line(L, LOG_ERROR);
}

static const struct bind_function functions[] = {
  {"debug", l_log_debug, "message string, fields? table", "", false, "A line for whoever looks closely."},
  {"info", l_log_info, "message string, fields? table", "", false, "A line."},
  {"warn", l_log_warn, "message string, fields? table", "", false, "Something is odd."},
  {"error", l_log_error, "message string, fields? table", "", false, "Something failed."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_log = {"log", "The server's log. Never the content of a conversation.", functions, NULL};
