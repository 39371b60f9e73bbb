/* In: Lua stacks. Out: checked arguments, results in the house's form, and the one way to a session.
 * Why: see bind.h. */
#include "bind.h"

#include "err.h"
#include "log.h"
#include "utf8.h"

#include <stdatomic.h>
#include <string.h>

struct vm *bind_vm(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

struct task *bind_task(lua_State *L) {
  struct task *t = bind_vm(L)->current;
  if (!t || t->kind == TASK_LOAD) {
    luaL_error(L, "this cannot be called while a script is loading, only in a handler");
  }
  return t;
}

void bind_push_function(struct vm *vm, lua_State *L, lua_CFunction fn) {
  lua_pushlightuserdata(L, vm);
  lua_pushcclosure(L, fn, 1);
}

void bind_push_module(struct vm *vm, lua_State *L, const struct bind_module *m) {
  lua_newtable(L);
  for (const struct bind_function *f = m->functions; f->name; f++) {
    if (!strchr(f->name, ':')) {
      bind_push_function(vm, L, f->fn);
      lua_setfield(L, -2, f->name);
    }
  }
}

void bind_script(lua_State *L, char out[BIND_SCRIPT_MAX + 1]) {
  lua_Debug at;
  out[0] = '\0';
  for (int level = 1; !out[0] && lua_getstack(L, level, &at) && lua_getinfo(L, "S", &at); level++) {
    if (at.source[0] == '@' && strcmp(at.source, "@sandbox") != 0) {
      snprintf(out, BIND_SCRIPT_MAX + 1, "%s", at.source + 1);
    }
  }
}

int bind_result(lua_State *L, int code) {
  if (code == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, err_text(code));
  lua_pushstring(L, err_name(code));
  return 3;
}

uint64_t bind_duration(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TNUMBER) {
    double ms = lua_tonumber(L, index);
    luaL_argcheck(L, ms >= 0 && ms <= 1e12, index, "a duration in ms is 0 or more");
    return (uint64_t)ms;
  }
  const char *p = luaL_checkstring(L, index);
  uint64_t total = 0;
  do {
    uint64_t n = 0;
    size_t digits = strspn(p, "0123456789"), unit;
    luaL_argcheck(L, digits > 0 && digits < 12, index, "a duration is a number of ms, or like 250ms, 5s, 10m, 1h30m");
    for (size_t i = 0; i < digits; i++) {
      n = n * 10 + (uint64_t)(p[i] - '0');
    }
    p += digits;
    unit = strspn(p, "hms");
    uint64_t factor = unit == 2 && strncmp(p, "ms", 2) == 0 ? 1
                      : unit != 1                           ? 0
                      : *p == 's'                           ? 1000
                      : *p == 'm'                           ? 60000
                                                            : 3600000;
    luaL_argcheck(L, factor > 0, index, "a duration is a number of ms, or like 250ms, 5s, 10m, 1h30m");
    total += n * factor;
    luaL_argcheck(L, total <= 1e12, index, "a duration is at most 1e12 ms");
    p += unit;
  } while (*p);
  return total;
}

const char *bind_text(lua_State *L, int index, size_t max) {
  size_t len;
  const char *text = luaL_checklstring(L, index, &len);
  luaL_argcheck(L, len <= max, index, "the text is too long");
  luaL_argcheck(L, strlen(text) == len, index, "the text contains a NUL");
  return text;
}

void bind_check_utf8(lua_State *L, const char *what, const char *text, size_t len) {
  size_t valid = utf8_span(text, len);
  if (valid < len) {
    luaL_error(L, "%s: not UTF-8 at byte %d", what, (int)valid + 1);
  }
}

void bind_push_stored(lua_State *L, const char *text, size_t len) {
  static atomic_flag said = ATOMIC_FLAG_INIT;
  if (utf8_span(text, len) == len) {
    lua_pushlstring(L, text, len);
    return;
  }
  char *mended = lua_newuserdata(L, 3 * len);
  lua_pushlstring(L, mended, utf8_mend(text, len, mended));
  lua_remove(L, -2);
  if (!atomic_flag_test_and_set(&said)) {
    LOG(LOG_WARN, "script", "a stored text is not UTF-8; such texts are shown with U+FFFD");
  }
}

/* Raw access: a value that a metatable computes would be collected as soon as it is popped. */
static void raw_field(lua_State *L, int index, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, index);
}

double bind_number(lua_State *L, int index, const char *name, double otherwise, double least, double most) {
  raw_field(L, index, name);
  double n = lua_isnil(L, -1) ? otherwise : lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : least - 1;
  lua_pop(L, 1);
  if (!(n >= least && n <= most)) {
    luaL_error(L, "field %s: a number from %f to %f is expected", name, least, most);
  }
  return n;
}

#define CONNECTION_MAX 9007199254740992.0

uint64_t bind_check_connection(lua_State *L, int index) {
  double n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 1 && n <= CONNECTION_MAX, index, "a connection is expected");
  return (uint64_t)n;
}

const char *bind_field(lua_State *L, int index, const char *name, size_t max, size_t *len) {
  size_t n = 0;
  raw_field(L, index, name);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  if (!text && !lua_isnil(L, -1)) {
    luaL_error(L, "field %s: a string is expected, got %s", name, luaL_typename(L, -1));
  }
  if (n > max) {
    luaL_error(L, "field %s: longer than %d bytes", name, (int)max);
  }
  if (len) {
    *len = n;
  } else if (text && strlen(text) != n) {
    luaL_error(L, "field %s: contains a NUL", name);
  }
  lua_pop(L, 1); /* the table still holds the string */
  return text;
}

/* The common case: no look-up, no reference. */
struct session *bind_session_here(struct vm *vm, session_handle handle) {
  struct session *s = vm->current ? vm->current->session : NULL;
  return s && session_id_handle(s) == handle ? s : NULL;
}

struct session *bind_session_ref(struct vm *vm, session_handle handle) {
  struct session *s = bind_session_here(vm, handle);
  return s ? session_ref(s) : sessions_get(worker_home(vm->worker)->sessions, handle);
}

int bind_with_session(struct vm *vm, session_handle handle, enum bind_lock how,
                      void (*fn)(struct session *s, void *arg), void *arg) {
  struct session *own = bind_session_here(vm, handle);
  struct session *s = own ? own : bind_session_ref(vm, handle);
  if (!s) {
    return E_GONE;
  }
  if (how == BIND_WRITE) {
    session_lock_write(s);
    fn(s, arg);
    session_unlock_write(s);
  } else {
    session_lock_read(s);
    fn(s, arg);
    session_unlock_read(s);
  }
  if (!own) {
    session_unref(s);
  }
  return 0;
}

struct conn *bind_connection_ref(struct vm *vm, struct session *s, uint64_t id) {
  struct task *t = vm->current;
  if (t && t->conn && conn_id(t->conn) == id) {
    return conn_ref(t->conn);
  }
  return session_member(s, id);
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void bind_push_identity(lua_State *L, const struct identity *who) {
  lua_createtable(L, 0, 4);
  set_string(L, "id", who->user_id);
  set_string(L, "name", who->name);
  lua_pushboolean(L, who->admin);
  lua_setfield(L, -2, "admin");
  lua_createtable(L, (int)who->role_count, 0);
  for (size_t i = 0; i < who->role_count; i++) {
    lua_pushstring(L, who->roles[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "roles");
}

void bind_push_connection(lua_State *L, const struct conn *c) {
  if (c) {
    lua_pushnumber(L, (double)conn_id(c));
  } else {
    lua_pushnil(L);
  }
}
