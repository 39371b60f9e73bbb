/* In: all conversations. Out: their names sealed, or plain again. Why: see store/sqlite/names.c. In pages by id, each
 * changed by one bulk, so that no command takes long. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PAGE 500

/* 0: *out is to be stored; 1: it is so already; or why not. */
typedef int recode_fn(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                      char **out);

static int name_upgrade(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                        char **out) {
  size_t len;
  return cipher_is_sealed(stored, strlen(stored)) ? 1 : sealed_name(k, session_id, user_id, stored, out, &len);
}

static int name_reseal(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                       char **out) {
  size_t len;
  return sealed_name_again(k, session_id, user_id, stored, strlen(stored), out, &len);
}

static int name_handback(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                         char **out) {
  size_t len;
  int code = sealed_name_open(k, session_id, user_id, stored, strlen(stored), out, &len);
  if (code == 0 && strcmp(*out, stored) == 0) {
    free(*out);
    *out = NULL;
    return 1;
  }
  return code;
}

static int share_reseal(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                        char **out) {
  size_t len;
  return sealed_share_again(k, session_id, user_id, stored, strlen(stored), out, &len);
}

static int share_handback(const struct keyring *k, const char *session_id, const char *user_id, const char *stored,
                          char **out) {
  size_t len;
  return sealed_share_open(k, session_id, user_id, stored, strlen(stored), out, &len);
}

struct names {
  struct mongo *h;
  const char *from, *to; /* fields; the same but for shares that are handed back */
  recode_fn *recode;
  char *last; /* id of the last one, which may be of any form */
  uint64_t failed;
};

static int name_pass(struct names *n, const bson_t *doc) {
  bson_iter_t at;
  if (!bson_iter_init_find(&at, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&at))
    return 0;
  free(n->last);
  n->last = bson_iter_dup_utf8(&at, NULL);
  return n->last ? 0 : mongo_no_memory();
}

static int name_change(struct names *n, const bson_t *doc, mongoc_bulk_operation_t *bulk, int64_t *changes) {
  bson_iter_t at;
  char *user_id = NULL, *stored = NULL, *name = NULL, id[STORE_ID_LEN + 1];
  int passed = name_pass(n, doc);
  if (passed || !mongo_id(doc, "_id", id))
    return passed;
  bool whole = (!bson_iter_init_find(&at, doc, MONGO_UID) || mongo_copy(&at, &user_id)) &&
               (!bson_iter_init_find(&at, doc, n->from) || mongo_copy(&at, &stored));
  bool expires = n->from != n->to && bson_has_field(doc, MONGO_SHARE_EXPIRES); /* which the reference does not know */
  int code = !whole                                    ? UV_ENOMEM
             : !stored || stored[0] == '\0' || expires ? 1
                                                       : n->recode(n->h->keys, id, user_id, stored, &name);
  if (code == 0) {
    bson_t *update = BCON_NEW("$set", "{", n->to, BCON_UTF8(name), "}");
    code = mongo_bulk_update(n->h, bulk, BCON_NEW("_id", BCON_UTF8(id)), update);
    *changes += code == 0;
  } else {
    n->failed += code < 0 && code != UV_ENOMEM;
    code = code == UV_ENOMEM ? mongo_no_memory() : 0;
  }
  free(user_id);
  free(stored);
  free(name);
  return code;
}

/* How many conversations there were, or a negative code. */
static int page_change(struct names *n) {
  bson_t *filter = BCON_NEW("_id", "{", "$gt", BCON_UTF8(n->last ? n->last : ""), "}");
  bson_t *options = mongo_json("{'sort': {'_id': 1}, 'limit': %d, 'projection': {'" MONGO_UID
                               "': 1, '%s': 1, '" MONGO_SHARE_EXPIRES "': 1}}",
                               PAGE, n->from);
  mongoc_cursor_t *cursor = mongo_find(n->h->sessions, filter, options, n->h, false);
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(n->h->sessions, false);
  struct bulk_outcome o = {0};
  const bson_t *doc;
  int64_t changes = 0;
  int code = 0, count = 0;
  for (; code == 0 && mongoc_cursor_next(cursor, &doc); count++)
    code = name_change(n, doc, bulk, &changes);
  int ended = mongo_cursor_end(n->h, "read names", cursor);
  code = code ? code : ended;
  code = code || changes == 0 ? code : mongo_keys_reserve(n->h, (uint64_t)changes);
  if (code == 0 && changes > 0)
    mongo_bulk_run(n->h, "change names", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  code = code ? code : o.code;
  return code ? code : count;
}

static int names_change(struct mongo *h, const char *from, const char *to, recode_fn *recode, uint64_t *failed) {
  struct names n = {.h = h, .from = from, .to = to, .recode = recode};
  int count = 1;
  while (count > 0)
    count = page_change(&n);
  free(n.last);
  *failed += n.failed;
  return count;
}

int mongo_names_upgrade(struct mongo *h) {
  uint64_t failed = 0;
  return names_change(h, MONGO_NAME, MONGO_NAME, name_upgrade, &failed);
}

int mongo_names_reseal(struct mongo *h, uint64_t *failed) {
  return names_change(h, MONGO_NAME, MONGO_NAME, name_reseal, failed);
}

int mongo_names_handback(struct mongo *h, uint64_t *failed) {
  return names_change(h, MONGO_NAME, MONGO_NAME, name_handback, failed);
}

int mongo_shares_reseal(struct mongo *h, uint64_t *failed) {
  return names_change(h, MONGO_SHARE_SEALED, MONGO_SHARE_SEALED, share_reseal, failed);
}

int mongo_shares_handback(struct mongo *h, uint64_t *failed) {
  return names_change(h, MONGO_SHARE_SEALED, MONGO_SHARE_TOKEN, share_handback, failed);
}
