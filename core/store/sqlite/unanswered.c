/* In: messages that wait for an answer, what is done about them. Out: rows of a table that has no others. Why: whether
 * a message was dealt with is stored in the transaction of what was done last, so after a crash the two agree. The
 * table is small (what is being dealt with just now), and a message costs one row put in and taken out, both within a
 * commit that happens anyway. */
#include "sqlite_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sqlite_open_insert(struct sqlite_handle *h, sqlite3_int64 session, const struct message_record *m) {
  sqlite3_stmt *s = h->statements[S_OPEN_INSERT];
  sqlite3_bind_int64(s, 1, session);
  statement_bind(s, 2, m->id);
  sqlite3_bind_int64(s, 3, m->at_ms);
  return statement_do(h, S_OPEN_INSERT);
}

int sqlite_open_find(struct sqlite_handle *h, sqlite3_int64 session, const char *id, bool *open) {
  sqlite3_stmt *s = h->statements[S_OPEN_FIND];
  sqlite3_bind_int64(s, 1, session);
  statement_bind(s, 2, id);
  int r = statement_next(h, s);
  *open = r == 1;
  sqlite3_reset(s);
  return r < 0 ? r : 0;
}

int sqlite_open_mark(struct sqlite_handle *h, sqlite3_int64 session, const struct store_mark *mark) {
  static const enum statement of[] = {
    [STORE_BEGUN] = S_OPEN_BEGUN, [STORE_ATTEMPT] = S_OPEN_ATTEMPT, [STORE_DEALT] = S_OPEN_DEALT};
  sqlite3_stmt *s = h->statements[of[mark->what]];
  sqlite3_bind_int64(s, 1, session);
  statement_bind(s, 2, mark->id);
  return statement_do(h, of[mark->what]);
}

int sqlite_open_sessions(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_OPEN_SESSIONS];
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return statement_no_memory();
  sqlite3_bind_int64(s, 1, op->before_ms);
  statement_bind(s, 2, op->after.id);
  sqlite3_bind_int64(s, 3, op->limit);
  int r;
  while ((r = statement_next(h, s)) == 1)
    column_id(s, 0, op->sessions[op->session_count++].id);
  sqlite3_reset(s);
  return r < 0 ? r : 0;
}
