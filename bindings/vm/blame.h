/* In: functions that answer for a route or a bot. Out: which of them it was when one had to be ended.
 * Why: C sees a message begin and a slice overrun, not which route or bot that is. Telling it at every message would
 * cost every message; so handlers are named once, while scripts load, and when one is ended its name is looked up on
 * its stack. Thread: the VM's own. */
#pragma once
#include "machine.h"

/* Fields of the registry. */
#define WATCHED "chat.guard.watched"        /* function -> name */
#define QUARANTINED "chat.guard.quarantine" /* name -> true */

/* Before scripts load. */
void blame_open(struct vm *vm);
/* The name of the innermost watched function on the stack of co; out has GUARD_NAME_MAX + 1 bytes. */
bool blame_find(struct vm *vm, lua_State *co, char *out);
/* The same for a slice that runs, as guard.blame. */
void blame_slice(void *vm, lua_State *running);
/* A handler of that name ("": nobody knows whose) had to be ended. */
void blame_kill(struct task *t, const char *name);
/* What scripts see of the quarantine is brought up to date. */
void blame_refresh(struct vm *vm);
