/* In: messages for one client, from any worker. Out: bytes in its outbox, in order, for the transport to flush.
 * Why: see conn.h. The outbox is a ring that exists only while something waits, because most connections are idle. */
#include "conn_impl.h"

#include "err.h"
#include "metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RING_FIRST 8
#define MESSAGE_COST 32 /* what a waiting message costs beside its bytes, so that empty ones are bounded too */

static _Atomic uint64_t last_id;

struct conn *conn_new(const struct conn_options *o) {
  struct conn *c = calloc(1, sizeof *c);
  const char *wanted = o->wanted && strlen(o->wanted) <= CONN_WANTED_MAX ? o->wanted : "";
  char *copy = *wanted ? strdup(wanted) : NULL, *address = o->address ? strdup(o->address) : NULL;
  if (!c || (*wanted && !copy) || (o->address && !address)) {
    free(c);
    free(copy);
    free(address);
    return NULL;
  }
  c->address = address;
  atomic_init(&c->active_ms, o->opened_ms);
  atomic_init(&c->refs, 1);
  atomic_init(&c->holds, false);
  atomic_init(&c->settled, false);
  atomic_init(&c->replaceable, false);
  atomic_init(&c->displaced, false);
  c->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
  c->home = o->home;
  lock_init(&c->lock);
  c->first = identity_ref(o->identity);
  c->identity = identity_ref(o->identity);
  c->wanted = copy;
  c->outbox_limit = o->outbox_limit;
  c->early_limit = (uint32_t)o->early_limit;
  c->on_dirty = o->dirty;
  c->arg = o->arg;
  c->opened_ms = o->opened_ms;
  return c;
}

struct conn *conn_ref(struct conn *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void conn_drop(struct conn *c) {
  struct message *m;
  struct conn_refusal behind;
  while ((m = conn_outbox_take(c)) || (m = conn_early_take(c, &behind))) {
    message_unref(m);
  }
}

void conn_unref(struct conn *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) {
    return;
  }
  assert(!c->session); /* conn_dead unbinds, on the home thread */
  conn_drop(c);
  identity_unref(c->first);
  meter_deinit(&c->meter);
  identity_unref(c->identity);
  lock_deinit(&c->lock);
  free(c->address);
  free(c->wanted);
  free(c->reason);
  free(c->early);
  free(c->ring);
  free(c);
}

uint64_t conn_id(const struct conn *c) {
  return c->id;
}

struct mailbox *conn_home(const struct conn *c) {
  return c->home;
}

const char *conn_user(const struct conn *c) {
  return c->first->user_id;
}

const char *conn_wanted(const struct conn *c) {
  return c->wanted && !atomic_load(&c->settled) ? c->wanted : "";
}

void conn_want_nothing(struct conn *c) {
  atomic_store(&c->settled, true);
}

uint64_t conn_opened_ms(const struct conn *c) {
  return c->opened_ms;
}

const char *conn_address(const struct conn *c) {
  return c->address;
}

uint64_t conn_active_ms(const struct conn *c) {
  return atomic_load_explicit(&c->active_ms, memory_order_relaxed);
}

void conn_set_active_ms(struct conn *c, uint64_t ms) {
  atomic_store_explicit(&c->active_ms, ms, memory_order_relaxed);
}

void conn_set_replaceable(struct conn *c) {
  atomic_store(&c->replaceable, true);
}

bool conn_replaceable(const struct conn *c) {
  return atomic_load(&c->replaceable);
}

int conn_protocol(const struct conn *c) {
  return conn_replaceable(c) ? 2 : 1;
}

bool conn_take_place(struct conn *c) {
  return !atomic_exchange(&c->displaced, true);
}

void conn_count_refusal(struct conn *c, bool refused, uint64_t now_ms) {
  c->refused = refused ? c->refused + 1 : 0;
  c->rests_until_ms = c->refused >= CONN_REFUSED_MAX ? now_ms + CONN_REST_MS : 0;
}

uint64_t conn_rests_until_ms(const struct conn *c) {
  return c->rests_until_ms;
}

struct meter *conn_meter(struct conn *c) {
  return &c->meter;
}

void *conn_site(const struct conn *c) {
  return c->site;
}

void conn_set_site(struct conn *c, void *site) {
  c->site = site;
}

static void mark_dirty(struct conn *c) {
  if (!c->dirty) {
    c->dirty = true;
    c->on_dirty(c, c->arg);
  }
}

static void close_here(struct conn *c, int code, const char *reason) {
  if (c->dead || c->close_code) {
    return;
  }
  c->close_code = (uint16_t)code;
  c->reason = strndup(reason, CONN_REASON_MAX);
  mark_dirty(c);
}

static bool ring_grow(struct conn *c) {
  uint32_t room = c->room ? c->room * 2 : RING_FIRST;
  struct message **ring = malloc(room * sizeof *ring);
  if (!ring) {
    return false;
  }
  for (uint32_t i = 0; i < c->count; i++) {
    ring[i] = c->ring[(c->head + i) & (c->room - 1)];
  }
  free(c->ring);
  c->ring = ring;
  c->room = room;
  c->head = 0;
  return true;
}

static void outbox_drop(struct conn *c) {
  struct message *m;
  while ((m = conn_outbox_take(c))) {
    message_unref(m);
  }
}

struct identity *conn_identity(struct conn *c) {
  lock_acquire(&c->lock);
  struct identity *who = identity_ref(c->identity);
  lock_release(&c->lock);
  return who;
}

static void count_overflow(struct conn *c) {
  struct identity *who = conn_identity(c);
  metrics_add(METRIC_OUTBOX_OVERFLOWS, 1);
  metrics_add(METRIC_ADMIN_DROPPED, who->admin ? 1 : 0);
  identity_unref(who);
}

/* Takes the reference. */
static void put_here(struct conn *c, struct message *m) {
  if (c->dead || c->close_code) {
    message_unref(m);
    return;
  }
  size_t cost = m->len + MESSAGE_COST;
  if (c->bytes + cost > c->outbox_limit || (c->count == c->room && !ring_grow(c))) {
    message_unref(m);
    outbox_drop(c);
    c->bye_code = 0;
    count_overflow(c);
    close_here(c, CLOSE_TRY_LATER, "reading too slowly, come back");
    return;
  }
  c->ring[(c->head + c->count++) & (c->room - 1)] = m;
  c->bytes += cost;
  mark_dirty(c);
}

struct delivery {
  struct post post;
  struct conn *conn;
  struct message *message; /* NULL: close */
  int code;                /* with a message: of which it is the bye; 0: of none */
  char reason[CONN_REASON_MAX + 1];
};

static void put_bye(struct conn *c, struct message *m, int code) {
  if (code && !c->close_code) {
    c->bye_code = (uint16_t)code;
  }
  put_here(c, m);
}

static void deliver(struct post *post) {
  struct delivery *d = (struct delivery *)post;
  if (d->message) {
    put_bye(d->conn, d->message, d->code);
  } else {
    close_here(d->conn, d->code, d->reason);
  }
  conn_unref(d->conn);
  free(d);
}

static void post_delivery(struct conn *c, struct message *m, int code, const char *reason) {
  struct delivery *d = calloc(1, sizeof *d);
  if (!d) {
    abort(); /* a message that vanishes would break the order every member is promised */
  }
  d->post.run = deliver;
  d->conn = conn_ref(c);
  d->message = m;
  d->code = code;
  strncpy(d->reason, reason, sizeof d->reason - 1);
  mailbox_put(c->home, &d->post);
}

void conn_send(struct conn *c, struct message *m, const struct mailbox *here) {
  message_ref(m);
  if (c->home == here) {
    put_here(c, m);
  } else {
    post_delivery(c, m, 0, "");
  }
}

void conn_send_bye(struct conn *c, struct message *m, int code, const struct mailbox *here) {
  message_ref(m);
  if (c->home == here) {
    put_bye(c, m, code);
  } else {
    post_delivery(c, m, code, "");
  }
}

void conn_close(struct conn *c, int code, const char *reason, const struct mailbox *here) {
  if (c->home == here) {
    close_here(c, code, reason);
  } else {
    post_delivery(c, NULL, code, reason);
  }
}

int conn_early_put(struct conn *c, const char *text, size_t len) {
  size_t cost = len + MESSAGE_COST;
  if (c->early_count == c->early_limit || account_hold(c->meter.user, ACCOUNT_INBOX, cost)) {
    return E_FULL;
  }
  if (!c->early) {
    c->early = calloc(c->early_limit, sizeof *c->early);
  }
  struct message *m = c->early ? message_new(text, len) : NULL;
  if (!m) {
    account_let_go(c->meter.user, ACCOUNT_INBOX, cost);
    return E_FULL;
  }
  c->early[c->early_count++] = (struct early){m, conn_take_put_off(c)};
  return 0;
}

struct message *conn_early_take(struct conn *c, struct conn_refusal *behind) {
  if (c->early_head == c->early_count) {
    free(c->early);
    c->early = NULL;
    c->early_head = c->early_count = 0;
    return NULL;
  }
  *behind = c->early[c->early_head].behind;
  struct message *m = c->early[c->early_head++].message;
  account_let_go(c->meter.user, ACCOUNT_INBOX, m->len + MESSAGE_COST);
  return m;
}

struct message *conn_outbox_take(struct conn *c) {
  if (c->count == 0) {
    if (c->room > RING_FIRST) {
      free(c->ring);
      c->ring = NULL;
      c->room = c->head = 0;
    }
    return NULL;
  }
  struct message *m = c->ring[c->head];
  c->head = (c->head + 1) & (c->room - 1);
  c->count--;
  c->bytes -= m->len + MESSAGE_COST;
  return m;
}

const struct message *conn_outbox_peek(const struct conn *c) {
  return c->count ? c->ring[c->head] : NULL;
}

bool conn_outbox_empty(const struct conn *c) {
  return c->count == 0;
}

void conn_clean(struct conn *c) {
  c->dirty = false;
}

int conn_closing(const struct conn *c, const char **reason) {
  *reason = c->reason ? c->reason : "";
  return c->close_code;
}

bool conn_bye_said(const struct conn *c, int code) {
  return c->bye_code == code;
}

bool conn_is_dead(const struct conn *c) {
  return c->dead;
}
