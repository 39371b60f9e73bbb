/* In: a user, and the conversation asked for, if any. Out: the conversation the connection enters. Why: see join.h. */
#include "join.h"

#include "err.h"
#include "id.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct join {
  struct worker *worker;
  join_done *done;
  void *arg;
  char *user;     /* NULL: join_load */
  uint64_t epoch; /* of the table, before the store was asked */
};

static void finish(struct join *j, struct session *s, int code) {
  j->done(j->arg, s, code);
  free(j->user);
  free(j);
}

static void read_store(struct join *j, enum store_kind kind, const char *id);

/* What nobody has dealt with lies in the inbox of a conversation before its people say anything more. Its messages are
 * moved out. */
static struct item *unanswered(struct join *j, struct store_op *op) {
  const struct effects_home *home = worker_home(j->worker);
  int64_t since_ms = (int64_t)worker_wall_ms(j->worker) - (int64_t)home->late_ms;
  struct item *first = NULL, **last = &first;
  for (size_t i = 0; op && i < op->message_count; i++) {
    struct message_record *m = &op->messages[i];
    bool late = m->at_ms < since_ms || m->damaged; /* nobody can say what was asked */
    struct item *item = item_new_unanswered(m, late);
    *m = (struct message_record){0};
    if (item) { /* else there is no memory: it stays open, and its turn comes with the next load */
      *last = item;
      last = &item->next;
    }
  }
  return first;
}

/* op: what the record was read with; NULL: a draft. */
static void enter(struct join *j, const struct session_record *record, struct store_op *op) {
  struct worker *w = j->worker;
  struct session *s = NULL;
  struct mailbox *wake;
  int code = sessions_enter_with(worker_home(w)->sessions, record, op ? j->epoch : 0, worker_mailbox(w),
                                 worker_now_ms(w), unanswered(j, op), &s, &wake);
  if (code == E_CONFLICT) {
    read_store(j, STORE_SESSION, record->id); /* it may just have been erased, or changed and left memory again */
    return;
  }
  if (wake) {
    worker_wake(w, s, wake);
  }
  finish(j, s, code);
}

static void enter_draft(struct join *j) {
  struct session_record draft = {.user_id = j->user, .start_ms = (int64_t)worker_wall_ms(j->worker)};
  id_new(draft.id);
  enter(j, &draft, NULL);
}

static bool in_memory(const struct join *j, const char *id) {
  struct session *s = sessions_find(worker_home(j->worker)->sessions, id);
  if (s) {
    session_unref(s);
  }
  return s;
}

static void enter_active(struct join *j);

static void on_found(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct join *j = op->arg;
  bool asked_for_one = op->kind == STORE_SESSION;
  bool own = op->code == 0 && (!j->user || strcmp(op->session.user_id, j->user) == 0);
  if (own && op->kind == STORE_ACTIVE && in_memory(j, op->session.id)) {
    enter_draft(j); /* it may have ended in memory meanwhile: the table knows which one is active */
  } else if (own) {
    enter(j, &op->session, op);
  } else if (op->code && op->code != E_NOT_FOUND) {
    finish(j, NULL, op->code);
  } else if (!j->user) {
    finish(j, NULL, E_NOT_FOUND);
  } else if (asked_for_one) {
    enter_active(j);
  } else {
    enter_draft(j);
  }
  store_op_free(op);
}

static void read_store(struct join *j, enum store_kind kind, const char *id) {
  struct store_op *op = store_op_new(kind);
  int code = UV_ENOMEM;
  j->epoch = sessions_epoch(worker_home(j->worker)->sessions);
  if (op) {
    op->reply_to = worker_mailbox(j->worker);
    op->post.run = on_found;
    op->arg = j;
    op->with_open = true;
    strncpy(op->session.id, id, STORE_ID_LEN);
    op->session.user_id = kind == STORE_ACTIVE ? strdup(j->user) : NULL;
    struct store *store = worker_home(j->worker)->store;
    if (kind != STORE_ACTIVE || op->session.user_id) {
      code = store ? store_submit_for(store, j->user, op) : E_STORE;
    }
  }
  if (code) {
    if (op) {
      store_op_free(op);
    }
    finish(j, NULL, code == E_FULL ? E_STORE : code);
  }
}

static void enter_active(struct join *j) {
  struct session *s = sessions_active(worker_home(j->worker)->sessions, j->user);
  if (s) {
    finish(j, s, 0);
  } else {
    read_store(j, STORE_ACTIVE, "");
  }
}

static struct join *join_new(struct worker *w, const char *user, join_done *done, void *arg) {
  struct join *j = calloc(1, sizeof *j);
  if (j) {
    *j = (struct join){.worker = w, .done = done, .arg = arg, .user = user ? strdup(user) : NULL};
  }
  if (!j || (user && !j->user)) {
    free(j);
    done(arg, NULL, UV_ENOMEM);
    return NULL;
  }
  return j;
}

void join_open(struct worker *w, const char *user_id, const char *wanted, join_done *done, void *arg) {
  struct join *j = join_new(w, user_id, done, arg);
  if (!j) {
    return;
  }
  struct session *s = id_valid(wanted) ? sessions_find(worker_home(w)->sessions, wanted) : NULL;
  if (s && strcmp(session_user(s), user_id) == 0) {
    finish(j, s, 0);
  } else if (s || !id_valid(wanted)) {
    if (s) {
      session_unref(s);
    }
    enter_active(j);
  } else {
    read_store(j, STORE_SESSION, wanted);
  }
}

void join_load(struct worker *w, const char *id, join_done *done, void *arg) {
  struct join *j = join_new(w, NULL, done, arg);
  if (!j) {
    return;
  }
  struct session *s = id_valid(id) ? sessions_find(worker_home(w)->sessions, id) : NULL;
  if (s) {
    finish(j, s, 0);
  } else if (!id_valid(id)) {
    finish(j, NULL, E_NOT_FOUND);
  } else {
    read_store(j, STORE_SESSION, id);
  }
}
