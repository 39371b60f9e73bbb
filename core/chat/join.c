/* In: a user, and the conversation asked for, if any. Out: the conversation it gets.
 * Why: see join.h. */
#include "join.h"

#include "err.h"
#include "id.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct visit {
  struct worker *worker;
  lobby_done *done;
  void *arg;
  char *user;     /* NULL: lobby_load */
  uint64_t epoch; /* of the table, before the store was asked */
};

static void leave(struct visit *v, struct session *s, int code) {
  v->done(v->arg, s, code);
  free(v->user);
  free(v);
}

static void look(struct visit *v, enum store_kind kind, const char *id);

static void enter(struct visit *v, const struct session_record *record, uint64_t read_at) {
  struct worker *w = v->worker;
  struct session *s = NULL;
  int code = sessions_enter(worker_home(w)->sessions, record, read_at, worker_mailbox(w), worker_now_ms(w), &s);
  if (code == E_CONFLICT) {
    look(v, STORE_SESSION, record->id); /* it may just have been erased */
  } else {
    leave(v, s, code);
  }
}

static void enter_draft(struct visit *v) {
  struct session_record draft = {.user_id = v->user, .start_ms = (int64_t)worker_wall_ms(v->worker)};
  id_new(draft.id);
  enter(v, &draft, 0);
}

static bool in_memory(const struct visit *v, const char *id) {
  struct session *s = sessions_find(worker_home(v->worker)->sessions, id);
  if (s) {
    session_unref(s);
  }
  return s != NULL;
}

static void look_for_active(struct visit *v);

static void on_found(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct visit *v = op->arg;
  bool asked_for_one = op->kind == STORE_SESSION;
  bool own = op->code == 0 && (!v->user || strcmp(op->session.user_id, v->user) == 0);
  if (own && op->kind == STORE_ACTIVE && in_memory(v, op->session.id)) {
    enter_draft(v); /* what is in memory by now may have ended there: the table knows which one is active */
  } else if (own) {
    enter(v, &op->session, v->epoch);
  } else if (op->code && op->code != E_NOT_FOUND) {
    leave(v, NULL, op->code);
  } else if (!v->user) {
    leave(v, NULL, E_NOT_FOUND);
  } else if (asked_for_one) {
    look_for_active(v);
  } else {
    enter_draft(v);
  }
  store_op_free(op);
}

static void look(struct visit *v, enum store_kind kind, const char *id) {
  struct store_op *op = store_op_new(kind);
  int code = UV_ENOMEM;
  v->epoch = sessions_epoch(worker_home(v->worker)->sessions);
  if (op) {
    op->reply_to = worker_mailbox(v->worker);
    op->post.run = on_found;
    op->arg = v;
    strncpy(op->session.id, id, STORE_ID_LEN);
    op->session.user_id = kind == STORE_ACTIVE ? strdup(v->user) : NULL;
    struct store *store = worker_home(v->worker)->store;
    if (kind != STORE_ACTIVE || op->session.user_id) {
      code = store ? store_submit(store, op) : E_STORE;
    }
  }
  if (code) {
    if (op) {
      store_op_free(op);
    }
    leave(v, NULL, code == E_FULL ? E_STORE : code);
  }
}

static void look_for_active(struct visit *v) {
  struct session *s = sessions_active(worker_home(v->worker)->sessions, v->user);
  if (s) {
    leave(v, s, 0);
  } else {
    look(v, STORE_ACTIVE, "");
  }
}

static struct visit *visit_new(struct worker *w, const char *user, lobby_done *done, void *arg) {
  struct visit *v = calloc(1, sizeof *v);
  if (v) {
    *v = (struct visit){.worker = w, .done = done, .arg = arg, .user = user ? strdup(user) : NULL};
  }
  if (!v || (user && !v->user)) {
    free(v);
    done(arg, NULL, UV_ENOMEM);
    return NULL;
  }
  return v;
}

void lobby_open(struct worker *w, const char *user_id, const char *wanted, lobby_done *done, void *arg) {
  struct visit *v = visit_new(w, user_id, done, arg);
  if (!v) {
    return;
  }
  struct session *s = id_valid(wanted) ? sessions_find(worker_home(w)->sessions, wanted) : NULL;
  if (s && strcmp(session_user(s), user_id) == 0) {
    leave(v, s, 0);
  } else if (s || !id_valid(wanted)) {
    if (s) {
      session_unref(s);
    }
    look_for_active(v);
  } else {
    look(v, STORE_SESSION, wanted);
  }
}

void lobby_load(struct worker *w, const char *id, lobby_done *done, void *arg) {
  struct visit *v = visit_new(w, NULL, done, arg);
  if (!v) {
    return;
  }
  struct session *s = id_valid(id) ? sessions_find(worker_home(w)->sessions, id) : NULL;
  if (s) {
    leave(v, s, 0);
  } else if (!id_valid(id)) {
    leave(v, NULL, E_NOT_FOUND);
  } else {
    look(v, STORE_SESSION, id);
  }
}
