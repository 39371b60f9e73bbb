/* In: a conversation that is to be shown to others, or not any more; a token somebody has. Out: the token; the
 * conversation. Why a hash and a sealed token: who reads the database cannot read conversations with what is in it, and
 * still who shares one again is given the token it has. */
#include "sqlite_impl.h"

#include "err.h"
#include "log.h"
#include "sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 1: it has a token that holds, which is in the operation's session now; 0: it has none, or one nobody can read. */
static int share_find(struct sqlite_handle *h, struct store_op *op, const struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_SHARE_OF];
  sqlite3_bind_int64(s, 1, p->key);
  int r = statement_next(h, s);
  if (r != 1)
    return r;
  int64_t expires = sqlite3_column_int64(s, 1);
  char *token = NULL;
  size_t len;
  bool holds = expires == 0 || expires > op->sharing.now_ms;
  if (holds && sealed_share_open(h->keys, p->id, p->user_id, sqlite3_column_blob(s, 0),
                                 (size_t)sqlite3_column_bytes(s, 0), &token, &len) != 0)
    holds = false;
  sqlite3_reset(s);
  if (!holds)
    return 0;
  free(op->session.share_token);
  op->session.share_token = token;
  op->session.share_expires_ms = op->sharing.sets_expiry ? op->sharing.expires_ms : expires;
  return 1;
}

static int share_insert(struct sqlite_handle *h, struct store_op *op, const struct session_row *p) {
  sqlite3_stmt *s = h->statements[S_SHARE];
  char hash[SHARE_HASH_LEN + 1], *stored = NULL;
  size_t len = 0;
  int code = sealed_share_hash(op->session.share_token, hash);
  code = code ? code : sealed_share(h->keys, p->id, p->user_id, op->session.share_token, &stored, &len);
  if (code) {
    LOG(LOG_ERROR, "store", "a share cannot be sealed", LSTR("session", p->id), LSTR("reason", err_text(code)));
    return E_STORE;
  }
  sqlite3_bind_int64(s, 1, p->key);
  statement_bind(s, 2, hash);
  sqlite3_bind_text64(s, 3, stored, len, free, SQLITE_UTF8);
  sqlite3_bind_int64(s, 4, op->sharing.now_ms);
  sqlite3_bind_int64(s, 5, op->sharing.expires_ms);
  op->session.share_expires_ms = op->sharing.expires_ms;
  return statement_do(h, S_SHARE);
}

static int share_revoke(struct sqlite_handle *h, const struct session_row *p) {
  sqlite3_bind_int64(h->statements[S_SHARE_DELETE], 1, p->key);
  int code = statement_do(h, S_SHARE_DELETE);
  return code ? code : sqlite3_changes(h->db) > 0 ? 0 : E_NOT_FOUND;
}

static int share_give(struct sqlite_handle *h, struct store_op *op, const struct session_row *p) {
  int r = share_find(h, op, p);
  if (r <= 0)
    return r < 0 ? r : share_insert(h, op, p);
  if (!op->sharing.sets_expiry)
    return 0;
  sqlite3_bind_int64(h->statements[S_SHARE_EXPIRY], 1, p->key);
  sqlite3_bind_int64(h->statements[S_SHARE_EXPIRY], 2, op->sharing.expires_ms);
  return statement_do(h, S_SHARE_EXPIRY);
}

int sqlite_share(struct sqlite_handle *h, struct store_op *op) {
  struct session_row p;
  int r = place_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  bool own = strcmp(p.user_id, op->session.user_id) == 0;
  r = !own ? E_NOT_FOUND : op->sharing.revoke ? share_revoke(h, &p) : share_give(h, op, &p);
  place_deinit(&p);
  return r;
}

int sqlite_shares_reseal(sqlite3 *db, const struct keyring *keys, sqlite3_int64 *after, int limit, uint64_t *failed,
                         char why[256]) {
  sqlite3_stmt *s = NULL, *update = NULL;
  int rows = 0, code = 0;
  bool ready =
    sqlite3_prepare_v2(db,
                       "SELECT h.session, s.id, s.uid, h.token FROM shares h JOIN sessions s"
                       " ON s.key = h.session WHERE h.session > ?1 ORDER BY h.session LIMIT ?2",
                       -1, &s, NULL) == SQLITE_OK &&
    sqlite3_prepare_v2(db, "UPDATE shares SET token = ?2 WHERE session = ?1", -1, &update, NULL) == SQLITE_OK;
  sqlite3_bind_int64(s, 1, *after);
  sqlite3_bind_int(s, 2, limit);
  while (ready && code == 0 && sqlite3_step(s) == SQLITE_ROW) {
    char *token = NULL;
    size_t len = 0;
    rows++;
    *after = sqlite3_column_int64(s, 0);
    int sealed =
      sealed_share_again(keys, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 2),
                         sqlite3_column_blob(s, 3), (size_t)sqlite3_column_bytes(s, 3), &token, &len);
    *failed += sealed < 0;
    if (sealed == 0) {
      sqlite3_bind_int64(update, 1, *after);
      sqlite3_bind_text64(update, 2, token, len, SQLITE_STATIC, SQLITE_UTF8);
      sqlite3_step(update);
      ready = sqlite3_reset(update) == SQLITE_OK;
    }
    free(token);
  }
  ready = sqlite3_reset(s) == SQLITE_OK && ready;
  sqlite3_finalize(s);
  sqlite3_finalize(update);
  if (ready)
    return rows;
  snprintf(why, 256, "cannot seal the shares: %.100s (SQLite code %d)", sqlite3_errmsg(db),
           sqlite3_extended_errcode(db));
  return E_STORE;
}
