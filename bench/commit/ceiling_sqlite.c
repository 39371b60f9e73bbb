/* In: batches of rows. Out: one SQLite transaction each. Why: see ceiling.h. Three statements, prepared once, and the
 * key of each session at hand: there is no faster way to write the same rows. */
#include "ceiling.h"

#include "err.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sqlite_ceiling {
  sqlite3 *db;
  sqlite3_stmt *begin, *commit, *insert, *top;
  sqlite3_int64 *keys; /* of the sessions */
};

static void must(struct sqlite_ceiling *h, int code) {
  if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) {
    fprintf(stderr, "ceiling: %s\n", sqlite3_errmsg(h->db));
    exit(2);
  }
}

static sqlite3_stmt *prepared(struct sqlite_ceiling *h, const char *sql) {
  sqlite3_stmt *s;
  must(h, sqlite3_prepare_v3(h->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL));
  return s;
}

static int sqlite_open(const char *url, char *const *session_ids, size_t sessions, void **handle, char why[256]) {
  struct sqlite_ceiling *h = calloc(1, sizeof *h);
  if (!h || !(h->keys = calloc(sessions, sizeof *h->keys)) ||
      sqlite3_open_v2(strchr(url, ':') + 1, &h->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
    snprintf(why, 256, "the database cannot be opened");
    return E_STORE;
  }
  must(h, sqlite3_exec(h->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL));
  h->begin = prepared(h, "BEGIN IMMEDIATE");
  h->commit = prepared(h, "COMMIT");
  h->insert = prepared(h, "INSERT INTO messages(session, seq, id, cid, sender, type, ts, extra, content)"
                          " VALUES(?1, ?2, ?3, ?4, 'user', 'user_message', ?5, NULL, ?6)");
  h->top = prepared(h, "UPDATE sessions SET top = ?1, lastActivity = ?2 WHERE key = ?3");
  sqlite3_stmt *find = prepared(h, "SELECT key FROM sessions WHERE id = ?1");
  for (size_t i = 0; i < sessions; i++) {
    must(h, sqlite3_bind_text(find, 1, session_ids[i], -1, SQLITE_STATIC));
    must(h, sqlite3_step(find));
    h->keys[i] = sqlite3_column_int64(find, 0);
    must(h, sqlite3_reset(find));
  }
  sqlite3_finalize(find);
  *handle = h;
  return 0;
}

static void step(struct sqlite_ceiling *h, sqlite3_stmt *s) {
  must(h, sqlite3_step(s));
  must(h, sqlite3_reset(s));
}

static void sqlite_commit(void *handle, const struct row *rows, size_t count) {
  struct sqlite_ceiling *h = handle;
  step(h, h->begin);
  for (size_t i = 0; i < count; i++) {
    const struct row *r = &rows[i];
    sqlite3_bind_int64(h->insert, 1, h->keys[r->session]);
    sqlite3_bind_int64(h->insert, 2, (sqlite3_int64)r->seq);
    sqlite3_bind_text(h->insert, 3, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(h->insert, 4, r->cid, -1, SQLITE_STATIC);
    sqlite3_bind_int64(h->insert, 5, r->at_ms);
    sqlite3_bind_blob(h->insert, 6, r->content, CONTENT_LEN, SQLITE_STATIC);
    step(h, h->insert);
    sqlite3_bind_int64(h->top, 1, (sqlite3_int64)r->seq);
    sqlite3_bind_int64(h->top, 2, r->at_ms);
    sqlite3_bind_int64(h->top, 3, h->keys[r->session]);
    step(h, h->top);
  }
  step(h, h->commit);
}

static void sqlite_close(void *handle) {
  struct sqlite_ceiling *h = handle;
  sqlite3_finalize(h->begin);
  sqlite3_finalize(h->commit);
  sqlite3_finalize(h->insert);
  sqlite3_finalize(h->top);
  sqlite3_close(h->db);
  free(h->keys);
  free(h);
}

const struct ceiling ceiling_sqlite = {
  .scheme = "sqlite", .open = sqlite_open, .commit = sqlite_commit, .close = sqlite_close};
