/* In: a backend's url. Out: a store on it, and the words tests of backends speak in: say, history, a conversation of
 * that number. Why: what every backend promises (store_backend_test.c) and what only SQLite does (store_sqlite_test.c)
 * are told with the same words. */
#pragma once
#include "store_backends.h"
#include "store_caller.h"

#include "cipher.h"
#include "err.h"

#define KEY_A "the first key of 32 bytes. 1 2 3"
#define KEY_B "the second key of 32 bytes 1 2 3"

struct fixture {
  char folder[64], path[96]; /* of SQLite */
  char url[256];
  struct store *store;
  struct keyring *keys;
  struct caller *caller;
  uint32_t timeout_ms; /* of the store */
  unsigned accept;     /* of keyrings: enum cipher_accept */
};

static inline int open_code(struct fixture *f, char why[256]) {
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
  struct store_options o = {.backends = store_backends,
                            .url = f->url,
                            .readers = 2,
                            .queue = 10000,
                            .keys = f->keys,
                            .timeout_ms = f->timeout_ms};
  return store_open(&o, &f->store, why);
}

static inline void reopen(struct fixture *f) {
  char why[256] = "";
  if (open_code(f, why) != 0)
    fail_msg("%s", why);
}

/* Closes the store; the next one has these keys. */
static inline void take_keys(struct fixture *f, const char *current, const char *previous) {
  char why[256];
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
  keyring_free(f->keys);
  assert_int_equal(keyring_new(current, previous, f->accept, &f->keys, why), 0);
}

/* Closes the store and opens it with these keys. */
static inline void reopen_with(struct fixture *f, const char *current, const char *previous) {
  take_keys(f, current, previous);
  reopen(f);
}

static inline struct store_op *call(struct fixture *f, struct store_op *op) {
  return caller_call(f->caller, f->store, op);
}

/* A conversation of that number, of user "u1", started at that time. */
static inline struct store_op *write_session(unsigned session, int64_t start_ms) {
  struct store_op *op = caller_write(session);
  op->has_session = true;
  op->session.user_id = strdup("u1");
  op->session.start_ms = start_ms;
  return op;
}

static inline struct store_op *read_of(enum store_kind kind, unsigned session, const char *user, uint32_t limit) {
  struct store_op *op = store_op_new(kind);
  caller_id(op->session.id, 0x5e55, session);
  op->session.user_id = user != NULL ? strdup(user) : NULL;
  op->limit = limit;
  return op;
}

static inline void make_session(struct fixture *f, unsigned session) {
  assert_int_equal(call(f, write_session(session, 1))->code, 0);
}

/* One message of its own operation; the reply's record. */
static inline struct message_record *say(struct fixture *f, unsigned session, unsigned long long id, const char *cid,
                                         const char *content) {
  struct store_op *op = caller_write(session);
  caller_add(op, id, cid, content, strlen(content));
  op = call(f, op);
  assert_int_equal(op->code, 0);
  return &op->messages[0];
}

static inline struct store_op *history(struct fixture *f, unsigned session, uint64_t before_seq, uint32_t limit) {
  struct store_op *op = read_of(STORE_HISTORY, session, NULL, limit);
  op->before_seq = before_seq;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  return op;
}

static inline void assert_history(struct fixture *f, unsigned session, const char *expected) {
  struct store_op *op = history(f, session, 0, 100);
  char text[256] = "";
  for (size_t i = 0; i < op->message_count; i++) {
    size_t len = strlen(text);
    snprintf(text + len, sizeof text - len, "%s%d %s", i > 0 ? ", " : "", (int)op->messages[i].seq,
             op->messages[i].damaged ? "DAMAGED" : op->messages[i].content);
    assert_true(!op->messages[i].damaged || (op->messages[i].content_len == 0 && op->messages[i].extra == NULL));
  }
  assert_string_equal(text, expected);
}

static inline int history_code(struct fixture *f, unsigned session) {
  return call(f, read_of(STORE_HISTORY, session, NULL, 100))->code;
}
