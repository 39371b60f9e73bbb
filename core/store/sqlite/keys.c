/* In: an open database and a keyring. Out: whether its texts can be read, and how many each key has sealed. Why: who
 * starts a server without the key of its database must not mix plain text into it; who sets a key for the first time is
 * to be told what is left to do; and a key wears out (key_use.h). A row of `keys` stands for each key that has sealed
 * anything. `whole` is a text sealed with it: who has the key has seen that nothing in here is plain. */
#include "sqlite_impl.h"

#include "cipher.h"
#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cipher_place whole_place = {.what = "whole", .session_id = ""};

/* The first column of the first row; def where there is none. */
static sqlite3_int64 number(sqlite3 *db, const char *sql, sqlite3_int64 def) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
    def = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return def;
}

int keys_check(sqlite3 *db, const struct store_options *o, char why[256]) {
  if (o->keys || o->without_texts || number(db, "SELECT count(*) FROM keys", 0) == 0)
    return 0;
  snprintf(why, 256, "the database is encrypted, and ENCRYPTION_KEY is not set");
  return E_KEY;
}

bool keys_whole(sqlite3 *db, const struct keyring *keys) {
  sqlite3_stmt *s = NULL;
  bool whole = false;
  if (sqlite3_prepare_v2(db, "SELECT whole FROM keys WHERE whole IS NOT NULL", -1, &s, NULL) == SQLITE_OK) {
    while (!whole && sqlite3_step(s) == SQLITE_ROW) {
      const char *stored = (const char *)sqlite3_column_text(s, 0);
      size_t len = (size_t)sqlite3_column_bytes(s, 0), empty;
      char *text;
      whole = cipher_is_sealed(stored, len) && cipher_open(keys, &whole_place, stored, len, &text, &empty) == 0;
      if (whole)
        free(text);
    }
  }
  sqlite3_finalize(s);
  return whole;
}

int keys_whole_set(sqlite3 *db, const struct keyring *keys) {
  char *mark = NULL;
  size_t len;
  sqlite3_stmt *s = NULL;
  int code = cipher_seal(keys, &whole_place, "", 0, &mark, &len);
  if (code)
    return code;
  static const char *const sqls[] = {"DELETE FROM keys WHERE id != ?1 AND ?2 IS NOT NULL",
                                     "INSERT INTO keys(id, sealed, whole) VALUES(?1, 0, ?2)"
                                     " ON CONFLICT(id) DO UPDATE SET whole = ?2"};
  bool done = true;
  for (size_t i = 0; i < 2 && done; i++) {
    done = sqlite3_prepare_v2(db, sqls[i], -1, &s, NULL) == SQLITE_OK;
    if (done) {
      sqlite3_bind_text(s, 1, keyring_id(keys), -1, SQLITE_STATIC);
      sqlite3_bind_text(s, 2, mark, (int)len, SQLITE_STATIC);
      done = sqlite3_step(s) == SQLITE_DONE;
    }
    sqlite3_finalize(s);
  }
  free(mark);
  return done ? 0 : E_STORE;
}

static void unknown_keys_say(struct sqlite_handle *h) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(h->db, "SELECT id, sealed FROM keys", -1, &s, NULL) == SQLITE_OK)
    while (sqlite3_step(s) == SQLITE_ROW)
      if (!keyring_has(h->keys, (const char *)sqlite3_column_text(s, 0)))
        LOG(LOG_ERROR, "store", "what this key has sealed cannot be read: it is not among ENCRYPTION_PREVIOUS_KEYS",
            LSTR("key", (const char *)sqlite3_column_text(s, 0)), LINT("sealed", sqlite3_column_int64(s, 1)));
  sqlite3_finalize(s);
}

int keys_open(struct sqlite_handle *h) {
  if (!h->keys)
    return 0;
  sqlite3_stmt *s = h->statements[S_KEY];
  statement_bind(s, 1, keyring_id(h->keys));
  int r = statement_next(h, s);
  if (r < 0)
    return r;
  key_use_begin(&h->use, keyring_id(h->keys), r == 1 ? (uint64_t)sqlite3_column_int64(s, 0) : 0);
  sqlite3_reset(s);
  if (keyring_accept(h->keys) & CIPHER_ANY_FORM)
    return 0; /* about to change that */
  unknown_keys_say(h);
  if (number(h->db, "SELECT EXISTS(SELECT 1 FROM sessions)", 0) && !keys_whole(h->db, h->keys))
    LOG(LOG_WARN, "store",
        keyring_accept(h->keys) & CIPHER_PLAINTEXT
          ? "not all of the database is encrypted; plain text in it is shown, whoever wrote it "
            "(ENCRYPTION_ALLOW_PLAINTEXT): run `chatbox reencrypt`"
          : "not all of the database is encrypted; plain text in it is kept, but not shown: run `chatbox reencrypt`");
  return 0;
}

int keys_reserve(struct sqlite_handle *h, uint64_t n) {
  uint64_t wanted = n > 0 && h->reserving == 0 ? key_use_wanted(&h->use, n) : 0;
  char *mark = NULL;
  size_t len;
  if (wanted == 0)
    return 0;
  bool fresh = h->use.reserved == 0 && number(h->db,
                                              "SELECT NOT EXISTS(SELECT 1 FROM keys) AND"
                                              " NOT EXISTS(SELECT 1 FROM sessions)",
                                              0);
  if (fresh && cipher_seal(h->keys, &whole_place, "", 0, &mark, &len) != 0)
    return statement_no_memory();
  sqlite3_stmt *s = h->statements[S_KEY_RESERVE];
  statement_bind(s, 1, keyring_id(h->keys));
  sqlite3_bind_int64(s, 2, (sqlite3_int64)wanted);
  statement_bind(s, 3, mark);
  int code = statement_do(h, S_KEY_RESERVE);
  statement_bind(s, 3, NULL);
  free(mark);
  h->reserving = code == 0 ? wanted : 0;
  return code;
}

void keys_sealed(struct sqlite_handle *h, uint64_t n) {
  if (h->keys)
    key_use_add(&h->use, keyring_id(h->keys), n, h->reserving);
  h->reserving = 0;
}

void keys_close(struct sqlite_handle *h) {
  if (!h->writer || !h->keys || h->use.reserved == h->use.used)
    return;
  statement_bind(h->statements[S_KEY_RESERVE], 1, keyring_id(h->keys));
  sqlite3_bind_int64(h->statements[S_KEY_RESERVE], 2, (sqlite3_int64)h->use.used);
  if (statement_run(h, S_KEY_RESERVE) != SQLITE_OK)
    return; /* then it says a little too much */
}
