/* In: an operation of a handler. Out: its answer, which resumes the handler. Why: only the handler that asks waits; the
 * operation goes to the threads of the store, and the reply comes back through the mailbox of the worker. */
#include "lua_store_impl.h"

#include "erasure.h"
#include "err.h"
#include "http.h"
#include "run.h"
#include "task.h"

#include <uv.h>

/* ---- erasing: whoever asked may be gone when it is done, so whom to ask for the rest goes along ---- */

static int begin_erase(struct task *t, struct store_op *op) {
  struct erasure *e = t->vm->world->erasure;
  int64_t now_ms = (int64_t)worker_wall_ms(t->vm->worker);
  op->ended_with = e;
  return e ? erasure_session(e, op, op->reply_to, now_ms) : store_submit(worker_home(t->vm->worker)->store, op);
}

static void erase_ended(const struct store_op *op) {
  if (op->ended_with) {
    erasure_session_ended(op->ended_with, op->session.id, op->reply_to, op->audit.at_ms);
  }
}

/* ---- asking ---- */

static void on_answer(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct task *t = task_redeem(op->arg);
  if (op->kind == STORE_ERASE) {
    erase_ended(op);
  }
  if (t && t->wait.timer) {
    worker_timer_stop(t->vm->worker, t->wait.timer);
    t->wait.timer = NULL;
  }
  if (t) {
    task_resume(t, store_push_answer(t->co, op));
  }
  store_op_free(op);
}

/* Whose part of the store's queue it takes. */
static const char *user_of(const struct task *t) {
  const struct identity *who = t->http ? t->http->identity : NULL;
  return t->session ? session_user(t->session) : who ? who->user_id : NULL;
}

void store_begin_ask(struct task *t) {
  struct store_op *op = t->wait.op;
  t->wait.op = NULL;
  op->post.run = on_answer;
  op->reply_to = worker_mailbox(t->vm->worker);
  op->arg = task_ticket(t);
  int code =
    op->kind == STORE_ERASE ? begin_erase(t, op) : store_submit_for(worker_home(t->vm->worker)->store, user_of(t), op);
  if (code) {
    op->code = code == E_FULL ? E_STORE : code;
    on_answer(&op->post);
  }
}

int store_wait_for(lua_State *L, struct store_op *op, const char *what, void (*begin)(struct task *)) {
  struct task *t = bind_task(L);
  if (!op) {
    return bind_result(L, UV_ENOMEM);
  }
  if (t->wait.op) {
    store_op_free(t->wait.op); /* left over from a wait that was refused */
  }
  t->wait.op = op;
  return task_wait(L, what, begin);
}

uint32_t store_limit_field(lua_State *L) {
  return (uint32_t)bind_number(L, 1, "limit", 100, 1, STORE_LIMIT_MAX);
}
