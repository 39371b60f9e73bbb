/* In: batches of rows. Out: for each one bulk of messages and one of their sessions, both acknowledged by a majority.
 * Why: see ceiling.h. The two commands the store needs for the same batch, with nothing around them. */
#include "ceiling.h"

#include "err.h"
#include "mongo_names.h"

#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mongo_ceiling {
  mongoc_client_t *client;
  mongoc_collection_t *sessions, *messages;
  char *const *ids;
};

static int mongo_open(const char *url, char *const *session_ids, size_t sessions, void **handle, char why[256]) {
  struct mongo_ceiling *h = calloc(1, sizeof *h);
  mongoc_init();
  (void)sessions;
  mongoc_uri_t *uri = mongoc_uri_new(url);
  if (!h || !uri || !(h->client = mongoc_client_new_from_uri(uri))) {
    snprintf(why, 256, "the url is not one of MongoDB");
    return E_INVALID;
  }
  const char *database = mongoc_uri_get_database(uri) ? mongoc_uri_get_database(uri) : MONGO_DATABASE;
  mongoc_write_concern_t *majority = mongoc_write_concern_new();
  mongoc_write_concern_set_wmajority(majority, 10000);
  mongoc_client_set_write_concern(h->client, majority);
  mongoc_write_concern_destroy(majority);
  h->sessions = mongoc_client_get_collection(h->client, database, MONGO_SESSIONS);
  h->messages = mongoc_client_get_collection(h->client, database, MONGO_MESSAGES);
  h->ids = session_ids;
  mongoc_uri_destroy(uri);
  *handle = h;
  return 0;
}

static void run(mongoc_bulk_operation_t *bulk) {
  bson_error_t error;
  bson_t reply;
  if (!mongoc_bulk_operation_execute(bulk, &reply, &error)) {
    fprintf(stderr, "ceiling: %s\n", error.message);
    exit(2);
  }
  bson_destroy(&reply);
  mongoc_bulk_operation_destroy(bulk);
}

static void insert(struct mongo_ceiling *h, const struct row *rows, size_t count) {
  mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(h->messages, NULL);
  for (size_t i = 0; i < count; i++) {
    const struct row *r = &rows[i];
    bson_t *doc = BCON_NEW("_id", r->id, MONGO_SID, h->ids[r->session], MONGO_SEQ, BCON_INT64((int64_t)r->seq),
                           MONGO_CID, r->cid, MONGO_SENDER, "user", MONGO_TYPE, "user_message", MONGO_TS,
                           BCON_DATE_TIME(r->at_ms), MONGO_CONTENT, r->content);
    mongoc_bulk_operation_insert(bulk, doc);
    bson_destroy(doc);
  }
  run(bulk);
}

static void move_on(struct mongo_ceiling *h, const struct row *rows, size_t count) {
  bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
  mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(h->sessions, options);
  for (size_t i = 0; i < count; i++) {
    bson_t *filter = BCON_NEW("_id", h->ids[rows[i].session]);
    bson_t *change = BCON_NEW("$max", "{", MONGO_LAST_ACTIVITY, BCON_DATE_TIME(rows[i].at_ms), MONGO_MODIFIED,
                              BCON_DATE_TIME(rows[i].at_ms), "}");
    mongoc_bulk_operation_update_one(bulk, filter, change, false);
    bson_destroy(filter);
    bson_destroy(change);
  }
  run(bulk);
  bson_destroy(options);
}

static void mongo_commit(void *handle, const struct row *rows, size_t count) {
  insert(handle, rows, count);
  move_on(handle, rows, count);
}

static void mongo_close(void *handle) {
  struct mongo_ceiling *h = handle;
  mongoc_collection_destroy(h->sessions);
  mongoc_collection_destroy(h->messages);
  mongoc_client_destroy(h->client);
  free(h);
}

const struct ceiling ceiling_mongo = {
  .scheme = "mongodb", .open = mongo_open, .commit = mongo_commit, .close = mongo_close};
