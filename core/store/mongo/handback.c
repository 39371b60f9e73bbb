/* In: a database this program has used. Out: one the reference's server can use again: all that was said is in msgs, as
 * it writes that itself, under the newest key. Why: nobody has to fear taking over. First what is embedded is sealed as
 * the reference does; then the messages of their own are appended, in order, each append bound to how many there are,
 * so one whose outcome is not known is not made twice. The collection of messages stays: its copies are not read any
 * more, but they know which cids were there. A conversation that would outgrow the 16 MB of a document keeps what does
 * not fit where it is, and is an error. */
#include "mongo_names.h"
#include "mongo_walk.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPEND_MAX 128
#define APPEND_BYTES (4u << 20)

static int recode_reference(const struct keyring *k, const struct walk_message *m, char **out, size_t *out_len) {
  char *content;
  size_t len;
  if (cipher_is_reference(k, m->stored, m->len))
    return 1;
  int code =
    sealed_message_open(k, m->session_id, m->user_id, m->fields, m->embedded, m->stored, m->len, &content, &len);
  if (code)
    return code;
  code = cipher_seal_reference(k, content, len, out, out_len);
  free(content);
  return code;
}

/* The messages of one conversation that go to it next. */
struct appending {
  struct walk *w;
  struct unsealing unsealing;
  char session[STORE_ID_LEN + 1];
  char *user_id;
  uint64_t embedded; /* there already */
  bool left;         /* nothing more of this conversation */
  bson_t each;       /* the array */
  uint32_t count;
  bool open;
  uint64_t failed_sessions;
};

static void appending_leave(struct appending *a, const char *reason) {
  LOG(LOG_ERROR, "store", "a conversation cannot be handed back whole", LSTR("session", a->session),
      LINT("messages", (int64_t)a->embedded), LSTR("reason", reason));
  a->left = true;
  a->failed_sessions++;
}

/* An append that was refused is this conversation's own fault, one without an answer is not. */
static int appending_write(struct appending *a) {
  if (a->count == 0)
    return 0;
  bson_t *filter =
    BCON_NEW("_id", BCON_UTF8(a->session), MONGO_EMBEDDED, "{", "$size", BCON_INT64((int64_t)a->embedded), "}");
  bson_t *update = BCON_NEW("$push", "{", MONGO_EMBEDDED, "{", "$each", BCON_ARRAY(&a->each), "}", "}");
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(a->w->h->sessions, true);
  struct bulk_outcome o = {0};
  o.code = mongo_bulk_update(a->w->h, bulk, filter, update);
  if (o.code == 0)
    mongo_bulk_run(a->w->h, "append messages", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  if (o.code == 0 && o.matched == 1) {
    a->embedded += a->count;
    a->w->progress.moved += a->count;
  } else if (o.code != E_AWAY) {
    appending_leave(a, o.code == 0 ? "somebody else writes to it" : "it is larger than a document may be");
  }
  bson_reinit(&a->each);
  a->count = 0;
  return o.code == E_AWAY ? E_AWAY : 0;
}

/* How much of it is embedded; a conversation that is gone has nothing to be appended to. */
static int appending_begin(struct appending *a, const char *session) {
  bson_t *match = BCON_NEW("_id", BCON_UTF8(session));
  mongoc_cursor_t *cursor = mongo_aggregate(
    a->w->h->sessions,
    mongo_stages(match, "{'$project': {'" MONGO_UID "': 1, 'n': {'$size': {'$ifNull': ['$" MONGO_EMBEDDED "', []]}}}}"),
    a->w->h, false);
  const bson_t *doc;
  bson_iter_t at;
  snprintf(a->session, sizeof a->session, "%s", session);
  free(a->user_id);
  a->user_id = NULL;
  a->left = !mongoc_cursor_next(cursor, &doc);
  a->embedded = a->left ? 0 : (uint64_t)mongo_number(doc, "n");
  bool whole = a->left || !bson_iter_init_find(&at, doc, MONGO_UID) || mongo_copy(&at, &a->user_id);
  int code = mongo_cursor_end(a->w->h, "find a conversation", cursor);
  return code ? code : whole ? 0 : mongo_no_memory();
}

static int message_append(struct appending *a, uint64_t seq, const bson_t *doc) {
  struct message_record m;
  char key[16];
  int code = mongo_message_read(&a->unsealing, a->session, a->user_id, seq, false, doc, &m);
  bson_t *one = code == 0 && !m.damaged ? mongo_message_embedded(a->w->h, &m, &code) : NULL;
  if (!one) {
    a->w->progress.failed++;
    message_record_deinit(&m);
    code = appending_write(a);
    if (!a->left)
      appending_leave(a, "a message of it cannot be read");
    return code;
  }
  snprintf(key, sizeof key, "%u", a->count++);
  bson_append_document(&a->each, key, -1, one);
  bson_destroy(one);
  message_record_deinit(&m);
  return a->count == APPEND_MAX || a->each.len > APPEND_BYTES ? appending_write(a) : 0;
}

static int message_take(struct appending *a, const bson_t *doc) {
  char session[STORE_ID_LEN + 1];
  uint64_t seq = (uint64_t)mongo_number(doc, MONGO_SEQ);
  int code = 0;
  a->w->progress.seen++;
  if (!mongo_id(doc, MONGO_SID, session))
    return 0;
  if (strcmp(session, a->session) != 0) {
    code = appending_write(a);
    a->w->tell(a->w->arg, &a->w->progress);
    code = code ? code : appending_begin(a, session);
  }
  if (code || a->left || seq <= a->embedded)
    return code;
  if (seq != a->embedded + a->count + 1) {
    code = appending_write(a);
    if (!a->left)
      appending_leave(a, "a message is missing");
    return code;
  }
  return message_append(a, seq, doc);
}

static int messages_append(struct walk *w, uint64_t *failed_sessions) {
  struct appending a = {.w = w, .unsealing = {.keys = w->h->keys}, .each = BSON_INITIALIZER};
  bson_t *options = mongo_json("{'sort': {'" MONGO_SID "': 1, '" MONGO_SEQ "': 1}, 'noCursorTimeout': true}");
  mongoc_cursor_t *cursor = mongo_find(w->h->messages, bson_new(), options, w->h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && mongoc_cursor_next(cursor, &doc))
    code = message_take(&a, doc);
  int ended = mongo_cursor_end(w->h, "read messages", cursor);
  code = code ? code : ended;
  code = code ? code : appending_write(&a);
  bson_destroy(&a.each);
  free(a.user_id);
  w->tell(w->arg, &w->progress);
  *failed_sessions = a.failed_sessions;
  return code;
}

/* What is half erased has messages that belong to nothing. */
static int erasures_finish(struct mongo *h) {
  int code = E_MORE;
  while (code == E_MORE)
    code = mongo_erase_step(h, NULL);
  return code;
}

int mongo_handback(void *handle, store_progress_fn *tell, void *arg, char why[256]) {
  struct walk w = {.h = handle, .tell = tell, .arg = arg, .why = why};
  uint64_t failed_sessions = 0;
  int code = walk_begin(&w);
  if (code == 0 && ((code = erasures_finish(w.h)) || (code = mongo_keys_whole_set(w.h, false))))
    code = walk_failed(&w, code);
  w.keys = w.h->keys;
  code = code ? code : walk_embedded(&w, recode_reference);
  if (code)
    return code;
  if ((code = messages_append(&w, &failed_sessions)) || (code = mongo_names_handback(w.h, &w.names_failed)) ||
      (code = mongo_shares_handback(w.h, &w.names_failed)))
    return walk_failed(&w, code);
  if (failed_sessions > 0) {
    snprintf(why, 256, "%llu conversations could not be handed back whole, the log names them",
             (unsigned long long)failed_sessions);
    return E_STORE;
  }
  return walk_end(&w);
}
