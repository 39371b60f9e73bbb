/* In: a user, or a time. Out: an erasure of their conversations that has begun: from here on nobody finds them. Why:
 * this is the first step, in its place among the writes; erasing.c does the rest between the batches. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

static int nothing_erased(struct mongo *h, struct store_op *op) {
  return store_op_account(op) == 0 ? mongo_audit(h, &op->audit) : mongo_no_memory();
}

/* ---- of a user ---- */

static int user_any(struct mongo *h, const char *user_id) {
  bson_t *options = mongo_json("{'limit': 1, 'projection': {'_id': 1}}");
  mongoc_cursor_t *cursor = mongo_find(h->sessions, BCON_NEW(MONGO_UID, BCON_UTF8(user_id)), options, h, false);
  const bson_t *doc;
  bool any = mongoc_cursor_next(cursor, &doc);
  int code = mongo_cursor_end(h, "find what is to be erased", cursor);
  return code ? code : any ? 0 : E_NOT_FOUND;
}

/* One that was tried before, or was interrupted, is found again by its user. */
static int erase_user(struct mongo *h, struct store_op *op) {
  int code = mongo_erasure_of_user(h, op);
  if (code == E_NOT_FOUND) {
    code = user_any(h, op->session.user_id);
    if (code == E_NOT_FOUND)
      return nothing_erased(h, op);
    code = code ? code : mongo_erasure_begin(h, op);
  }
  code = code ? code : mongo_user_hide(h, op);
  return code ? code : E_MORE;
}

/* ---- of one conversation ---- */

/* One that was tried before may be out of sight already. */
static int erase_one(struct mongo *h, struct store_op *op) {
  struct session_record found = {0};
  bool again = op->erasure != 0;
  int code = again ? 0 : mongo_session_find(h, op->session.id, &found);
  if (code == 0 && !again && strcmp(found.user_id ? found.user_id : "", op->session.user_id) != 0)
    code = E_NOT_FOUND;
  session_record_deinit(&found);
  code = code ? code : mongo_erasure_begin(h, op);
  code = code ? code : mongo_hide_one(h, op->erasure, op->session.id);
  return code ? code : E_MORE;
}

/* ---- of what is idle ---- */

static bool expired_already(const struct store_op *op, const char *id) {
  for (size_t i = 0; i < op->session_count; i++)
    if (strcmp(op->sessions[i].id, id) == 0)
      return true;
  return false;
}

static int expire_one(struct mongo *h, struct store_op *op, const bson_t *doc) {
  struct session_record r = {0};
  bson_iter_t at;
  if (!mongo_id(doc, "_id", r.id) || expired_already(op, r.id) || (op->in_use && op->in_use(op->arg, r.id)))
    return 0;
  if (bson_iter_init_find(&at, doc, MONGO_UID) && !mongo_copy(&at, &r.user_id))
    return mongo_no_memory();
  int code = op->session_count == 0 ? mongo_erasure_begin(h, op) : 0;
  code = code ? code : mongo_hide_one(h, op->erasure, r.id);
  if (code)
    session_record_deinit(&r);
  else
    op->sessions[op->session_count++] = r;
  return code;
}

/* As the index has them, so nothing is sorted, however many there are. */
static int expire_some(struct mongo *h, struct store_op *op, bson_t *match) {
  static const char stages[] = "{'$sort': {'" MONGO_LAST_ACTIVITY "': 1, 'ts': 1}}, {'$project': {'" MONGO_UID "': 1}}";
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, mongo_stages(match, stages), h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && op->session_count < op->limit && mongoc_cursor_next(cursor, &doc))
    code = expire_one(h, op, doc);
  int ended = mongo_cursor_end(h, "find what is idle", cursor);
  return code ? code : ended;
}

/* First those in which nothing was ever said: the reference gives them no last activity, and their start counts. A try
 * that was broken off has what it took out of sight in sessions already. */
static int expire(struct mongo *h, struct store_op *op) {
  if (!op->sessions && !(op->sessions = calloc(op->limit, sizeof *op->sessions)))
    return mongo_no_memory();
  bson_t *silent = BCON_NEW(MONGO_LAST_ACTIVITY, BCON_NULL, "ts", "{", "$lt", BCON_DATE_TIME(op->before_ms), "}");
  int code = expire_some(h, op, silent);
  if (code == 0)
    code = expire_some(h, op, BCON_NEW(MONGO_LAST_ACTIVITY, "{", "$lt", BCON_DATE_TIME(op->before_ms), "}"));
  return code || op->session_count == 0 ? code : E_MORE;
}

int mongo_erase(struct mongo *h, struct store_op *op) {
  bool one = op->session.id[0] != '\0';
  return op->kind == STORE_ERASE    ? (one ? erase_one(h, op) : erase_user(h, op))
         : op->kind == STORE_EXPIRE ? expire(h, op)
                                    : mongo_audit(h, &op->audit);
}
