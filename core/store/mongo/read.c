/* In: one read at a time. Out: records. Why: a list or a look at one conversation leaves its transcript where it is, on
 * the server; a page of history comes from the collection of messages and, where that begins, goes on in what is
 * embedded in the conversation, so a reader does not see the border. All of the primary: a read sees every write that
 * was answered before it. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- conversations ---- */

static int read_shared(struct mongo *h, struct store_op *op) {
  bson_t *match = mongo_shared_match(op->session.share_token);
  return match ? mongo_session_matching(h, match, &op->session) : E_STORE;
}

static bson_t *list_match(const struct store_op *op) {
  const struct store_place *after = &op->after;
  if (after->id[0] == '\0')
    return BCON_NEW(MONGO_UID, BCON_UTF8(op->session.user_id));
  return BCON_NEW(MONGO_UID, BCON_UTF8(op->session.user_id), "$or", "[", "{", "ts", "{", "$lt",
                  BCON_DATE_TIME(after->start_ms), "}", "}", "{", "ts", BCON_DATE_TIME(after->start_ms), "_id", "{",
                  "$lt", BCON_UTF8(after->id), "}", "}", "]");
}

static int read_sessions(struct mongo *h, struct store_op *op) {
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return mongo_no_memory();
  mongoc_cursor_t *cursor = mongo_sessions_find(h, list_match(op), op->limit);
  struct unsealing u = {.keys = h->keys};
  const bson_t *doc;
  int code = 0;
  while (code == 0 && op->session_count < op->limit && mongoc_cursor_next(cursor, &doc)) {
    code = mongo_session_read(&u, doc, &op->sessions[op->session_count]);
    if (code != E_NOT_FOUND)
      op->session_count++;
    else
      code = 0;
  }
  int ended = mongo_cursor_end(h, "read conversations", cursor);
  (void)unsealing_end(&u); /* a list without names is a list */
  return ended ? ended : code;
}

/* ---- messages ---- */

struct history_page {
  struct store_op *op;
  struct unsealing unsealing;
  char *user_id;
  uint64_t before, embedded; /* seq, number of messages */
  size_t bytes;
};

static bool page_full(const struct history_page *p) {
  return p->op->message_count == p->op->limit || p->bytes >= store_op_page_bytes(p->op);
}

static int page_add(struct history_page *p, uint64_t seq, bool embedded, const bson_t *doc) {
  struct message_record *m = &p->op->messages[p->op->message_count++];
  int code = mongo_message_read(&p->unsealing, p->op->session.id, p->user_id, seq, embedded, doc, m);
  p->bytes += m->content_len;
  p->before = seq;
  return code;
}

static int page_find(struct mongo *h, struct history_page *p) {
  bson_t *match = BCON_NEW("_id", BCON_UTF8(p->op->session.id));
  mongoc_cursor_t *cursor = mongo_aggregate(
    h->sessions,
    mongo_stages(match, "{'$project': {'" MONGO_UID "': 1, 'n': {'$size': {'$ifNull': ['$" MONGO_EMBEDDED "', []]}}}}"),
    h, false);
  const bson_t *doc;
  bson_iter_t at;
  bool any = mongoc_cursor_next(cursor, &doc), whole = true;
  p->embedded = any ? (uint64_t)mongo_number(doc, "n") : 0;
  if (any && bson_iter_init_find(&at, doc, MONGO_UID))
    whole = mongo_copy(&at, &p->user_id);
  int code = mongo_cursor_end(h, "find a conversation", cursor);
  return code ? code : !whole ? mongo_no_memory() : any ? 0 : E_NOT_FOUND;
}

/* Those behind what is embedded, from the end. */
static int page_of_collection(struct mongo *h, struct history_page *p) {
  if (p->before <= p->embedded + 1)
    return 0;
  bson_t *filter = BCON_NEW(MONGO_SID, BCON_UTF8(p->op->session.id), MONGO_SEQ, "{", "$lt",
                            BCON_INT64((int64_t)p->before), "$gt", BCON_INT64((int64_t)p->embedded), "}");
  bson_t *options = mongo_json("{'sort': {'" MONGO_SEQ "': -1}, 'limit': %u}", p->op->limit);
  mongoc_cursor_t *cursor = mongo_find(h->messages, filter, options, h, false);
  const bson_t *doc;
  int code = 0;
  while (code == 0 && !page_full(p) && mongoc_cursor_next(cursor, &doc))
    code = page_add(p, (uint64_t)mongo_number(doc, MONGO_SEQ), false, doc);
  int ended = mongo_cursor_end(h, "read messages", cursor);
  return ended ? ended : code;
}

/* The messages of one slice, which the server cuts; they come oldest first. */
static int slice_add(struct history_page *p, uint64_t first, const bson_t *doc) {
  bson_iter_t at, each;
  const bson_t *slice[STORE_LIMIT_MAX];
  bson_t messages[STORE_LIMIT_MAX];
  size_t n = 0;
  if (!bson_iter_init_find(&at, doc, MONGO_EMBEDDED) || !BSON_ITER_HOLDS_ARRAY(&at) || !bson_iter_recurse(&at, &each))
    return 0;
  while (n < STORE_LIMIT_MAX && bson_iter_next(&each)) {
    const uint8_t *bytes = NULL;
    uint32_t len = 0;
    if (BSON_ITER_HOLDS_DOCUMENT(&each))
      bson_iter_document(&each, &len, &bytes);
    if (!bytes || !bson_init_static(&messages[n], bytes, len))
      bson_init(&messages[n]);
    slice[n] = &messages[n];
    n++;
  }
  int code = 0;
  while (n > 0 && code == 0 && !page_full(p)) {
    n--;
    code = page_add(p, first + n, true, slice[n]);
  }
  return code;
}

static int page_of_embedded(struct mongo *h, struct history_page *p) {
  uint64_t last = p->before - 1 < p->embedded ? p->before - 1 : p->embedded, room = p->op->limit - p->op->message_count;
  if (page_full(p) || last == 0)
    return 0;
  uint64_t first = last > room ? last - room + 1 : 1;
  bson_t *options = mongo_json("{'limit': 1, 'projection': {'" MONGO_EMBEDDED "': {'$slice': [%llu, %llu]}}}",
                               (unsigned long long)first - 1, (unsigned long long)(last - first + 1));
  mongoc_cursor_t *cursor = mongo_find(h->sessions, BCON_NEW("_id", BCON_UTF8(p->op->session.id)), options, h, false);
  const bson_t *doc;
  int code = mongoc_cursor_next(cursor, &doc) ? slice_add(p, first, doc) : 0;
  int ended = mongo_cursor_end(h, "read embedded messages", cursor);
  return ended ? ended : code;
}

static void messages_reverse(struct message_record *m, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    struct message_record swap = m[i];
    m[i] = m[count - 1 - i];
    m[count - 1 - i] = swap;
  }
}

static int page_fill(struct mongo *h, struct history_page *p) {
  int code = page_find(h, p);
  if (code)
    return code;
  p->op->messages = calloc(p->op->limit, sizeof *p->op->messages);
  if (!p->op->messages)
    return mongo_no_memory();
  code = page_of_collection(h, p);
  code = code ? code : page_of_embedded(h, p);
  messages_reverse(p->op->messages, p->op->message_count);
  return code ? code : unsealing_end(&p->unsealing);
}

static int read_history(struct mongo *h, struct store_op *op) {
  bool to_the_end = op->before_seq == 0 || op->before_seq > INT64_MAX;
  struct history_page p = {.op = op, .unsealing = {.keys = h->keys}, .before = to_the_end ? INT64_MAX : op->before_seq};
  int code = page_fill(h, &p);
  free(p.user_id);
  return code;
}

static int read_cid(struct mongo *h, struct store_op *op) {
  struct message_record *m = &op->messages[0];
  bson_t *filter = BCON_NEW(MONGO_SID, BCON_UTF8(op->session.id), MONGO_CID, BCON_UTF8(m->cid));
  bson_t *options = mongo_json("{'limit': 1, 'projection': {'" MONGO_SEQ "': 1, '" MONGO_TS "': 1}}");
  mongoc_cursor_t *cursor = mongo_find(h->messages, filter, options, h, false);
  const bson_t *doc;
  bson_iter_t at;
  bool any = mongoc_cursor_next(cursor, &doc) && mongo_id(doc, "_id", m->id);
  if (any) {
    m->seq = (uint64_t)mongo_number(doc, MONGO_SEQ);
    m->at_ms = bson_iter_init_find(&at, doc, MONGO_TS) ? bson_iter_date_time(&at) : 0;
  }
  int code = mongo_cursor_end(h, "find a message", cursor);
  return code ? code : any ? 0 : E_NOT_FOUND;
}

/* ---- one of them ---- */

static int read_kind(struct mongo *h, struct store_op *op) {
  char why[256];
  if (op->kind == STORE_PING)
    return mongo_ping(h);
  int code = mongo_check(h, h->client, why);
  if (code)
    return code;
  switch (op->kind) {
  case STORE_SESSION:
    code = mongo_session_matching(h, BCON_NEW("_id", BCON_UTF8(op->session.id)), &op->session);
    return code || !op->with_open ? code : mongo_open_of(h, op);
  case STORE_ACTIVE:
    code = mongo_session_matching(h, BCON_NEW(MONGO_UID, BCON_UTF8(op->session.user_id), MONGO_END, BCON_NULL),
                                  &op->session);
    return code || !op->with_open ? code : mongo_open_of(h, op);
  case STORE_CID:
    return read_cid(h, op);
  case STORE_EPOCH:
    return mongo_epoch(h, &op->epoch);
  case STORE_OPEN:
    return mongo_open_sessions(h, op);
  case STORE_SESSIONS:
    return read_sessions(h, op);
  case STORE_LIST:
    return mongo_list(h, op);
  case STORE_TOTALS:
    return mongo_totals(h, op);
  case STORE_SHARED:
    return read_shared(h, op);
  case STORE_HISTORY:
    return read_history(h, op);
  default:
    return E_INVALID;
  }
}

/* A read does not wait for a database that is away: who asks is told at once, and asks again. */
void mongo_read(void *handle, struct store_op *op) {
  struct mongo *h = handle;
  int code = read_kind(h, op);
  if (code == 0)
    h->told = false;
  op->code = code == 0 || code == E_NOT_FOUND ? code : E_STORE;
}
