/* In: operations for a store. Out: their replies, waited for, in the order they came.
 * Why: the tests of the store play the part of a worker: they own a mailbox and run what is put there. A reply that
 * never comes fails the test after ten seconds instead of hanging it. */
#pragma once
#include "store.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define CALLER_REPLIES 4096

struct caller {
  struct mailbox *mailbox;
  sem_t woken;
  struct store_op *replies[CALLER_REPLIES];
  size_t count;
};

static inline void caller_woken(void *arg) {
  sem_post(&((struct caller *)arg)->woken);
}

static inline void caller_reply(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct caller *c = op->arg;
  if (c->count == CALLER_REPLIES)
    abort();
  c->replies[c->count++] = op;
}

static inline struct caller *caller_new(void) {
  struct caller *c = calloc(1, sizeof *c);
  if (c == NULL || sem_init(&c->woken, 0, 0) != 0)
    abort();
  c->mailbox = mailbox_new(caller_woken, c);
  if (c->mailbox == NULL)
    abort();
  return c;
}

static inline void caller_forget(struct caller *c) {
  while (c->count > 0)
    store_op_free(c->replies[--c->count]);
}

static inline void caller_free(struct caller *c) {
  mailbox_drain(c->mailbox);
  caller_forget(c);
  mailbox_free(c->mailbox);
  sem_destroy(&c->woken);
  free(c);
}

static inline int caller_submit(struct caller *c, struct store *s, struct store_op *op) {
  op->reply_to = c->mailbox;
  op->post.run = caller_reply;
  op->arg = c;
  return store_submit(s, op);
}

static inline void caller_wait_s(struct caller *c, size_t count, time_t limit_s) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += limit_s;
  while (c->count < count) {
    if (sem_timedwait(&c->woken, &until) != 0)
      fail_msg("%zu replies came, %zu were expected", c->count, count);
    mailbox_drain(c->mailbox);
  }
}

/* Until there are so many replies. */
static inline void caller_wait(struct caller *c, size_t count) {
  caller_wait_s(c, count, 60); /* only what hangs is found out by this */
}

/* The reply; the next caller_forget frees it. */
static inline struct store_op *caller_call(struct caller *c, struct store *s, struct store_op *op) {
  assert_int_equal(caller_submit(c, s, op), 0);
  caller_wait(c, c->count + 1);
  return c->replies[c->count - 1];
}

static inline void caller_id(char out[STORE_ID_LEN + 1], unsigned long long high, unsigned long long low) {
  snprintf(out, STORE_ID_LEN + 1, "%016llx%016llx", high, low);
}

/* A write to the conversation of this number, as yet without content. */
static inline struct store_op *caller_write(unsigned session) {
  struct store_op *op = store_op_new(STORE_WRITE);
  if (op == NULL)
    abort();
  caller_id(op->session.id, 0x5e55, session);
  return op;
}

/* Adds a message; cid NULL: none. */
static inline struct message_record *caller_add(struct store_op *op, unsigned long long id, const char *cid,
                                                const void *content, size_t len) {
  op->messages = realloc(op->messages, (op->message_count + 1) * sizeof *op->messages);
  if (op->messages == NULL)
    abort();
  struct message_record *m = &op->messages[op->message_count++];
  *m = (struct message_record){.cid = cid != NULL ? strdup(cid) : NULL,
                               .sender = strdup("user"),
                               .type = strdup("user_message"),
                               .content = malloc(len + 1),
                               .content_len = len};
  memcpy(m->content, content, len);
  caller_id(m->id, 0x3e55, id);
  return m;
}
