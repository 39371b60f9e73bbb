/* In: which messages of a client were refused and can be sent again, and which came through. Out: whether one has to
 * wait until an earlier one is sent again.
 * Why: a client that pipelines has sent more by the time it hears of a refusal. If that were stored, it would lie in
 * front of what is sent again, and the conversation would not read as it was said.
 *
 *   refused at home, unread      conn_put_off: the first since a text was let in
 *     v                            v conn_take_put_off: travels with the next text that is let in, so it comes in order
 *   refused by its handler or    conn_hold: from here on everything but this one is refused,
 *   by the store -------------->   v conn_came: … until it is stored, or refused for good */
#include "conn_impl.h"

#include <string.h>

struct conn_refusal conn_refusal_of(const char *cid, size_t len, int code, uint32_t wait_ms, uint64_t at_ms) {
  uint64_t n = 14695981039346656037u; /* FNV-1a: of one cid only it is asked whether it is the same again */
  for (size_t i = 0; i < len; i++) {
    n = (n ^ (unsigned char)cid[i]) * 1099511628211u;
  }
  return (struct conn_refusal){.cid = len ? n | 1 : 0, .code = code, .wait_ms = wait_ms, .at_ms = at_ms};
}

void conn_put_off(struct conn *c, struct conn_refusal why) {
  if (!c->put_off.cid) {
    c->put_off = why;
  }
}

struct conn_refusal conn_take_put_off(struct conn *c) {
  struct conn_refusal why = c->put_off;
  c->put_off.cid = 0;
  return why;
}

static bool is_over(const struct conn_refusal *why, uint64_t now_ms) {
  return !why->cid || now_ms > why->at_ms + why->wait_ms + CONN_HOLD_MS;
}

void conn_hold(struct conn *c, struct conn_refusal why, uint64_t now_ms) {
  if (is_over(&why, now_ms)) {
    return;
  }
  lock_acquire(&c->lock);
  if (is_over(&c->hold, now_ms) || c->hold.cid == why.cid) {
    c->hold = why;
    atomic_store(&c->holds, true);
  }
  lock_release(&c->lock);
}

static uint64_t number_of(const char *cid) {
  return cid ? conn_refusal_of(cid, strlen(cid), 0, 0, 0).cid : 0;
}

static void let_go(struct conn *c) {
  c->hold.cid = 0;
  atomic_store(&c->holds, false);
}

void conn_came(struct conn *c, const char *cid) {
  if (!atomic_load(&c->holds)) {
    return;
  }
  lock_acquire(&c->lock);
  if (c->hold.cid == number_of(cid)) {
    let_go(c);
  }
  lock_release(&c->lock);
}

bool conn_waits(struct conn *c, const char *cid, uint64_t now_ms, struct conn_refusal *why) {
  if (!atomic_load(&c->holds)) {
    return false;
  }
  lock_acquire(&c->lock);
  if (is_over(&c->hold, now_ms)) {
    let_go(c);
  }
  *why = c->hold;
  uint64_t passed = now_ms > why->at_ms ? now_ms - why->at_ms : 0;
  why->wait_ms = !why->wait_ms ? 0 : passed < why->wait_ms ? why->wait_ms - (uint32_t)passed : 1;
  lock_release(&c->lock);
  return why->cid && why->cid != number_of(cid);
}
