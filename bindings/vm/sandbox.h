/* In: nothing. Out: what the sandbox (sandbox.lua) gives scripts in place of the original libraries: functions that can
 * be ended, a JSON codec that counts, and what counts protected calls and coroutines that are inside one another. */
#pragma once
#include "machine.h"

/* Each pushes one value. */
void bind_push_strings(lua_State *L);
void bind_add_texts(lua_State *L); /* to the table at the top; bind_push_strings does it */
void bind_push_tables(lua_State *L);
void bind_push_numbers(lua_State *L);
void bind_push_json(struct vm *vm, lua_State *L); /* vm NULL: nothing is guarded, nothing is counted */
void bind_push_nesting(struct vm *vm, lua_State *L);
