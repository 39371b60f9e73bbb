/* In: stacks of handlers that were killed. Out: the route or rule each of them belongs to; the set of names
 * in quarantine.
 * Why: see blame.h. Scripts see the names in quarantine as a table of their VM; it is refreshed when the set
 * changes. */
#include "blame.h"

#include "log.h"
#include "quarantine.h"

#include <string.h>

#define LEVELS_IN 60  /* frames searched from the innermost outward … */
#define LEVELS_OUT 20 /* … and from the outermost inward, where the handler is however deep the stack has grown */

void blame_open(struct vm *vm) {
  lua_newtable(vm->L);
  lua_setfield(vm->L, LUA_REGISTRYINDEX, WATCHED);
  lua_newtable(vm->L);
  lua_setfield(vm->L, LUA_REGISTRYINDEX, QUARANTINED);
}

/* ---- who it was ---- */

/* Writes the name of the function at that level of co to out; false when it has none. */
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

bool blame_find(struct vm *vm, lua_State *co, char *out) {
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

void blame_slice(void *arg, lua_State *running) {
  struct vm *vm = arg;
  struct task *t = vm->current;
  char *out = vm->guard.blamed;
  if (t && t->co && running != vm->L && !blame_find(vm, running, out) && running != t->co) {
    (void)blame_find(vm, t->co, out); /* it was killed in a coroutine of the script: the handler is further out */
  }
}

/* ---- what follows ---- */

void blame_kill(struct task *t, const char *name) {
  struct vm *vm = t->vm;
  if (*name && !vm->quarantines_none && vm->world->quarantine &&
      quarantine_kill(vm->world->quarantine, name, worker_now_ms(vm->worker))) {
    LOG(LOG_WARN, "script", "put aside: its handlers were ended too often (SCRIPT_KILLS_MAX)", LSTR("name", name),
        LSTR("version", vm_version(vm)));
  }
}

void blame_refresh(struct vm *vm) {
  char names[QUARANTINE_NAMES][QUARANTINE_NAME_MAX + 1];
  lua_State *L = vm->L;
  vm->quarantine_changes = quarantine_changes(vm->world->quarantine);
  size_t count = quarantine_list(vm->world->quarantine, names, QUARANTINE_NAMES);
  lua_getfield(L, LUA_REGISTRYINDEX, QUARANTINED);
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, -4); /* clearing a field during traversal is allowed */
  }
  for (size_t i = 0; i < count; i++) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, names[i]);
  }
  lua_pop(L, 1);
}
