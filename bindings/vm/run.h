/* In: a task with a function and its arguments on its coroutine. Out: its effects, slice by slice; an end, always
 * exactly one. Why: a handler reads as if it blocked. When it waits its coroutine is parked, the slice so far takes
 * effect, and only then what it waits for is begun; when the answer comes it goes on. One that fails leaves nothing of
 * its slice. Thread: the VM's own. Bound: SCRIPT_COROUTINES waiting tasks; beyond it a wait raises. */
#pragma once
#include "machine.h"

/* Runs the function and its arguments that lie on t->co. The task may be over when it returns. */
void task_run(struct task *t, int arguments);
/* The wait of t is over: the results lie on t->co. */
void task_resume(struct task *t, int results);
/* The end of every binding function that waits: parks the current task, calls begin(t) after its slice took effect.
 * what: a static string. Raises where nobody may wait. */
int task_wait(lua_State *L, const char *what, void (*begin)(struct task *t));
/* What the slice wants takes effect now; nobody waits. */
void task_commit(struct task *t);
/* The wait of session:flush: until all commits on their way have settled. */
void task_begin_flush(struct task *t);
void task_cancel(struct task *t);
/* Runs a function that may not wait: it happens between two messages. */
void task_notice(struct vm *vm, int ref, struct session *s, struct conn *c, const char *first, const char *second);
