/* In: a batch of writes. Out: one transaction with all of them, and a code for each. The content of messages is sealed
 * here, on the writer's thread (sealed.h). Why this shape: one transaction per batch shares the cost of a commit; a
 * session row carries `top`, so that a message gets its seq in the same transaction, and is remembered (rows.c).
 *
 * An operation fails alone. Nearly none does, and a savepoint around each costs copies of pages; so the batch goes
 * without. When one has failed half way, everything is undone and the batch is written once more, with savepoints. */
#include "sqlite_impl.h"

#include "err.h"
#include "log.h"
#include "metrics.h"
#include "sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbered as SESSION_COLUMNS, for the insert and the update. */
static void session_bind(sqlite3_stmt *s, const struct session_record *r, uint8_t *responses) {
  for (uint32_t i = 0; i < r->response_count; i++) {
    for (int byte = 0; byte < 4; byte++)
      responses[4 * i + (uint32_t)byte] = (uint8_t)(r->responses[i] >> (8 * byte));
  }
  statement_bind(s, 1, r->id);
  statement_bind(s, 2, r->user_id);
  statement_bind(s, 4, r->model_id);
  statement_bind(s, 5, r->assisting_admin_id);
  statement_bind(s, 6, r->assisting_admin_name);
  sqlite3_bind_int64(s, 7, r->start_ms);
  sqlite3_bind_int64(s, 8, r->end_ms);
  sqlite3_bind_int64(s, 9, r->last_activity_ms);
  sqlite3_bind_int(s, 10, r->help_requested);
  sqlite3_bind_int(s, 11, r->admin_assisted);
  sqlite3_bind_int64(s, 12, r->total_tokens);
  sqlite3_bind_int64(s, 13, r->max_response_ms);
  sqlite3_bind_int64(s, 14, r->avg_response_ms);
  sqlite3_bind_int64(s, 19, r->received);
  sqlite3_bind_int64(s, 20, r->read);
  sqlite3_bind_blob(s, 15, responses, 4 * (int)r->response_count, SQLITE_STATIC);
}

/* The name as it is stored; nothing is kept of it when there is none. */
static int name_bind(struct sqlite_handle *h, sqlite3_stmt *s, const struct session_record *r, const char *user_id) {
  char *stored;
  size_t len;
  int code = sealed_name(h->keys, r->id, user_id, r->name, &stored, &len);
  if (code)
    LOG(LOG_ERROR, "store", "a name cannot be sealed", LSTR("session", r->id), LSTR("reason", err_text(code)));
  else if (!stored)
    statement_bind(s, 3, r->name);
  else
    sqlite3_bind_text64(s, 3, stored, len, free, SQLITE_UTF8);
  return code ? E_STORE : 0;
}

static int session_insert(struct sqlite_handle *h, const struct session_record *r, struct session_row *p) {
  uint8_t responses[sizeof r->responses];
  char *user_id = strdup(r->user_id ? r->user_id : "");
  if (!user_id)
    return statement_no_memory();
  session_bind(h->statements[S_INSERT_SESSION], r, responses);
  int code = name_bind(h, h->statements[S_INSERT_SESSION], r, user_id);
  code = code ? code : statement_do(h, S_INSERT_SESSION);
  if (code) {
    free(user_id);
    return code;
  }
  *p = (struct session_row){.user_id = user_id,
                            .key = sqlite3_last_insert_rowid(h->db),
                            .start_ms = r->start_ms,
                            .end_ms = r->end_ms,
                            .name = row_hash(h, r->name)};
  snprintf(p->id, sizeof p->id, "%s", r->id);
  return 0;
}

static bool name_stays(const struct session_record *r) {
  return r->name_damaged && (!r->name || *r->name == '\0');
}

/* Whether the columns that are indexed, and the name, which would have to be sealed anew, are stored as they are. */
static bool only_counts(const struct sqlite_handle *h, const struct session_record *r, const struct session_row *p) {
  return r->start_ms == p->start_ms && r->end_ms == p->end_ms && (name_stays(r) || row_hash(h, r->name) == p->name);
}

static int session_update(struct sqlite_handle *h, const struct session_record *r, struct session_row *p) {
  bool counts = only_counts(h, r, p);
  enum statement which = counts ? S_UPDATE_COUNTS : S_UPDATE_SESSION;
  sqlite3_stmt *s = h->statements[which];
  uint8_t responses[sizeof r->responses];
  session_bind(s, r, responses);
  sqlite3_bind_int64(s, 16, p->top);
  sqlite3_bind_int64(s, 17, p->key);
  if (counts)
    return statement_do(h, which);
  sqlite3_bind_int(s, 18, name_stays(r));
  int code = name_bind(h, s, r, p->user_id);
  code = code ? code : statement_do(h, which);
  if (code)
    return code;
  p->start_ms = r->start_ms;
  p->end_ms = r->end_ms;
  p->name = name_stays(r) ? p->name : row_hash(h, r->name);
  return 0;
}

/* 1: the cid is there, m has seq and id of the first. */
static int message_find(struct sqlite_handle *h, sqlite3_int64 session, struct message_record *m) {
  sqlite3_stmt *s = h->statements[S_FIND_CID];
  sqlite3_bind_int64(s, 1, session);
  statement_bind(s, 2, m->cid);
  int r = statement_next(h, s);
  if (r != 1)
    return r;
  m->duplicate = true;
  m->seq = (uint64_t)sqlite3_column_int64(s, 0);
  column_id(s, 1, m->id);
  m->at_ms = sqlite3_column_int64(s, 2);
  sqlite3_reset(s);
  r = m->open ? sqlite_open_find(h, session, m->id, &m->open) : 0;
  return r < 0 ? r : 1;
}

/* m has its seq. */
static int content_bind(struct sqlite_handle *h, const struct session_row *p, const struct message_record *m) {
  char *stored;
  size_t len;
  int code = sealed_message(h->keys, p->id, p->user_id, m, &stored, &len);
  if (code == 0)
    sqlite3_bind_blob64(h->statements[S_INSERT_MESSAGE], 9, stored, len, free);
  else
    LOG(LOG_ERROR, "store", "a message cannot be sealed", LSTR("session", p->id), LSTR("reason", err_text(code)));
  return code ? E_STORE : 0;
}

/* Inserts first and asks after: nearly every cid is new, and the unique index is what counts anyway. */
static int message_insert(struct sqlite_handle *h, struct session_row *p, struct message_record *m) {
  sqlite3_stmt *s = h->statements[S_INSERT_MESSAGE];
  m->seq = (uint64_t)p->top + 1;
  m->duplicate = false;
  if (content_bind(h, p, m) != 0)
    return E_STORE;
  sqlite3_bind_int64(s, 1, p->key);
  sqlite3_bind_int64(s, 2, p->top + 1);
  statement_bind(s, 3, m->id);
  statement_bind(s, 4, m->cid);
  statement_bind(s, 5, m->sender);
  statement_bind(s, 6, m->type);
  sqlite3_bind_int64(s, 7, m->at_ms);
  statement_bind(s, 8, m->extra);
  int code = statement_run(h, S_INSERT_MESSAGE);
  if (code == SQLITE_OK) {
    p->top++;
    return 0;
  }
  if (code == SQLITE_CONSTRAINT_UNIQUE && m->cid) {
    int r = message_find(h, p->key, m);
    if (r != 0)
      return r < 0 ? r : 0;
  }
  return statement_failed(h, code);
}

static int top_update(struct sqlite_handle *h, const struct store_op *op, const struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_UPDATE_TOP];
  sqlite3_bind_int64(s, 1, p->top);
  sqlite3_bind_int64(s, 2, op->messages[op->message_count - 1].at_ms);
  sqlite3_bind_int64(s, 3, p->key);
  return statement_do(h, S_UPDATE_TOP);
}

/* A message that is dealt with in the same transaction never waits. */
static int messages_insert(struct sqlite_handle *h, struct store_op *op, struct session_row *p, bool *dealt) {
  int r = 0;
  for (size_t i = 0; i < op->message_count && r == 0; i++) {
    struct message_record *m = &op->messages[i];
    bool last = op->mark.what == STORE_DEALT && strcmp(op->mark.id, m->id) == 0;
    r = message_insert(h, p, m);
    if (r == 0 && m->open && !m->duplicate && !last)
      r = sqlite_open_insert(h, p->key, m);
    *dealt |= last && !m->duplicate;
  }
  return r;
}

static int op_write_rows(struct sqlite_handle *h, struct store_op *op, struct session_row *p, bool fresh) {
  bool dealt = false;
  int r = fresh ? session_insert(h, &op->session, p) : 0;
  sqlite3_int64 top = p->top;
  r = r ? r : messages_insert(h, op, p, &dealt);
  if (r == 0 && op->mark.id[0] != '\0' && !dealt)
    r = sqlite_open_mark(h, p->key, &op->mark);
  if (r < 0)
    return r;
  if (op->has_session && !fresh)
    return session_update(h, &op->session, p);
  return p->top == top ? 0 : top_update(h, op, p);
}

static int op_write(struct sqlite_handle *h, struct store_op *op) {
  struct session_row *p;
  int found = row_find(h, op->session.id, &p);
  if (found < 0)
    return found;
  return !found && !op->has_session ? E_NOT_FOUND : op_write_rows(h, op, p, !found);
}

/* Down to the pages that every message goes to, and, with the commit, to the disk. */
static int probe(struct sqlite_handle *h) {
  static const char sql[] = "INSERT INTO messages(session, seq, id, ts, content) VALUES(-1, 1, 'probe', 0, x'');"
                            "DELETE FROM messages WHERE session = -1;"
                            "INSERT INTO keys(id, sealed) VALUES('probe', 0); DELETE FROM keys WHERE id = 'probe'";
  int code = sqlite3_exec(h->db, sql, NULL, NULL, NULL);
  return code == SQLITE_OK ? 0 : statement_failed(h, sqlite3_extended_errcode(h->db));
}

static int op_run(struct sqlite_handle *h, struct store_op *op) {
  switch (op->kind) {
  case STORE_WRITE:
    return op_write(h, op);
  case STORE_SHARE:
    return sqlite_share(h, op);
  case STORE_ERASE:
    rows_forget(h);
    return sqlite_erase(h, op);
  case STORE_EXPIRE:
    rows_forget(h);
    return sqlite_expire(h, op);
  case STORE_AUDIT:
    return sqlite_audit(h, &op->audit);
  case STORE_PING: /* that it began is the answer, unless writes have failed */
    return h->failing ? probe(h) : 0;
  default:
    return E_INVALID;
  }
}

/* How many rows it inserts at most; where only the first can break a rule there is nothing to undo. */
static size_t op_rows(const struct store_op *op) {
  return op->kind == STORE_WRITE
           ? (size_t)op->has_session + op->message_count
           : (op->kind == STORE_SHARE || op->kind == STORE_ERASE || op->kind == STORE_EXPIRE ? 2 : 1);
}

static int op_fenced(struct sqlite_handle *h, struct store_op *op) {
  int r = statement_do(h, S_FENCE);
  if (r < 0)
    return r;
  r = op_run(h, op);
  if (h->broken)
    return r;
  if (r < 0) {
    (void)statement_do(h, S_FENCE_UNDO);
    rows_forget(h);
  }
  int ended = statement_do(h, S_FENCE_END);
  return r < 0 ? r : ended;
}

/* Somebody else has the write lock, an operator's shell perhaps: that passes, so the writes wait. False: begun, or it
 * has failed. */
static bool begin_busy(struct sqlite_handle *h, bool *begun) {
  int code = statement_run(h, S_BEGIN);
  *begun = code == SQLITE_OK && rows_check(h) == 0;
  if (*begun || (code & 0xff) == SQLITE_BUSY)
    return !*begun;
  if (code != SQLITE_OK)
    statement_failed(h, code);
  return false;
}

/* A seq that is not committed does not exist; what is not erased for good is not erased. */
static void op_failed(struct store_op *op, int code) {
  op->code = code;
  op->erased = (struct store_erased){0};
  op->erasure = 0;
  while (op->session_count > 0)
    session_record_deinit(&op->sessions[--op->session_count]);
  for (size_t i = 0; i < op->message_count; i++) {
    op->messages[i].seq = 0;
    op->messages[i].duplicate = false;
  }
}

static void batch_failed(struct store_op **ops, size_t count, int code) {
  for (size_t i = 0; i < count; i++) {
    if (!store_op_empty(ops[i]))
      op_failed(ops[i], code);
  }
}

/* How many texts a batch seals at most. */
static uint64_t batch_texts(struct store_op *const *ops, size_t count) {
  uint64_t n = 0;
  for (size_t i = 0; i < count; i++)
    n += ops[i]->kind == STORE_SHARE   ? 1
         : ops[i]->kind != STORE_WRITE ? 0
                                       : ops[i]->message_count + (ops[i]->has_session && ops[i]->session.name);
  return n;
}

static void undo(struct sqlite_handle *h) {
  if (!sqlite3_get_autocommit(h->db))
    (void)statement_do(h, S_ROLLBACK);
  rows_forget(h);
}

/* What becomes of a batch in a transaction. */
enum batch_end { BATCH_WRITTEN, BATCH_AWAY, BATCH_AGAIN };

/* Everything but the commit. BATCH_AGAIN: without fences one has failed half way. */
static enum batch_end batch_run(struct sqlite_handle *h, struct store_op **ops, size_t count, bool fences,
                                uint64_t texts, bool *begun) {
  *begun = false;
  h->broken = false;
  for (size_t i = 0; i < count; i++)
    ops[i]->code = 0;
  for (size_t i = 0; i < count && !h->broken; i++) {
    if (store_op_empty(ops[i]))
      continue;
    if (!*begun && begin_busy(h, begun))
      return BATCH_AWAY;
    bool fenced = fences && op_rows(ops[i]) > 1;
    int r = *begun ? keys_reserve(h, texts) : E_STORE;
    r = r ? r : fenced ? op_fenced(h, ops[i]) : op_run(h, ops[i]);
    if (r < 0 && !fences && op_rows(ops[i]) > 1 && !h->broken)
      return BATCH_AGAIN;
    if (r < 0)
      op_failed(ops[i], r);
  }
  return BATCH_WRITTEN;
}

/* What begins an erasure cannot be begun twice. */
static bool batch_erases(struct store_op *const *ops, size_t count) {
  bool erases = false;
  for (size_t i = 0; i < count; i++)
    erases |= ops[i]->kind == STORE_ERASE || ops[i]->kind == STORE_EXPIRE;
  return erases;
}

void sqlite_write(void *handle, struct store_op **ops, size_t count) {
  struct sqlite_handle *h = handle;
  bool begun;
  uint64_t texts = h->keys ? batch_texts(ops, count) : 0;
  if (sqlite_moved(h)) {
    h->failing = true;
    batch_failed(ops, count, E_STORE);
    return;
  }
  enum batch_end end = batch_run(h, ops, count, batch_erases(ops, count), texts, &begun);
  if (end == BATCH_AGAIN) {
    undo(h);
    h->reserving = 0;
    end = batch_run(h, ops, count, true, texts, &begun);
  }
  if (end == BATCH_AWAY) {
    batch_failed(ops, count, E_AWAY);
    return;
  }
  if (begun && !h->broken && statement_do(h, S_COMMIT) == 0) {
    metrics_add(METRIC_STORE_COMMITS, 1);
    keys_sealed(h, texts);
    h->failing = false;
  }
  h->reserving = 0;
  for (size_t i = 0; i < count && !h->broken; i++) {
    if (ops[i]->code == 0 && ops[i]->erasure != 0)
      ops[i]->code = E_MORE;
  }
  if (!h->broken)
    return;
  h->failing = true;
  undo(h);
  batch_failed(ops, count, E_STORE);
}
