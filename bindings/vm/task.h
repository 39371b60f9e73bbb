/* In: what a script function is to run for. Out: a task for it, counted while it is parked, and its end.
 * Why: a handler may end in many places (it returns, fails, is cancelled, waits too long); what it holds is let go in
 * one. Thread: the VM's own. Bound: SCRIPT_COROUTINES parked tasks, checked where one begins to wait (run.c). */
#pragma once
#include "attr.h"
#include "machine.h"

/* References s and c, which may be NULL. NULL when memory is out. */
struct task *task_new(struct vm *vm, enum task_kind kind, struct session *s, struct conn *c) NODISCARD;
/* Nothing of its slice takes effect any more. reusable: its coroutine has ended by itself. */
void task_end(struct task *t, bool reusable);
/* Of a VM whose tasks have all ended. */
void tasks_free(struct vm *vm);

/* Counts it for the user it runs for: of a TASK_HTTP takes the reference a, else borrows it from its conn; NULL:
 * nobody. 0; E_LIMITED: the user has SCRIPT_COROUTINES_PER_USER already, it must not run. */
int task_charge(struct task *t, struct account *a) NODISCARD;
/* While a task is parked its session stays in memory and on this worker. */
void task_park(struct task *t);
/* What it waits for will not come any more. */
void task_stop_waiting(struct task *t);
/* Lets the session's next queued message run. */
void task_give_turn(struct task *t);

/* What a completion from elsewhere carries, so that it finds its task only while that still waits. Redeemed exactly
 * once; NULL: it waits no longer. The VM lives until then. Dies when memory is out. */
struct task_ticket;
struct task_ticket *task_ticket(struct task *t);
struct task *task_redeem(struct task_ticket *ticket);

/* One call more of the version: it failed, it was killed. */
void task_tally(const struct task *t, bool failed, bool killed);
