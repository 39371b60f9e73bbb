/* In: conversations as C knows them. Out: the one kind of userdata that scripts see of them, and back.
 * Why: scripts hold handles, numbers that are never used twice, and no reference: a handle of a conversation that is
 * gone finds nothing. Handle, id and user of the last ones are kept as Lua values. Thread: the VM's own. Bound:
 * VM_CACHE. */
#pragma once
#include "machine.h"

void bind_push_session(struct vm *vm, lua_State *L, session_handle handle);
/* Raises for anything that is not a handle of this VM. */
session_handle bind_check_session(lua_State *L, int index);
/* NULL when the session is gone. Pushes nothing. */
struct cached *handle_cached(struct vm *vm, lua_State *L, session_handle handle);
