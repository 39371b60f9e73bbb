/* In: a database that may be empty, the reference's, ours, or of a program newer than this one. Out: one that can be
 * used, or a reason. Why: nothing in it is migrated: what is ours stands beside what the reference has, in collections
 * and fields it does not look at. The database may be away when the server starts: then the first one who reaches it
 * looks. A start that failed instead would be a crash loop, whose back-off outlasts the outage; a readiness that says
 * no does the same without. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <sys/random.h>

/* ---- the version ---- */

static int version_read(struct mongo *h, mongoc_client_t *client, int64_t *version) {
  bson_error_t error;
  mongoc_collection_t *meta = mongo_collection(h, client, MONGO_META);
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(MONGO_META_ID)), *options = BCON_NEW("limit", BCON_INT64(1));
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(meta, filter, options, NULL);
  const bson_t *doc;
  bson_iter_t at;
  *version = 0;
  if (mongoc_cursor_next(cursor, &doc) && bson_iter_init_find(&at, doc, MONGO_META_VERSION))
    *version = bson_iter_as_int64(&at);
  int code = mongoc_cursor_error(cursor, &error) ? mongo_failed(h, "read the schema version", &error) : 0;
  mongoc_cursor_destroy(cursor);
  bson_destroy(filter);
  bson_destroy(options);
  mongoc_collection_destroy(meta);
  return code;
}

int mongo_check(struct mongo *h, mongoc_client_t *client, char why[256]) {
  int64_t version;
  if (atomic_load(&h->known->checked))
    return 0;
  int code = version_read(h, client, &version);
  if (code) {
    snprintf(why, 256, "the database: %s, see the log", err_text(code));
    return code;
  }
  if (version > MONGO_SCHEMA_VERSION) {
    snprintf(why, 256, "the database has schema version %lld, this program knows versions up to %d", (long long)version,
             MONGO_SCHEMA_VERSION);
    return E_SCHEMA;
  }
  h->known->version = version;
  code = mongo_keys_check(h, client, why);
  if (code == 0)
    atomic_store(&h->known->checked, true);
  return code;
}

/* $max: a newer program that was faster keeps its number. */
static int version_write(struct mongo *h) {
  bson_error_t error;
  mongoc_collection_t *meta = mongo_collection(h, h->client, MONGO_META);
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(MONGO_META_ID)), *options = BCON_NEW("upsert", BCON_BOOL(true));
  bson_t *update = BCON_NEW("$max", "{", MONGO_META_VERSION, BCON_INT32(MONGO_SCHEMA_VERSION), "}");
  bool done = mongoc_collection_update_one(meta, filter, update, options, NULL, &error);
  bson_destroy(filter);
  bson_destroy(options);
  bson_destroy(update);
  mongoc_collection_destroy(meta);
  return done ? 0 : mongo_failed(h, "write the schema version", &error);
}

/* ---- indexes ---- */

struct index {
  const char *name, *key, *options;
};

#define INDEX_ROW(name, key, options) {name, key, options},
static const struct index of_sessions[] = {MONGO_SESSION_INDEXES(INDEX_ROW)};
static const struct index of_messages[] = {MONGO_MESSAGE_INDEXES(INDEX_ROW)};
#undef INDEX_ROW

/* One command each, so that one that cannot be made leaves the others alone. */
static bool index_make(struct mongo *h, const char *collection, const struct index *i, bson_error_t *error) {
  mongoc_collection_t *c = mongo_collection(h, h->client, collection);
  bson_t *command = mongo_json("{'createIndexes': '%s', 'indexes': [{'name': '%s', 'key': %s%s}]}", collection, i->name,
                               i->key, i->options);
  bool made = mongoc_collection_write_command_with_opts(c, command, NULL, NULL, error);
  bson_destroy(command);
  mongoc_collection_destroy(c);
  return made;
}

/* Those of sessions only make it faster. One that is there with other options stays; one that takes longer than a
 * command may is finished by the server, or begun again by the next start. */
static int indexes_make(struct mongo *h) {
  bson_error_t error;
  for (size_t i = 0; i < sizeof of_messages / sizeof *of_messages; i++)
    if (!index_make(h, MONGO_MESSAGES, &of_messages[i], &error))
      return mongo_failed(h, of_messages[i].name, &error);
  for (size_t i = 0; i < sizeof of_sessions / sizeof *of_sessions; i++)
    if (!index_make(h, MONGO_SESSIONS, &of_sessions[i], &error))
      LOG(LOG_WARN, "store", "an index is missing", LSTR("index", of_sessions[i].name),
          LINT("code", (int64_t)error.code), LSTR("reason", error.message));
  return 0;
}

int mongo_writable(struct mongo *h) {
  return version_write(h);
}

/* What an older version has left to do. */
static int version_upgrade(struct mongo *h, char why[256]) {
  if (h->known->version != 1)
    return 0;
  int code = mongo_keys_upgrade(h);
  code = code ? code : mongo_keys_check(h, h->client, why);
  return code || !h->keys ? code : mongo_names_upgrade(h);
}

int mongo_prepare(struct mongo *h, char why[256]) {
  why[0] = '\0';
  if (atomic_load(&h->known->prepared) && (h->counting || !h->keys || !h->writer))
    return 0;
  int code = mongo_check(h, h->client, why);
  if (code)
    return code;
  if (!atomic_load(&h->known->prepared)) {
    code = version_upgrade(h, why);
    code = code ? code : indexes_make(h);
    code = code ? code : version_write(h);
  }
  code = code ? code : mongo_keys_open(h);
  if (code && why[0] == '\0')
    snprintf(why, 256, "the database: %s, see the log", err_text(code));
  if (code == 0)
    atomic_store(&h->known->prepared, true);
  return code;
}

/* One command finds it or makes it, so that two servers that ask at once hear the same. */
int mongo_epoch(struct mongo *h, uint64_t *epoch) {
  uint32_t drawn = 0;
  bson_error_t error;
  bson_t reply;
  bson_iter_t at, value;
  if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
    return E_STORE;
  mongoc_collection_t *meta = mongo_collection(h, h->client, MONGO_META);
  bson_t *filter = BCON_NEW("_id", BCON_UTF8(MONGO_EPOCH_ID));
  bson_t *update = BCON_NEW("$setOnInsert", "{", MONGO_EPOCH, BCON_INT64(drawn), "}");
  mongoc_find_and_modify_opts_t *opts = mongoc_find_and_modify_opts_new();
  mongoc_find_and_modify_opts_set_update(opts, update);
  mongoc_find_and_modify_opts_set_flags(opts, MONGOC_FIND_AND_MODIFY_UPSERT | MONGOC_FIND_AND_MODIFY_RETURN_NEW);
  bool done = mongoc_collection_find_and_modify_with_opts(meta, filter, opts, &reply, &error);
  bool found = done && bson_iter_init(&at, &reply) && bson_iter_find_descendant(&at, "value." MONGO_EPOCH, &value);
  *epoch = found ? (uint64_t)bson_iter_as_int64(&value) : 0;
  bson_destroy(&reply);
  mongoc_find_and_modify_opts_destroy(opts);
  bson_destroy(update);
  bson_destroy(filter);
  mongoc_collection_destroy(meta);
  return !done ? mongo_failed(h, "read the epoch", &error) : found ? 0 : E_STORE;
}

int mongo_ping(struct mongo *h) {
  char why[256];
  int code = mongo_answers(h);
  return code ? code : mongo_check(h, h->pinger, why);
}
