/* In: messages, a batch at a time. Out: each batch committed by a database's own library, straight.
 * Why: what a store adds to its database is only seen beside the database: same schema and indexes (the store has made
 * them), same rows, same batch, same durability, no queue, no threads, no records. One thread. */
#pragma once
#include "attr.h"

#include <stddef.h>
#include <stdint.h>

#define CONTENT_LEN 100

/* One message of the session with this index. Texts are borrowed for the call. */
struct row {
  size_t session;
  uint64_t seq;
  const char *id, *cid, *content;
  int64_t at_ms;
};

struct ceiling {
  const char *scheme;
  /* The database is there, and so are the sessions. 0, or a negative code and one line in why[]. */
  int (*open)(const char *url, char *const *session_ids, size_t sessions, void **handle, char why[256]);
  /* All of the rows durable, or the program ends: a ceiling with holes is none. */
  void (*commit)(void *handle, const struct row *rows, size_t count);
  void (*close)(void *handle);
};

extern const struct ceiling ceiling_sqlite, ceiling_mongo;
