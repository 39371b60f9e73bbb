/* In: functions that answer for a route or a bot. Out: who is to blame when one has to be ended, who is in quarantine.
 * Why: C sees a message begin and a slice overrun, not which route or bot that is. Telling it at every message would
 * cost every message; so handlers are named once, while scripts load, and when one is ended its name is looked up on
 * its stack. Who is in quarantine (core/chat/quarantine.h) stands in a table of the VM, which is brought up to date
 * when it changes.
 */
#include "bind.h"

#include "log.h"
#include "quarantine.h"

#include <string.h>

#define WATCHED "chat.guard.watched"        /* function -> name */
#define QUARANTINED "chat.guard.quarantine" /* name -> true */
#define LEVELS_IN 60                        /* looked at from where it was ended outward … */
#define LEVELS_OUT 20 /* … and from the outermost inward: a handler is there, however deep it went */

/* The name of the function at a level of co, in out; false: it has none. */
static bool name_at(lua_State *L, lua_State *co, int level, char *out) {
  lua_Debug at;
  if (!lua_getstack(co, level, &at) || !lua_checkstack(co, 2)) {
    return false;
  }
  lua_getinfo(co, "f", &at);
  lua_xmove(co, L, 1);
  lua_rawget(L, -2);
  bool found = lua_type(L, -1) == LUA_TSTRING;
  if (found) {
    snprintf(out, QUARANTINE_NAME_MAX + 1, "%s", lua_tostring(L, -1));
  }
  lua_pop(L, 1);
  return found;
}

static int levels_of(lua_State *co) {
  lua_Debug at;
  int below = 0, above = 1;
  while (lua_getstack(co, above, &at)) {
    below = above;
    above *= 2;
  }
  while (above - below > 1) {
    int middle = below + (above - below) / 2;
    if (lua_getstack(co, middle, &at)) {
      below = middle;
    } else {
      above = middle;
    }
  }
  return below + 1;
}

bool guard_blame(struct vm *vm, lua_State *co, char *out) {
  lua_State *L = vm->L;
  int levels = levels_of(co);
  bool found = false;
  lua_getfield(L, LUA_REGISTRYINDEX, WATCHED);
  for (int i = 0; !found && i < levels; i++) {
    if (i == LEVELS_IN && levels > LEVELS_IN + LEVELS_OUT) {
      i = levels - LEVELS_OUT;
    }
    found = name_at(L, co, i, out);
  }
  lua_pop(L, 1);
  return found;
}

void guard_blame_slice(void *arg, lua_State *running) {
  struct vm *vm = arg;
  struct task *t = vm->current;
  char *out = vm->guard.blamed;
  if (t && t->co && running != vm->L && !guard_blame(vm, running, out) && running != t->co) {
    (void)guard_blame(vm, t->co, out); /* in a coroutine of the script: its handler is further out */
  }
}

void guard_refresh(struct vm *vm) {
  char names[QUARANTINE_NAMES][QUARANTINE_NAME_MAX + 1];
  lua_State *L = vm->L;
  vm->quarantine_changes = quarantine_changes(vm->world->quarantine);
  size_t count = quarantine_list(vm->world->quarantine, names, QUARANTINE_NAMES);
  lua_getfield(L, LUA_REGISTRYINDEX, QUARANTINED);
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, -4); /* a field may be cleared while its table is walked */
  }
  for (size_t i = 0; i < count; i++) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, names[i]);
  }
  lua_pop(L, 1);
}

void guard_note_kill(struct task *t, const char *name) {
  struct vm *vm = t->vm;
  if (*name && !vm->quarantines_none && vm->world->quarantine &&
      quarantine_kill(vm->world->quarantine, name, worker_now_ms(vm->worker))) {
    LOG(LOG_WARN, "script", "put aside: its handlers were ended too often (SCRIPT_KILLS_MAX)", LSTR("name", name),
        LSTR("version", vm_version(vm)));
  }
}

static int l_guard_watch(lua_State *L) {
  const char *name = bind_text(L, 1, QUARANTINE_NAME_MAX);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  const struct task *t = bind_vm(L)->current;
  if (!*name || !t || t->kind != TASK_LOAD) {
    return luaL_error(L, "chat.guard.watch: a name, while scripts load");
  }
  lua_getfield(L, LUA_REGISTRYINDEX, WATCHED);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_rawset(L, -3);
  lua_settop(L, 2);
  return 1;
}

static int l_guard_aside(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, QUARANTINED);
  return 1;
}

void guard_open_names(struct vm *vm) {
  lua_newtable(vm->L);
  lua_setfield(vm->L, LUA_REGISTRYINDEX, WATCHED);
  lua_newtable(vm->L);
  lua_setfield(vm->L, LUA_REGISTRYINDEX, QUARANTINED);
}

static const struct bind_function functions[] = {
  {"watch", l_guard_watch, "name string, fn function", "function fn", false,
   "While loading: when what fn calls (not as a tail call) has to be ended too often, name is put aside. Returns fn."},
  {"aside", l_guard_aside, "", "table names", false,
   "name -> true of what is put aside. Always the same table, kept up to date; to be read only."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_guard = {"guard", "Handlers that had to be ended, and who is put aside for it.",
                                       functions};
