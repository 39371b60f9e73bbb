/* In: a user, or a time. Out: conversations gone with all their messages, and a record of it. Why in steps: there are
 * no transactions on a standalone server, and none long enough for a thousand conversations anywhere. Messages go
 * before their conversation, so what is broken off is found again by the next try; the record comes last and says what
 * all tries have deleted. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int audit_write(struct mongo *h, const struct audit_record *a) {
  bson_error_t error;
  bson_t *doc = BCON_NEW(MONGO_TS, BCON_DATE_TIME(a->at_ms));
  mongo_append_text(doc, MONGO_ACTOR, a->actor);
  mongo_append_text(doc, MONGO_ACTION, a->action);
  mongo_append_text(doc, MONGO_SUBJECT, a->subject);
  mongo_append_text(doc, MONGO_DETAIL, a->detail);
  bool done = mongoc_collection_insert_one(h->audit, doc, NULL, NULL, &error);
  bson_destroy(doc);
  return done ? 0 : mongo_failed(h, "write an audit record", &error);
}

static int account(struct mongo *h, struct store_op *op) {
  return store_op_account(op) == 0 ? audit_write(h, &op->audit) : mongo_no_memory();
}

/* A conversation as it is chosen to be deleted. */
struct doomed {
  char id[STORE_ID_LEN + 1];
  char *user_id;
  uint64_t embedded;
};

static int session_delete(struct mongo *h, const struct doomed *d, struct store_erased *erased) {
  uint64_t gone = 0;
  int code = mongo_delete(h, h->messages, BCON_NEW(MONGO_SID, BCON_UTF8(d->id)), &erased->messages);
  code = code ? code : mongo_delete(h, h->sessions, BCON_NEW("_id", BCON_UTF8(d->id)), &gone);
  erased->sessions += gone;
  erased->messages += gone > 0 ? d->embedded : 0;
  return code;
}

static bool doomed_read(const bson_t *doc, struct doomed *out) {
  bson_iter_t at;
  *out = (struct doomed){.embedded = (uint64_t)mongo_number(doc, "embedded")};
  return mongo_id(doc, "_id", out->id) && (!bson_iter_init_find(&at, doc, MONGO_UID) || mongo_copy(&at, &out->user_id));
}

#define DOOMED_STAGES                                                                                                  \
  "{'$project': {'" MONGO_UID "': 1, 'embedded': {'$size': {'$ifNull': ['$" MONGO_EMBEDDED "', []]}}}}"

static int erase_user(struct mongo *h, struct store_op *op) {
  bson_t *match = BCON_NEW(MONGO_UID, BCON_UTF8(op->session.user_id));
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, mongo_stages(match, DOOMED_STAGES), h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && mongoc_cursor_next(cursor, &doc)) {
    struct doomed d;
    if (doomed_read(doc, &d))
      code = session_delete(h, &d, &op->erased);
    free(d.user_id);
  }
  int ended = mongo_cursor_end(h, "find what is to be erased", cursor);
  code = code ? code : ended;
  return code ? code : account(h, op);
}

static int expire_one(struct mongo *h, struct store_op *op, const struct doomed *d) {
  if (op->in_use && op->in_use(op->arg, d->id))
    return 0;
  int code = session_delete(h, d, &op->erased);
  if (code)
    return code;
  struct session_record *r = &op->sessions[op->session_count++];
  memcpy(r->id, d->id, sizeof r->id);
  r->user_id = d->user_id ? strdup(d->user_id) : NULL;
  return !d->user_id || r->user_id ? 0 : mongo_no_memory();
}

/* As the index has them, so nothing is sorted, however many there are. */
static int expire_some(struct mongo *h, struct store_op *op, bson_t *match) {
  static const char stages[] = "{'$sort': {'" MONGO_LAST_ACTIVITY "': 1, 'ts': 1}}, " DOOMED_STAGES;
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, mongo_stages(match, stages), h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && op->session_count < op->limit && mongoc_cursor_next(cursor, &doc)) {
    struct doomed d;
    if (doomed_read(doc, &d))
      code = expire_one(h, op, &d);
    free(d.user_id);
  }
  int ended = mongo_cursor_end(h, "find what is idle", cursor);
  return code ? code : ended;
}

/* First those in which nothing was ever said: the reference gives them no last activity, and their start counts. A try
 * that was broken off has what it deleted in sessions already. */
static int expire(struct mongo *h, struct store_op *op) {
  if (!op->sessions && !(op->sessions = calloc(op->limit, sizeof *op->sessions)))
    return mongo_no_memory();
  bson_t *silent = BCON_NEW(MONGO_LAST_ACTIVITY, BCON_NULL, "ts", "{", "$lt", BCON_DATE_TIME(op->before_ms), "}");
  int code = expire_some(h, op, silent);
  if (code == 0)
    code = expire_some(h, op, BCON_NEW(MONGO_LAST_ACTIVITY, "{", "$lt", BCON_DATE_TIME(op->before_ms), "}"));
  return code || op->session_count == 0 ? code : account(h, op);
}

int mongo_erase(struct mongo *h, struct store_op *op) {
  return op->kind == STORE_ERASE    ? erase_user(h, op)
         : op->kind == STORE_EXPIRE ? expire(h, op)
         : op->kind == STORE_PING   ? mongo_ping(h)
                                    : audit_write(h, &op->audit);
}
