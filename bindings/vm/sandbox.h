/* In: nothing. Out: what the sandbox (sandbox.lua) gives scripts in place of the original libraries: functions that can
 * be ended, cjson that counts, and one that says whether too much of the C stack is in use to call deeper. */
#pragma once
#include "machine.h"

/* Each pushes one value. */
void bind_push_strings(lua_State *L);
void bind_push_tables(lua_State *L);
void bind_push_json(struct vm *vm, lua_State *L);
void bind_push_deep(lua_State *L);
