/* In: a database and a keyring. Out: whether its texts can be read, and how many each key has sealed. Why: as in
 * store/sqlite/keys.c. A document of the collection MONGO_META stands for each key; servers that share a database add
 * to the same number. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPGRADE_LOOKS 2000 /* messages of an older version that tell whether, and with which keys, it was encrypted */

static const struct cipher_place whole_place = {.what = "whole", .session_id = ""};

static mongoc_cursor_t *keys_find(struct mongo *h, mongoc_client_t *client, mongoc_collection_t **meta) {
  bson_t *filter = mongo_json("{'_id': {'$regex': '^" MONGO_KEY_PREFIX "'}}");
  *meta = mongo_collection(h, client, MONGO_META);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(*meta, filter, NULL, NULL);
  bson_destroy(filter);
  return cursor;
}

static int keys_found(struct mongo *h, mongoc_cursor_t *cursor, mongoc_collection_t *meta) {
  int code = mongo_cursor_end(h, "read the account of keys", cursor);
  mongoc_collection_destroy(meta);
  return code;
}

/* Of a document of keys_find; "" when it is none of ours. */
static const char *key_id(const bson_t *doc) {
  bson_iter_t at;
  bool ours = bson_iter_init_find(&at, doc, "_id") && BSON_ITER_HOLDS_UTF8(&at);
  return ours ? bson_iter_utf8(&at, NULL) + strlen(MONGO_KEY_PREFIX) : "";
}

int mongo_keys_check(struct mongo *h, mongoc_client_t *client, char why[256]) {
  mongoc_collection_t *meta;
  const bson_t *doc;
  if (h->keys || h->without_texts)
    return 0;
  mongoc_cursor_t *cursor = keys_find(h, client, &meta);
  bool any = mongoc_cursor_next(cursor, &doc);
  int code = keys_found(h, cursor, meta);
  if (code)
    snprintf(why, 256, "the database: %s, see the log", err_text(code));
  else if (any)
    snprintf(why, 256, "the database is encrypted, and ENCRYPTION_KEY is not set");
  return code ? code : any ? E_KEY : 0;
}

static bool vouched(const struct keyring *keys, const bson_t *doc) {
  bson_iter_t at;
  uint32_t len;
  char *text;
  size_t text_len;
  if (!bson_iter_init_find(&at, doc, MONGO_KEY_WHOLE) || !BSON_ITER_HOLDS_UTF8(&at))
    return false;
  const char *stored = bson_iter_utf8(&at, &len);
  if (!cipher_is_sealed(stored, len) || cipher_open(keys, &whole_place, stored, len, &text, &text_len) != 0)
    return false;
  free(text);
  return true;
}

int mongo_keys_whole(struct mongo *h, bool *whole) {
  mongoc_collection_t *meta;
  const bson_t *doc;
  mongoc_cursor_t *cursor = keys_find(h, h->client, &meta);
  *whole = false;
  while (mongoc_cursor_next(cursor, &doc))
    *whole = *whole || vouched(h->keys, doc);
  return keys_found(h, cursor, meta);
}

/* Takes update. */
static int key_update(struct mongo *h, const char *id, bson_t *update) {
  bson_error_t error;
  char name[sizeof MONGO_KEY_PREFIX + CIPHER_KEY_ID_LEN];
  snprintf(name, sizeof name, MONGO_KEY_PREFIX "%s", id);
  mongoc_collection_t *meta = mongo_collection(h, h->client, MONGO_META);
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(name)), *options = BCON_NEW("upsert", BCON_BOOL(true));
  bool done = mongoc_collection_update_one(meta, filter, update, options, NULL, &error);
  bson_destroy(filter);
  bson_destroy(options);
  bson_destroy(update);
  mongoc_collection_destroy(meta);
  return done ? 0 : mongo_failed(h, "write the account of keys", &error);
}

static int keys_forget(struct mongo *h, bool others) {
  bson_error_t error;
  char own[sizeof MONGO_KEY_PREFIX + CIPHER_KEY_ID_LEN] = "";
  if (h->keys)
    snprintf(own, sizeof own, MONGO_KEY_PREFIX "%s", keyring_id(h->keys));
  mongoc_collection_t *meta = mongo_collection(h, h->client, MONGO_META);
  bson_t *all = mongo_json(others ? "{'$and': [{'_id': {'$regex': '^" MONGO_KEY_PREFIX "'}}, {'_id': {'$ne': '%s'}}]}"
                                  : "{'_id': {'$regex': '^" MONGO_KEY_PREFIX "'}}",
                           own);
  bson_t *update = mongo_json("{'$unset': {'" MONGO_KEY_WHOLE "': ''}}");
  bool done = others ? mongoc_collection_delete_many(meta, all, NULL, NULL, &error)
                     : mongoc_collection_update_many(meta, all, update, NULL, NULL, &error);
  bson_destroy(all);
  bson_destroy(update);
  mongoc_collection_destroy(meta);
  return done ? 0 : mongo_failed(h, "write the account of keys", &error);
}

int mongo_keys_whole_set(struct mongo *h, bool whole) {
  char *mark;
  size_t len;
  int code = keys_forget(h, whole);
  if (code || !whole)
    return code;
  code = cipher_seal(h->keys, &whole_place, "", 0, &mark, &len);
  if (code)
    return code;
  code = key_update(h, keyring_id(h->keys), BCON_NEW("$set", "{", MONGO_KEY_WHOLE, BCON_UTF8(mark), "}"));
  free(mark);
  return code;
}

/* ---- with the first contact of a writer ---- */

struct key_account {
  uint64_t sealed; /* with the newest key */
  bool any, whole;
};

static void key_look(struct mongo *h, const bson_t *doc, struct key_account *a) {
  const char *id = key_id(doc);
  a->any = true;
  a->whole = a->whole || vouched(h->keys, doc);
  if (strcmp(id, keyring_id(h->keys)) == 0)
    a->sealed = (uint64_t)mongo_number(doc, MONGO_KEY_SEALED);
  else if (!keyring_has(h->keys, id) && !(keyring_accept(h->keys) & CIPHER_ANY_FORM))
    LOG(LOG_ERROR, "store", "what this key has sealed cannot be read: it is not among ENCRYPTION_PREVIOUS_KEYS",
        LSTR("key", id), LINT("sealed", mongo_number(doc, MONGO_KEY_SEALED)));
}

static void unsealed_say(unsigned accept) {
  LOG(LOG_WARN, "store",
      accept & CIPHER_PLAINTEXT ? "not all of the database is encrypted; plain text in it is shown, whoever wrote it "
                                  "(ENCRYPTION_ALLOW_PLAINTEXT): run `chatbox reencrypt`"
      : accept & CIPHER_TAKEOVER
        ? "what another program has written is read as it is (ENCRYPTION_TAKEOVER): run `chatbox reencrypt` when it is "
          "not to be used any more"
        : "not all of the database is encrypted, or it was another program's; such text is kept, but not shown: run "
          "`chatbox reencrypt`, or set ENCRYPTION_TAKEOVER=true");
}

static int sessions_any(struct mongo *h, bool *any) {
  bson_error_t error;
  int64_t n = mongoc_collection_estimated_document_count(h->sessions, NULL, NULL, NULL, &error);
  *any = n > 0;
  return n < 0 ? mongo_failed(h, "count conversations", &error) : 0;
}

int mongo_keys_open(struct mongo *h) {
  mongoc_collection_t *meta;
  const bson_t *doc;
  struct key_account a = {0};
  bool any = false;
  if (h->counting || !h->writer || !h->keys)
    return 0;
  mongoc_cursor_t *cursor = keys_find(h, h->client, &meta);
  while (mongoc_cursor_next(cursor, &doc))
    key_look(h, doc, &a);
  int code = keys_found(h, cursor, meta);
  code = code ? code : sessions_any(h, &any);
  if (code)
    return code;
  h->counting = true;
  h->fresh = !a.any && !any;
  key_use_begin(&h->use, keyring_id(h->keys), a.sealed);
  if (any && !a.whole && !(keyring_accept(h->keys) & CIPHER_ANY_FORM))
    unsealed_say(keyring_accept(h->keys));
  return 0;
}

/* Of an insert of nobody else: who finds it there adds to it. */
int mongo_keys_reserve(struct mongo *h, uint64_t n) {
  if (!h->keys || n == 0)
    return 0;
  uint64_t wanted = key_use_wanted(&h->use, n);
  if (wanted > 0) {
    bson_t *update = BCON_NEW("$inc", "{", MONGO_KEY_SEALED, BCON_INT64((int64_t)(wanted - h->use.reserved)), "}");
    int code = key_update(h, keyring_id(h->keys), update);
    code = code || !h->fresh ? code : mongo_keys_whole_set(h, true);
    if (code)
      return code;
    h->fresh = false;
  }
  key_use_add(&h->use, keyring_id(h->keys), n, wanted);
  return 0;
}

/* Where one text was sealed nearly all are: a look at some of them will do. */
int mongo_keys_upgrade(struct mongo *h) {
  bson_t *options =
    mongo_json("{'sort': {'_id': -1}, 'limit': %d, 'projection': {'" MONGO_CONTENT "': 1}}", UPGRADE_LOOKS);
  mongoc_cursor_t *cursor = mongo_find(h->messages, bson_new(), options, h, false);
  char ids[1 + KEYRING_PREVIOUS_MAX][CIPHER_KEY_ID_LEN + 1];
  size_t count = 0;
  const bson_t *doc;
  while (mongoc_cursor_next(cursor, &doc)) {
    bson_iter_t at;
    const char *stored;
    size_t len, known = 0;
    if (!bson_iter_init_find(&at, doc, MONGO_CONTENT))
      continue;
    mongo_content(&at, &stored, &len);
    if (!cipher_is_sealed(stored, len))
      continue;
    while (known < count && strncmp(ids[known], stored + 4, CIPHER_KEY_ID_LEN) != 0)
      known++;
    if (known == count && count < sizeof ids / sizeof *ids)
      snprintf(ids[count++], sizeof *ids, "%.*s", CIPHER_KEY_ID_LEN, stored + 4);
  }
  int code = mongo_cursor_end(h, "read messages", cursor);
  bson_error_t error;
  int64_t sealed = mongoc_collection_estimated_document_count(h->messages, NULL, NULL, NULL, &error);
  for (size_t i = 0; i < count && code == 0; i++)
    code = key_update(h, ids[i],
                      BCON_NEW("$max", "{", MONGO_KEY_SEALED, BCON_INT64(sealed > 0 ? sealed : UPGRADE_LOOKS), "}"));
  return code;
}
