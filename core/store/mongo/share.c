/* In: a conversation that is to be shown to others, or not any more; a token somebody has. Out: the token; what finds
 * the conversation. See store/sqlite/share.c. A token that the reference gave stays valid, and is in the field where
 * that looks for it. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

bson_t *mongo_shared_match(const char *token) {
  char hash[SHARE_HASH_LEN + 1];
  if (sealed_share_hash(token, hash))
    return NULL;
  return BCON_NEW("$or", "[", "{", MONGO_SHARE_HASH, BCON_UTF8(hash), "}", "{", MONGO_SHARE_TOKEN, BCON_UTF8(token),
                  "}", "]");
}

static int change(struct mongo *h, const char *id, bson_t *update, int64_t *changed) {
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(h->sessions, true);
  struct bulk_outcome o = {0};
  o.code = mongo_bulk_update(h, bulk, BCON_NEW("_id", BCON_UTF8(id)), update);
  if (o.code == 0)
    mongo_bulk_run(h, "change a share", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  *changed = o.matched;
  return o.code;
}

static void expiry_append(bson_t *set, bson_t *unset, int64_t expires_ms) {
  if (expires_ms)
    bson_append_date_time(set, MONGO_SHARE_EXPIRES, -1, expires_ms);
  else
    bson_append_utf8(unset, MONGO_SHARE_EXPIRES, -1, "", 0);
}

/* hash NULL: only the expiry. */
static bson_t *share_update(const char *hash, const char *sealed, int64_t expires_ms) {
  bson_t *update = bson_new(), set = BSON_INITIALIZER, unset = BSON_INITIALIZER;
  if (hash) {
    bson_append_utf8(&set, MONGO_SHARE_HASH, -1, hash, -1);
    bson_append_utf8(&set, MONGO_SHARE_SEALED, -1, sealed, -1);
    bson_append_utf8(&unset, MONGO_SHARE_TOKEN, -1, "", 0);
  }
  expiry_append(&set, &unset, expires_ms);
  if (bson_count_keys(&set) > 0)
    bson_append_document(update, "$set", -1, &set);
  if (bson_count_keys(&unset) > 0)
    bson_append_document(update, "$unset", -1, &unset);
  bson_destroy(&set);
  bson_destroy(&unset);
  return update;
}

static int share_new(struct mongo *h, struct store_op *op) {
  char hash[SHARE_HASH_LEN + 1], *sealed = NULL;
  size_t len;
  int64_t changed;
  int code = sealed_share_hash(op->session.share_token, hash);
  code =
    code ? code : sealed_share(h->keys, op->session.id, op->session.user_id, op->session.share_token, &sealed, &len);
  if (code) {
    LOG(LOG_ERROR, "store", "a share cannot be sealed", LSTR("session", op->session.id),
        LSTR("reason", err_text(code)));
    return E_STORE;
  }
  op->session.share_expires_ms = op->sharing.expires_ms;
  code = change(h, op->session.id, share_update(hash, sealed, op->sharing.expires_ms), &changed);
  free(sealed);
  return code ? code : changed > 0 ? 0 : E_NOT_FOUND;
}

static int share_revoke(struct mongo *h, struct store_op *op, bool shared) {
  bson_t *update = BCON_NEW("$unset", "{", MONGO_SHARE_HASH, BCON_UTF8(""), MONGO_SHARE_SEALED, BCON_UTF8(""),
                            MONGO_SHARE_TOKEN, BCON_UTF8(""), MONGO_SHARE_EXPIRES, BCON_UTF8(""), "}");
  int64_t changed;
  int code = change(h, op->session.id, update, &changed);
  return code ? code : shared ? 0 : E_NOT_FOUND;
}

int mongo_share(struct mongo *h, struct store_op *op) {
  struct session_record found = {0};
  int code = mongo_session_find(h, op->session.id, &found);
  if (code == 0 && strcmp(found.user_id ? found.user_id : "", op->session.user_id) != 0)
    code = E_NOT_FOUND;
  bool holds = found.share_token && (found.share_expires_ms == 0 || found.share_expires_ms > op->sharing.now_ms);
  if (code == 0 && op->sharing.revoke) {
    code = share_revoke(h, op, found.share_token);
  } else if (code == 0 && !holds) {
    code = share_new(h, op);
  } else if (code == 0) {
    int64_t changed;
    char *token = op->session.share_token;
    op->session.share_token = found.share_token;
    found.share_token = token;
    op->session.share_expires_ms = op->sharing.sets_expiry ? op->sharing.expires_ms : found.share_expires_ms;
    if (op->sharing.sets_expiry)
      code = change(h, op->session.id, share_update(NULL, NULL, op->sharing.expires_ms), &changed);
  }
  session_record_deinit(&found);
  return op->code = code;
}
