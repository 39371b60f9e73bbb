/* In: the session, connection, message or request a script function is called for. Out: a task with a coroutine; at
 * its end, everything it held is released. Why: see task.h. How it runs is in run.c, what it changes in slice.c. */
#include "task.h"

#include "catchup.h"
#include "effects.h"
#include "metrics.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>

/* ---- parked ---- */

void task_park(struct task *t) {
  struct task *head = &t->vm->flight;
  t->prev = head->prev;
  t->next = head;
  head->prev->next = t;
  head->prev = t;
  t->vm->parked++;
  t->wait.parked = true;
  if (t->session) {
    session_hold(t->session);
    session_pin(t->session)->parked++;
  }
  metrics_add(METRIC_SCRIPT_COROUTINES, 1);
}

static void unpark(struct task *t) {
  t->prev->next = t->next;
  t->next->prev = t->prev;
  t->vm->parked--;
  t->wait.parked = false;
  if (t->session) {
    session_pin(t->session)->parked--;
    session_unhold(t->session, worker_now_ms(t->vm->worker));
  }
  metrics_add(METRIC_SCRIPT_COROUTINES, -1);
}

void task_stop_waiting(struct task *t) {
  if (t->wait.timer) {
    worker_timer_stop(t->vm->worker, t->wait.timer);
    t->wait.timer = NULL;
  }
  if (t->wait.asking) {
    session_set_asker(t->session, NULL);
  }
}

/* ---- from the pool and back ---- */

struct task *task_new(struct vm *vm, enum task_kind kind, struct session *s, struct conn *c) {
  struct task *t = vm->free;
  if (t) {
    vm->free = t->next;
  } else {
    t = calloc(1, sizeof *t);
    if (!t) {
      return NULL;
    }
    t->vm = vm;
    t->generation = 1;
  }
  if (!t->co) {
    t->co = lua_newthread(vm->L);
    t->co_ref = luaL_ref(vm->L, LUA_REGISTRYINDEX);
  }
  t->kind = kind;
  t->session = s ? session_ref(s) : NULL;
  t->conn = c ? conn_ref(c) : NULL;
  return t;
}

int task_charge(struct task *t, struct account *a) {
  int code = account_hold(a, ACCOUNT_TASKS, 1);
  if (!code) {
    t->account = a;
  } else if (t->kind == TASK_HTTP) {
    account_unref(a);
  }
  return code;
}

/* A coroutine that returned is reused; one that failed or was cancelled is left to the collector. */
static void release_coroutine(struct task *t, bool reusable) {
  if (reusable) {
    lua_settop(t->co, 0);
  } else {
    luaL_unref(t->vm->L, LUA_REGISTRYINDEX, t->co_ref);
    t->co = NULL;
  }
}

void task_give_turn(struct task *t) {
  struct mailbox *wake;
  if (t->turn.held) {
    t->turn.held = false;
    session_set_busy(t->session, false, &wake);
    worker_wake(t->vm->worker, t->session, wake);
  }
}

/* However it ended, its client goes on hearing what is for everybody. */
static void end_catchup(struct task *t) {
  if (t->catching_up && !effects_catchup_ends(t->session, conn_id(t->conn))) {
    catchup_end(t->session, conn_id(t->conn), 0, worker_mailbox(t->vm->worker));
  }
}

void task_end(struct task *t, bool reusable) {
  struct vm *vm = t->vm;
  slice_discard(t);
  end_catchup(t);
  slice_forget_stored(t);
  slice_forget_errand(t);
  if (t->wait.parked) {
    unpark(t);
  }
  if (t->wait.op) {
    store_op_free(t->wait.op); /* left over from a wait that was refused */
  }
  release_coroutine(t, reusable);
  if (t->item) {
    if (t->conn) {
      conn_hold(t->conn, t->item->behind, worker_turn_ms(vm->worker));
    }
    item_free(t->item);
  }
  if (t->session) {
    task_give_turn(t);
    session_unref(t->session);
  }
  if (t->opened) {
    session_unref(t->opened);
  }
  account_let_go(t->account, ACCOUNT_TASKS, 1);
  if (t->kind == TASK_HTTP) {
    account_unref(t->account);
  }
  conn_unref(t->conn);
  free(t->wait.text);
  free(t->wait.ask);
  if (t->wait.value_ref) {
    luaL_unref(vm->L, LUA_REGISTRYINDEX, t->wait.value_ref);
  }
  struct task fresh = {
    .vm = vm,
    .co = t->co,
    .co_ref = t->co_ref,
    .generation = t->generation + 1,
    .slice = {.counts = t->slice.counts, .count_room = t->slice.count_room},
    .commits = {.refused = t->commits.refused, .stored = t->commits.stored, .room = t->commits.room}};
  *t = fresh;
  t->next = vm->free;
  vm->free = t;
}

void tasks_free(struct vm *vm) {
  while (vm->free) {
    struct task *t = vm->free;
    vm->free = t->next;
    free(t->slice.counts);
    free(t->commits.stored);
    free(t);
  }
}

/* ---- completions from elsewhere ---- */

struct task_ticket {
  struct task *task;
  uint32_t generation, waits;
};

struct task_ticket *task_ticket(struct task *t) {
  struct task_ticket *ticket = malloc(sizeof *ticket);
  if (!ticket) {
    abort(); /* without a ticket the wait would never end */
  }
  *ticket = (struct task_ticket){t, t->generation, t->wait.number};
  t->vm->outstanding++;
  return ticket;
}

struct task *task_redeem(struct task_ticket *ticket) {
  struct task *t = ticket->task;
  struct vm *vm = t->vm;
  bool waits = t->generation == ticket->generation && t->wait.number == ticket->waits;
  free(ticket);
  vm->outstanding--;
  if (!waits) {
    vm_maybe_idle(vm);
  }
  return waits ? t : NULL;
}

/* ---- counted ---- */

/* There is one writer, so a plain load and a whole store are enough. */
static void tally_add(atomic_ullong *sum, unsigned n) {
  atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n, memory_order_relaxed);
}

void task_tally(const struct task *t, bool failed, bool killed) {
  struct vm_tally *sum = t->kind == TASK_NOTICE ? NULL : t->vm->tally;
  if (sum) {
    tally_add(&sum->calls, 1);
    tally_add(&sum->errors, failed);
    tally_add(&sum->kills, killed);
  }
}
