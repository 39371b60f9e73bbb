/* In: filters, pipelines, bulks. Out: cursors and outcomes. Why: what every command has in common, said once: it has a
 * deadline on the server too, its errors become codes and a line in the log, and a bulk's reply says how far it came.
 */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DUPLICATE_KEY 11000

/* ---- documents ---- */

bson_t *mongo_json(const char *format, ...) {
  char text[1024];
  va_list args;
  bson_error_t error;
  va_start(args, format);
  int len = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *p = text; *p != '\0'; p++)
    if (*p == '\'')
      *p = '"';
  bson_t *doc = len < (int)sizeof text ? bson_new_from_json((const uint8_t *)text, len, &error) : NULL;
  if (!doc)
    abort(); /* all of them are in these files and run in the tests */
  return doc;
}

bool mongo_copy(const bson_iter_t *at, char **out) {
  uint32_t len;
  if (!BSON_ITER_HOLDS_UTF8(at))
    return true;
  const char *text = bson_iter_utf8(at, &len);
  free(*out);
  *out = strndup(text, len);
  return *out;
}

bool mongo_id(const bson_t *doc, const char *name, char out[STORE_ID_LEN + 1]) {
  bson_iter_t at;
  uint32_t len;
  if (!bson_iter_init_find(&at, doc, name) || !BSON_ITER_HOLDS_UTF8(&at))
    return false;
  const char *text = bson_iter_utf8(&at, &len);
  if (len != STORE_ID_LEN)
    return false;
  memcpy(out, text, STORE_ID_LEN + 1);
  return true;
}

int64_t mongo_number(const bson_t *doc, const char *name) {
  bson_iter_t at;
  return bson_iter_init_find(&at, doc, name) ? bson_iter_as_int64(&at) : 0;
}

void mongo_append_element(bson_t *array, uint32_t index, const char *text) {
  char room[16];
  const char *key;
  size_t len = bson_uint32_to_string(index, &key, room, sizeof room);
  bson_append_utf8(array, key, (int)len, text, -1);
}

/* A script may have cut a name in the middle of a character; that is no reason not to store the rest. */
void mongo_append_text(bson_t *doc, const char *name, const char *text) {
  if (!text)
    return;
  if (bson_utf8_validate(text, strlen(text), false)) {
    bson_append_utf8(doc, name, -1, text, -1);
    return;
  }
  char *plain = strdup(text);
  for (char *p = plain; p && *p != '\0'; p++)
    if ((unsigned char)*p >= 0x80)
      *p = '?';
  bson_append_utf8(doc, name, -1, plain ? plain : "", -1);
  free(plain);
}

int mongo_no_memory(void) {
  LOG(LOG_ERROR, "store", "no memory for what was read");
  return E_STORE;
}

/* ---- reading ---- */

bson_t *mongo_stages(bson_t *match, const char *stages) {
  bson_t *rest = mongo_json("{'pipeline': [{}, %s]}", stages), *whole = bson_new(), array, first;
  bson_iter_t at, stage;
  bson_append_array_begin(whole, "pipeline", -1, &array);
  bson_append_document_begin(&array, "0", -1, &first);
  bson_append_document(&first, "$match", -1, match);
  bson_append_document_end(&array, &first);
  bson_iter_init_find(&at, rest, "pipeline");
  bson_iter_recurse(&at, &stage);
  bson_iter_next(&stage); /* the place of the first */
  while (bson_iter_next(&stage))
    bson_append_iter(&array, NULL, 0, &stage);
  bson_append_array_end(whole, &array);
  bson_destroy(rest);
  bson_destroy(match);
  return whole;
}

static void options_complete(bson_t *options, const struct mongo *h, bool majority) {
  if (mongo_limit_ms(h) > 0)
    bson_append_int64(options, "maxTimeMS", -1, mongo_limit_ms(h));
  if (majority) {
    bson_t *level = BCON_NEW("level", "majority");
    bson_append_document(options, "readConcern", -1, level);
    bson_destroy(level);
  }
}

mongoc_cursor_t *mongo_aggregate(mongoc_collection_t *c, bson_t *pipeline, const struct mongo *h, bool majority) {
  bson_t options = BSON_INITIALIZER;
  options_complete(&options, h, majority);
  mongoc_cursor_t *cursor = mongoc_collection_aggregate(c, MONGOC_QUERY_NONE, pipeline, &options, NULL);
  bson_destroy(&options);
  bson_destroy(pipeline);
  return cursor;
}

mongoc_cursor_t *mongo_find(mongoc_collection_t *c, bson_t *filter, bson_t *options, const struct mongo *h,
                            bool majority) {
  options_complete(options, h, majority);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, filter, options, NULL);
  bson_destroy(options);
  bson_destroy(filter);
  return cursor;
}

int mongo_cursor_end(struct mongo *h, const char *what, mongoc_cursor_t *cursor) {
  bson_error_t error;
  int code = mongoc_cursor_error(cursor, &error) ? mongo_failed(h, what, &error) : 0;
  mongoc_cursor_destroy(cursor);
  return code;
}

/* ---- writing ---- */

int mongo_delete(struct mongo *h, mongoc_collection_t *c, bson_t *filter, uint64_t *deleted) {
  bson_error_t error;
  bson_t reply;
  bool done = mongoc_collection_delete_many(c, filter, NULL, &reply, &error);
  if (done && deleted)
    *deleted += (uint64_t)mongo_number(&reply, "deletedCount");
  bson_destroy(filter);
  bson_destroy(&reply);
  return done ? 0 : mongo_failed(h, "delete", &error);
}

mongoc_bulk_operation_t *mongo_bulk_new(mongoc_collection_t *c, bool ordered) {
  bson_t *options = BCON_NEW("ordered", BCON_BOOL(ordered));
  mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(c, options);
  bson_destroy(options);
  return bulk;
}

static int refused(struct mongo *h, const bson_error_t *error) {
  (void)mongo_failed(h, "make a document", error);
  return E_STORE;
}

int mongo_bulk_insert(struct mongo *h, mongoc_bulk_operation_t *bulk, bson_t *doc) {
  bson_error_t error;
  bool taken = mongoc_bulk_operation_insert_with_opts(bulk, doc, NULL, &error);
  bson_destroy(doc);
  return taken ? 0 : refused(h, &error);
}

int mongo_bulk_update(struct mongo *h, mongoc_bulk_operation_t *bulk, bson_t *filter, bson_t *update) {
  bson_error_t error;
  bool taken = mongoc_bulk_operation_update_one_with_opts(bulk, filter, update, NULL, &error);
  bson_destroy(filter);
  bson_destroy(update);
  return taken ? 0 : refused(h, &error);
}

static bool array_any(const bson_t *reply, const char *name) {
  bson_iter_t at, in;
  return bson_iter_init_find(&at, reply, name) && bson_iter_recurse(&at, &in) && bson_iter_next(&in);
}

/* The first of writeErrors; for an unordered bulk that is 11000 only if all of them are. */
static void errors_read(const bson_t *reply, struct bulk_outcome *o) {
  bson_iter_t at, each, field;
  if (!bson_iter_init_find(&at, reply, "writeErrors") || !bson_iter_recurse(&at, &each))
    return;
  while (bson_iter_next(&each)) {
    bool taken =
      bson_iter_recurse(&each, &field) && bson_iter_find(&field, "code") && bson_iter_as_int64(&field) == DUPLICATE_KEY;
    if (!o->rejected && bson_iter_recurse(&each, &field) && bson_iter_find(&field, "index"))
      o->failed_at = (size_t)bson_iter_as_int64(&field);
    o->duplicate = taken && (!o->rejected || o->duplicate);
    o->rejected = true;
  }
}

void mongo_bulk_run(struct mongo *h, const char *what, mongoc_bulk_operation_t *bulk, struct bulk_outcome *o) {
  bson_t reply;
  bson_error_t error;
  *o = (struct bulk_outcome){0};
  bool done = mongoc_bulk_operation_execute(bulk, &reply, &error) != 0;
  o->matched = mongo_number(&reply, "nMatched");
  if (!done && array_any(&reply, "writeConcernErrors")) {
    error.domain = MONGOC_ERROR_WRITE_CONCERN; /* what is in writeErrors is no more certain than what is not */
    o->code = mongo_failed(h, what, &error);
  } else if (!done) {
    errors_read(&reply, o);
    o->code = o->duplicate ? 0 : mongo_failed(h, what, &error);
  }
  bson_destroy(&reply);
}
