/* In: the connections of a worker, and what their tokens say. Out: a `bye` at the end of each. Why: see expiry.h. */
#include "expiry.h"

#include "bye.h"
#include "log.h"

#include <stdlib.h>

struct expiry {
  struct worker *worker;
  struct token_verifier *verifier;
  struct timer *timer;
  unsigned checks_left; /* of the keys, one a second */
  struct wheel wheel;
};

static void on_due(struct wheel_link *l, void *arg) {
  struct expiry *e = arg;
  bye_say(conn_of_expiry(l), CLOSE_UNAUTHORIZED, "token_expired", "The token has expired", worker_wall_ms(e->worker),
          worker_mailbox(e->worker));
}

static void check_key(struct wheel_link *l, void *arg) {
  struct expiry *e = arg;
  struct conn *c = conn_of_expiry(l);
  struct identity *who = conn_identity(c);
  if (!token_verifier_knows(e->verifier, who)) {
    wheel_drop(l);
    bye_say(c, CLOSE_UNAUTHORIZED, "token_revoked", "The key that signed the token is no longer in force",
            worker_wall_ms(e->worker), worker_mailbox(e->worker));
  }
  identity_unref(who);
}

static void check_keys(struct expiry *e) {
  if (e->verifier) {
    wheel_each(&e->wheel, check_key, e);
  }
}

/* Once a second, just after it has begun. */
static void on_second(void *arg) {
  struct expiry *e = arg;
  uint64_t wall_ms = worker_wall_ms(e->worker);
  e->timer = worker_timer(e->worker, 1000 - wall_ms % 1000, on_second, e);
  if (!e->timer) {
    LOG(LOG_ERROR, "expiry", "out of memory: tokens of open connections are no longer looked at");
  }
  wheel_turn(&e->wheel, (int64_t)(wall_ms / 1000), on_due, e);
  if (e->checks_left) {
    e->checks_left--;
    check_keys(e);
  }
}

struct expiry *expiry_new(struct worker *w, struct token_verifier *verifier) {
  struct expiry *e = calloc(1, sizeof *e);
  if (!e) {
    return NULL;
  }
  e->worker = w;
  e->verifier = verifier;
  wheel_init(&e->wheel, (int64_t)(worker_wall_ms(w) / 1000));
  e->timer = worker_timer(w, 0, on_second, e);
  if (!e->timer) {
    free(e);
    return NULL;
  }
  return e;
}

void expiry_add(struct expiry *e, struct conn *c) {
  conn_expires_in(c, &e->wheel);
}

/* And twice more, once a second: another worker may have looked at a new token just before the keys changed, and its
 * post (conn_renew) is still on its way. */
void expiry_check_keys(struct expiry *e) {
  check_keys(e);
  e->checks_left = 2; /* the next second may begin at once */
}

void expiry_free(struct expiry *e) {
  if (!e) {
    return;
  }
  if (e->timer) {
    worker_timer_stop(e->worker, e->timer);
  }
  free(e);
}
