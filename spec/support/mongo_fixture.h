/* In: a MongoDB server, or none. Out: for each test a database of its own on it, a store, a caller and a client that
 * looks behind the store's back. Why: what the tests of store/mongo share. Where there is no server the first line
 * says why, and each of them is skipped. */
#pragma once
#include "mongod.h"
#include "store_backends.h"
#include "store_fixture.h"

static struct mongod server; /* of the test program; pid 0: none */
static mongoc_client_t *client;
static char database[32]; /* of the test */

static inline void close_store(struct fixture *f) {
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
}

static inline int try_open(struct fixture *f, char why[256]) {
  close_store(f);
  struct store_options o = {.backends = store_backends,
                            .url = f->url,
                            .readers = 2,
                            .queue = 10000,
                            .keys = f->keys,
                            .timeout_ms = f->timeout_ms};
  return store_open(&o, &f->store, why);
}

/* A database nobody has used; no store is open. */
static inline int setup_database(void **state) {
  static unsigned last;
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  if (server.pid == 0)
    return 0;
  f->timeout_ms = 10000;
  f->caller = caller_new();
  snprintf(database, sizeof database, "chat%u", ++last);
  mongod_url(&server, 1, database, f->url);
  client = mongod_client(&server);
  return 0;
}

static inline int teardown(void **state) {
  struct fixture *f = *state;
  close_store(f);
  keyring_free(f->keys);
  if (f->caller != NULL)
    caller_free(f->caller);
  mongoc_client_destroy(client);
  client = NULL;
  free(f);
  return 0;
}

#define NEEDS_SERVER()                                                                                                 \
  do {                                                                                                                 \
    if (server.pid == 0)                                                                                               \
      skip();                                                                                                          \
  } while (0)

/* ---- behind the store's back ---- */

static inline bson_t *json(const char *text) {
  bson_error_t error;
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", text);
  for (char *p = copy; *p != '\0'; p++)
    if (*p == '\'')
      *p = '"';
  bson_t *doc = bson_new_from_json((const uint8_t *)copy, -1, &error);
  if (doc == NULL)
    fail_msg("%s: %s", text, error.message);
  return doc;
}

static inline void put(const char *collection, bson_t *doc) {
  bson_error_t error;
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, collection);
  if (!mongoc_collection_insert_one(c, doc, NULL, NULL, &error))
    fail_msg("%s", error.message);
  mongoc_collection_destroy(c);
  bson_destroy(doc);
}

/* The first one that fits, as relaxed JSON; NULL: none. */
static inline char *look(const char *collection, const char *filter) {
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, collection);
  bson_t *q = json(filter);
  const bson_t *doc;
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, q, NULL, NULL);
  char *text = mongoc_cursor_next(cursor, &doc) ? bson_as_canonical_extended_json(doc, NULL) : NULL;
  mongoc_cursor_destroy(cursor);
  bson_destroy(q);
  mongoc_collection_destroy(c);
  return text;
}

static inline int64_t count(const char *collection, const char *filter) {
  bson_error_t error;
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, collection);
  bson_t *q = json(filter);
  int64_t n = mongoc_collection_count_documents(c, q, NULL, NULL, NULL, &error);
  if (n < 0)
    fail_msg("%s", error.message);
  bson_destroy(q);
  mongoc_collection_destroy(c);
  return n;
}

static inline void change(const char *collection, const char *filter, const char *update) {
  bson_error_t error;
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, collection);
  bson_t *q = json(filter), *u = json(update);
  if (!mongoc_collection_update_one(c, q, u, NULL, NULL, &error))
    fail_msg("%s", error.message);
  bson_destroy(q);
  bson_destroy(u);
  mongoc_collection_destroy(c);
}

static inline void assert_has(const char *text, const char *part) {
  if (text == NULL || strstr(text, part) == NULL)
    fail_msg("%s is not in %s", part, text != NULL ? text : "nothing");
}

static inline void assert_has_not(const char *text, const char *part) {
  if (text == NULL || strstr(text, part) != NULL)
    fail_msg("%s is in %s", part, text != NULL ? text : "nothing");
}

/* "SEQ CONTENT, …" of that page. */
static inline void assert_page(struct fixture *f, unsigned session, uint64_t before_seq, uint32_t limit,
                               const char *expected) {
  struct store_op *op = history(f, session, before_seq, limit);
  char text[512] = "";
  for (size_t i = 0; i < op->message_count; i++) {
    size_t len = strlen(text);
    snprintf(text + len, sizeof text - len, "%s%d %s", i > 0 ? ", " : "", (int)op->messages[i].seq,
             op->messages[i].damaged ? "DAMAGED" : op->messages[i].content);
  }
  assert_string_equal(text, expected);
}

/* ---- the reference's database ---- */

#define OLD 0x01d /* number of its conversation, and its id */
#define OLD_ID "0000000000005e55000000000000001d"

/* As its server writes one: five messages, user and ai in turns, the third with a file; under a key or plain. */
static inline void put_reference(const char *key) {
  static const char *const texts[] = {"Hello world.", "", "look", "I see", "bye"};
  struct keyring *keys = NULL;
  char why[256];
  if (key != NULL)
    assert_int_equal(keyring_new(key, "", false, &keys, why), 0);
  bson_t *doc = json("{'_id': '" OLD_ID "', 'uid': 'u1', 'nm': 'Hello world.', 'modelId': 'openai-gpt4', 'ts': "
                     "{'$date': {'$numberLong': '1700000000000'}}, 'dur': {'$numberLong': '0'}, 'adminAssisted': false,"
                     "'helpRequested': false, 'totalTokens': 100, 'lastActivity': {'$date': {'$numberLong': "
                     "'1700000005000'}}, 'maxRespTime': {'$numberLong': '7'}, 'avgRespTime': {'$numberLong': '5'},"
                     "'shareToken': '9ab1', '_ts': {'$date': {'$numberLong': '1700000000000'}},"
                     "'_mt': {'$date': {'$numberLong': '1700000005000'}}}");
  bson_t msgs, one, meta;
  bson_append_array_begin(doc, "msgs", -1, &msgs);
  for (int i = 0; i < 5; i++) {
    char index[4], *sealed;
    size_t len;
    snprintf(index, sizeof index, "%d", i);
    assert_int_equal(cipher_seal_reference(keys, texts[i], strlen(texts[i]), &sealed, &len), 0);
    bson_append_document_begin(&msgs, index, -1, &one);
    bson_append_utf8(&one, "content", -1, sealed, (int)len);
    bson_append_date_time(&one, "ts", -1, 1700000000000 + 1000 * i);
    bson_append_utf8(&one, "sender", -1, i % 2 ? "ai" : "user", -1);
    if (i == 2) {
      bson_append_utf8(&one, "fileId", -1, "f1", -1);
      bson_append_utf8(&one, "fileUrl", -1, "https://files.example.org/f1", -1);
      bson_append_document_begin(&one, "meta", -1, &meta);
      bson_append_utf8(&meta, "filename", -1, "cat.png", -1);
      bson_append_document_end(&one, &meta);
    }
    bson_append_document_end(&msgs, &one);
    free(sealed);
  }
  bson_append_array_end(doc, &msgs);
  keyring_free(keys);
  put("sessions", doc);
}

static inline int start_server(void **state) {
  (void)state;
  if (mongod_there())
    mongod_start(&server, "rs0");
  return 0;
}

static inline int stop_server(void **state) {
  (void)state;
  if (server.pid != 0)
    mongod_remove(&server);
  return 0;
}
