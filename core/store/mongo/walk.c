/* In: all conversations, one after the other. Out: the messages that are embedded in them, with another content. Why:
 * see store_mongo_walk.h. A conversation is changed in place, by the index of the message, some megabytes at a time. */
#include "mongo_names.h"
#include "mongo_walk.h"

#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define CHANGE_BYTES (4 << 20)
#define FAILURES_LOGGED 20

int walk_failed(struct walk *w, int code) {
  snprintf(w->why, 256, "%s, see the log; what was done is kept, start it again", err_text(code));
  return code;
}

static int message_recode(struct walk *w, walk_recode_fn *recode, const struct walk_message *m, char **out,
                          size_t *out_len) {
  int code = recode(w->keys, m, out, out_len);
  w->plain_last = code == 0 && !cipher_is_sealed(m->stored, m->len);
  if (code >= 0 || code == UV_ENOMEM)
    return code;
  if (w->progress.failed++ < FAILURES_LOGGED)
    cipher_log_failure(&(struct cipher_place){.what = "message", .session_id = m->session_id, .seq = m->fields->seq},
                       m->stored, m->len, code);
  return 1;
}

int walk_recode(struct walk *w, walk_recode_fn *recode, const char *session_id, const char *user_id, uint64_t seq,
                bool embedded, const bson_t *doc, char **out, size_t *out_len) {
  bson_iter_t at;
  struct message_record fields;
  struct walk_message m = {.session_id = session_id, .user_id = user_id, .fields = &fields, .embedded = embedded};
  if (!bson_iter_init_find(&at, doc, MONGO_CONTENT))
    return 1;
  mongo_content(&at, &m.stored, &m.len);
  int code = mongo_message_fields(session_id, seq, doc, &fields) ? UV_ENOMEM : 0;
  code = code ? code : message_recode(w, recode, &m, out, out_len);
  message_record_deinit(&fields);
  return code;
}

/* ---- counting ---- */

static int embedded_count(struct walk *w) {
  bson_t *all = bson_new();
  mongoc_cursor_t *cursor = mongo_aggregate(
    w->h->sessions,
    mongo_stages(all, "{'$group': {'_id': null, 'n': {'$sum': {'$size': {'$ifNull': ['$" MONGO_EMBEDDED "', []]}}}}}"),
    w->h, false);
  const bson_t *doc;
  if (mongoc_cursor_next(cursor, &doc))
    w->progress.total += (uint64_t)mongo_number(doc, "n");
  return mongo_cursor_end(w->h, "count messages", cursor);
}

int walk_begin(struct walk *w) {
  bson_error_t error;
  int code = mongo_prepare(w->h, w->why);
  if (code)
    return code;
  int64_t own = mongoc_collection_estimated_document_count(w->h->messages, NULL, NULL, NULL, &error);
  code = own < 0 ? mongo_failed(w->h, "count messages", &error) : embedded_count(w);
  w->progress.total += own > 0 ? (uint64_t)own : 0;
  return code ? walk_failed(w, code) : 0;
}

/* ---- one conversation ---- */

/* {$set: {"msgs.3.content": …}} as it grows. */
struct embedded_change {
  bson_t set;
  size_t bytes, count, plain;
};

static int change_write(struct walk *w, const char *id, struct embedded_change *c) {
  bson_error_t error;
  int counted = mongo_keys_reserve(w->h, c->count);
  if (counted) {
    bson_destroy(&c->set);
    return walk_failed(w, counted);
  }
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(id)), *update = BCON_NEW("$set", BCON_DOCUMENT(&c->set));
  bool done = c->count == 0 || mongoc_collection_update_one(w->h->sessions, filter, update, NULL, NULL, &error);
  bson_destroy(filter);
  bson_destroy(update);
  bson_destroy(&c->set);
  w->progress.moved += done ? c->count : 0;
  w->progress.plain += done ? c->plain : 0;
  *c = (struct embedded_change){.set = BSON_INITIALIZER};
  return done ? 0 : walk_failed(w, mongo_failed(w->h, "change a conversation", &error));
}

static int message_change(struct walk *w, walk_recode_fn *recode, const struct session_record *r, uint64_t seq,
                          const bson_iter_t *message, struct embedded_change *c) {
  const uint8_t *bytes;
  uint32_t size;
  bson_t doc;
  char *content, name[48];
  size_t len;
  w->progress.seen++;
  if (!BSON_ITER_HOLDS_DOCUMENT(message))
    return 0;
  bson_iter_document(message, &size, &bytes);
  if (!bson_init_static(&doc, bytes, size))
    return 0;
  int code = walk_recode(w, recode, r->id, r->user_id, seq, true, &doc, &content, &len);
  if (code)
    return code == 1 ? 0 : walk_failed(w, code);
  snprintf(name, sizeof name, MONGO_EMBEDDED ".%llu." MONGO_CONTENT, (unsigned long long)seq - 1);
  bool taken = bson_append_utf8(&c->set, name, -1, content, (int)len);
  free(content);
  c->bytes += len;
  c->count++;
  c->plain += w->plain_last;
  return !taken ? walk_failed(w, E_TOO_BIG) : c->bytes >= CHANGE_BYTES ? change_write(w, r->id, c) : 0;
}

static int session_walk(struct walk *w, walk_recode_fn *recode, const struct session_record *r, bson_iter_t *messages) {
  struct embedded_change c = {.set = BSON_INITIALIZER};
  int code = 0;
  for (uint64_t seq = 1; code == 0 && bson_iter_next(messages); seq++)
    code = message_change(w, recode, r, seq, messages, &c);
  if (code == 0)
    return change_write(w, r->id, &c);
  bson_destroy(&c.set);
  return code;
}

static int document_walk(struct walk *w, walk_recode_fn *recode, const bson_t *doc) {
  bson_iter_t at, messages;
  struct session_record r = {0};
  if (!mongo_id(doc, "_id", r.id))
    return 0;
  if (bson_iter_init_find(&at, doc, MONGO_UID) && !mongo_copy(&at, &r.user_id))
    return walk_failed(w, UV_ENOMEM);
  int code = 0;
  if (bson_iter_init_find(&at, doc, MONGO_EMBEDDED) && bson_iter_recurse(&at, &messages))
    code = session_walk(w, recode, &r, &messages);
  free(r.user_id);
  return code;
}

int walk_embedded(struct walk *w, walk_recode_fn *recode) {
  bson_t *filter = mongo_json("{'" MONGO_EMBEDDED ".0': {'$exists': true}}");
  bson_t *options =
    mongo_json("{'projection': {'" MONGO_UID "': 1, '" MONGO_EMBEDDED "': 1}, 'sort': {'_id': 1}, 'batchSize': 16,"
               " 'noCursorTimeout': true}");
  mongoc_cursor_t *cursor = mongo_find(w->h->sessions, filter, options, w->h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && mongoc_cursor_next(cursor, &doc)) {
    code = document_walk(w, recode, doc);
    if (code == 0)
      w->tell(w->arg, &w->progress);
  }
  int ended = mongo_cursor_end(w->h, "read conversations", cursor);
  return code ? code : ended ? walk_failed(w, ended) : 0;
}

int walk_end(struct walk *w) {
  if (w->progress.failed + w->names_failed == 0)
    return 0;
  snprintf(w->why, 256,
           "%llu of %llu messages could not be read and are as they were, and so are %llu names; is one of their keys "
           "missing?",
           (unsigned long long)w->progress.failed, (unsigned long long)w->progress.total,
           (unsigned long long)w->names_failed);
  return E_CIPHER;
}
