/* In: a user, or a time. Out: their conversations removed: from memory, with their connections closed, and from the
 * store. Why: see erasure.h. */
#include "erasure.h"

#include "bye.h"
#include "err.h"
#include "lock.h"
#include "log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct erasure {
  struct erasure_world world;
  /* of a user */
  struct post post; /* posted back when every worker has had a turn */
  struct store_op *op;
  atomic_size_t turns; /* workers that still have to take a turn */
  erasure_done *done;
  void *arg;
  /* of what is idle */
  bool expiring;
  int64_t before_ms, now_ms;
  struct lock lock; /* guards what follows */
  struct single *singles;
};

/* An erasure of one conversation that waits until every worker has had a turn. */
struct single {
  struct single *next, **link;
  struct erasure *of;
  struct store_op *op;
  atomic_size_t turns;
};

struct erasure *erasure_new(const struct erasure_world *w) {
  struct erasure *e = calloc(1, sizeof *e);
  if (e) {
    e->world = *w;
    lock_init(&e->lock);
  }
  return e;
}

void erasure_free(struct erasure *e) {
  while (e && e->singles) {
    struct single *s = e->singles;
    e->singles = s->next;
    store_op_free(s->op);
    free(s);
  }
  if (e) {
    store_op_free(e->op);
    lock_deinit(&e->lock);
  }
  free(e);
}

void erasure_stop(struct erasure *e) {
  e->world.store = NULL;
}

static int submit(struct erasure *e, struct store_op *op, void (*reply)(struct post *)) {
  op->reply_to = e->world.home;
  op->post.run = reply;
  op->arg = e;
  return e->world.store ? store_submit(e->world.store, op) : E_STOPPING;
}

/* Takes the table's reference. Its people are sent away. Whoever was erased must not come back with what he had not
 * sent yet, for that is erased, too; what expired was idle, and its people come back to a new conversation. */
static void session_gone(struct session *s, bool of_user, int64_t now_ms, const struct mailbox *here) {
  struct members members;
  session_erase(s);
  session_members(s, &members);
  for (size_t i = 0; i < members.count; i++)
    bye_say(members.all[i], of_user ? CLOSE_NOT_YOU : CLOSE_TRY_LATER, of_user ? "erased" : "try_later",
            "The conversation was erased", (uint64_t)now_ms, here);
  members_free(&members);
  session_unref(s);
}

/* ---- a user ---- */

static void user_done(struct erasure *e, int code, const struct store_erased *erased) {
  sessions_unbar(e->world.sessions);
  LOG(code ? LOG_ERROR : LOG_INFO, "erasure", code ? "a user was not erased" : "a user was erased",
      LSTR("error", err_name(code)), LINT("conversations", erased->sessions), LINT("messages", erased->messages));
  e->done(e->arg, code, erased);
}

static void on_erased(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  user_done(op->arg, op->code, &op->erased);
  store_op_free(op);
}

static void on_turns(struct post *post) {
  struct erasure *e = (struct erasure *)((char *)post - offsetof(struct erasure, post));
  struct store_op *op = e->op;
  e->op = NULL;
  int code = submit(e, op, on_erased);
  if (code) {
    store_op_free(op);
    user_done(e, code, &(struct store_erased){0});
  }
}

static void on_turn(void *arg) {
  struct erasure *e = arg;
  if (atomic_fetch_sub(&e->turns, 1) == 1) {
    e->post.run = on_turns;
    mailbox_put(e->world.home, &e->post);
  }
}

int erasure_user(struct erasure *e, const char *user_id, const char *actor, int64_t now_ms, erasure_done *done,
                 void *arg) {
  char subject[STORE_AUDIT_MAX + 1];
  struct session **all;
  size_t count;
  snprintf(subject, sizeof subject, "user %s", user_id);
  struct store_op *op = store_op_audit(STORE_ERASE, actor, "erase", subject, now_ms);
  if (!op || !(op->session.user_id = strdup(user_id))) {
    store_op_free(op);
    return UV_ENOMEM;
  }
  int code = sessions_bar(e->world.sessions, user_id, &all, &count);
  if (code) {
    store_op_free(op);
    return code;
  }
  e->op = op;
  e->done = done;
  e->arg = arg;
  for (size_t i = 0; i < count; i++)
    session_gone(all[i], true, now_ms, e->world.home);
  free(all);
  atomic_store(&e->turns, SIZE_MAX / 2); /* so that none is the last before their number is known */
  size_t workers = e->world.each_worker(e->world.ctx, on_turn, e);
  if (atomic_fetch_sub(&e->turns, SIZE_MAX / 2 - workers) == SIZE_MAX / 2 - workers) {
    e->post.run = on_turns;
    mailbox_put(e->world.home, &e->post);
  }
  return 0;
}

/* ---- one conversation ---- */

static void single_turns(struct single *s, size_t n) {
  struct erasure *e = s->of;
  if (atomic_fetch_sub(&s->turns, n) != n)
    return;
  lock_acquire(&e->lock);
  *s->link = s->next;
  if (s->next)
    s->next->link = s->link;
  lock_release(&e->lock);
  int code = store_submit(e->world.store, s->op);
  if (code) {
    s->op->code = code;
    mailbox_put(s->op->reply_to, &s->op->post);
  }
  free(s);
}

static void on_single_turn(void *arg) {
  single_turns(arg, 1);
}

int erasure_session(struct erasure *e, struct store_op *op, const struct mailbox *here, int64_t now_ms) {
  struct single *s = calloc(1, sizeof *s);
  if (!s)
    return UV_ENOMEM;
  *s = (struct single){.of = e, .op = op};
  atomic_store(&s->turns, SIZE_MAX / 2); /* so that none is the last before their number is known */
  lock_acquire(&e->lock);
  s->link = &e->singles;
  s->next = e->singles;
  if (s->next)
    s->next->link = &s->next;
  e->singles = s;
  lock_release(&e->lock);
  erasure_session_ended(e, op->session.id, here, now_ms);
  single_turns(s, SIZE_MAX / 2 - e->world.each_worker(e->world.ctx, on_single_turn, s));
  return 0;
}

void erasure_session_ended(struct erasure *e, const char *id, const struct mailbox *here, int64_t now_ms) {
  struct session *s = sessions_take(e->world.sessions, id);
  if (s)
    session_gone(s, false, now_ms, here);
}

/* ---- what is idle ---- */

static void expire_next(struct erasure *e);

static bool in_memory(void *arg, const char *id) {
  struct erasure *e = arg;
  struct session *s = sessions_find(e->world.sessions, id);
  if (s)
    session_unref(s);
  return s;
}

static void on_expired(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct erasure *e = op->arg;
  bool more = op->code == 0 && op->session_count == op->limit;
  for (size_t i = 0; i < op->session_count; i++) { /* opened just then */
    struct session *s = sessions_take(e->world.sessions, op->sessions[i].id);
    if (s)
      session_gone(s, false, e->now_ms, e->world.home);
  }
  if (op->session_count)
    LOG(LOG_INFO, "erasure", "old conversations were erased (RETENTION_DAYS)",
        LINT("conversations", op->erased.sessions), LINT("messages", op->erased.messages));
  e->expiring = false;
  store_op_free(op);
  if (more)
    expire_next(e);
}

static void expire_next(struct erasure *e) {
  struct store_op *op = store_op_audit(STORE_EXPIRE, "server", "retention", "idle conversations", e->now_ms);
  if (!op)
    return;
  op->before_ms = e->before_ms;
  op->limit = EXPIRE_STEP;
  op->in_use = in_memory;
  e->expiring = true;
  if (submit(e, op, on_expired)) {
    e->expiring = false; /* the next time */
    store_op_free(op);
  }
}

void erasure_idle(struct erasure *e, int64_t before_ms, int64_t now_ms) {
  if (e->expiring)
    return;
  e->before_ms = before_ms;
  e->now_ms = now_ms;
  expire_next(e);
}
