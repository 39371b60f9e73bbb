/* In: messages that wait for an answer, what is done about them. Out: marks in their documents, and in those of the
 * answers. Why in both: one document is written whole or not at all, two are not. An answer says itself of which
 * message it is (a part of) the answer, and whether it is the last part; so it is enough that it is stored. That the
 * mark is then taken off the message only keeps what has to be looked at small, and needs no majority. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include <stdlib.h>
#include <string.h>

/* A message that comes with its answer is no part of it. */
static bool is_answer(const struct store_op *op, const struct message_record *m) {
  return op->mark.id[0] != '\0' && strcmp(op->mark.id, m->id) != 0;
}

/* Those of an operation are stored one after the other, so only the last one says that it is the last. */
static bool is_last(const struct store_op *op, const struct message_record *m) {
  return m == &op->messages[op->message_count - 1];
}

void mongo_open_append(bson_t *doc, const struct message_record *m, const struct store_op *op) {
  if (m->open)
    bson_append_int32(doc, MONGO_OPEN, -1, 0);
  if (op->mark.what == STORE_ATTEMPT || !is_answer(op, m))
    return;
  bson_append_utf8(doc, MONGO_RE, -1, op->mark.id, -1);
  if (op->mark.what == STORE_DEALT && is_last(op, m))
    bson_append_bool(doc, MONGO_DONE, -1, true);
}

/* ---- marks ---- */

/* Its own documents say it. Those that do may have been there already (duplicates). */
static bool said_by_messages(const struct batch *b, size_t at) {
  const struct store_op *op = b->ops[at];
  bool said = false;
  for (size_t i = 0; i < b->item_count && op->mark.what != STORE_ATTEMPT; i++) {
    const struct batch_item *it = &b->items[i];
    said |=
      it->op == op && !it->duplicate && is_answer(op, it->m) && (op->mark.what != STORE_DEALT || is_last(op, it->m));
  }
  return said;
}

static int mark_add(struct batch *b, mongoc_bulk_operation_t *bulk, const struct store_op *op) {
  static const char *const changes[] = {[STORE_BEGUN] = "{'$set': {'" MONGO_BEGUN "': true}}",
                                        [STORE_ATTEMPT] = "{'$inc': {'" MONGO_OPEN "': 1}}",
                                        [STORE_DEALT] = "{'$unset': {'" MONGO_OPEN "': 1, '" MONGO_BEGUN "': 1}}"};
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(op->mark.id), MONGO_SID, BCON_UTF8(op->session.id), MONGO_OPEN, "{",
                            "$exists", BCON_BOOL(true), "}");
  return mongo_bulk_update(b->h, bulk, filter, mongo_json("%s", changes[op->mark.what]));
}

static bool mark_wanted(const struct batch *b, size_t i) {
  const struct store_op *op = b->ops[i];
  return op->kind == STORE_WRITE && op->code == 0 && op->mark.id[0] != '\0' &&
         !(op->mark.what == STORE_BEGUN && said_by_messages(b, i));
}

static mongoc_bulk_operation_t *marks_bulk(const struct batch *b, bool sure) {
  if (sure)
    return mongo_bulk_new(b->h->messages, true);
  bson_t *options = mongo_json("{'ordered': false, 'writeConcern': {'w': 1}}");
  mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(b->h->messages, options);
  bson_destroy(options);
  return bulk;
}

int batch_marks(struct batch *b) {
  size_t count = 0;
  bool sure = false;
  for (size_t i = 0; i < b->count; i++) {
    if (!mark_wanted(b, i))
      continue;
    count++;
    sure |= !said_by_messages(b, i);
  }
  if (count == 0)
    return 0;
  mongoc_bulk_operation_t *bulk = marks_bulk(b, sure);
  struct bulk_outcome o = {0};
  for (size_t i = 0; i < b->count; i++)
    if (mark_wanted(b, i))
      b->ops[i]->code = mark_add(b, bulk, b->ops[i]);
  mongo_bulk_run(b->h, "mark messages", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  return o.code;
}

/* ---- what the answers say ---- */

/* {sid, re: {$in: […]}} of so many messages. */
static mongoc_cursor_t *answers_find(struct mongo *h, const char *session_id, const struct message_record *all,
                                     size_t count) {
  bson_t *filter = BCON_NEW(MONGO_SID, BCON_UTF8(session_id)), in, ids;
  bson_append_document_begin(filter, MONGO_RE, -1, &in);
  bson_append_array_begin(&in, "$in", -1, &ids);
  for (size_t i = 0; i < count; i++)
    mongo_append_element(&ids, (uint32_t)i, all[i].id);
  bson_append_array_end(&in, &ids);
  bson_append_document_end(filter, &in);
  return mongo_find(h->messages, filter, mongo_json("{'projection': {'" MONGO_RE "': 1, '" MONGO_DONE "': 1}}"), h,
                    true);
}

static void answer_apply(const bson_t *doc, struct message_record *all, size_t count) {
  char re[STORE_ID_LEN + 1];
  bool done = bson_has_field(doc, MONGO_DONE);
  for (size_t i = 0; mongo_id(doc, MONGO_RE, re) && i < count; i++) {
    if (strcmp(all[i].id, re) != 0)
      continue;
    all[i].begun = true;
    all[i].open &= !done;
  }
}

/* Each that is open is asked about: whether it has begun, and whether it is open. */
static int answers_apply(struct mongo *h, const char *session_id, struct message_record *all, size_t count) {
  if (count == 0)
    return 0;
  mongoc_cursor_t *cursor = answers_find(h, session_id, all, count);
  const bson_t *doc;
  while (mongoc_cursor_next(cursor, &doc))
    answer_apply(doc, all, count);
  return mongo_cursor_end(h, "find answers", cursor);
}

int batch_duplicates(struct batch *b) {
  int code = 0;
  for (size_t i = 0; i < b->item_count && code == 0; i++) {
    struct batch_item *it = &b->items[i];
    if (!it->duplicate || !it->open || !it->m->open)
      continue;
    struct message_record first = {.open = true};
    memcpy(first.id, it->id, sizeof first.id);
    code = answers_apply(b->h, it->place->id, &first, 1);
    it->open = first.open;
  }
  return code;
}

/* ---- reading ---- */

static int open_add(struct unsealing *u, struct store_op *op, const bson_t *doc) {
  bson_iter_t at;
  struct message_record *m = &op->messages[op->message_count++];
  int code =
    mongo_message_read(u, op->session.id, op->session.user_id, (uint64_t)mongo_number(doc, MONGO_SEQ), false, doc, m);
  m->open = true;
  m->attempts = (uint32_t)mongo_number(doc, MONGO_OPEN);
  m->begun = bson_iter_init_find(&at, doc, MONGO_BEGUN);
  return code;
}

/* Takes out what is not open after all. */
static void open_compact(struct store_op *op) {
  size_t kept = 0;
  for (size_t i = 0; i < op->message_count; i++) {
    if (op->messages[i].open)
      op->messages[kept++] = op->messages[i];
    else
      message_record_deinit(&op->messages[i]);
  }
  op->message_count = kept;
}

int mongo_open_of(struct mongo *h, struct store_op *op) {
  op->messages = calloc(STORE_OPEN_MAX, sizeof *op->messages);
  if (!op->messages)
    return mongo_no_memory();
  bson_t *filter = BCON_NEW(MONGO_OPEN, "{", "$exists", BCON_BOOL(true), "}", MONGO_SID, BCON_UTF8(op->session.id));
  bson_t *options = mongo_json("{'sort': {'" MONGO_SEQ "': 1}, 'limit': %d}", STORE_OPEN_MAX);
  mongoc_cursor_t *cursor = mongo_find(h->messages, filter, options, h, true);
  const bson_t *doc;
  struct unsealing u = {.keys = h->keys};
  int code = 0;
  while (code == 0 && op->message_count < STORE_OPEN_MAX && mongoc_cursor_next(cursor, &doc))
    code = open_add(&u, op, doc);
  code = code ? code : unsealing_end(&u);
  int ended = mongo_cursor_end(h, "read open messages", cursor);
  code = ended ? ended : code;
  code = code ? code : answers_apply(h, op->session.id, op->messages, op->message_count);
  open_compact(op);
  return code;
}

int mongo_open_sessions(struct mongo *h, struct store_op *op) {
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return mongo_no_memory();
  bson_t *match = BCON_NEW(MONGO_OPEN, "{", "$exists", BCON_BOOL(true), "}", MONGO_SID, "{", "$gt",
                           BCON_UTF8(op->after.id), "}", MONGO_TS, "{", "$gt", BCON_DATE_TIME(op->before_ms), "}");
  char stages[256];
  snprintf(stages, sizeof stages, "{'$group': {'_id': '$" MONGO_SID "'}}, {'$sort': {'_id': 1}}, {'$limit': %u}",
           op->limit);
  mongoc_cursor_t *cursor = mongo_aggregate(h->messages, mongo_stages(match, stages), h, true);
  const bson_t *doc;
  while (op->session_count < op->limit && mongoc_cursor_next(cursor, &doc))
    if (mongo_id(doc, "_id", op->sessions[op->session_count].id))
      op->session_count++;
  return mongo_cursor_end(h, "find open messages", cursor);
}
