/* In: tasks that begin to wait. Out: a call for each that has waited too long.
 * Why: while a handler waits, the next message of its conversation waits too; a script that sleeps for ever would
 * silence the conversation. One timer per VM is enough: all tasks have the same limit, so the one that began first
 * is due first. */
#include "deadline.h"

#include "task.h"

#include <stddef.h>

static void on_due(void *arg);

static void arm(struct vm *vm, uint64_t delay_ms) {
  vm->deadline = worker_timer(vm->worker, delay_ms, on_due, vm);
}

/* The task that is due first, or NULL. Among equals, the one that has waited longest. */
static struct task *first_due(struct vm *vm) {
  struct task *first = NULL;
  for (struct task *t = vm->flight.next; t != &vm->flight; t = t->next) {
    if (t->wait.due_ms && (!first || t->wait.due_ms < first->wait.due_ms)) {
      first = t;
    }
  }
  return first;
}

static void on_due(void *arg) {
  struct vm *vm = arg;
  struct task *t;
  uint64_t now = worker_now_ms(vm->worker);
  vm->deadline = NULL;
  while ((t = first_due(vm)) && t->wait.due_ms <= now) {
    task_stop_waiting(t);
    vm->overdue(t);
  }
  if (t && !vm->deadline) {
    arm(vm, t->wait.due_ms - now);
  }
  vm_maybe_idle(vm);
}

void deadline_set(struct task *t, void (*overdue)(struct task *t)) {
  struct vm *vm = t->vm;
  uint64_t limit = (uint64_t)config_int(vm->world->config, SETTING_SCRIPT_WAIT_DEADLINE);
  if (!t->wait.due_ms) {
    t->wait.due_ms = worker_due_ms(vm->worker, limit);
  }
  vm->overdue = overdue;
  if (!vm->deadline) {
    arm(vm, limit);
  }
}

void deadline_close(struct vm *vm) {
  if (vm->deadline) {
    worker_timer_stop(vm->worker, vm->deadline);
  }
}
