/* In: erasures that have begun (erase.c). Out: their conversations and messages gone, some at a time, and at the end
 * the record. Why in steps: a user's million messages take many seconds, and nobody's message is to wait for them. Why
 * two collections: a conversation that is to go is first noted in `erasing` and then taken out of `sessions`, so that
 * no reader, this program's or the reference's, has to know about erasures to find it no longer. There is no
 * transaction on a standalone server; every command here can be sent again, so a step that was broken off is simply
 * repeated.
 *
 *   erasures  {_id, uid, ts, actor, action, subject, audit: _id of the record}   hidden: all of it is in `erasing`
 *                                                                                sessions, messages: all of it is gone
 *   erasing   {_id: of the conversation, erasure, messages}                      left: true until it is gone
 */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define HIDE_MAX 200 /* conversations in one step */
#define STRING_OF(x) #x
#define STRINGS(x) STRING_OF(x)
#define STEP_SESSIONS 100 /* likewise, of those whose messages are deleted */
#define STEP_MESSAGES 500
#define CLEAN_MAX 5000 /* notes of conversations that are gone; small ones */

/* ---- records ---- */

static int record_insert(struct mongo *h, bson_t *doc, const struct audit_record *a) {
  bson_error_t error;
  BCON_APPEND(doc, MONGO_TS, BCON_DATE_TIME(a->at_ms));
  mongo_append_text(doc, MONGO_ACTOR, a->actor);
  mongo_append_text(doc, MONGO_ACTION, a->action);
  mongo_append_text(doc, MONGO_SUBJECT, a->subject);
  mongo_append_text(doc, MONGO_DETAIL, a->detail);
  bool done = mongoc_collection_insert_one(h->audit, doc, NULL, NULL, &error);
  bson_destroy(doc);
  return done || error.code == MONGOC_ERROR_DUPLICATE_KEY ? 0 : mongo_failed(h, "write an audit record", &error);
}

int mongo_audit(struct mongo *h, const struct audit_record *a) {
  return record_insert(h, bson_new(), a);
}

/* ---- small commands ---- */

/* Take filter and change. */
static int update(struct mongo *h, mongoc_collection_t *c, bool many, bson_t *filter, bson_t *change, bool upsert) {
  bson_error_t error;
  bson_t options = BSON_INITIALIZER;
  if (upsert)
    bson_append_bool(&options, "upsert", -1, true);
  bool done = many ? mongoc_collection_update_many(c, filter, change, &options, NULL, &error)
                   : mongoc_collection_update_one(c, filter, change, &options, NULL, &error);
  bson_destroy(&options);
  bson_destroy(filter);
  bson_destroy(change);
  return done ? 0 : mongo_failed(h, "note an erasure", &error);
}

/* {name: {$in: ids}}, with the ids of what is chosen. */
static bson_t *in_filter(const char *name, const bson_t *ids) {
  bson_t *filter = bson_new(), in;
  bson_append_document_begin(filter, name, -1, &in);
  bson_append_array(&in, "$in", -1, ids);
  bson_append_document_end(filter, &in);
  return filter;
}

static bson_t *erasure_filter(int64_t id) {
  return BCON_NEW("_id", BCON_INT64(id));
}

static int erasure_set(struct mongo *h, int64_t id, bson_t *fields) {
  bson_t *change = BCON_NEW("$set", BCON_DOCUMENT(fields));
  bson_destroy(fields);
  return update(h, h->erasures, false, erasure_filter(id), change, false);
}

/* Takes filter. 0 and a copy of the first that fits; E_NOT_FOUND. */
static int erasure_read(struct mongo *h, bson_t *filter, bson_t **out) {
  mongoc_cursor_t *cursor = mongo_find(h->erasures, filter, mongo_json("{'sort': {'_id': 1}, 'limit': 1}"), h, false);
  const bson_t *doc;
  *out = mongoc_cursor_next(cursor, &doc) ? bson_copy(doc) : NULL;
  int code = mongo_cursor_end(h, "find an erasure", cursor);
  if (code && *out)
    bson_destroy(*out);
  return code ? code : *out ? 0 : E_NOT_FOUND;
}

/* ---- taking conversations out of sight ---- */

struct hiding {
  struct mongo *h;
  int64_t erasure;
  mongoc_bulk_operation_t *notes;
  bson_t ids;
  uint32_t count;
};

/* With an id of any type, as the reference may have written it. */
static int hiding_add(struct hiding *d, const bson_t *doc) {
  char room[16];
  const char *key;
  bson_iter_t id;
  if (!bson_iter_init_find(&id, doc, "_id"))
    return E_STORE;
  size_t len = bson_uint32_to_string(d->count++, &key, room, sizeof room);
  bson_append_iter(&d->ids, key, (int)len, &id);
  bson_t *filter = bson_new(), options = BSON_INITIALIZER;
  bson_append_iter(filter, "_id", -1, &id);
  bson_t *note = BCON_NEW("$set", "{", MONGO_ERASURE, BCON_INT64(d->erasure), MONGO_ERASING_MESSAGES,
                          BCON_INT64((int64_t)mongo_top(doc)), MONGO_ERASING_LEFT, BCON_BOOL(true), "}");
  bson_error_t error;
  bson_append_bool(&options, "upsert", -1, true);
  bool taken = mongoc_bulk_operation_update_one_with_opts(d->notes, filter, note, &options, &error);
  bson_destroy(&options);
  bson_destroy(filter);
  bson_destroy(note);
  return taken ? 0 : mongo_failed(d->h, "note what is to be erased", &error);
}

/* The notes first: what is in no collection that is looked at any more would stay for ever. */
static int hiding_run(struct hiding *d) {
  struct mongo *h = d->h;
  struct bulk_outcome o;
  mongo_bulk_run(h, "note what is to be erased", d->notes, &o);
  if (o.code || o.duplicate)
    return o.code ? o.code : E_AWAY; /* duplicate: another server notes it in this moment */
  bson_t *open = in_filter(MONGO_SID, &d->ids);
  BCON_APPEND(open, MONGO_OPEN, "{", "$exists", BCON_BOOL(true), "}");
  int code = update(h, h->messages, true, open, BCON_NEW("$unset", "{", MONGO_OPEN, BCON_UTF8(""), "}"), false);
  return code ? code : mongo_delete(h, h->sessions, in_filter("_id", &d->ids), NULL);
}

/* Takes match. How many, at most HIDE_MAX, or a code. */
static int hide_some(struct mongo *h, int64_t erasure, bson_t *match) {
  struct hiding d = {.h = h, .erasure = erasure, .notes = mongo_bulk_new(h->erasing, false), .ids = BSON_INITIALIZER};
  bson_t *chosen = mongo_stages(match, "{'$limit': " STRINGS(HIDE_MAX) "}, " MONGO_PLACE_STAGES);
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, chosen, h, false);
  const bson_t *doc;
  int code = 0;
  mongo_forget(h);
  while (code == 0 && mongoc_cursor_next(cursor, &doc))
    code = hiding_add(&d, doc);
  int ended = mongo_cursor_end(h, "find what is to be erased", cursor);
  code = code ? code : ended;
  code = code || d.count == 0 ? code : hiding_run(&d);
  mongoc_bulk_operation_destroy(d.notes);
  bson_destroy(&d.ids);
  return code ? code : (int)d.count;
}

int mongo_hide_one(struct mongo *h, int64_t erasure, const char *id) {
  int count = hide_some(h, erasure, BCON_NEW("_id", BCON_UTF8(id)));
  return count < 0 ? count : 0;
}

/* Until before_ms, which is when it was asked for: what its user has begun since stays. 0: no limit. */
static int user_hide(struct mongo *h, int64_t erasure, const char *user_id, int64_t before_ms) {
  bson_t *match = BCON_NEW(MONGO_UID, BCON_UTF8(user_id));
  if (before_ms)
    BCON_APPEND(match, "ts", "{", "$lte", BCON_DATE_TIME(before_ms), "}");
  int count = hide_some(h, erasure, match);
  if (count < 0 || count == HIDE_MAX)
    return count < 0 ? count : 0;
  return erasure_set(h, erasure, BCON_NEW(MONGO_ERASURE_HIDDEN, BCON_BOOL(true)));
}

/* ---- beginning ---- */

/* Found by the erasure and by what is left of it, however many conversations it has. */
static int index_make(struct mongo *h) {
  bson_error_t error;
  bson_t *command = mongo_json("{'createIndexes': '" MONGO_ERASING "', 'indexes': [{'name': 'idx_erasure', 'key': {'" //
                               MONGO_ERASURE "': 1, '" MONGO_ERASING_LEFT "': 1}}]}");
  bool made = mongoc_collection_write_command_with_opts(h->erasing, command, NULL, NULL, &error);
  bson_destroy(command);
  return made ? 0 : mongo_failed(h, "make an index", &error);
}

int mongo_erasure_begin(struct mongo *h, struct store_op *op) {
  bson_oid_t record;
  bson_oid_init(&record, NULL);
  bool of_user = op->kind == STORE_ERASE && op->session.id[0] == '\0';
  if (op->erasure == 0) {
    op->erasure = (int64_t)(hash_seed_draw().k0 >> 1) | 1;
  }
  bson_t *fields = BCON_NEW(MONGO_TS, BCON_DATE_TIME(op->audit.at_ms), MONGO_AUDIT, BCON_OID(&record));
  mongo_append_text(fields, MONGO_ACTOR, op->audit.actor);
  mongo_append_text(fields, MONGO_ACTION, op->audit.action);
  mongo_append_text(fields, MONGO_SUBJECT, op->audit.subject);
  if (of_user)
    BCON_APPEND(fields, MONGO_UID, BCON_UTF8(op->session.user_id));
  else
    BCON_APPEND(fields, MONGO_ERASURE_HIDDEN, BCON_BOOL(true));
  bson_t *change = BCON_NEW("$setOnInsert", BCON_DOCUMENT(fields));
  bson_destroy(fields);
  int code = update(h, h->erasures, false, erasure_filter(op->erasure), change, true);
  code = code ? code : index_make(h);
  if (code && of_user)
    op->erasure = 0; /* the next try finds it by its user, if it is there */
  return code;
}

/* One of this user that was interrupted takes up what has come since; not if it is at its end. */
int mongo_erasure_of_user(struct mongo *h, struct store_op *op) {
  bson_t *found, *filter = BCON_NEW(MONGO_UID, BCON_UTF8(op->session.user_id), MONGO_SESSIONS, "{", "$exists",
                                    BCON_BOOL(false), "}");
  int code = erasure_read(h, filter, &found);
  if (code)
    return code;
  op->erasure = mongo_number(found, "_id");
  bson_destroy(found);
  return erasure_set(h, op->erasure, BCON_NEW(MONGO_ERASURE_HIDDEN, BCON_BOOL(false)));
}

int mongo_user_hide(struct mongo *h, struct store_op *op) {
  return user_hide(h, op->erasure, op->session.user_id, 0);
}

/* ---- deleting ---- */

struct chosen {
  bson_t ids;
  uint32_t count;
  uint64_t messages;
};

/* Conversations whose messages make up one step; the first may have more. */
static int choose(struct mongo *h, int64_t erasure, struct chosen *c) {
  bson_t *filter = BCON_NEW(MONGO_ERASURE, BCON_INT64(erasure), MONGO_ERASING_LEFT, BCON_BOOL(true));
  mongoc_cursor_t *cursor = mongo_find(h->erasing, filter, mongo_json("{'limit': %d}", STEP_SESSIONS), h, false);
  const bson_t *doc;
  bson_iter_t id;
  while (mongoc_cursor_next(cursor, &doc)) {
    char room[16];
    const char *key;
    uint64_t messages = (uint64_t)mongo_number(doc, MONGO_ERASING_MESSAGES);
    if (c->count > 0 && c->messages + messages > STEP_MESSAGES)
      break;
    bson_iter_init_find(&id, doc, "_id");
    size_t len = bson_uint32_to_string(c->count++, &key, room, sizeof room);
    bson_append_iter(&c->ids, key, (int)len, &id);
    c->messages += messages;
  }
  return mongo_cursor_end(h, "find what is left to be erased", cursor);
}

/* Of one conversation with many: the number up to which they go in this step; 0: all that are left. */
static int bound_find(struct mongo *h, const bson_t *ids, int64_t *bound) {
  bson_t *options = mongo_json("{'sort': {'" MONGO_SEQ "': 1}, 'skip': %d, 'limit': 1, 'projection': {'_id': 0, '" //
                               MONGO_SEQ "': 1}}",
                               STEP_MESSAGES - 1);
  mongoc_cursor_t *cursor = mongo_find(h->messages, in_filter(MONGO_SID, ids), options, h, false);
  const bson_t *doc;
  *bound = mongoc_cursor_next(cursor, &doc) ? mongo_number(doc, MONGO_SEQ) : 0;
  return mongo_cursor_end(h, "find messages to be erased", cursor);
}

static int chosen_delete(struct mongo *h, const struct chosen *c) {
  int64_t bound = 0;
  int code = c->messages > STEP_MESSAGES ? bound_find(h, &c->ids, &bound) : 0;
  code = code ? code : mongo_delete(h, h->sessions, in_filter("_id", &c->ids), NULL); /* one that stayed in sight */
  if (code)
    return code;
  bson_t *messages = in_filter(MONGO_SID, &c->ids);
  if (bound)
    BCON_APPEND(messages, MONGO_SEQ, "{", "$lte", BCON_INT64(bound), "}");
  code = mongo_delete(h, h->messages, messages, NULL);
  if (code || bound)
    return code;
  bson_t *gone = BCON_NEW("$unset", "{", MONGO_ERASING_LEFT, BCON_UTF8(""), "}");
  return update(h, h->erasing, true, in_filter("_id", &c->ids), gone, false);
}

/* E_MORE; 0: nothing is left. */
static int some_delete(struct mongo *h, int64_t erasure) {
  struct chosen c = {.ids = BSON_INITIALIZER};
  int code = choose(h, erasure, &c);
  if (code == 0 && c.count > 0) {
    code = chosen_delete(h, &c);
    code = code ? code : E_MORE;
  }
  bson_destroy(&c.ids);
  return code;
}

/* ---- the end ---- */

/* Written down before the notes are deleted from which they are counted. */
static int erasure_count(struct mongo *h, int64_t erasure) {
  bson_t *pipeline =
    mongo_stages(BCON_NEW(MONGO_ERASURE, BCON_INT64(erasure)),
                 "{'$group': {'_id': null, 's': {'$sum': 1}, 'm': {'$sum': '$" MONGO_ERASING_MESSAGES "'}}}");
  mongoc_cursor_t *cursor = mongo_aggregate(h->erasing, pipeline, h, false);
  const bson_t *doc;
  bool any = mongoc_cursor_next(cursor, &doc);
  int64_t sessions = any ? mongo_number(doc, "s") : 0, messages = any ? mongo_number(doc, "m") : 0;
  int code = mongo_cursor_end(h, "count what is erased", cursor);
  return code ? code
              : erasure_set(h, erasure,
                            BCON_NEW(MONGO_SESSIONS, BCON_INT64(sessions), MONGO_MESSAGES, BCON_INT64(messages)));
}

/* The record has the id it was given at the beginning, so it is written once. */
static int erasure_record(struct mongo *h, const bson_t *e, struct store_op *op) {
  struct store_op own = {.kind = STORE_ERASE};
  struct audit_record *a = &own.audit;
  bson_iter_t at, id;
  bool whole = bson_iter_init(&at, e);
  while (whole && bson_iter_next(&at)) {
    const char *name = bson_iter_key(&at);
    char **to = strcmp(name, MONGO_ACTOR) == 0     ? &a->actor
                : strcmp(name, MONGO_ACTION) == 0  ? &a->action
                : strcmp(name, MONGO_SUBJECT) == 0 ? &a->subject
                                                   : NULL;
    whole = !to || mongo_copy(&at, to);
    if (strcmp(name, MONGO_TS) == 0 && BSON_ITER_HOLDS_DATE_TIME(&at))
      a->at_ms = bson_iter_date_time(&at);
  }
  own.erased =
    (struct store_erased){(uint64_t)mongo_number(e, MONGO_SESSIONS), (uint64_t)mongo_number(e, MONGO_MESSAGES)};
  int code = !whole || store_op_account(&own) ? mongo_no_memory() : 0;
  if (code == 0) {
    bson_t *doc = bson_new();
    if (bson_iter_init_find(&id, e, MONGO_AUDIT))
      bson_append_iter(doc, "_id", -1, &id);
    code = record_insert(h, doc, a);
  }
  if (code == 0 && op) {
    op->erased = own.erased;
    code = store_op_account(op) ? mongo_no_memory() : 0;
  }
  audit_record_deinit(a);
  return code;
}

/* E_MORE, or 0: nothing of it is left. */
static int notes_delete(struct mongo *h, int64_t erasure) {
  bson_t *options = mongo_json("{'limit': %d, 'projection': {'_id': 1}}", CLEAN_MAX), ids = BSON_INITIALIZER;
  mongoc_cursor_t *cursor = mongo_find(h->erasing, BCON_NEW(MONGO_ERASURE, BCON_INT64(erasure)), options, h, false);
  const bson_t *doc;
  bson_iter_t id;
  uint32_t count = 0;
  while (mongoc_cursor_next(cursor, &doc)) {
    char room[16];
    const char *key;
    size_t len = bson_uint32_to_string(count++, &key, room, sizeof room);
    bson_iter_init_find(&id, doc, "_id");
    bson_append_iter(&ids, key, (int)len, &id);
  }
  int code = mongo_cursor_end(h, "find notes", cursor);
  if (code == 0 && count > 0)
    code = mongo_delete(h, h->erasing, in_filter("_id", &ids), NULL);
  bson_destroy(&ids);
  return code ? code : count == CLEAN_MAX ? E_MORE : 0;
}

static int erasure_end(struct mongo *h, int64_t erasure, const bson_t *e, struct store_op *op) {
  int code = erasure_record(h, e, op);
  code = code ? code : notes_delete(h, erasure);
  return code ? code : mongo_delete(h, h->erasures, erasure_filter(erasure), NULL);
}

/* ---- one step ---- */

static int step_hide(struct mongo *h, int64_t erasure, const bson_t *e, bool begun_earlier) {
  char *user_id = NULL;
  bson_iter_t at;
  if (!bson_iter_init_find(&at, e, MONGO_UID) || !mongo_copy(&at, &user_id) || !user_id)
    return mongo_no_memory();
  int64_t asked_ms =
    bson_iter_init_find(&at, e, MONGO_TS) && BSON_ITER_HOLDS_DATE_TIME(&at) ? bson_iter_date_time(&at) : 0;
  int code = user_hide(h, erasure, user_id, begun_earlier ? asked_ms : 0);
  free(user_id);
  return code ? code : E_MORE;
}

static int step_run(struct mongo *h, const bson_t *e, struct store_op *op) {
  int64_t erasure = mongo_number(e, "_id");
  bson_iter_t at;
  if (!bson_iter_init_find(&at, e, MONGO_ERASURE_HIDDEN) || !bson_iter_bool(&at))
    return step_hide(h, erasure, e, !op);
  if (bson_has_field(e, MONGO_SESSIONS))
    return erasure_end(h, erasure, e, op);
  int code = some_delete(h, erasure);
  code = code ? code : erasure_count(h, erasure);
  return code ? code : E_MORE;
}

int mongo_erase_step(void *handle, struct store_op *op) {
  struct mongo *h = handle;
  char why[256];
  bson_t *e;
  int code = mongo_prepare(h, why);
  code = code ? code : erasure_read(h, op ? erasure_filter(op->erasure) : bson_new(), &e);
  if (code)
    return code == E_NOT_FOUND ? 0 : code; /* it ended with another operation of the same user */
  code = step_run(h, e, op);
  bson_destroy(e);
  return code == 0 && !op ? E_MORE : code; /* there may be another one */
}
