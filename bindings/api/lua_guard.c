/* In: chat.guard calls, while scripts load. Out: names for the functions that handle a route or a rule of a
 * bot; the table of names in quarantine. Why: see ../vm/blame.h, which finds the name again when a handler is killed.
 */
#include "api.h"

#include "blame.h"
#include "log.h"
#include "quarantine.h"
#include "suggest.h"

#include <string.h>

static int l_guard_watch(lua_State *L) {
  const char *name = bind_text(L, 1, QUARANTINE_NAME_MAX);
  bind_check_utf8(L, "name", name, strlen(name)); /* it is a label of a metric, and stands in answers */
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

static const struct bind_function functions[] = {
  {"watch", l_guard_watch, "name string, fn function", "function fn", false,
   "While loading: when what fn calls (not as a tail call) has to be ended too often, name is put aside. Returns fn."},
  {"aside", l_guard_aside, "", "table names", false,
   "name -> true of what is put aside. Always the same table, kept up to date; to be read only."},
  {"suggest", l_suggest, "name string, names table", "string", false,
   "For the text of an error: ': did you mean x?' with the key of names that is nearest to a name that does not exist, "
   "or ''."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_guard = {"guard", "Handlers that had to be ended, and who is put aside for it.",
                                       functions, NULL};
