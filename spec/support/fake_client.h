/* In: a user and a mailbox. Out: a connection without a socket, and what it has been sent.
 * Why: conversations, effects and join see a client only as a struct conn; their tests play the transport. */
#pragma once
#include "conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline void client_dirty(struct conn *c, void *arg) {
  (void)c;
  (void)arg;
}

static inline void client_never_woken(void *arg) {
  (void)arg;
}

static inline struct conn *client_with_limit(struct mailbox *home, const char *user, size_t outbox_limit) {
  struct identity *who = identity_new(user, user, NULL, 0, 0);
  struct conn_options o = {
    .home = home, .identity = who, .outbox_limit = outbox_limit, .early_limit = 4, .dirty = client_dirty};
  struct conn *c = who != NULL ? conn_new(&o) : NULL;
  if (c == NULL)
    abort();
  identity_unref(who);
  return c;
}

static inline struct conn *client_new(struct mailbox *home, const char *user) {
  return client_with_limit(home, user, 1u << 20);
}

/* Its socket is gone, and the transport has let go of it. */
static inline void client_gone(struct conn *c) {
  conn_dead(c);
  conn_unref(c);
}

/* The next thing it was sent. */
static inline void assert_gets(struct conn *c, const char *text) {
  struct message *m = conn_outbox_take(c);
  if (m == NULL)
    fail_msg("\"%s\" did not come", text);
  if (m->len != strlen(text) || memcmp(m->text, text, m->len) != 0)
    fail_msg("\"%.*s\" came, not \"%s\"", (int)m->len, m->text, text);
  message_unref(m);
}

static inline void assert_silent(struct conn *c) {
  const struct message *m = conn_outbox_peek(c);
  if (m != NULL)
    fail_msg("\"%.*s\" came unasked", (int)m->len, m->text);
}

static inline void send_text(struct conn *c, const char *text, const struct mailbox *here) {
  struct message *m = message_new(text, strlen(text));
  if (m == NULL)
    abort();
  conn_send(c, m, here);
  message_unref(m);
}
