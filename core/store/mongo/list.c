/* In: which conversations an operator asks for, in which order, behind which place. Out: a page of them, or sums over
 * all. Why two kinds of orders: those by a field have an index, and a page costs what it holds. How many messages a
 * conversation has, and how long it lasts, is stored nowhere: there the server works it out for all that the filter
 * leaves, and keeps the first ones. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKED_OUT "value"
#define MESSAGES_STAGES                                                                                                \
  MONGO_PLACE_STAGES ", {'$addFields': {'" WORKED_OUT "': {'$max': ['$embedded', {'$ifNull': [{'$arrayElemAt': "       \
                     "['$last.seq', 0]}, 0]}]}}}"

static const char *const fields[STORE_SORTS] = {[STORE_BY_START] = "ts",
                                                [STORE_BY_END] = MONGO_END,
                                                [STORE_BY_MESSAGES] = WORKED_OUT,
                                                [STORE_BY_TOKENS] = "totalTokens",
                                                [STORE_BY_USER] = MONGO_UID,
                                                [STORE_BY_DURATION] = WORKED_OUT,
                                                [STORE_BY_ACTIVITY] = MONGO_LAST_ACTIVITY};

static bson_t *times_match(const struct store_filter *f) {
  return BCON_NEW("$gte", BCON_DATE_TIME(f->from_ms), "$lte", BCON_DATE_TIME(f->to_ms));
}

static bson_t *filter_match(const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  bson_t *match = bson_new(), *other = BCON_NEW("$ne", BCON_NULL), *not_true = BCON_NEW("$ne", BCON_BOOL(true));
  if (op->session.user_id)
    bson_append_utf8(match, MONGO_UID, -1, op->session.user_id, -1);
  if (f->active == 1)
    bson_append_null(match, MONGO_END, -1);
  else if (f->active == 0)
    bson_append_document(match, MONGO_END, -1, other);
  if (f->assisted == 1)
    bson_append_bool(match, "adminAssisted", -1, true);
  else if (f->assisted == 0)
    bson_append_document(match, "adminAssisted", -1, not_true);
  if (f->from_ms != 0 || f->to_ms != 0) {
    bson_t *times = times_match(f);
    bson_append_document(match, "ts", -1, times);
    bson_destroy(times);
  }
  bson_destroy(other);
  bson_destroy(not_true);
  return match;
}

/* ---- the place behind which the page begins ---- */

static bool is_date(enum store_sort sort) {
  return sort == STORE_BY_START || sort == STORE_BY_END || sort == STORE_BY_ACTIVITY;
}

static void value_append(bson_t *doc, const char *name, const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  if (f->sort == STORE_BY_USER)
    bson_append_utf8(doc, name, -1, op->after_user, -1);
  else if (is_date(f->sort))
    bson_append_date_time(doc, name, -1, f->after_value);
  else
    bson_append_int64(doc, name, -1, f->after_value);
}

static void alternative(bson_t *any, const char *key, const bson_t *condition) {
  bson_append_document(any, key, -1, condition);
}

/* What has not ended has no such field, and comes before all that have. 0 stands for that. */
static bool is_absent(const struct store_op *op) {
  return (op->filter.sort == STORE_BY_END || op->filter.sort == STORE_BY_ACTIVITY) && op->filter.after_value == 0;
}

static bson_t *after_match(const struct store_op *op) {
  const char *field = fields[op->filter.sort], *behind = op->filter.ascending ? "$gt" : "$lt";
  bson_t *match = bson_new(), any, same = BSON_INITIALIZER, beyond = BSON_INITIALIZER, of_value, of_id;
  if (is_absent(op))
    bson_append_null(&same, field, -1);
  else
    value_append(&same, field, op);
  bson_append_document_begin(&same, "_id", -1, &of_id);
  bson_append_utf8(&of_id, behind, -1, op->after.id, -1);
  bson_append_document_end(&same, &of_id);
  bson_append_document_begin(&beyond, field, -1, &of_value);
  if (is_absent(op))
    bson_append_null(&of_value, "$ne", -1);
  else
    value_append(&of_value, behind, op);
  bson_append_document_end(&beyond, &of_value);
  bson_append_array_begin(match, "$or", -1, &any);
  alternative(&any, "0", &same);
  if (!is_absent(op) || op->filter.ascending)
    alternative(&any, "1", &beyond);
  if (!is_absent(op) && !op->filter.ascending) {
    bson_t *none = BCON_NEW(field, BCON_NULL);
    alternative(&any, "2", none);
    bson_destroy(none);
  }
  bson_append_array_end(match, &any);
  bson_destroy(&same);
  bson_destroy(&beyond);
  return match;
}

/* ---- the pipeline ---- */

struct pipeline {
  bson_t *doc, stages;
  uint32_t count;
};

static void stage_add(struct pipeline *p, const char *name, bson_t *body) {
  char room[16];
  const char *key;
  bson_t stage;
  size_t len = bson_uint32_to_string(p->count++, &key, room, sizeof room);
  bson_append_document_begin(&p->stages, key, (int)len, &stage);
  bson_append_document(&stage, name, -1, body);
  bson_append_document_end(&p->stages, &stage);
  bson_destroy(body);
}

static void stages_add(struct pipeline *p, const char *json) {
  bson_t *parsed = mongo_json("{'stages': [%s]}", json);
  bson_iter_t at, stage;
  char room[16];
  const char *key;
  bson_iter_init_find(&at, parsed, "stages");
  bson_iter_recurse(&at, &stage);
  while (bson_iter_next(&stage)) {
    size_t len = bson_uint32_to_string(p->count++, &key, room, sizeof room);
    bson_append_iter(&p->stages, key, (int)len, &stage);
  }
  bson_destroy(parsed);
}

static void duration_add(struct pipeline *p, int64_t now_ms) {
  bson_t *body = BCON_NEW(WORKED_OUT, "{", "$subtract", "[", "{", "$ifNull", "[", BCON_UTF8("$" MONGO_END),
                          BCON_DATE_TIME(now_ms), "]", "}", BCON_UTF8("$ts"), "]", "}");
  stage_add(p, "$addFields", body);
}

static bson_t *list_pipeline(const struct store_op *op) {
  struct pipeline p = {.doc = bson_new()};
  const struct store_filter *f = &op->filter;
  char json[256];
  bool messages = f->sort == STORE_BY_MESSAGES;
  bson_append_array_begin(p.doc, "pipeline", -1, &p.stages);
  stage_add(&p, "$match", filter_match(op));
  if (messages)
    stages_add(&p, MESSAGES_STAGES);
  else if (f->sort == STORE_BY_DURATION)
    duration_add(&p, f->now_ms);
  if (op->after.id[0] != '\0')
    stage_add(&p, "$match", after_match(op));
  int way = f->ascending ? 1 : -1;
  snprintf(json, sizeof json, "{'$sort': {'%s': %d, '_id': %d}}, {'$skip': %u}, {'$limit': %u}", fields[f->sort], way,
           way, f->offset, op->limit);
  stages_add(&p, json);
  if (!messages)
    stages_add(&p, MONGO_PLACE_STAGES);
  bson_append_array_end(p.doc, &p.stages);
  return p.doc;
}

/* ---- lists ---- */

int mongo_list(struct mongo *h, struct store_op *op) {
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return mongo_no_memory();
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, list_pipeline(op), h, false);
  struct unsealing u = {.keys = h->keys};
  const bson_t *doc;
  bool silent = false; /* nothing was ever said in the last one: it has no last activity */
  int code = 0;
  while (code == 0 && op->session_count < op->limit && mongoc_cursor_next(cursor, &doc)) {
    code = mongo_session_read(&u, doc, &op->sessions[op->session_count]);
    silent = mongo_number(doc, MONGO_LAST_ACTIVITY) == 0 && !bson_has_field(doc, MONGO_LAST_ACTIVITY);
    if (code != E_NOT_FOUND)
      op->session_count++;
    else
      code = 0;
  }
  int ended = mongo_cursor_end(h, "list conversations", cursor);
  (void)unsealing_end(&u); /* a list without names is a list */
  code = ended ? ended : code;
  if (code == 0 && store_list_end(op))
    return mongo_no_memory();
  if (silent && op->filter.sort == STORE_BY_ACTIVITY)
    op->filter.after_value = 0;
  return code;
}

/* ---- sums ---- */

int mongo_totals(struct mongo *h, struct store_op *op) {
  struct pipeline p = {.doc = bson_new()};
  bson_t *times = times_match(&op->filter);
  bson_append_array_begin(p.doc, "pipeline", -1, &p.stages);
  stage_add(&p, "$match", BCON_NEW("ts", BCON_DOCUMENT(times)));
  bson_destroy(times);
  stage_add(&p, "$addFields",
            BCON_NEW("lasted", "{", "$subtract", "[", "{", "$min", "[", "{", "$ifNull", "[", BCON_UTF8("$" MONGO_END),
                     BCON_UTF8("$" MONGO_LAST_ACTIVITY), "]", "}", BCON_DATE_TIME(op->filter.to_ms), "]", "}",
                     BCON_UTF8("$ts"), "]", "}"));
  stages_add(&p, "{'$group': {'_id': null, 'sessions': {'$sum': 1},"
                 " 'active': {'$sum': {'$cond': [{'$gt': ['$" MONGO_END "', null]}, 0, 1]}},"
                 " 'assisted': {'$sum': {'$cond': ['$adminAssisted', 1, 0]}}, 'tokens': {'$sum': '$totalTokens'},"
                 " 'longest': {'$max': '$maxRespTime'}, 'average': {'$avg': '$avgRespTime'},"
                 " 'lasted': {'$sum': {'$max': ['$lasted', 0]}}}}");
  bson_append_array_end(p.doc, &p.stages);
  mongoc_cursor_t *cursor = mongo_aggregate(h->sessions, p.doc, h, false);
  const bson_t *doc;
  op->totals = (struct store_totals){0};
  if (mongoc_cursor_next(cursor, &doc))
    op->totals = (struct store_totals){.sessions = (uint64_t)mongo_number(doc, "sessions"),
                                       .active = (uint64_t)mongo_number(doc, "active"),
                                       .assisted = (uint64_t)mongo_number(doc, "assisted"),
                                       .tokens = mongo_number(doc, "tokens"),
                                       .max_response_ms = mongo_number(doc, "longest"),
                                       .avg_response_ms = mongo_number(doc, "average"),
                                       .lasted_ms = (double)mongo_number(doc, "lasted")};
  return mongo_cursor_end(h, "add up conversations", cursor);
}
