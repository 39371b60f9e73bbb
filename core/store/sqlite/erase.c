/* In: a user, or a time. Out: their conversations gone with all messages, overwritten, and a record of it. Why in
 * steps: a million messages take seconds, and nobody's message is to wait for them. The first step, in its place among
 * the writes, only says what is to go (table `erasing`, a range of a user's conversations); from then on no statement
 * finds it (NOT_ERASING). Each step deletes some of it in a transaction of its own. Then the file is scrubbed
 * (scrub.c), and at last the record is written. What was interrupted is found in the tables by the next start. */
#include "sqlite_impl.h"

#include "err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_ROWS 500
#define STEP_BYTES (1 << 20)

int sqlite_audit(struct sqlite_handle *h, const struct audit_record *a) {
  sqlite3_stmt *s = h->statements[S_INSERT_AUDIT];
  sqlite3_bind_int64(s, 1, a->at_ms);
  statement_bind(s, 2, a->actor);
  statement_bind(s, 3, a->action);
  statement_bind(s, 4, a->subject);
  statement_bind(s, 5, a->detail);
  return statement_do(h, S_INSERT_AUDIT);
}

static int erased_audit(struct sqlite_handle *h, struct store_op *op) {
  int r = store_op_account(op);
  return r < 0 ? statement_no_memory() : sqlite_audit(h, &op->audit);
}

/* ---- the first step, in the transaction of the batch ---- */

static int erasure_begin(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_ERASURE];
  sqlite3_bind_int64(s, 1, op->audit.at_ms);
  statement_bind(s, 2, op->audit.actor);
  statement_bind(s, 3, op->audit.action);
  statement_bind(s, 4, op->audit.subject);
  int r = statement_do(h, S_ERASURE);
  op->erasure = sqlite3_last_insert_rowid(h->db);
  return r;
}

static int range_add(struct sqlite_handle *h, const char *user, sqlite3_int64 first, sqlite3_int64 last,
                     sqlite3_int64 erasure) {
  sqlite3_stmt *s = h->statements[S_ERASING];
  statement_bind(s, 1, user);
  sqlite3_bind_int64(s, 2, first);
  sqlite3_bind_int64(s, 3, last);
  sqlite3_bind_int64(s, 4, erasure);
  return statement_do(h, S_ERASING);
}

/* An erasure of this user that was interrupted takes up what has come since. */
static int user_erasure(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_ERASING_USER];
  statement_bind(s, 1, op->session.user_id);
  int r = statement_next(h, s);
  if (r == 1)
    op->erasure = sqlite3_column_int64(s, 0);
  sqlite3_reset(s);
  return r < 0 ? r : r == 1 ? 0 : erasure_begin(h, op);
}

/* Only session.id. */
static int erase_one(struct sqlite_handle *h, struct store_op *op) {
  struct session_row p;
  int r = place_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  bool own = strcmp(p.user_id, op->session.user_id) == 0;
  r = own ? erasure_begin(h, op) : E_NOT_FOUND;
  r = r < 0 ? r : range_add(h, p.user_id, p.key, p.key, op->erasure);
  place_deinit(&p);
  return r;
}

int sqlite_erase(struct sqlite_handle *h, struct store_op *op) {
  if (op->session.id[0] != '\0')
    return erase_one(h, op);
  sqlite3_stmt *s = h->statements[S_OWNED];
  statement_bind(s, 1, op->session.user_id);
  int r = statement_next(h, s);
  sqlite3_int64 last = r == 1 ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_reset(s);
  if (r <= 0)
    return r < 0 ? r : erased_audit(h, op);
  r = user_erasure(h, op);
  return r < 0 ? r : range_add(h, op->session.user_id, 0, last, op->erasure);
}

/* 1: the next conversation behind (after, key) that is idle for so long is in *found; 0: none. */
static int idle_next(struct sqlite_handle *h, const struct store_op *op, sqlite3_int64 *after, sqlite3_int64 *key,
                     struct session_record *found) {
  sqlite3_stmt *s = h->statements[S_IDLE];
  sqlite3_bind_int64(s, 1, *after);
  sqlite3_bind_int64(s, 2, *key);
  sqlite3_bind_int64(s, 3, op->before_ms);
  int r = statement_next(h, s);
  if (r != 1)
    return r;
  *key = sqlite3_column_int64(s, 0);
  *after = sqlite3_column_int64(s, 3);
  *found = (struct session_record){0};
  column_id(s, 1, found->id);
  bool whole = column_copy(s, 2, &found->user_id, NULL);
  sqlite3_reset(s);
  return whole ? 1 : statement_no_memory();
}

int sqlite_expire(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_int64 after = INT64_MIN, key = INT64_MIN;
  struct session_record found;
  int r = 1;
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return statement_no_memory();
  while (op->session_count < op->limit && (r = idle_next(h, op, &after, &key, &found)) == 1) {
    if (op->in_use && op->in_use(op->arg, found.id)) {
      session_record_deinit(&found);
      continue;
    }
    op->sessions[op->session_count++] = found;
    if (op->erasure == 0 && (r = erasure_begin(h, op)) < 0)
      break;
    if ((r = range_add(h, found.user_id, key, key, op->erasure)) < 0)
      break;
  }
  return r < 0 ? r : 0;
}

/* ---- the steps, each a transaction ---- */

struct erase_step {
  sqlite3_int64 erasure;
  int64_t rows, bytes; /* that it may still delete */
  struct store_erased erased;
};

/* How far the messages of a conversation may go in this step: *seq; INT64_MAX: all of them. */
static int messages_bound(struct sqlite_handle *h, struct erase_step *p, sqlite3_int64 session, sqlite3_int64 *seq) {
  sqlite3_stmt *s = h->statements[S_SIZES];
  int r;
  *seq = 0;
  sqlite3_bind_int64(s, 1, session);
  while ((r = statement_next(h, s)) == 1 && p->rows > 0 && p->bytes > 0) {
    *seq = sqlite3_column_int64(s, 0);
    p->bytes -= sqlite3_column_int64(s, 1);
    p->rows--;
  }
  if (r == 0)
    *seq = INT64_MAX;
  sqlite3_reset(s);
  return r < 0 ? r : 0;
}

static int session_delete(struct sqlite_handle *h, struct erase_step *p, sqlite3_int64 session) {
  sqlite3_int64 seq;
  int r = messages_bound(h, p, session, &seq);
  if (r < 0)
    return r;
  sqlite3_bind_int64(h->statements[S_DELETE_MESSAGES], 1, session);
  sqlite3_bind_int64(h->statements[S_DELETE_MESSAGES], 2, seq);
  if ((r = statement_do(h, S_DELETE_MESSAGES)) < 0)
    return r;
  p->erased.messages += (uint64_t)sqlite3_changes(h->db);
  if (seq != INT64_MAX)
    return 0;
  sqlite3_bind_int64(h->statements[S_OPEN_DELETE], 1, session);
  if ((r = statement_do(h, S_OPEN_DELETE)) < 0)
    return r;
  sqlite3_bind_int64(h->statements[S_SHARE_DELETE], 1, session);
  if ((r = statement_do(h, S_SHARE_DELETE)) < 0)
    return r;
  p->rows--;
  p->erased.sessions++;
  sqlite3_bind_int64(h->statements[S_DELETE_SESSION], 1, session);
  return statement_do(h, S_DELETE_SESSION);
}

static int erased_add(struct sqlite_handle *h, const struct erase_step *p) {
  sqlite3_stmt *s = h->statements[S_ERASED];
  sqlite3_bind_int64(s, 1, p->erasure);
  sqlite3_bind_int64(s, 2, (sqlite3_int64)p->erased.sessions);
  sqlite3_bind_int64(s, 3, (sqlite3_int64)p->erased.messages);
  return statement_do(h, S_ERASED);
}

/* E_MORE, or 0: nothing is left of it. */
static int some_delete(struct sqlite_handle *h, sqlite3_int64 erasure) {
  struct erase_step p = {.erasure = erasure, .rows = STEP_ROWS, .bytes = STEP_BYTES};
  sqlite3_stmt *s = h->statements[S_DOOMED];
  int r = 1;
  while (p.rows > 0 && p.bytes > 0) {
    sqlite3_bind_int64(s, 1, erasure);
    r = statement_next(h, s);
    sqlite3_int64 session = r == 1 ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    if (r != 1 || (r = session_delete(h, &p, session)) < 0)
      break;
    r = 1;
  }
  if (r < 0 || p.erased.sessions + p.erased.messages == 0)
    return r;
  int added = erased_add(h, &p);
  return added < 0 ? added : E_MORE;
}

/* The record; who asked for it gets the numbers. */
static int erasure_end(struct sqlite_handle *h, sqlite3_int64 erasure, struct store_op *op) {
  struct store_op own = {.kind = STORE_ERASE};
  sqlite3_stmt *s = h->statements[S_ERASURE_READ];
  sqlite3_bind_int64(s, 1, erasure);
  int r = statement_next(h, s);
  if (r != 1)
    return r; /* 0: it ended with another operation of the same user */
  struct audit_record *a = &own.audit;
  a->at_ms = sqlite3_column_int64(s, 0);
  own.erased = (struct store_erased){(uint64_t)sqlite3_column_int64(s, 4), (uint64_t)sqlite3_column_int64(s, 5)};
  bool whole =
    column_copy(s, 1, &a->actor, NULL) && column_copy(s, 2, &a->action, NULL) && column_copy(s, 3, &a->subject, NULL);
  sqlite3_reset(s);
  r = whole ? erased_audit(h, &own) : statement_no_memory();
  for (enum statement end = S_ERASING_END; r == 0 && end <= S_ERASURE_END; end++) {
    sqlite3_bind_int64(h->statements[end], 1, erasure);
    r = statement_do(h, end);
  }
  if (op && r == 0) {
    op->erased = own.erased;
    r = store_op_account(op);
  }
  audit_record_deinit(a);
  return r;
}

static int erasure_find(struct sqlite_handle *h, sqlite3_int64 *erasure) {
  sqlite3_stmt *s = h->statements[S_ERASURE_FIRST];
  int r = statement_next(h, s);
  *erasure = r == 1 ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_reset(s);
  return r;
}

static int step_run(struct sqlite_handle *h, sqlite3_int64 erasure, struct store_op *op, bool overwritten) {
  int r = some_delete(h, erasure);
  if (r != 0 || !overwritten)
    return r;
  return erasure_end(h, erasure, op);
}

/* In a transaction. */
static int step_commit(struct sqlite_handle *h, sqlite3_int64 erasure, struct store_op *op, bool overwritten) {
  h->broken = false;
  int code = statement_run(h, S_BEGIN);
  if (code != SQLITE_OK)
    return (code & 0xff) == SQLITE_BUSY ? E_AWAY : statement_failed(h, code);
  int r = step_run(h, erasure, op, overwritten), committed = 0;
  if ((r == 0 || r == E_MORE) && !h->broken)
    committed = statement_do(h, S_COMMIT);
  if (!sqlite3_get_autocommit(h->db))
    (void)statement_do(h, S_ROLLBACK);
  return committed < 0 ? committed : r;
}

int sqlite_erase_step(void *handle, struct store_op *op) {
  struct sqlite_handle *h = handle;
  sqlite3_int64 erasure = op ? op->erasure : 0;
  int r = op ? 1 : erasure_find(h, &erasure);
  if (r != 1)
    return r;
  if (!h->scrub) { /* 0: all of it is deleted */
    r = step_commit(h, erasure, NULL, false);
    return r ? r : scrub_begin(h);
  }
  r = scrub_step(h);
  if (r)
    return r;
  r = step_commit(h, erasure, op, true);
  return r == 0 && !op ? E_MORE : r; /* there may be another one */
}
