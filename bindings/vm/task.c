/* In: a script function and its arguments. Out: its effects, slice by slice; an end, always exactly one.
 * Why: a handler reads as if it blocked. When it waits its coroutine is parked, the slice so far takes effect, and only
 * then what it waits for is begun; when the answer comes it goes on. One that fails leaves nothing of its slice. */
#include "bind.h"

#include "effects.h"
#include "err.h"
#include "log.h"
#include "metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* While a task is parked its session stays in memory and on this worker. */
static void flight_put(struct task *t) {
  struct task *head = &t->vm->flight;
  t->prev = head->prev;
  t->next = head;
  head->prev->next = t;
  head->prev = t;
  t->vm->parked++;
  t->parked = true;
  if (t->session) {
    session_hold(t->session);
    session_pin(t->session)->parked++;
  }
  metrics_add(METRIC_SCRIPT_COROUTINES, 1);
}

static void flight_drop(struct task *t) {
  t->prev->next = t->next;
  t->next->prev = t->prev;
  t->vm->parked--;
  t->parked = false;
  if (t->session) {
    session_pin(t->session)->parked--;
    session_unhold(t->session, worker_now_ms(t->vm->worker));
  }
  metrics_add(METRIC_SCRIPT_COROUTINES, -1);
}

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

/* A coroutine that ended by itself is used again; one that failed or was cut short is left to the collector. */
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
  if (t->turn_held) {
    t->turn_held = false;
    session_set_busy(t->session, false, &wake);
    worker_wake(t->vm->worker, t->session, wake);
  }
}

void task_end(struct task *t, bool reusable) {
  struct vm *vm = t->vm;
  task_discard(t);
  task_forget_stored(t);
  if (t->parked) {
    flight_drop(t);
  }
  if (t->op) {
    store_op_free(t->op); /* of a wait that was refused */
  }
  release_coroutine(t, reusable);
  if (t->item) {
    item_free(t->item);
  }
  if (t->session) {
    task_give_turn(t);
    session_unref(t->session);
  }
  if (t->opened) {
    session_unref(t->opened);
  }
  conn_unref(t->conn);
  free(t->text);
  free(t->ask);
  struct task fresh = {.vm = vm,
                       .co = t->co,
                       .co_ref = t->co_ref,
                       .generation = t->generation + 1,
                       .refused = t->refused,
                       .counts = t->counts,
                       .count_room = t->count_room,
                       .stored = t->stored,
                       .stored_room = t->stored_room};
  *t = fresh;
  t->next = vm->free;
  vm->free = t;
}

static void park(struct task *t) {
  struct mailbox *wake;
  if (!t->parked) {
    flight_put(t);
  }
  t->spent_ns += !t->spent_ns; /* from now on the clock is asked */
  deadline_set(t);
  t->parked_ms = worker_turn_ms(t->vm->worker);
  /* Whoever asked in vain goes on beside the handler that has the turn by now. */
  if (t->has_turn && !t->turn_held && !session_busy(t->session)) {
    t->turn_held = true;
    session_set_busy(t->session, true, &wake);
  }
}

static bool wants_later(const struct task *t) {
  return t->was_busy && !t->parked && lua_gettop(t->co) > 0 && lua_type(t->co, -1) == LUA_TSTRING &&
         strcmp(lua_tostring(t->co, -1), "later") == 0;
}

static void answer_http(struct task *t);

/* One writer: no need to add atomically, only to store whole. */
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

static void on_end(struct task *t) {
  if (t->kind == TASK_MESSAGE && wants_later(t)) {
    task_discard(t);
    session_later(t->session, t->item);
    t->item = NULL;
  } else {
    task_commit(t);
    task_tally(t, false, false);
    if (t->kind == TASK_HTTP) {
      answer_http(t);
    }
  }
  task_end(t, true);
}

/* Whether the coroutine stopped in a wait of ours, and not in a yield a script made up. */
static bool our_yield(const struct task *t) {
  return lua_gettop(t->co) >= 1 && lua_touserdata(t->co, 1) == &t->vm->tag && t->begin;
}

/* Begins what the task waits for. Results on the coroutine when the wait is over already, else -1. */
static int begin_wait(struct task *t) {
  lua_settop(t->co, 0);
  park(t);
  task_commit(t);
  void (*begin)(struct task *) = t->begin;
  t->begin = NULL;
  t->completed = -1;
  t->in_begin = true;
  uint32_t generation = t->generation;
  t->waits++;
  begin(t);
  if (t->generation != generation) {
    return -1;
  }
  t->in_begin = false;
  return t->completed;
}

/* One slice. What lua_resume says; *end: whether it was ended, and for what. */
static int run_slice(struct task *t, int arguments, enum guard_end *end) {
  struct vm *vm = t->vm;
  struct task *outer = vm->current;
  if (guard_spent(&vm->guard, t->spent_ns)) {
    guard_verdict(&vm->guard, GUARD_MESSAGE);
    *end = GUARD_MESSAGE;
    return LUA_ERRRUN;
  }
  if (vm->world->quarantine && vm->quarantine_changes != quarantine_changes(vm->world->quarantine)) {
    guard_refresh(vm);
  }
  vm->current = t;
  guard_enter(&vm->guard, vm->guard.slice_ns, t->spent_ns);
  int status = lua_resume(t->co, arguments);
  t->spent_ns = guard_leave(&vm->guard, t->spent_ns);
  vm->current = outer;
  *end = (enum guard_end)vm->guard.end;
  return status;
}

void task_run(struct task *t, int arguments) {
  struct vm *vm = t->vm;
  bool outermost = !vm->current;
  for (;;) {
    enum guard_end end;
    int status = run_slice(t, arguments, &end);
    if (status == LUA_YIELD && our_yield(t)) {
      arguments = begin_wait(t);
      if (arguments < 0) {
        break;
      }
      continue;
    }
    if (status == LUA_YIELD) {
      lua_settop(t->co, 0);
      lua_pushliteral(t->co, "attempt to yield from outside a coroutine");
      status = LUA_ERRRUN;
    }
    if (status == 0) {
      on_end(t);
    } else {
      failure(t, end);
    }
    break;
  }
  if (outermost && vm->to_resume) {
    struct task *asker = vm->to_resume;
    vm->to_resume = NULL;
    task_run(asker, 1);
  }
  if (outermost) {
    vm_collect(vm);
    vm_maybe_idle(vm);
  }
}

void task_resume(struct task *t, int results) {
  if (t->in_begin) {
    t->completed = results;
  } else {
    task_run(t, results);
  }
}

struct task_ticket {
  struct task *task;
  uint32_t generation, waits;
};

struct task_ticket *task_ticket(struct task *t) {
  struct task_ticket *ticket = malloc(sizeof *ticket);
  if (!ticket) {
    abort(); /* without it the wait would have no end */
  }
  *ticket = (struct task_ticket){t, t->generation, t->waits};
  t->vm->outstanding++;
  return ticket;
}

struct task *task_redeem(struct task_ticket *ticket) {
  struct task *t = ticket->task;
  struct vm *vm = t->vm;
  bool waits = t->generation == ticket->generation && t->waits == ticket->waits;
  free(ticket);
  vm->outstanding--;
  if (!waits) {
    vm_maybe_idle(vm);
  }
  return waits ? t : NULL;
}

int task_wait(lua_State *L, const char *waits_for, void (*begin)(struct task *t)) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  if (t->kind == TASK_NOTICE) {
    return luaL_error(L, "cannot wait here: this runs between two messages");
  }
  if (vm->parked >= vm->max_parked && !t->parked) {
    return luaL_error(L, "too many handlers are waiting (SCRIPT_COROUTINES)");
  }
  t->waits_for = waits_for;
  t->begin = begin;
  lua_pushlightuserdata(L, &vm->tag);
  return lua_yield(L, 1);
}

void task_stop_waiting(struct task *t) {
  if (t->timer) {
    worker_timer_stop(t->vm->worker, t->timer);
    t->timer = NULL;
  }
  if (t->asking) {
    session_set_asker(t->session, NULL);
  }
}

void task_cancel(struct task *t) {
  struct http_request *http = t->http;
  t->http = NULL;
  task_stop_waiting(t);
  if (http) {
    failure_respond(http, 503);
  } else if (t->conn && t->kind == TASK_MESSAGE) {
    vm_refused(t->vm, t->session, t->conn, "CANCELLED");
  }
  task_end(t, false);
}

void vm_destroy_tasks(struct vm *vm) {
  while (vm->free) {
    struct task *t = vm->free;
    vm->free = t->next;
    free(t->counts);
    free(t->stored);
    free(t);
  }
}

/* ---- HTTP answers: the table a script returned, read without its metatable, for nothing here is protected ---- */

static void raw_field(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, 1);
}

static const char *text_field(lua_State *L, const char *name, size_t *len) {
  raw_field(L, name);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, len) : NULL;
  lua_pop(L, 1); /* the table still holds it */
  return text;
}

static void collect_headers(lua_State *L, struct http_response *res) {
  raw_field(L, "headers");
  if (lua_istable(L, -1)) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING && res->header_count < HTTP_HEADERS_MAX) {
        res->headers[res->header_count++] = (struct http_header){lua_tostring(L, -2), lua_tostring(L, -1)};
      }
    }
  }
  lua_pop(L, 1); /* the response table keeps the strings alive */
}

static void answer_http(struct task *t) {
  lua_State *co = t->co;
  struct http_request *req = t->http;
  t->http = NULL;
  if (lua_gettop(co) < 1 || !lua_istable(co, 1)) {
    LOG(LOG_ERROR, "script", "an HTTP handler returned no response", LSTR("path", req->path),
        LSTR("version", vm_version(t->vm)));
    failure_respond(req, 500);
    return;
  }
  struct http_response res = {.status = 200, .body = ""};
  raw_field(co, "status");
  res.status = lua_isnumber(co, -1) ? (int)lua_tointeger(co, -1) : 200;
  res.status = res.status >= 200 && res.status < 600 ? res.status : 500;
  lua_pop(co, 1);
  const char *body = text_field(co, "body", &res.body_len);
  res.body = body ? body : "";
  res.type = text_field(co, "type", NULL);
  res.endpoint = text_field(co, "endpoint", NULL);
  collect_headers(co, &res);
  http_respond(req, &res);
}
