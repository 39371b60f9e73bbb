/* In: one question. Out: the rows that answer it, or a code. The content of messages is opened here, on the readers'
 * threads (sealed.h). Why apart: lists and ownership look at session rows only and never at a message. */
#include "sqlite_impl.h"

#include "err.h"
#include "sealed.h"

#include <stdlib.h>

#define BEHIND_ALL_IDS "~"

static int message_columns(struct unsealing *u, sqlite3_stmt *s, const struct session_row *p,
                           struct message_record *m) {
  *m = (struct message_record){.seq = (uint64_t)sqlite3_column_int64(s, 0), .at_ms = sqlite3_column_int64(s, 7)};
  column_id(s, 1, m->id);
  if (!column_copy(s, 2, &m->cid, NULL) || !column_copy(s, 3, &m->sender, NULL) || !column_copy(s, 4, &m->type, NULL) ||
      !column_copy(s, 5, &m->extra, NULL))
    return statement_no_memory();
  const void *stored = sqlite3_column_blob(s, 6); /* NULL when there are no bytes */
  size_t len = (size_t)sqlite3_column_bytes(s, 6);
  int code = unsealing_message(u, p->id, p->user_id, m, false, stored ? stored : "", len);
  return code ? statement_no_memory() : 0;
}

static int read_session(struct sqlite_handle *h, enum statement which, const char *argument,
                        struct session_record *out) {
  sqlite3_stmt *s = h->statements[which];
  statement_bind(s, 1, argument);
  int r = statement_next(h, s);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  struct session_record found;
  struct unsealing u = {.keys = h->keys};
  bool whole = session_columns(&u, s, &found);
  sqlite3_reset(s);
  session_record_deinit(out); /* what was asked with */
  *out = found;
  return whole ? 0 : statement_no_memory();
}

static int read_sessions(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_OF_USER];
  struct unsealing u = {.keys = h->keys};
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return statement_no_memory();
  statement_bind(s, 1, op->session.user_id);
  sqlite3_bind_int64(s, 2, op->limit);
  bool from_the_newest = op->after.id[0] == '\0';
  sqlite3_bind_int64(s, 3, from_the_newest ? INT64_MAX : op->after.start_ms);
  statement_bind(s, 4, from_the_newest ? BEHIND_ALL_IDS : op->after.id);
  int r;
  while ((r = statement_next(h, s)) == 1) {
    if (!session_columns(&u, s, &op->sessions[op->session_count++])) {
      r = statement_no_memory();
      break;
    }
  }
  sqlite3_reset(s);
  (void)unsealing_end(&u); /* a list without names is a list */
  return r;
}

static int read_shared(struct sqlite_handle *h, struct store_op *op) {
  char hash[SHARE_HASH_LEN + 1];
  int code = sealed_share_hash(op->session.share_token, hash);
  return code ? E_STORE : read_session(h, S_SHARED, hash, &op->session);
}

static void messages_reverse(struct message_record *m, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    struct message_record swap = m[i];
    m[i] = m[count - 1 - i];
    m[count - 1 - i] = swap;
  }
}

static int history_rows(struct sqlite_handle *h, struct store_op *op, const struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_HISTORY];
  struct unsealing u = {.keys = h->keys};
  op->messages = calloc(op->limit, sizeof *op->messages);
  if (!op->messages)
    return statement_no_memory();
  bool to_the_end = op->before_seq == 0 || op->before_seq > INT64_MAX;
  sqlite3_bind_int64(s, 1, p->key);
  sqlite3_bind_int64(s, 2, to_the_end ? INT64_MAX : (sqlite3_int64)op->before_seq);
  sqlite3_bind_int64(s, 3, op->limit);
  size_t bytes = 0;
  int r = 1;
  while (bytes < store_op_page_bytes(op) && (r = statement_next(h, s)) == 1) {
    struct message_record *m = &op->messages[op->message_count++];
    r = message_columns(&u, s, p, m);
    if (r < 0)
      break;
    bytes += m->content_len;
  }
  sqlite3_reset(s);
  messages_reverse(op->messages, op->message_count);
  return r < 0 ? r : unsealing_end(&u);
}

static int read_history(struct sqlite_handle *h, struct store_op *op) {
  struct session_row p;
  int r = place_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  r = history_rows(h, op, &p);
  place_deinit(&p);
  return r;
}

static int open_rows(struct sqlite_handle *h, struct store_op *op, const struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_OPEN_OF];
  struct unsealing u = {.keys = h->keys};
  op->messages = calloc(STORE_OPEN_MAX, sizeof *op->messages);
  if (!op->messages)
    return statement_no_memory();
  sqlite3_bind_int64(s, 1, p->key);
  sqlite3_bind_int64(s, 2, STORE_OPEN_MAX);
  int r;
  while ((r = statement_next(h, s)) == 1) {
    struct message_record *m = &op->messages[op->message_count++];
    if ((r = message_columns(&u, s, p, m)) < 0)
      break;
    m->open = true;
    m->begun = sqlite3_column_int(s, 8) != 0;
    m->attempts = (uint32_t)sqlite3_column_int(s, 9);
  }
  sqlite3_reset(s);
  return r < 0 ? r : unsealing_end(&u);
}

/* The open messages of the conversation that was found. */
static int read_open(struct sqlite_handle *h, struct store_op *op) {
  struct session_row p;
  int r = place_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  r = open_rows(h, op, &p);
  place_deinit(&p);
  return r;
}

static int read_cid(struct sqlite_handle *h, struct store_op *op) {
  struct session_row p;
  int r = place_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  struct message_record *m = &op->messages[0];
  sqlite3_stmt *s = h->statements[S_FIND_CID];
  sqlite3_bind_int64(s, 1, p.key);
  statement_bind(s, 2, m->cid);
  r = statement_next(h, s);
  if (r == 1) {
    m->seq = (uint64_t)sqlite3_column_int64(s, 0);
    column_id(s, 1, m->id);
    m->at_ms = sqlite3_column_int64(s, 2);
  }
  sqlite3_reset(s);
  place_deinit(&p);
  return r < 0 ? r : r == 1 ? 0 : E_NOT_FOUND;
}

/* A file that was deleted, or has another in its place, still takes writes; nobody will ever find them. */
static int ping(struct sqlite_handle *h) {
  if (sqlite_moved(h))
    return E_STORE;
  int r = statement_next(h, h->statements[S_PING]);
  sqlite3_reset(h->statements[S_PING]);
  return r < 0 ? r : 0;
}

/* See mark.c: that of a database that was never put in the place of another is 0. */
static int read_epoch(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_EPOCH];
  int r = statement_next(h, s);
  op->epoch = r == 1 ? (uint32_t)sqlite3_column_int(s, 0) : 0;
  sqlite3_reset(s);
  return r < 0 ? r : 0;
}

void sqlite_read(void *handle, struct store_op *op) {
  struct sqlite_handle *h = handle;
  switch (op->kind) {
  case STORE_SESSION:
    op->code = read_session(h, S_SESSION, op->session.id, &op->session);
    break;
  case STORE_ACTIVE:
    op->code = read_session(h, S_ACTIVE, op->session.user_id, &op->session);
    break;
  case STORE_SESSIONS:
    op->code = read_sessions(h, op);
    return;
  case STORE_LIST:
    op->code = sqlite_list(h, op);
    return;
  case STORE_TOTALS:
    op->code = sqlite_totals(h, op);
    return;
  case STORE_SHARED:
    op->code = read_shared(h, op);
    return;
  case STORE_HISTORY:
    op->code = read_history(h, op);
    return;
  case STORE_CID:
    op->code = read_cid(h, op);
    return;
  case STORE_OPEN:
    op->code = sqlite_open_sessions(h, op);
    return;
  case STORE_EPOCH:
    op->code = read_epoch(h, op);
    return;
  case STORE_PING:
    op->code = ping(h);
    return;
  default:
    op->code = E_INVALID;
  }
  if (op->code == 0 && op->with_open)
    op->code = read_open(h, op);
}
