/* In: conversations. Out: their names sealed. Why: with a key the first words of a conversation are no more to be read
 * in the database than the rest of it. A name changes in place, by its row. */
#include "sqlite_impl.h"

#include "err.h"
#include "sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static int names_failed(sqlite3 *db, char why[256]) {
  snprintf(why, 256, "cannot seal the names: %.100s (SQLite code %d)", sqlite3_errmsg(db),
           sqlite3_extended_errcode(db));
  return E_STORE;
}

static int name_write(sqlite3 *db, sqlite3_stmt *update, sqlite3_int64 key, const char *name, size_t len,
                      char why[256]) {
  sqlite3_bind_int64(update, 1, key);
  sqlite3_bind_text64(update, 2, name, len, SQLITE_STATIC, SQLITE_UTF8);
  sqlite3_step(update);
  return sqlite3_reset(update) == SQLITE_OK ? 0 : names_failed(db, why);
}

#define NAMED "SELECT key, id, uid, nm FROM sessions WHERE key > ?1 AND nm IS NOT NULL AND nm != '' ORDER BY key"

static bool names_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **next, sqlite3_stmt **update) {
  *next = *update = NULL;
  return sqlite3_prepare_v2(db, sql, -1, next, NULL) == SQLITE_OK &&
         sqlite3_prepare_v2(db, "UPDATE sessions SET nm = ?2 WHERE key = ?1", -1, update, NULL) == SQLITE_OK;
}

/* Until this version a name was stored as it was, whatever it looked like. */
int names_upgrade(sqlite3 *db, const struct keyring *keys, char why[256]) {
  sqlite3_stmt *s, *update;
  int code = names_prepare(db, NAMED, &s, &update) ? 0 : names_failed(db, why), row = SQLITE_DONE;
  sqlite3_bind_int64(s, 1, INT64_MIN);
  while (code == 0 && (row = sqlite3_step(s)) == SQLITE_ROW) {
    char *name;
    size_t len;
    code = sealed_name(keys, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 2),
                       (const char *)sqlite3_column_text(s, 3), &name, &len);
    if (code)
      snprintf(why, 256, "cannot seal the names: %s", err_text(code));
    else if (len != (size_t)sqlite3_column_bytes(s, 3))
      code = name_write(db, update, sqlite3_column_int64(s, 0), name, len, why);
    free(name);
  }
  if (code == 0 && row != SQLITE_DONE)
    code = names_failed(db, why);
  sqlite3_finalize(s);
  sqlite3_finalize(update);
  return code;
}

int names_reseal(sqlite3 *db, const struct keyring *keys, sqlite3_int64 *after, int limit, uint64_t *failed,
                 char why[256]) {
  sqlite3_stmt *s, *update;
  int code = names_prepare(db, NAMED " LIMIT ?2", &s, &update) ? 0 : names_failed(db, why), rows = 0, row = SQLITE_DONE;
  sqlite3_bind_int64(s, 1, *after);
  sqlite3_bind_int(s, 2, limit);
  while (code == 0 && (row = sqlite3_step(s)) == SQLITE_ROW) {
    char *name = NULL;
    size_t len;
    rows++;
    *after = sqlite3_column_int64(s, 0);
    int sealed =
      sealed_name_again(keys, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 2),
                        sqlite3_column_text(s, 3), (size_t)sqlite3_column_bytes(s, 3), &name, &len);
    if (sealed == UV_ENOMEM)
      code = sealed;
    else if (sealed == 0)
      code = name_write(db, update, *after, name, len, why);
    else
      *failed += sealed < 0;
    free(name);
  }
  if (code == 0 && row != SQLITE_DONE)
    code = names_failed(db, why);
  sqlite3_finalize(s);
  sqlite3_finalize(update);
  return code ? code : rows;
}
