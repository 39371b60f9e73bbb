/* In: a database and a keyring. Out: every message sealed with the newest key, those that are embedded too. Why: see
 * store_reencrypt. What has been embedded is then no longer what the reference reads: mongo_handback undoes that. */
#include "mongo_names.h"
#include "mongo_walk.h"

#include "cipher.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256

static int recode_newest(const struct keyring *k, const char *session_id, uint64_t seq, const char *stored, size_t len,
                         char **out, size_t *out_len) {
  char *content;
  size_t content_len;
  if (cipher_is_newest(k, stored, len))
    return 1;
  int code = cipher_open(k, session_id, seq, stored, len, &content, &content_len);
  if (code)
    return code;
  code = cipher_seal(k, session_id, seq, content, content_len, out, out_len);
  free(content);
  return code;
}

/* Adds it to bulk when it has to change. */
static int message_reseal(struct walk *w, const bson_t *doc, mongoc_bulk_operation_t *bulk, uint64_t *changes) {
  bson_iter_t sid, content;
  const char *stored;
  char *sealed, id[STORE_ID_LEN + 1];
  size_t len;
  w->progress.seen++;
  if (!mongo_id(doc, "_id", id) || !bson_iter_init_find(&sid, doc, MONGO_SID) || !BSON_ITER_HOLDS_UTF8(&sid) ||
      !bson_iter_init_find(&content, doc, MONGO_CONTENT))
    return 0;
  mongo_content(&content, &stored, &len);
  int code = walk_recode(w, recode_newest, bson_iter_utf8(&sid, NULL), (uint64_t)mongo_number(doc, MONGO_SEQ), stored,
                         len, &sealed, &len);
  if (code)
    return code == 1 ? 0 : code;
  bson_t *set = BCON_NEW("$set", "{", MONGO_CONTENT, BCON_UTF8(sealed), "}");
  free(sealed);
  ++*changes;
  return mongo_bulk_update(w->h, bulk, BCON_NEW("_id", BCON_UTF8(id)), set);
}

/* Those behind last; how many were there. */
static int batch_reseal(struct walk *w, char last[STORE_ID_LEN + 1], size_t *count) {
  bson_t *filter = BCON_NEW("_id", "{", "$gt", BCON_UTF8(last), "}");
  bson_t *options = mongo_json("{'sort': {'_id': 1}, 'limit': %d, 'projection': {'" MONGO_SID "': 1, '" MONGO_SEQ
                               "': 1, '" MONGO_CONTENT "': 1}}",
                               BATCH);
  mongoc_cursor_t *cursor = mongo_find(w->h->messages, filter, options, w->h, false);
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(w->h->messages, false);
  struct bulk_outcome o = {0};
  const bson_t *doc;
  uint64_t changes = 0;
  int code = 0;
  for (*count = 0; code == 0 && mongoc_cursor_next(cursor, &doc); ++*count) {
    (void)mongo_id(doc, "_id", last);
    code = message_reseal(w, doc, bulk, &changes);
  }
  int ended = mongo_cursor_end(w->h, "read messages", cursor);
  code = code ? code : ended;
  if (code == 0 && changes > 0)
    mongo_bulk_run(w->h, "change messages", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  code = code ? code : o.code;
  w->progress.moved += code == 0 ? changes : 0;
  return code;
}

int mongo_reencrypt(void *handle, store_progress_fn *tell, void *arg, char why[256]) {
  struct walk w = {.h = handle, .tell = tell, .arg = arg, .why = why};
  char last[STORE_ID_LEN + 1] = "";
  size_t count = 1;
  int code = walk_begin(&w);
  code = code ? code : walk_embedded(&w, recode_newest);
  if (code)
    return code;
  while (code == 0 && count > 0) {
    code = batch_reseal(&w, last, &count);
    if (code == 0)
      tell(arg, &w.progress);
  }
  return code ? walk_failed(&w, code) : walk_end(&w);
}
