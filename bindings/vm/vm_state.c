/* In: questions about a VM, and what is to happen when it is idle or full. Out: answers, calls. Why: see vm_state.h. */
#include "machine.h"

const char *vm_version(const struct vm *vm) {
  return bundle_version(vm->bundle);
}

bool vm_idle(const struct vm *vm) {
  return vm->parked == 0 && vm->outstanding == 0 && !vm->current;
}

size_t vm_tasks(const struct vm *vm) {
  return vm->parked;
}

size_t vm_memory(const struct vm *vm) {
  return (size_t)lua_gc(vm->L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(vm->L, LUA_GCCOUNTB, 0);
}

void vm_each_waiting(const struct vm *vm, void (*fn)(void *arg, const struct vm_waiting *w), void *arg) {
  for (const struct task *t = vm->flight.next; t != &vm->flight; t = t->next) {
    struct vm_waiting w = {t->session ? session_id(t->session) : "", t->wait.what ? t->wait.what : "",
                           t->wait.since_ms};
    fn(arg, &w);
  }
}

void vm_count_into(struct vm *vm, struct vm_tally *tally) {
  vm->tally = tally;
}

void vm_quarantines(struct vm *vm, bool yes) {
  vm->quarantines_none = !yes;
}

/* ---- what is to happen then ---- */

void vm_when_idle(struct vm *vm, void (*fn)(void *), void *arg) {
  vm->when_idle = (struct idle_call){fn, arg};
  vm_maybe_idle(vm);
}

/* The call may free the VM, so callers do this last. */
void vm_maybe_idle(struct vm *vm) {
  if (vm->when_idle.fn && vm_idle(vm)) {
    struct idle_call call = vm->when_idle;
    vm->when_idle.fn = NULL;
    call.fn(call.arg);
  }
}

void vm_when_nearly_full(struct vm *vm, void (*fn)(void *), void *arg) {
  vm->when_nearly_full = (struct idle_call){fn, arg};
}

bool vm_nearly_full(const struct vm *vm) {
  return guard_nearly_full(&vm->guard);
}

void vm_collect(struct vm *vm) {
  struct idle_call full = vm->when_nearly_full;
  if (guard_collect(&vm->guard) && full.fn) {
    vm->when_nearly_full.fn = NULL;
    full.fn(full.arg);
  }
}
