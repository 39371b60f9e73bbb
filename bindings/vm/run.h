/* In: a task with a function and its arguments on its coroutine. Out: its effects, slice by slice, and exactly one end.
 * Why: a handler reads as if it blocked. When it waits, its coroutine is parked, the effects of the slice are
 * committed, and only then the wait begins; when the answer arrives, it continues. A handler that fails leaves nothing
 * of its last slice behind.
 * Thread: the VM's own. Bound: SCRIPT_COROUTINES waiting tasks; beyond that, a wait raises an error. */
#pragma once
#include "machine.h"

/* Runs the function with its arguments, which are on t->co. The task may have ended when this returns. */
void task_run(struct task *t, int arguments);
/* The wait of t is over: its results are on t->co. */
void task_resume(struct task *t, int results);
/* Every binding function that waits ends with this: it parks the current task and calls begin(t) once the effects of
 * its slice are committed. what: a static string. Raises where waiting is not allowed. */
int task_wait(lua_State *L, const char *what, void (*begin)(struct task *t));
/* Commits the effects of the slice so far; does not wait for the store. */
void task_commit(struct task *t);
/* A function of Lua's, for the sandbox: waits until what the slice keeps is stored. */
int l_task_settle(lua_State *L);
/* The wait of session:flush: until all pending commits have settled. */
void task_begin_flush(struct task *t);
/* Its client is told to send the message again; what the store has of it is answered by the next version or server. */
void task_cancel(struct task *t);
/* Runs a function that must not wait, between two messages. */
void task_notice(struct vm *vm, int ref, struct session *s, struct conn *c, const char *first, const char *second,
                 const char *cid);
