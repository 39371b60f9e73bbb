/* In: the session, connection, message or request a script function is called for. Out: a task, counted while it is
 * parked, and its end.
 * Why: a handler can end in many ways (it returns, fails, is cancelled, waits too long); everything it holds is
 * released in one place.
 * Thread: the VM's own. Bound: SCRIPT_COROUTINES parked tasks, checked where a wait begins (run.c). */
#pragma once
#include "attr.h"
#include "machine.h"

/* References s and c, which may be NULL. NULL when memory is out. */
struct task *task_new(struct vm *vm, enum task_kind kind, struct session *s, struct conn *c) NODISCARD;
/* Drops the effects of its slice. reusable: its coroutine has returned. */
void task_end(struct task *t, bool reusable);
/* Frees the pool, after all tasks have ended. */
void tasks_free(struct vm *vm);

/* Counts it for the user it runs for: of a TASK_HTTP takes the reference a, else borrows it from its conn; NULL:
 * nobody. 0; E_LIMITED: the user has SCRIPT_COROUTINES_PER_USER already, it must not run. */
int task_charge(struct task *t, struct account *a) NODISCARD;
/* While a task is parked its session stays in memory and on this worker. */
void task_park(struct task *t);
/* Cancels the timer or question it waits for. */
void task_stop_waiting(struct task *t);
/* Lets the next queued message of the session run. */
void task_give_turn(struct task *t);

/* A completion from another thread or timer carries a ticket, to find its task only if that still waits for it.
 * Redeem it exactly once: NULL when the task does not wait any more. It keeps the VM alive. Aborts when memory is
 * out. */
struct task_ticket;
struct task_ticket *task_ticket(struct task *t);
struct task *task_redeem(struct task_ticket *ticket);

/* Counts one more call of the version: whether it failed, whether it was killed. */
void task_tally(const struct task *t, bool failed, bool killed);
