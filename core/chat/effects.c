/* In: all that one slice of a handler wants of one session. Out: all of it, together and in order, or nothing.
 * Why: see effects.h. A session's out queue holds the slices whose sends still wait for a commit (their own or an
 * earlier one's); its head leaves when it is settled, so every member sees one order. */
#include "effects.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct effects *effects_new(struct session *s, struct conn *c, uint64_t wall_ms) {
  struct effects *e = malloc(sizeof *e); /* calloc would go past the allocator's cache of this thread */
  if (e) {
    *e = (struct effects){.send_room = EFFECTS_FEW};
    e->sends = e->few;
    e->session = session_ref(s);
    e->conn = c ? conn_ref(c) : NULL;
    e->now_ms = wall_ms;
    memset(e->flags, -1, sizeof e->flags);
  }
  return e;
}

void effects_free(struct effects *e) {
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    free(e->texts[i]);
  }
  for (size_t i = 0; i < e->message_count; i++) {
    message_record_deinit(&e->messages[i]);
  }
  for (size_t i = 0; i < e->send_count; i++) {
    message_unref(e->sends[i].message);
  }
  free(e->messages);
  if (e->sends != e->few) {
    free(e->sends);
  }
  free(e->responses);
  conn_unref(e->conn);
  session_unref(e->session);
  free(e);
}

static bool changes_fields(const struct effects *e) {
  bool changed = e->close || e->tokens || e->response_count;
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    changed |= e->texts[i] != NULL;
  }
  for (size_t i = 0; i < EFFECTS_FLAGS; i++) {
    changed |= e->flags[i] >= 0;
  }
  return changed;
}

bool effects_stores(const struct effects *e) {
  return e->message_count || changes_fields(e);
}

bool effects_empty(const struct effects *e) {
  return e->send_count == 0 && !effects_stores(e);
}

int effects_set_text(struct effects *e, enum effects_text which, const char *text) {
  char *copy = strdup(text);
  if (!copy) {
    return UV_ENOMEM;
  }
  free(e->texts[which]);
  e->texts[which] = copy;
  return 0;
}

static int bounded(struct effects *e, size_t bytes) {
  if (e->message_count + e->send_count >= EFFECTS_MAX || e->bytes + bytes > EFFECTS_BYTES) {
    return E_FULL;
  }
  e->bytes += bytes;
  return 0;
}

/* Room for one more element of `size` bytes. */
static void *grown(void *array, size_t count, size_t *room, size_t size) {
  if (count < *room) {
    return array;
  }
  size_t more = *room ? *room * 2 : 2;
  void *bigger = realloc(array, more * size);
  if (bigger) {
    *room = more;
  }
  return bigger;
}

int effects_append(struct effects *e, struct message_record *record) {
  int code = bounded(e, record->content_len + (record->extra ? strlen(record->extra) : 0));
  struct message_record *all = code ? NULL : grown(e->messages, e->message_count, &e->message_room, sizeof *all);
  if (!all) {
    message_record_deinit(record);
    return code ? code : UV_ENOMEM;
  }
  e->messages = all;
  e->messages[e->message_count++] = *record;
  return 0;
}

int effects_send(struct effects *e, struct message *m, uint64_t to, uint64_t except, int close_code) {
  int code = bounded(e, m->len);
  if (code) {
    return code;
  }
  if (e->send_count == e->send_room) {
    bool first = e->sends == e->few;
    struct effects_send *all = realloc(first ? NULL : e->sends, e->send_room * 2 * sizeof *all);
    if (!all) {
      return UV_ENOMEM;
    }
    if (first) {
      memcpy(all, e->few, sizeof e->few);
    }
    e->sends = all;
    e->send_room *= 2;
  }
  e->sends[e->send_count++] =
    (struct effects_send){.message = message_ref(m), .to = to, .except = except, .close_code = close_code};
  return 0;
}

int effects_send_event(struct effects *e, struct message *m, uint64_t except) {
  if (e->message_count == 0) {
    return E_NOT_FOUND;
  }
  int code = effects_send(e, m, 0, except, 0);
  if (!code) {
    e->sends[e->send_count - 1].event = (uint32_t)e->message_count;
  }
  return code;
}

int effects_response(struct effects *e, uint32_t ms) {
  if (e->response_count >= EFFECTS_MAX) {
    return E_FULL;
  }
  uint32_t *all = realloc(e->responses, (e->response_count + 1) * sizeof *all);
  if (!all) {
    return UV_ENOMEM;
  }
  e->responses = all;
  e->responses[e->response_count++] = ms;
  return 0;
}

/* ---- sends ---- */

static void send_one(const struct effects_send *send, struct message *m, struct conn *c, const struct mailbox *here) {
  if (send->close_code) {
    conn_close(c, send->close_code, m->text, here);
  } else {
    conn_send(c, m, here);
  }
}

/* A new reference to what goes out; NULL: nothing. Only now it is known how the message was stored. */
static struct message *document(const struct effects *e, const struct effects_send *send) {
  const struct message *m = send->message;
  const struct message_record *r = send->event ? &e->messages[send->event - 1] : NULL;
  char tail[STORE_ID_LEN + 64];
  if (!r || m->len < 2 || m->text[m->len - 1] != '}') {
    return message_ref(send->message);
  }
  if (r->duplicate) {
    return NULL;
  }
  int len = snprintf(tail, sizeof tail, "%s\"id\":\"%s\",\"seq\":%" PRIu64 "}", m->text[m->len - 2] == '{' ? "" : ",",
                     r->id, r->seq);
  struct message *whole = message_join(m->text, m->len - 1, tail, (size_t)len);
  if (!whole) {
    abort(); /* members that silently miss an event would break the order they are promised */
  }
  return whole;
}

static void run_sends(const struct effects *e, const struct mailbox *here) {
  struct members members;
  session_members(e->session, &members);
  for (size_t i = 0; i < e->send_count; i++) {
    const struct effects_send *send = &e->sends[i];
    struct message *m = document(e, send);
    bool direct = m && send->to && e->conn && conn_id(e->conn) == send->to;
    if (direct) {
      send_one(send, m, e->conn, here);
    }
    for (size_t k = 0; m && !direct && k < members.count; k++) {
      uint64_t id = conn_id(members.all[k]);
      if ((!send->to || send->to == id) && send->except != id) {
        send_one(send, m, members.all[k], here);
      }
    }
    message_unref(m);
  }
  members_free(&members);
}

static void call_done(struct post *post) {
  struct effects *e = (struct effects *)post;
  e->done(e, e->arg);
}

static void finish(struct effects *e, const struct mailbox *here) {
  if (e->code == 0 && e->send_count) {
    run_sends(e, here);
  }
  if (!e->done) {
    effects_free(e);
  } else if (e->origin == here) {
    e->done(e, e->arg);
  } else {
    e->post.run = call_done;
    mailbox_put(e->origin, &e->post);
  }
}

/* Lets go what is settled at the head of the queue. The last of it may hold the last reference but the table's. */
static void flush(struct session *s, const struct effects_home *home) {
  struct out_queue *q = session_out(session_ref(s));
  while (q->head && q->head->settled) {
    struct effects *e = q->head;
    if (!(q->head = e->next)) {
      q->tail = NULL;
    }
    session_unhold(s, home->now_ms(home->arg));
    finish(e, home->here);
  }
  session_unref(s);
}

static void enqueue(struct session *s, struct effects *e) {
  struct out_queue *q = session_out(s);
  session_hold(s);
  e->next = NULL;
  if (q->tail) {
    q->tail->next = e;
  } else {
    q->head = e;
  }
  q->tail = e;
}

/* ---- fields and the store ---- */

static int apply_fields(struct session *s, const struct effects *e) REQUIRES(*s) {
  struct session_record *r = session_edit(s);
  char **texts[EFFECTS_TEXTS] = {&r->name, &r->model_id, &r->assisting_admin_id, &r->assisting_admin_name};
  int code = 0;
  for (size_t i = 0; i < EFFECTS_TEXTS; i++) {
    if (e->texts[i]) {
      int failed = session_set_text(s, texts[i], e->texts[i]);
      code = code ? code : failed;
    }
  }
  r->help_requested = e->flags[EFFECTS_HELP] >= 0 ? e->flags[EFFECTS_HELP] : r->help_requested;
  r->admin_assisted = e->flags[EFFECTS_ASSISTED] >= 0 ? e->flags[EFFECTS_ASSISTED] : r->admin_assisted;
  r->total_tokens += e->tokens;
  for (size_t i = 0; i < e->response_count; i++) {
    session_add_response(s, e->responses[i]);
  }
  if (e->close && r->end_ms == 0) {
    r->end_ms = (int64_t)e->now_ms;
  }
  if (e->message_count) {
    r->last_activity_ms = (int64_t)e->now_ms;
  }
  return code;
}

static void on_stored(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct effects *e = op->arg;
  struct session *s = e->session;
  const struct effects_home *home = e->home;
  e->code = op->code;
  e->messages = op->messages;
  e->message_count = op->message_count;
  op->messages = NULL;
  op->message_count = 0;
  session_lock_write(s);
  if (e->code == 0) {
    struct session_record *r = session_edit(s);
    session_set_stored(s, true); /* also when an earlier slice that should have inserted it failed */
    for (size_t i = 0; i < e->message_count; i++) {
      r->top = e->messages[i].seq > r->top ? e->messages[i].seq : r->top;
    }
  } else if (e->inserts) {
    session_set_stored(s, false);
  }
  session_unlock_write(s);
  if (e->code == 0 && e->inserts) {
    metrics_add(METRIC_SESSIONS_CREATED, 1);
  }
  e->settled = true;
  store_op_free(op);
  flush(s, home);
}

/* Applies the fields under the lock and takes the snapshot that is stored. NULL: *failed says why. */
static struct store_op *write_op(struct effects *e, int *failed) {
  struct session *s = e->session;
  struct store_op *op = store_op_new(STORE_WRITE);
  if (!op) {
    *failed = UV_ENOMEM;
    return NULL;
  }
  bool changed = changes_fields(e);
  session_lock_write(s);
  e->inserts = !session_stored(s);
  int code = session_erased(s) ? E_GONE : apply_fields(s, e);
  if (!code && (changed || e->inserts)) {
    op->has_session = true;
    code = session_record_copy(&op->session, session_fields(s));
    op->has_session = !code;
  }
  if (!code) {
    session_set_stored(s, true);
  }
  session_unlock_write(s);
  if (code) {
    store_op_free(op);
    *failed = code;
    return NULL;
  }
  if (!op->has_session) {
    memcpy(op->session.id, session_id(s), sizeof op->session.id);
  }
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
  enqueue(s, e);
  if (op) {
    op->reply_to = home->here;
    code = home->store ? store_submit(home->store, op) : E_STORE;
  }
  if (code) {
    LOG(LOG_ERROR, "store", "a write was not taken", LSTR("error", err_name(code)), LSTR("session", session_id(s)));
    if (op) {
      op->code = code;
      on_stored(&op->post);
    } else {
      e->code = code;
      e->settled = true;
      flush(s, home);
    }
  }
}

/* Before the field says so, so that nobody is given an ended one as the user's active one. Only the owner writes it. */
static void end_once(struct session *s, const struct effects_home *home) {
  session_lock_read(s);
  bool ended = session_fields(s)->end_ms != 0;
  session_unlock_read(s);
  if (!ended) {
    sessions_ended(home->sessions, s);
    metrics_add(METRIC_SESSIONS_ENDED, 1);
  }
}

void effects_apply(struct effects *e, const struct effects_home *home) {
  struct session *s = e->session;
  bool stores = effects_stores(e);
  if (e->close) {
    end_once(s, home);
  }
  if (stores) {
    submit(e, home);
  } else if (session_out(s)->head) {
    e->settled = true;
    enqueue(s, e);
  } else {
    finish(e, home->here);
  }
}

/* Nothing but words to the one whose message this answers. */
static bool only_answers(const struct effects *e) {
  for (size_t i = 0; i < e->send_count; i++) {
    if (!e->conn || e->sends[i].to != conn_id(e->conn)) {
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
    finish(e, home->here); /* needs no inbox, so refusing messages cannot fill one */
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
