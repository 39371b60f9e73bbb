/* In: a user, or a time. Out: their conversations gone with all messages, and a record of it, in the transaction of the
 * batch. Why apart: the only place that deletes. What it deletes is overwritten in the file (secure_delete); until the
 * next checkpoint the write-ahead log may still hold older pages. */
#include "sqlite_impl.h"

#include <stdlib.h>
#include <string.h>

int sqlite_audit(struct sqlite_handle *h, const struct audit_record *a) {
  sqlite3_stmt *s = h->statements[S_INSERT_AUDIT];
  sqlite3_bind_int64(s, 1, a->at_ms);
  statement_bind(s, 2, a->actor);
  statement_bind(s, 3, a->action);
  statement_bind(s, 4, a->subject);
  statement_bind(s, 5, a->detail);
  return statement_do(h, S_INSERT_AUDIT);
}

static int session_delete(struct sqlite_handle *h, sqlite3_int64 key, struct store_erased *erased) {
  sqlite3_bind_int64(h->statements[S_DELETE_MESSAGES], 1, key);
  int r = statement_do(h, S_DELETE_MESSAGES);
  if (r < 0)
    return r;
  erased->messages += (uint64_t)sqlite3_changes(h->db);
  erased->sessions++;
  sqlite3_bind_int64(h->statements[S_DELETE_SESSION], 1, key);
  return statement_do(h, S_DELETE_SESSION);
}

static int erased_audit(struct sqlite_handle *h, struct store_op *op) {
  int r = store_op_account(op);
  return r < 0 ? statement_no_memory() : sqlite_audit(h, &op->audit);
}

int sqlite_erase(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_OWNED];
  statement_bind(s, 1, op->session.user_id);
  int r;
  while ((r = statement_next(h, s)) == 1) {
    sqlite3_int64 key = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    if ((r = session_delete(h, key, &op->erased)) < 0)
      return r;
  }
  return r < 0 ? r : erased_audit(h, op);
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
  if (op->sessions == NULL)
    return statement_no_memory();
  while (op->session_count < op->limit && (r = idle_next(h, op, &after, &key, &found)) == 1) {
    if (op->in_use != NULL && op->in_use(op->arg, found.id)) {
      session_record_deinit(&found);
      continue;
    }
    op->sessions[op->session_count++] = found;
    if ((r = session_delete(h, key, &op->erased)) < 0)
      break;
  }
  if (r < 0 || op->session_count == 0)
    return r < 0 ? r : 0;
  return erased_audit(h, op);
}
