/* In: tasks that begin to wait. Out: a call for one that waits too long. Why: see deadline.c.
 * Thread: the VM's own. Bound: SCRIPT_WAIT_DEADLINE. */
#pragma once
#include "machine.h"

/* Call when t begins to wait. session:ask, which has a limit of its own, clears wait.due_ms afterwards. overdue is
 * the same function for all tasks of a VM; it ends the task. */
void deadline_set(struct task *t, void (*overdue)(struct task *t));
void deadline_close(struct vm *vm);
