/* In: what an operation needs of a database. Out: its rows, or a code. Why: all SQL that serves is in one table (in
 * store_sqlite_impl.h), prepared once for each handle; what SQLite says is told apart by its codes, here and nowhere
 * else; they and its text are logged, content never. */
#include "sqlite_impl.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const statement_sql[S_COUNT] = {
#define STATEMENT_SQL(name, sql) [S_##name] = (sql),
  STATEMENTS(STATEMENT_SQL)
#undef STATEMENT_SQL
};

int statement_failed(struct sqlite_handle *h, int code) {
  int primary = code & 0xff;
  bool latest = sqlite3_extended_errcode(h->db) == code; /* else its text is another one's */
  LOG(LOG_ERROR, "store", "database operation failed", LINT("code", code),
      LSTR("reason", latest ? sqlite3_errmsg(h->db) : sqlite3_errstr(code)));
  if ((primary != SQLITE_CONSTRAINT && primary != SQLITE_TOOBIG) || sqlite3_get_autocommit(h->db))
    h->broken = true;
  return E_STORE;
}

int statement_run(struct sqlite_handle *h, enum statement which) {
  sqlite3_step(h->statements[which]);
  return sqlite3_reset(h->statements[which]);
}

int statement_do(struct sqlite_handle *h, enum statement which) {
  int code = statement_run(h, which);
  return code == SQLITE_OK ? 0 : statement_failed(h, code);
}

int statement_next(struct sqlite_handle *h, sqlite3_stmt *s) {
  if (sqlite3_step(s) == SQLITE_ROW)
    return 1;
  int code = sqlite3_reset(s);
  return code == SQLITE_OK ? 0 : statement_failed(h, code);
}

void statement_bind(sqlite3_stmt *s, int at, const char *text) {
  sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

bool column_copy(sqlite3_stmt *s, int at, char **out, size_t *len) {
  const void *bytes = sqlite3_column_blob(s, at);
  size_t n = (size_t)sqlite3_column_bytes(s, at);
  *out = NULL;
  if (len)
    *len = n;
  if (sqlite3_column_type(s, at) == SQLITE_NULL)
    return true;
  *out = malloc(n + 1);
  if (!*out)
    return false;
  if (n > 0)
    memcpy(*out, bytes, n);
  (*out)[n] = '\0';
  return true;
}

void column_id(sqlite3_stmt *s, int at, char out[STORE_ID_LEN + 1]) {
  snprintf(out, STORE_ID_LEN + 1, "%s", (const char *)sqlite3_column_text(s, at));
}

int statement_no_memory(void) {
  LOG(LOG_ERROR, "store", "no memory for what was read");
  return E_STORE;
}

int place_find(struct sqlite_handle *h, const char *id, struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_FIND];
  statement_bind(s, 1, id);
  int r = statement_next(h, s);
  if (r != 1)
    return r;
  *p = (struct session_row){.key = sqlite3_column_int64(s, 0),
                            .top = sqlite3_column_int64(s, 1),
                            .start_ms = sqlite3_column_int64(s, 3),
                            .end_ms = sqlite3_column_int64(s, 4)};
  snprintf(p->id, sizeof p->id, "%s", id);
  bool whole = column_copy(s, 2, &p->user_id, NULL);
  sqlite3_reset(s);
  return whole ? 1 : statement_no_memory();
}

void place_deinit(struct session_row *p) {
  free(p->user_id);
  p->user_id = NULL;
}
