/* In: a task with a function and its arguments on its coroutine. Out: its slices, its waits, its end, always exactly
 * one. Why: see run.h. The life of a handler, and of whatever else the scripts are called for:
 *
 *           task_run                              task_resume: what it waited for is there
 *   NEW ------------> RUNNING a slice <------------------------------------------+
 *                       |    | it calls a function that waits: task_wait         |
 *                       |    +-----------> PARKED: the slice takes effect, then -+
 *     it returns, fails |                  what it waits for is begun
 *     or uses too much  |                       | stop or reload: task_cancel
 *                       v                       | too long: deadline.c
 *     on_end: its last slice takes effect       v
 *     fail: nothing of that slice does     task_cancel, fail: the client is told
 *                       +-----------+-----------+
 *                                   v
 *   ENDED: task_end lets go of everything; the generation grows, so that a late completion finds nobody */
#include "run.h"

#include "answer.h"
#include "bind.h"
#include "blame.h"
#include "deadline.h"
#include "effects.h"
#include "err.h"
#include "failure.h"
#include "handle.h"
#include "handover.h"
#include "log.h"
#include "peek.h"
#include "raised.h"
#include "slice.h"
#include "task.h"

#include <string.h>

static void fail(struct task *t, enum guard_end end);

/* ---- running ---- */

/* Runs one slice. Returns what lua_resume returns; *end says whether the guard ended it, and why. */
static int run_slice(struct task *t, int arguments, enum guard_end *end) {
  struct vm *vm = t->vm;
  struct task *outer = vm->current;
  if (guard_spent(&vm->guard, t->spent_ns)) {
    guard_verdict(&vm->guard, GUARD_MESSAGE);
    *end = GUARD_MESSAGE;
    return LUA_ERRRUN;
  }
  if (vm->world->quarantine && vm->quarantine_changes != quarantine_changes(vm->world->quarantine)) {
    blame_refresh(vm);
  }
  vm->current = t;
  guard_enter(&vm->guard, vm->guard.slice_ns, t->spent_ns);
  unsigned before = nesting_enter(&vm->guard.nesting, t->inside);
  int status = lua_resume(t->co, arguments);
  t->inside = nesting_back(&vm->guard.nesting, before);
  t->spent_ns = guard_leave(&vm->guard, t->spent_ns);
  vm->current = outer;
  *end = (enum guard_end)vm->guard.end;
  return status;
}

/* ---- waiting ---- */

static void fail_overdue(struct task *t) {
  guard_verdict(&t->vm->guard, GUARD_WAIT);
  fail(t, GUARD_WAIT);
}

int task_wait(lua_State *L, const char *what, void (*begin)(struct task *t)) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  if (t->kind == TASK_NOTICE) {
    return luaL_error(L, "cannot wait here: this runs between two messages");
  }
  if (vm->parked >= vm->max_parked && !t->wait.parked) {
    return luaL_error(L, "too many handlers are waiting (SCRIPT_COROUTINES)");
  }
  char inside[RAISED_MAX];
  if (raised_inside(L, inside)) {
    return luaL_error(L, "cannot wait inside %s", inside);
  }
  t->wait.what = what;
  t->wait.begin = begin;
  lua_pushlightuserdata(L, &vm->tag);
  return lua_yield(L, 1);
}

/* Whether the coroutine yielded from one of our waits, not from a yield of the script's own. */
static bool our_yield(const struct task *t) {
  return lua_gettop(t->co) >= 1 && lua_touserdata(t->co, 1) == &t->vm->tag && t->wait.begin;
}

static void park(struct task *t) {
  struct mailbox *wake;
  if (!t->wait.parked) {
    task_park(t);
  }
  t->spent_ns += !t->spent_ns; /* not 0: from now on guard_enter reads the clock */
  deadline_set(t, fail_overdue);
  t->wait.since_ms = worker_turn_ms(t->vm->worker);
  /* A handler whose question was not answered runs beside the handler that has the turn by then. */
  if (t->turn.has && !t->turn.held && !session_busy(t->session)) {
    t->turn.held = true;
    session_set_busy(t->session, true, &wake);
  }
}

/* Begins what the task waits for. Returns the number of results on the coroutine when the wait is over already, else
 * -1. */
static int begin_now(struct task *t) {
  void (*begin)(struct task *) = t->wait.begin;
  t->wait.begin = NULL;
  t->wait.completed = -1;
  t->wait.in_begin = true;
  uint32_t generation = t->generation;
  t->wait.number++;
  begin(t);
  if (t->generation != generation) {
    return -1;
  }
  t->wait.in_begin = false;
  return t->wait.completed;
}

/* The same, once what the slice keeps is stored: if it is not, what would be begun never happened. */
static int begin_wait(struct task *t) {
  uint32_t generation = t->generation;
  lua_settop(t->co, 0);
  park(t);
  t->commits.settling = slice_unsettled(t);
  task_commit(t);
  if (t->generation != generation || t->commits.kept) {
    return -1;
  }
  t->commits.settling = false;
  return begin_now(t);
}

/* Whoever waits for its answer has been told, or has had it before. */
static void drop(struct task *t) {
  task_stop_waiting(t);
  task_end(t, false);
}

static void settled(struct task *t) {
  t->commits.settling = false;
  if (t->commits.lost) {
    drop(t);
    return;
  }
  int results = begin_now(t);
  if (results >= 0) {
    task_run(t, results);
  }
}

static void begin_nothing(struct task *t) {
  t->wait.completed = 0;
}

/* For what takes effect at once. Where one cannot wait it takes effect before what is kept is stored. */
int l_task_settle(lua_State *L) {
  struct vm *vm = bind_vm(L);
  struct task *t = vm->current;
  char inside[RAISED_MAX];
  if (!t || t->kind == TASK_NOTICE || !slice_unsettled(t) || (vm->parked >= vm->max_parked && !t->wait.parked) ||
      raised_inside(L, inside)) {
    return 0;
  }
  return task_wait(L, "the store", begin_nothing);
}

/* ---- what it wanted is stored, or not; session:flush ---- */

static void flushed(struct task *t) {
  lua_State *co = t->co;
  t->commits.flushing = false;
  if (t->commits.code) {
    slice_forget_stored(t);
    lua_pushnil(co);
    lua_pushstring(co, err_text(E_STORE));
    lua_pushstring(co, err_name(E_STORE));
    task_resume(t, 3);
    return;
  }
  lua_createtable(co, (int)t->commits.used, 0);
  for (size_t i = 0; i < t->commits.used; i++) {
    const struct stored *s = &t->commits.stored[i];
    lua_createtable(co, 0, 5);
    lua_pushstring(co, s->id);
    lua_setfield(co, -2, "id");
    lua_pushnumber(co, (double)s->seq);
    lua_setfield(co, -2, "seq");
    lua_pushstring(co, s->cid); /* NULL pushes nil */
    lua_setfield(co, -2, "cid");
    lua_pushboolean(co, s->duplicate);
    lua_setfield(co, -2, "duplicate");
    lua_pushboolean(co, s->open);
    lua_setfield(co, -2, "open");
    lua_rawseti(co, -2, (int)i + 1);
  }
  slice_forget_stored(t);
  task_resume(t, 1);
}

void task_begin_flush(struct task *t) {
  t->commits.flushing = true;
  if (t->commits.in_flight == 0) {
    flushed(t);
  }
}

/* What its client calls the message this deals with; "" when it has no name for it. */
static void cid_of(const struct task *t, char cid[STORE_CID_MAX + 1]) {
  const struct item *item = t->kind == TASK_MESSAGE ? t->item : NULL;
  const char *at = item && item->message ? item->message->cid : NULL;
  size_t len = at ? strlen(at) : item && !item->message ? peek_cid(item->text, item->len, &at) : 0;
  memcpy(cid, len ? at : "", len);
  cid[len] = 0;
}

/* Of the message of its client that was not stored; NULL: it has none. */
static const char *cid_said(const struct effects *e) {
  for (size_t i = 0; i < e->message_count; i++) {
    if (e->messages[i].sender && strcmp(e->messages[i].sender, "user") == 0) {
      return e->messages[i].cid;
    }
  }
  return NULL;
}

/* A slice that stored something has been committed, or not; its task may have ended long ago. */
static void on_settled(struct effects *e, void *arg) {
  struct task *t = arg;
  struct vm *vm = t->vm;
  bool alive = t->generation == (uint32_t)e->token;
  /* When session:flush waits, or is about to, it returns nil and the script tells the user. */
  bool told = alive && !t->commits.settling && (t->commits.flushing || t->wait.begin == task_begin_flush);
  slice_note_client(e, worker_turn_ms(vm->worker));
  slice_give_turn(vm, e);
  if (alive) {
    t->commits.in_flight--;
    slice_note_stored(t, e);
  }
  if (e->code) {
    LOG(LOG_ERROR, "store", "what a handler wanted was not stored", LSTR("error", err_name(e->code)),
        LSTR("session", session_id(e->session)), LSTR("version", vm_version(vm)));
    if (e->conn && !told && t->commits.refused != (uint32_t)e->token) {
      char cid[STORE_CID_MAX + 1] = "";
      if (alive) {
        cid_of(t, cid);
      }
      t->commits.refused = (uint32_t)e->token;
      const char *said = cid_said(e);
      task_notice(vm, vm->refused_ref, e->session, e->conn, "STORE", NULL, said ? said : cid);
    }
  }
  effects_free(e);
  if (alive && t->commits.settling && t->commits.kept == 0) {
    settled(t);
  } else if (alive && t->commits.flushing && t->commits.in_flight == 0) {
    flushed(t);
  }
  vm->outstanding--;
  vm_maybe_idle(vm);
}

void task_commit(struct task *t) {
  slice_commit(t, false, on_settled);
}

/* ---- its end ---- */

static bool wants_later(const struct task *t) {
  return t->turn.was_busy && !t->wait.parked && !t->slice.kept && lua_gettop(t->co) > 0 &&
         lua_type(t->co, -1) == LUA_TSTRING && strcmp(lua_tostring(t->co, -1), "later") == 0;
}

static void on_end(struct task *t) {
  if (t->kind == TASK_MESSAGE && wants_later(t)) {
    slice_discard(t);
    session_later(t->session, t->item);
    t->item = NULL;
  } else if (t->commits.lost) {
    slice_discard(t);
  } else {
    slice_commit(t, true, on_settled);
    task_tally(t, false, false);
    if (t->kind == TASK_HTTP) {
      answer_table(t);
    }
  }
  task_end(t, true);
}

/* The server ends, and the store knows that this waits for an answer: the next start gives one. */
static bool answered_later(const struct task *t) {
  return atomic_load(t->vm->world->stopping) && t->errand.dealing.id[0] && t->errand.stored;
}

static void say_again(struct vm *vm, struct session *s, struct conn *c, const char *cid) {
  task_notice(vm, vm->refused_ref, s, c, "CANCELLED", NULL, cid);
}

void task_cancel(struct task *t) {
  struct http_request *http = t->http;
  char cid[STORE_CID_MAX + 1];
  cid_of(t, cid);
  t->http = NULL;
  task_stop_waiting(t);
  if (http) {
    answer_error(http, 503);
  } else if (!answered_later(t) && !handover_begin(t, cid, say_again) && t->conn && t->kind == TASK_MESSAGE) {
    say_again(t->vm, t->session, t->conn, cid);
  }
  task_end(t, false);
}

static void fail(struct task *t, enum guard_end end) {
  struct vm *vm = t->vm;
  struct failure f;
  char cid[STORE_CID_MAX + 1];
  cid_of(t, cid);
  failure_note(t, end, &f);
  struct http_request *http = t->http;
  bool told = t->conn ? t->kind != TASK_NOTICE : t->kind == TASK_MESSAGE; /* without a client: everybody there */
  struct session *s = t->session && told ? session_ref(t->session) : NULL;
  struct conn *c = s && t->conn ? conn_ref(t->conn) : NULL;
  t->http = NULL;
  slice_fail(t, on_settled);
  task_end(t, false); /* before anybody is told: what it held can be collected then */
  if (end == GUARD_MEMORY) {
    vm_collect(vm);
  }
  if (vm->world->script_error) {
    vm->world->script_error(vm->world->arg, f.message, vm_version(vm));
  }
  if (http) {
    answer_error(http, 500);
  }
  if (s) {
    task_notice(vm, vm->failed_ref, s, c, f.incident, f.message, cid);
    session_unref(s);
    conn_unref(c);
  }
  failure_deinit(&f);
}

/* ---- the way through ---- */

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
      fail(t, end);
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
  if (t->wait.in_begin) {
    t->wait.completed = results;
  } else {
    task_run(t, results);
  }
}

/* ---- between two messages ---- */

void task_notice(struct vm *vm, int ref, struct session *s, struct conn *c, const char *first, const char *second,
                 const char *cid) {
  struct task *t = task_new(vm, TASK_NOTICE, s, c);
  if (t) {
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, ref);
    bind_push_session(vm, t->co, session_id_handle(s));
    bind_push_connection(t->co, c);
    lua_pushstring(t->co, first);
    lua_pushstring(t->co, second);
    lua_pushstring(t->co, cid && *cid ? cid : NULL);
    task_run(t, 5);
  }
}
