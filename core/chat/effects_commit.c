/* In: one slice's wishes. Out: fields changed in memory and a store operation, then, whatever the store says, memory
 * that says the same. Why: see effects.h, and session_record.c for how memory follows the store. */
#include "effects_impl.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- fields ---- */

static int apply_texts(struct session_record *r, const struct effects *e) {
  char **texts[EFFECTS_TEXTS] = {&r->name, &r->model_id, &r->assisting_admin_id, &r->assisting_admin_name};
  int code = 0;
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    if (e->texts[i]) {
      int failed = record_set_text(texts[i], e->texts[i]);
      code = code ? code : failed;
    }
  }
  return code;
}

/* The change, of a record that may be made to change again. *ends: this is what ended it. */
static int apply(struct session_record *r, const struct effects *e, bool *ends) {
  int code = apply_texts(r, e);
  r->help_requested = e->flags[EFFECTS_HELP] >= 0 ? e->flags[EFFECTS_HELP] : r->help_requested;
  r->admin_assisted = e->flags[EFFECTS_ASSISTED] >= 0 ? e->flags[EFFECTS_ASSISTED] : r->admin_assisted;
  r->total_tokens += e->tokens;
  r->received = e->received > r->received ? e->received : r->received;
  r->read = e->read > r->read ? e->read : r->read;
  for (size_t i = 0; i < e->response_count; i++) {
    record_add_response(r, e->responses[i]);
  }
  *ends = e->close && r->end_ms == 0;
  if (*ends) {
    r->end_ms = (int64_t)e->now_ms;
  }
  if (e->moved && e->last_ms > r->last_activity_ms) {
    r->last_activity_ms = e->last_ms;
  }
  return code;
}

/* After one has failed: what the others on their way want is still wanted. */
static void apply_pending(struct session *s) REQUIRES(*s) {
  for (struct effects *e = session_out(s)->head; e; e = e->next) {
    if (e->pending && apply(session_edit(s), e, &e->ends)) {
      abort(); /* it is in a write that may succeed: memory must not say otherwise */
    }
  }
}

/* ---- the store has answered ---- */

/* The last seq it was given; *moved: not all of its messages were there already. */
static uint64_t last_seq(const struct effects *e, bool *moved) {
  uint64_t top = 0;
  for (size_t i = 0; i < e->message_count; i++) {
    top = e->messages[i].seq > top ? e->messages[i].seq : top;
    *moved |= !e->messages[i].duplicate;
  }
  return top;
}

static void succeeded(struct session *s, struct effects *e) REQUIRES(*s) {
  bool moved = e->write.whole, ends, moves = e->moved;
  uint64_t top = last_seq(e, &moved);
  e->moved &= moved;
  bool unmoved = moves && !moved; /* the store has not moved the last activity, so memory must not */
  if ((unmoved || session_writes(s) > 1) && apply(session_confirmed(s), e, &ends)) {
    abort(); /* the store has it: memory must not forget it when a later write fails */
  }
  if (unmoved) {
    session_take_back(s);
    apply_pending(s);
  }
  session_write_succeeded(s, &e->write, top);
}

/* True: it had ended, and has not now. */
static bool failed(struct session *s, struct effects *e, enum session_doubt left) REQUIRES(*s) {
  bool ended = session_fields(s)->end_ms != 0;
  session_write_failed(s, &e->write, left);
  apply_pending(s);
  return ended && session_fields(s)->end_ms == 0;
}

/* Who is in a conversation that ends did not come to read what has ended, whatever its URL names: it goes on with its
 * user (chat.connection.gather). */
static void let_members_go_on(struct session *s) {
  struct members members;
  session_members(s, &members);
  for (size_t i = 0; i < members.count; i++) {
    if (strcmp(conn_wanted(members.all[i]), session_id(s)) == 0) {
      conn_want_nothing(members.all[i]);
    }
  }
  members_free(&members);
}

static void note_outcome(const struct effects *e, bool reopened) {
  if (e->code == 0 && e->write.inserts) {
    metrics_add(METRIC_SESSIONS_CREATED, 1);
  }
  if (e->code == 0 && e->ends) {
    metrics_add(METRIC_SESSIONS_ENDED, 1);
    let_members_go_on(e->session);
  }
  if (reopened) {
    sessions_reopened(e->home->sessions, e->session);
  }
}

static void settle(struct store_op *op, enum session_doubt left) {
  struct effects *e = op->arg;
  struct session *s = session_ref(e->session);
  const struct effects_home *home = e->home;
  bool reopened = false, rewrite = e->rewrite;
  e->code = op->code;
  e->messages = op->messages;
  e->message_count = op->message_count;
  op->messages = NULL;
  op->message_count = 0;
  e->pending = false;
  session_lock_write(s);
  if (e->code == 0) {
    succeeded(s, e);
  } else {
    reopened = failed(s, e, left);
  }
  session_unlock_write(s);
  note_outcome(e, reopened);
  e->settled = true;
  store_op_free(op);
  effects_flush(s, home);
  if (!rewrite && session_wants_repair(s)) {
    effects_repair(s, home);
  }
  session_unref(s);
}

static void on_stored(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  settle(op, op->code == E_NOT_FOUND ? SESSION_ABSENT : SESSION_IN_DOUBT);
}

/* ---- to the store ---- */

/* Under the lock: applies the fields and takes the snapshot that is stored. */
static int change(struct session *s, struct effects *e, struct store_op *op) REQUIRES(*s) {
  int code = session_erased(s) ? E_GONE : 0;
  bool doubtful = session_doubtful(s);
  code = code ? code : session_write_begin(s, &e->write);
  if (code) {
    return code;
  }
  e->moved = e->message_count > 0;
  e->last_ms = e->moved ? e->messages[e->message_count - 1].at_ms : 0;
  code = apply(session_edit(s), e, &e->ends);
  e->write.whole = doubtful || e->write.inserts || effects_change_fields(e);
  if (!code && e->write.whole) {
    code = session_record_copy(&op->session, session_fields(s));
    op->has_session = !code;
    op->begins = e->write.inserts;
    op->ends = e->ends;
  }
  if (code) {
    (void)failed(s, e, SESSION_NO_DOUBT);
  }
  e->pending = !code;
  return code;
}

/* NULL: *failed says why. */
static struct store_op *write_op(struct effects *e, int *failed_code) {
  struct session *s = e->session;
  struct store_op *op = store_op_new(STORE_WRITE);
  if (!op) {
    *failed_code = UV_ENOMEM;
    return NULL;
  }
  session_lock_write(s);
  int code = change(s, e, op);
  session_unlock_write(s);
  if (code) {
    store_op_free(op);
    *failed_code = code;
    return NULL;
  }
  if (!op->has_session) {
    memcpy(op->session.id, session_id(s), sizeof op->session.id);
  }
  for (size_t i = 0; i < e->message_count; i++) {
    if (e->messages[i].cid) {
      session_cid_note(s, e->messages[i].cid);
    }
  }
  op->mark = e->mark;
  op->messages = e->messages;
  op->message_count = e->message_count;
  e->messages = NULL;
  e->message_count = e->message_room = 0;
  op->arg = e;
  op->post.run = on_stored;
  return op;
}

static void submit(struct effects *e, const struct effects_home *home) {
  struct session *s = e->session;
  int code = 0;
  struct store_op *op = write_op(e, &code);
  e->home = home;
  effects_enqueue(s, e);
  if (op) {
    op->reply_to = home->here;
    code = home->store ? store_submit_for(home->store, session_user(s), op) : E_STORE;
  }
  if (code) {
    LOG(LOG_ERROR, "store", "a write was not taken", LSTR("error", err_name(code)), LSTR("session", session_id(s)));
    if (op) {
      op->code = code;
      settle(op, SESSION_NO_DOUBT);
    } else {
      e->code = code;
      e->settled = true;
      effects_flush(s, home);
    }
  }
}

/* To end what has ended, and is stored as ended, changes nothing. */
static bool ends_again(const struct effects *e) {
  struct session *s = e->session;
  if (!effects_only_close(e)) {
    return false;
  }
  session_lock_read(s);
  bool again = session_fields(s)->end_ms != 0 && session_settled(s);
  session_unlock_read(s);
  return again;
}

void effects_apply(struct effects *e, const struct effects_home *home) {
  struct session *s = e->session;
  if (e->close) { /* before the field says so, so that nobody is given an ended one as the user's active one */
    sessions_ended(home->sessions, s);
  }
  if (e->rewrite || (effects_stores(e) && !ends_again(e))) {
    submit(e, home);
  } else if (session_out(s)->head) {
    e->settled = true;
    effects_enqueue(s, e);
  } else {
    effects_finish(e, home->here);
  }
}

void effects_repair(struct session *s, const struct effects_home *home) {
  session_repair_begins(s);
  session_lock_read(s);
  bool doubtful = session_doubtful(s);
  session_unlock_read(s);
  struct effects *e = doubtful ? effects_new(s, NULL, 0) : NULL;
  if (e) {
    e->rewrite = true;
    effects_apply(e, home);
  }
}

bool effects_dealing_with(struct session *s, const char *id) {
  for (const struct effects *e = session_out(s)->head; e; e = e->next) {
    if (e->pending && e->mark.what == STORE_DEALT && strcmp(e->mark.id, id) == 0) {
      return true;
    }
  }
  return session_dealing_with(s, id);
}

/* Nothing but words to the one whose message this answers. */
static bool only_answers(const struct effects *e) {
  for (size_t i = 0; i < e->send_count; i++) {
    if (!e->conn || !e->sends[i].message || e->sends[i].to != conn_id(e->conn)) {
      return false;
    }
  }
  return !effects_stores(e);
}

void effects_commit(struct effects *e, const struct effects_home *home) {
  e->origin = home->here;
  if (e->owned) {
    effects_apply(e, home);
    return;
  }
  struct session *s = e->session;
  if (session_hold_if_owner(s, home->here)) {
    session_ref(s);
    effects_apply(e, home);
    session_unhold(s, home->now_ms(home->arg));
    session_unref(s);
    return;
  }
  if (only_answers(e)) {
    effects_finish(e, home->here); /* needs no inbox, so refusing messages cannot fill one */
    return;
  }
  struct item *item = item_new(ITEM_EFFECTS, e->conn, NULL, 0);
  if (!item) {
    abort(); /* effects that vanish would break "all or nothing" */
  }
  item->effects = e;
  struct mailbox *wake;
  if (!session_put(s, item, &wake) && wake) {
    session_post(s, wake);
  }
}
