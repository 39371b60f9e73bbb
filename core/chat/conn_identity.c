/* In: tokens that come while a connection is open. Out: who it is, and until when. Why: see conn.h. Any thread may ask,
 * and a new token may come while it does, so the identity in force is one pointer behind a lock. */
#include "conn_impl.h"

#include "err.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void conn_expires_in(struct conn *c, struct wheel *w) {
  wheel_put(w, &c->expiry, c->identity->expires_s ? c->identity->expires_s : INT64_MAX);
}

struct conn *conn_of_expiry(struct wheel_link *l) {
  return (struct conn *)((char *)l - offsetof(struct conn, expiry));
}

int conn_may_renew(struct conn *c, uint64_t now_ms, uint64_t *wait_ms) {
  const uint64_t ahead_ms = (CONN_RENEW_BURST - 1) * (uint64_t)CONN_RENEW_EVERY_MS;
  *wait_ms = 0;
  lock_acquire(&c->lock);
  uint64_t due_ms = c->renew_ms > now_ms ? c->renew_ms : now_ms;
  if (due_ms - now_ms > ahead_ms) {
    *wait_ms = due_ms - now_ms - ahead_ms;
  } else {
    c->renew_ms = due_ms + CONN_RENEW_EVERY_MS;
  }
  lock_release(&c->lock);
  return *wait_ms ? E_LIMITED : 0;
}

static void renew_here(struct conn *c, struct identity *fresh) {
  assert(strcmp(fresh->user_id, c->first->user_id) == 0);
  lock_acquire(&c->lock);
  struct identity *old = c->identity;
  c->identity = identity_ref(fresh);
  lock_release(&c->lock);
  identity_unref(old);
  if (c->expiry.wheel) {
    conn_expires_in(c, c->expiry.wheel);
  }
}

struct renewal {
  struct post post;
  struct conn *conn;
  struct identity *fresh;
};

static void renew_by_post(struct post *post) {
  struct renewal *r = (struct renewal *)post;
  renew_here(r->conn, r->fresh);
  identity_unref(r->fresh);
  conn_unref(r->conn);
  free(r);
}

void conn_renew(struct conn *c, struct identity *fresh, const struct mailbox *here) {
  if (c->home == here) {
    renew_here(c, fresh);
    return;
  }
  struct renewal *r = calloc(1, sizeof *r);
  if (!r) {
    abort(); /* its user was told that it holds */
  }
  *r = (struct renewal){.post.run = renew_by_post, .conn = conn_ref(c), .fresh = identity_ref(fresh)};
  mailbox_put(c->home, &r->post);
}
