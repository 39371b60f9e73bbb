/* In: a bundle of scripts. Out: the mistakes in it.
 * Why: see check.h. The checker is written in Lua (check.lua and its modules) and runs in a state of its own, which
 * is closed afterwards. Which names are global is asked of the sandbox itself. */
#include "check.h"

#include "bind.h"
#include "check_lua.h"
#include "check_syntax_lua.h"
#include "check_words_lua.h"
#include "err.h"
#include "limiters.h"
#include "raised.h"
#include "sandbox.h"
#include "sandbox_lua.h"

#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- what check.lua is given ---- */

static void load_chunk(lua_State *L, const char *text, size_t len, const char *name) {
  if (luaL_loadbuffer(L, text, len, name)) {
    lua_error(L);
  }
}

/* Pushes a table whose keys are the globals of a script. The sandbox is set up around an empty server. */
static void push_globals(lua_State *L) {
  load_chunk(L, sandbox_lua, sandbox_lua_len, "@sandbox");
  lua_newtable(L);
  lua_newtable(L);
  lua_setfield(L, -2, "chat");
  lua_newtable(L);
  lua_setfield(L, -2, "cjson");
  bind_push_strings(L);
  lua_setfield(L, -2, "strings");
  bind_push_tables(L);
  lua_setfield(L, -2, "tables");
  bind_push_numbers(L);
  lua_setfield(L, -2, "numbers");
  lua_newtable(L); /* nothing is called, so nothing has to be counted */
  lua_setfield(L, -2, "nesting");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "globals");
  lua_remove(L, -2);
}

static void push_functions(lua_State *L, const struct bind_module *const *modules) {
  lua_newtable(L);
  for (const struct bind_module *const *m = modules; *m; m++) {
    for (const struct bind_function *f = (*m)->functions; f->name; f++) {
      if (strchr(f->name, ':')) {
        lua_pushstring(L, f->name);
      } else {
        lua_pushfstring(L, "chat.%s.%s", (*m)->name, f->name);
      }
      lua_pushstring(L, f->arguments);
      lua_rawset(L, -3);
    }
  }
}

static void set_text(lua_State *L, const char *name, const char *text, size_t len) {
  lua_pushlstring(L, text, len);
  lua_setfield(L, -2, name);
}

static void push_settings(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; i < SETTING_COUNT; i++) {
    lua_pushstring(L, config_secret((enum setting)i) ? "secret" : "");
    lua_setfield(L, -2, config_name((enum setting)i));
  }
}

static void push_files(lua_State *L, const struct bundle *b) {
  lua_createtable(L, (int)bundle_count(b), 0);
  for (size_t i = 0; i < bundle_count(b); i++) {
    const struct bundle_file *f = bundle_at(b, i);
    lua_createtable(L, 0, 3);
    set_text(L, "name", f->name, strlen(f->name));
    set_text(L, "path", f->path, strlen(f->path));
    set_text(L, "text", f->text, f->len);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* Runs protected; leaves the two lists of check.lua on the stack. */
static int read_all(lua_State *L) {
  const struct bundle *b = lua_touserdata(L, 1);
  const struct bind_module *const *modules = lua_touserdata(L, 2);
  luaL_openlibs(L);
  luaJIT_setmode(
    L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* the JIT compiler would take twice as long as the whole check */
  load_chunk(L, check_lua, check_lua_len, "@check");
  lua_createtable(L, 0, 6);
  push_files(L, b);
  lua_setfield(L, -2, "files");
  push_functions(L, modules);
  lua_setfield(L, -2, "functions");
  push_settings(L);
  lua_setfield(L, -2, "settings");
  set_text(L, "limiters", limiters_names, strlen(limiters_names));
  load_chunk(L, check_syntax_lua, check_syntax_lua_len, "@check_syntax");
  load_chunk(L, check_words_lua, check_words_lua_len, "@check_words");
  lua_call(L, 0, 1);
  lua_call(L, 1, 1);
  lua_setfield(L, -2, "syntax");
  push_globals(L);
  lua_setfield(L, -2, "globals");
  lua_call(L, 1, 2);
  return 2;
}

/* ---- its answer ---- */

static char *copy_field(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *text = lua_tostring(L, -1);
  char *copy = strdup(text ? text : "");
  lua_pop(L, 1);
  return copy;
}

static int take_findings(lua_State *L, int index, struct check *c) {
  c->total = lua_objlen(L, index);
  size_t most = c->total < CHECK_FINDINGS ? c->total : CHECK_FINDINGS;
  c->findings = calloc(most + 1, sizeof *c->findings);
  for (; c->findings && c->count < most; c->count++) {
    lua_rawgeti(L, index, (int)c->count + 1);
    c->findings[c->count] = strdup(lua_tostring(L, -1));
    lua_pop(L, 1);
    if (!c->findings[c->count]) {
      return UV_ENOMEM;
    }
  }
  return c->findings ? 0 : UV_ENOMEM;
}

static int take_needs(lua_State *L, int index, struct check *c) {
  size_t count = lua_objlen(L, index);
  c->needs = calloc(count + 1, sizeof *c->needs);
  for (; c->needs && c->need_count < count; c->need_count++) {
    lua_rawgeti(L, index, (int)c->need_count + 1);
    struct check_need *n = &c->needs[c->need_count];
    *n = (struct check_need){copy_field(L, "module"), copy_field(L, "field"), copy_field(L, "place"),
                             copy_field(L, "what")};
    lua_pop(L, 1);
  }
  return c->needs ? 0 : UV_ENOMEM;
}

int check_read(const struct bundle *b, const struct bind_module *const *modules, struct check **out, char why[512]) {
  struct check *c = calloc(1, sizeof *c);
  lua_State *L = luaL_newstate();
  int code = c && L ? 0 : UV_ENOMEM;
  if (!code) {
    lua_pushcfunction(L, read_all);
    lua_pushlightuserdata(L, (void *)b);
    lua_pushlightuserdata(L, (void *)modules);
    if (lua_pcall(L, 2, 2, 0)) {
      snprintf(why, 512, "the checker failed: %.400s", lua_tostring(L, -1));
      code = E_SCRIPT;
    }
  }
  code = code ? code : take_findings(L, 1, c);
  code = code ? code : take_needs(L, 2, c);
  if (L) {
    lua_close(L);
  }
  if (code) {
    check_free(c);
    return code;
  }
  *out = c;
  return 0;
}

void check_free(struct check *c) {
  if (!c) {
    return;
  }
  for (size_t i = 0; i < c->count; i++) {
    free(c->findings[i]);
  }
  for (size_t i = 0; i < c->need_count; i++) {
    struct check_need *n = &c->needs[i];
    free(n->module);
    free(n->field);
    free(n->place);
    free(n->what);
  }
  free(c->findings);
  free(c->needs);
  free(c);
}

/* ---- what needs the scripts loaded ---- */

static int load_module(lua_State *L) {
  const char *name = lua_touserdata(L, 2);
  struct vm *vm = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->require_ref);
  lua_pushstring(L, name);
  lua_call(L, 1, 1);
  return 1;
}

static int has_field(lua_State *L) {
  const struct check_need *n = lua_touserdata(L, 2);
  struct vm *vm = lua_touserdata(L, 1);
  lua_pushcfunction(L, load_module);
  lua_pushlightuserdata(L, vm);
  lua_pushlightuserdata(L, n->module);
  lua_call(L, 2, 1);
  bool missing = false;
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, n->field);
    missing = lua_isnil(L, -1);
  }
  lua_pushboolean(L, missing);
  return 1;
}

/* Runs fn as scripts are loaded: nothing in it may wait or answer. */
static int call_loading(struct vm *vm, lua_CFunction fn, const void *arg) {
  struct task loading = {.vm = vm, .kind = TASK_LOAD};
  struct task *outer = vm->current;
  vm->current = &loading;
  lua_pushcfunction(vm->L, fn);
  lua_pushlightuserdata(vm->L, vm);
  lua_pushlightuserdata(vm->L, (void *)arg);
  guard_enter(&vm->guard, vm->guard.message_ns, 0);
  int failed = lua_pcall(vm->L, 2, 1, 0);
  guard_leave(&vm->guard, 0);
  vm->current = outer;
  return failed;
}

int check_next(const struct check *c, struct vm *vm, size_t *at, char why[512]) {
  while (*at < c->need_count) {
    const struct check_need *n = &c->needs[(*at)++];
    int failed = call_loading(vm, has_field, n);
    bool missing = !failed && lua_toboolean(vm->L, -1);
    lua_settop(vm->L, 0);
    if (missing && strcmp(n->what, "call") == 0) {
      snprintf(why, 512, "%s: %s has no %s to call", n->place, n->module, n->field);
      return E_SCRIPT;
    }
    if (missing) {
      snprintf(why, 512, "%s: %s has no handler: %s has no %s", n->place, n->what, n->module, n->field);
      return E_SCRIPT;
    }
  }
  return 0;
}

int check_load_next(const struct bundle *b, struct vm *vm, size_t *at, char why[512]) {
  while (*at < bundle_count(b)) {
    int failed = call_loading(vm, load_module, bundle_at(b, (*at)++)->name);
    if (failed) {
      raised_loading(vm, why);
    }
    lua_settop(vm->L, 0);
    if (failed) {
      return E_SCRIPT;
    }
  }
  return 0;
}
