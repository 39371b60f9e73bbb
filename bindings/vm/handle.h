/* In: sessions as C knows them. Out: handles, the only kind of userdata scripts get, and back.
 * Why: a handle is a number that is never reused and holds no reference, so a handle of a session that is gone finds
 * nothing. The handle, id and user of recent sessions are cached as Lua values.
 * Thread: the VM's own. Bound: VM_CACHE entries. */
#pragma once
#include "machine.h"

void bind_push_session(struct vm *vm, lua_State *L, session_handle handle);
/* Raises for anything that is not a handle of this VM. */
session_handle bind_check_session(lua_State *L, int index);
/* NULL when the session is gone. Leaves the stack as it was. */
struct cached *handle_cached(struct vm *vm, lua_State *L, session_handle handle);
