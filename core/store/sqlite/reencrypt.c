/* In: an open database and a keyring. Out: every message sealed with the newest key. Why: see store_reencrypt.
 * Each batch is read, sealed in memory and written in one transaction, so a walk that is broken off has lost nothing;
 * the next one passes over what is done. At the end the file is written anew, because SQLite leaves what was there
 * before in pages and gaps it does not use any more. */
#include "sqlite_impl.h"

#include "err.h"
#include "sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define BATCH_ROWS 256
#define BATCH_BYTES (16u << 20) /* of sealed content; one message may reach beyond it */
#define FAILURES_LOGGED 20

struct row_change {
  sqlite3_int64 session, seq;
  char *content;
  size_t len;
  bool was_plain;
};

struct sqlite_walk {
  sqlite3 *db;
  const struct keyring *keys; /* what it accepts depends on what the database is known to be */
  sqlite3_stmt *next, *update;
  sqlite3_int64 session, seq; /* of the last message that was looked at */
  struct store_progress progress;
  uint64_t names_failed;
  struct row_change changes[BATCH_ROWS];
  size_t count, bytes; /* of changes */
};

static int walk_failed(struct sqlite_walk *w, const char *what, char why[256]) {
  snprintf(why, 256, "%s: %.100s (SQLite code %d); what was committed is kept, start it again", what,
           sqlite3_errmsg(w->db), sqlite3_extended_errcode(w->db));
  return E_STORE;
}

static int walk_run(struct sqlite_walk *w, const char *sql, char why[256]) {
  return sqlite3_exec(w->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : walk_failed(w, sql, why);
}

static int walk_open(struct sqlite_walk *w, char why[256]) {
  static const char next[] = "SELECT m.session, m.seq, s.id, m.content, s.uid, m.id, m.cid, m.sender,"
                             " m.type, m.extra, m.ts FROM messages m CROSS JOIN sessions s"
                             " ON s.key = m.session WHERE (m.session, m.seq) > (?1, ?2)"
                             " ORDER BY m.session, m.seq LIMIT ?3";
  static const char update[] = "UPDATE messages SET content = ?3 WHERE session = ?1 AND seq = ?2";
  sqlite3_stmt *count = NULL;
  bool ready = sqlite3_prepare_v2(w->db, next, -1, &w->next, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(w->db, update, -1, &w->update, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(w->db, "SELECT count(*) FROM messages", -1, &count, NULL) == SQLITE_OK &&
               sqlite3_step(count) == SQLITE_ROW;
  w->progress.total = ready ? (uint64_t)sqlite3_column_int64(count, 0) : 0;
  sqlite3_finalize(count);
  return ready ? 0 : walk_failed(w, "cannot begin", why);
}

static char *column_text(sqlite3_stmt *s, int at) {
  return (char *)sqlite3_column_text(s, at); /* borrowed, not changed */
}

/* 0, or UV_ENOMEM. One that cannot be opened is counted and left as it is. */
static int message_seal(struct sqlite_walk *w) {
  sqlite3_stmt *s = w->next;
  struct message_record m = {.seq = (uint64_t)w->seq,
                             .cid = column_text(s, 6),
                             .sender = column_text(s, 7),
                             .type = column_text(s, 8),
                             .extra = column_text(s, 9),
                             .at_ms = sqlite3_column_int64(s, 10)};
  struct row_change *c = &w->changes[w->count];
  const void *stored = sqlite3_column_blob(s, 3);
  size_t len = (size_t)sqlite3_column_bytes(s, 3);
  column_id(s, 5, m.id);
  *c = (struct row_change){.session = w->session, .seq = w->seq};
  stored = stored ? stored : "";
  c->was_plain = !cipher_is_sealed(stored, len);
  int code =
    sealed_message_again(w->keys, column_text(s, 2), column_text(s, 4), &m, false, stored, len, &c->content, &c->len);
  if (code == 0) {
    w->bytes += c->len;
    w->count++;
  } else if (code < 0 && code != UV_ENOMEM && w->progress.failed++ < FAILURES_LOGGED) {
    cipher_log_failure(
      &(struct cipher_place){.what = "message", .session_id = column_text(s, 2), .seq = (uint64_t)w->seq}, stored, len,
      code);
  }
  return code == UV_ENOMEM ? code : 0;
}

/* How many messages were looked at, or a negative code. */
static int batch_read(struct sqlite_walk *w, char why[256]) {
  sqlite3_stmt *s = w->next;
  int rows = 0, code = 0;
  w->count = w->bytes = 0;
  sqlite3_bind_int64(s, 1, w->session);
  sqlite3_bind_int64(s, 2, w->seq);
  sqlite3_bind_int(s, 3, BATCH_ROWS);
  while (code == 0 && w->bytes < BATCH_BYTES && sqlite3_step(s) == SQLITE_ROW) {
    w->session = sqlite3_column_int64(s, 0);
    w->seq = sqlite3_column_int64(s, 1);
    code = message_seal(w);
    rows++;
  }
  w->progress.seen += (uint64_t)rows;
  if (sqlite3_reset(s) != SQLITE_OK)
    return walk_failed(w, "cannot read", why);
  if (code)
    snprintf(why, 256, "%s", err_text(code));
  return code ? code : rows;
}

static int sealed_count(struct sqlite_walk *w, uint64_t n, char why[256]) {
  static const char sql[] = "INSERT INTO keys(id, sealed) VALUES(?1, ?2)"
                            " ON CONFLICT(id) DO UPDATE SET sealed = sealed + ?2";
  sqlite3_stmt *s = NULL;
  bool done = sqlite3_prepare_v2(w->db, sql, -1, &s, NULL) == SQLITE_OK;
  if (done) {
    sqlite3_bind_text(s, 1, keyring_id(w->keys), -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)n);
    done = sqlite3_step(s) == SQLITE_DONE;
  }
  sqlite3_finalize(s);
  return done ? 0 : walk_failed(w, "cannot count", why);
}

static int batch_write(struct sqlite_walk *w, char why[256]) {
  int code = w->count > 0 ? walk_run(w, "BEGIN IMMEDIATE", why) : 0;
  for (size_t i = 0; i < w->count && code == 0; i++) {
    struct row_change *c = &w->changes[i];
    sqlite3_bind_int64(w->update, 1, c->session);
    sqlite3_bind_int64(w->update, 2, c->seq);
    sqlite3_bind_blob64(w->update, 3, c->content, c->len, SQLITE_STATIC);
    sqlite3_step(w->update);
    code = sqlite3_reset(w->update) == SQLITE_OK ? 0 : walk_failed(w, "cannot write", why);
  }
  if (w->count > 0 && code == 0)
    code = sealed_count(w, w->count, why);
  if (w->count > 0 && code == 0)
    code = walk_run(w, "COMMIT", why);
  if (!sqlite3_get_autocommit(w->db))
    sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
  for (size_t i = 0; i < w->count && code == 0; i++) {
    w->progress.moved++;
    w->progress.plain += w->changes[i].was_plain;
  }
  return code;
}

static int walk_all(struct sqlite_walk *w, store_progress_fn *tell, void *arg, char why[256]) {
  int rows, code = 0;
  while (code == 0 && (rows = batch_read(w, why)) != 0) {
    code = rows < 0 ? rows : batch_write(w, why);
    while (w->count > 0)
      free(w->changes[--w->count].content);
    if (code == 0)
      tell(arg, &w->progress);
  }
  return code;
}

typedef int reseal_fn(sqlite3 *db, const struct keyring *keys, sqlite3_int64 *after, int limit, uint64_t *failed,
                      char why[256]);

static int walk_rows(struct sqlite_walk *w, reseal_fn *reseal, char why[256]) {
  sqlite3_int64 after = INT64_MIN;
  int rows = 1, code = 0;
  while (rows > 0 && code == 0) {
    code = walk_run(w, "BEGIN IMMEDIATE", why);
    rows = code ? code : reseal(w->db, w->keys, &after, BATCH_ROWS, &w->names_failed, why);
    code = rows < 0 ? rows : code;
    code = code || rows == 0 ? code : sealed_count(w, (uint64_t)rows, why);
    code = code ? code : walk_run(w, "COMMIT", why);
  }
  if (!sqlite3_get_autocommit(w->db))
    sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
  return code;
}

/* Into a file beside, then back: in memory, as the writer has it, would need room for all of it. The log of it goes
 * when the database is closed. */
static int file_renew(struct sqlite_walk *w, char why[256]) {
  int code = walk_run(w, "PRAGMA temp_store = FILE", why);
  return code ? code : walk_run(w, "VACUUM", why);
}

static int walk_end(struct sqlite_walk *w, char why[256]) {
  bool all = w->progress.failed + w->names_failed == 0;
  if (all && keys_whole_set(w->db, w->keys) != 0)
    return walk_failed(w, "cannot finish", why);
  int code = file_renew(w, why);
  if (code || all)
    return code;
  snprintf(
    why, 256,
    "%llu of %llu messages cannot be decrypted and are as they were, and so are %llu names; is one of their keys "
    "missing?",
    (unsigned long long)w->progress.failed, (unsigned long long)w->progress.total, (unsigned long long)w->names_failed);
  return E_CIPHER;
}

/* Where everything was sealed once, plain text was put there by somebody else: then it is not made genuine here. */
int sqlite_reencrypt(sqlite3 *db, const struct keyring *keys, store_progress_fn *tell, void *arg, char why[256]) {
  unsigned accept = keyring_accept(keys) & (keys_whole(db, keys) ? ~(unsigned)CIPHER_ANY_FORM : ~0u);
  struct keyring *strict = keyring_accepting(keys, accept);
  struct sqlite_walk w = {.db = db, .keys = strict, .session = INT64_MIN};
  if (!strict)
    return UV_ENOMEM;
  int code = walk_open(&w, why);
  code = code ? code : walk_all(&w, tell, arg, why);
  code = code ? code : walk_rows(&w, names_reseal, why);
  code = code ? code : walk_rows(&w, sqlite_shares_reseal, why);
  sqlite3_finalize(w.next);
  sqlite3_finalize(w.update);
  code = code ? code : walk_end(&w, why);
  keyring_free(strict);
  return code;
}
