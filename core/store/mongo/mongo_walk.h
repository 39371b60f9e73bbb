/* In: a database nobody else has open. Out: all of it looked at, message by message, and some of it changed.
 * Why: what reencrypt and handback have in common. Every change is one that can be made again, so a walk that was
 * broken off is begun again and passes over what is done. */
#pragma once
#ifndef ROOM_STORE_MONGO
#error "mongo_walk.h is private to core/store/mongo"
#endif

#include "mongo_impl.h"

struct walk {
  struct mongo *h;
  store_progress_fn *tell;
  void *arg;
  char *why;                  /* 256 bytes */
  const struct keyring *keys; /* to read with */
  bool plain_last;            /* what walk_recode has changed last was in no sealed form */
  struct store_progress progress;
  uint64_t names_failed;
};

/* A message that is looked at; all borrowed. */
struct walk_message {
  const char *session_id, *user_id;
  const struct message_record *fields;
  bool embedded;
  const char *stored;
  size_t len;
};

/* What the content of a message is to become. 0 and a new object in *out; 1: it is so already; or why it cannot be
 * read: it stays as it is and is counted as failed; UV_ENOMEM ends the walk. */
typedef int walk_recode_fn(const struct keyring *k, const struct walk_message *m, char **out, size_t *out_len);

/* Prepares the database and counts. */
int walk_begin(struct walk *w);
/* All that is embedded in conversations. */
int walk_embedded(struct walk *w, walk_recode_fn *recode);
/* Of one message, a document with the id of its conversation and user: as walk_recode_fn, but failures are logged and
 * counted, and are 1, as is what is no message. */
int walk_recode(struct walk *w, walk_recode_fn *recode, const char *session_id, const char *user_id, uint64_t seq,
                bool embedded, const bson_t *doc, char **out, size_t *out_len);
/* Writes why; the code of the command that failed. */
int walk_failed(struct walk *w, int code);
/* The end: 0, or a code and why when something could not be done. */
int walk_end(struct walk *w);
