/* In: the functions that handle a route or a rule of a bot. Out: which of them was running when a handler was killed.
 * Why: C knows that a message overran its budget, not which route or rule it was for. Recording that for every message
 * would cost every message time; instead each function is named once, while scripts load, and after a kill its name is
 * looked up on the stack.
 * Thread: the VM's own. */
#pragma once
#include "machine.h"

/* Fields of the registry. */
#define WATCHED "chat.guard.watched"        /* function -> name */
#define QUARANTINED "chat.guard.quarantine" /* name -> true */

/* Before scripts load. */
void blame_open(struct vm *vm);
/* Writes the name of the innermost watched function on the stack of co to out, which has GUARD_NAME_MAX + 1 bytes. */
bool blame_find(struct vm *vm, lua_State *co, char *out);
/* The same for the running slice; used as guard.blame. */
void blame_slice(void *vm, lua_State *running);
/* A handler of that name was killed; "" when the name is not known. */
void blame_kill(struct task *t, const char *name);
/* Refreshes what scripts see of the quarantine. */
void blame_refresh(struct vm *vm);
