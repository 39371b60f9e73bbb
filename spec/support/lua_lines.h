/* In: a Lua state. Out: from now on its lines are counted. Why: see lua_lines.c. A VM of the server needs no call: it
 * is counted from its first script on. Not earlier, because before that it is tried whether this LuaJIT calls hooks in
 * compiled code (guard.c), and while there is a hook nothing is compiled. */
#pragma once
#include <lua.h>

void lua_lines_begin(lua_State *L);
