/* In: a database and a keyring. Out: every message sealed with the newest key, those that are embedded too. Why: see
 * store_reencrypt. What has been embedded is then no longer what the reference reads: mongo_handback undoes that. */
#include "mongo_names.h"
#include "mongo_walk.h"

#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define BATCH 256

static int recode_newest(const struct keyring *k, const struct walk_message *m, char **out, size_t *out_len) {
  return sealed_message_again(k, m->session_id, m->user_id, m->fields, m->embedded, m->stored, m->len, out, out_len);
}

struct changes {
  mongoc_bulk_operation_t *bulk;
  uint64_t count, plain;
};

/* The user of its conversation, as the lookup of batch_find gives it. */
static const char *user_of(const bson_t *doc) {
  bson_iter_t at, user;
  bool there = bson_iter_init(&at, doc) && bson_iter_find_descendant(&at, "session.0." MONGO_UID, &user) &&
               BSON_ITER_HOLDS_UTF8(&user);
  return there ? bson_iter_utf8(&user, NULL) : NULL;
}

/* Adds it to the changes when it has to change. Of a conversation that is gone: nobody can read it. */
static int message_reseal(struct walk *w, const bson_t *doc, struct changes *c) {
  bson_iter_t sid;
  char *sealed, id[STORE_ID_LEN + 1];
  size_t len;
  const char *user_id = user_of(doc);
  w->progress.seen++;
  if (!user_id || !mongo_id(doc, "_id", id) || !bson_iter_init_find(&sid, doc, MONGO_SID) ||
      !BSON_ITER_HOLDS_UTF8(&sid))
    return 0;
  int code = walk_recode(w, recode_newest, bson_iter_utf8(&sid, NULL), user_id, (uint64_t)mongo_number(doc, MONGO_SEQ),
                         false, doc, &sealed, &len);
  if (code)
    return code == 1 ? 0 : code;
  bson_t *set = BCON_NEW("$set", "{", MONGO_CONTENT, BCON_UTF8(sealed), "}");
  free(sealed);
  c->count++;
  c->plain += w->plain_last;
  return mongo_bulk_update(w->h, c->bulk, BCON_NEW("_id", BCON_UTF8(id)), set);
}

static mongoc_cursor_t *batch_find(struct mongo *h, const char *last) {
  char stages[512];
  snprintf(stages, sizeof stages,
           "{'$sort': {'_id': 1}}, {'$limit': %d}, {'$lookup': {'from': '" MONGO_SESSIONS "', 'let': {'s': '$" MONGO_SID
           "'}, 'pipeline': [{'$match': {'$expr': {'$eq': ['$_id', '$$s']}}}, {'$project': {'" MONGO_UID
           "': 1}}], 'as': 'session'}}",
           BATCH);
  return mongo_aggregate(h->messages, mongo_stages(BCON_NEW("_id", "{", "$gt", BCON_UTF8(last), "}"), stages), h,
                         false);
}

/* Those behind last; how many were there. */
static int batch_reseal(struct walk *w, char last[STORE_ID_LEN + 1], size_t *count) {
  mongoc_cursor_t *cursor = batch_find(w->h, last);
  struct changes c = {.bulk = mongo_bulk_new(w->h->messages, false)};
  struct bulk_outcome o = {0};
  const bson_t *doc;
  int code = 0;
  for (*count = 0; code == 0 && mongoc_cursor_next(cursor, &doc); ++*count) {
    (void)mongo_id(doc, "_id", last);
    code = message_reseal(w, doc, &c);
  }
  int ended = mongo_cursor_end(w->h, "read messages", cursor);
  code = code ? code : ended;
  code = code ? code : mongo_keys_reserve(w->h, c.count);
  if (code == 0 && c.count > 0)
    mongo_bulk_run(w->h, "change messages", c.bulk, &o);
  mongoc_bulk_operation_destroy(c.bulk);
  code = code ? code : o.code;
  w->progress.moved += code == 0 ? c.count : 0;
  w->progress.plain += code == 0 ? c.plain : 0;
  return code;
}

static int all_reseal(struct walk *w) {
  char last[STORE_ID_LEN + 1] = "";
  size_t count = 1;
  int code = walk_embedded(w, recode_newest);
  if (code)
    return code;
  while (code == 0 && count > 0) {
    code = batch_reseal(w, last, &count);
    if (code == 0)
      w->tell(w->arg, &w->progress);
  }
  code = code ? code : mongo_names_reseal(w->h, &w->names_failed);
  code = code ? code : mongo_shares_reseal(w->h, &w->names_failed);
  code = code || w->progress.failed + w->names_failed > 0 ? code : mongo_keys_whole_set(w->h, true);
  return code ? walk_failed(w, code) : walk_end(w);
}

/* Where everything was sealed once, plain text was put there by somebody else: then it is not made genuine here. */
int mongo_reencrypt(void *handle, store_progress_fn *tell, void *arg, char why[256]) {
  struct walk w = {.h = handle, .tell = tell, .arg = arg, .why = why};
  bool whole;
  int code = walk_begin(&w);
  if (code == 0 && (code = mongo_keys_whole(w.h, &whole)))
    code = walk_failed(&w, code);
  if (code)
    return code;
  const struct keyring *given = w.h->keys;
  struct keyring *keys = keyring_accepting(given, keyring_accept(given) & (whole ? ~(unsigned)CIPHER_ANY_FORM : ~0u));
  if (!keys)
    return UV_ENOMEM;
  w.keys = w.h->keys = keys;
  code = all_reseal(&w);
  w.h->keys = given;
  keyring_free(keys);
  return code;
}
