/* In: messages for one client, from any worker. Out: its outbox, in order, for the transport to flush.
 * Why: whatever knows a client (the members of a conversation, a parked handler) refers to this and never to the
 * socket. When the socket is gone, what is sent is dropped without harm.
 * Thread: the worker that accepted it (its home), except for ref, unref, send, close and what is immutable. Bound:
 * OUTBOX_LIMIT bytes; a client that reads too slowly is closed with 1013 and can come back. Messages are never
 * skipped. */
#pragma once
#include "account.h"
#include "attr.h"
#include "mailbox.h"
#include "message.h"
#include "token.h"
#include "wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct session;

#define CONN_RENEW_BURST 10 /* new tokens at once, then one a second */
#define CONN_RENEW_EVERY_MS 1000
#define CONN_REASON_MAX 64
#define CONN_WANTED_MAX 128 /* bytes of the session id a client asks for */
enum {
  CLOSE_NORMAL = 1000,
  CLOSE_GOING_AWAY = 1001,
  CLOSE_PROTOCOL = 1002,
  CLOSE_BAD_DATA = 1007,
  CLOSE_POLICY = 1008,
  CLOSE_TOO_BIG = 1009,
  CLOSE_TRY_LATER = 1013,
  CLOSE_UNAUTHORIZED = 4401, /* come back with a new token */
  CLOSE_NOT_YOU = 4403,      /* do not come back with what was unsent: it is erased, or never was yours */
  CLOSE_REPLACED = 4409      /* come back only when its user wants it: another device has its place */
};

/* dirty: there is something to flush or to close; called on the home thread, once until conn_clean. */
struct conn_options {
  struct mailbox *home;
  struct identity *identity; /* referenced */
  const char *address;       /* the client's, proxies considered; copied; NULL: not known */
  const char *wanted;        /* session id of the URL; copied, cut to nothing when too long */
  size_t outbox_limit;       /* bytes */
  size_t early_limit;        /* texts that may arrive before the conversation is found */
  void (*dirty)(struct conn *c, void *arg);
  void *arg;
  uint64_t opened_ms;
};

/* One reference, the caller's. NULL when memory is out. */
struct conn *conn_new(const struct conn_options *o) NODISCARD;
struct conn *conn_ref(struct conn *c);
void conn_unref(struct conn *c); /* NULL is allowed */

/* Immutable: any thread. Ids count up from 1 over the whole process and are never used again. */
uint64_t conn_id(const struct conn *c);
struct mailbox *conn_home(const struct conn *c);
const char *conn_user(const struct conn *c); /* user_id, also of a token that comes later */
const char *conn_wanted(const struct conn *c);
uint64_t conn_opened_ms(const struct conn *c);
const char *conn_address(const struct conn *c); /* or NULL */
/* When it last said something, on any monotonic clock: at first opened_ms. Any thread. */
uint64_t conn_active_ms(const struct conn *c);
void conn_set_active_ms(struct conn *c, uint64_t ms);
/* Its client speaks version 2 of the protocol: it knows the word `replaced`, so at MAX_CONNECTIONS_PER_USER it may have
 * to go for a newcomer of its user. Any thread. */
void conn_set_replaceable(struct conn *c);
bool conn_replaceable(const struct conn *c);
int conn_protocol(const struct conn *c); /* 2, if so; else 1 */
/* Any thread. The first who takes its place among the connections of its user (the newcomer, or whoever sees it go) has
 * it; false: somebody did. */
bool conn_take_place(struct conn *c) NODISCARD;
/* What its texts have to pass; without accounts and bounds at first. The home thread fills it before the first text;
 * the accounts live as long as the conn. Any thread. */
struct meter *conn_meter(struct conn *c);
/* Whatever its home thread keeps with it; NULL at first. */
void *conn_site(const struct conn *c);
void conn_set_site(struct conn *c, void *site);

/* Any thread. What the newest token says: a new reference. */
struct identity *conn_identity(struct conn *c) NODISCARD;
/* Any thread, before a new token is looked at: 0, or E_LIMITED and *wait_ms. */
int conn_may_renew(struct conn *c, uint64_t now_ms, uint64_t *wait_ms) NODISCARD;
/* Any thread. From now on (by post, when it is not at home) it is `fresh` that counts, also for the end: the same user.
 * References fresh. */
void conn_renew(struct conn *c, struct identity *fresh, const struct mailbox *here);

/* Any thread. From its home the message goes into the outbox now, else by post. here: the caller's own mailbox, or
 * NULL. */
void conn_send(struct conn *c, struct message *m, const struct mailbox *here);
void conn_close(struct conn *c, int code, const char *reason, const struct mailbox *here);
/* A message that says the close `code` ahead; see bye.h. */
void conn_send_bye(struct conn *c, struct message *m, int code, const struct mailbox *here);

/* Any thread: where it is now is where it is meant to be, so conn_wanted is "" from then on. */
void conn_want_nothing(struct conn *c);

/* What is stored is stored in the order it was said: when a message was refused that would have been stored, and that
 * can be sent again, what came behind it is refused, too, until it is; but not longer than CONN_HOLD_MS after it could
 * have been: what was on its way has come by then, and who says something else knows of the refusal (conn_turn.c). */
#define CONN_HOLD_MS 10000
struct conn_refusal {
  uint64_t cid;     /* a number of it; 0: it has none, so nobody can know it again, and nothing waits for it */
  int code;         /* E_LIMITED, E_FULL, E_STORE: what whoever has to wait is told, too */
  uint32_t wait_ms; /* likewise; 0: nobody knows. From conn_waits: what is left of it */
  uint64_t at_ms;   /* when it was refused, on the workers' clock */
};
struct conn_refusal conn_refusal_of(const char *cid, size_t len, int code, uint32_t wait_ms, uint64_t at_ms);
/* Any thread. hold: from now on; of two the first. came: the one with this cid is stored, or is refused for good.
 * waits: whether a message with this cid (NULL: none) has to wait; then *why. */
void conn_hold(struct conn *c, struct conn_refusal why, uint64_t now_ms);
void conn_came(struct conn *c, const char *cid);
bool conn_waits(struct conn *c, const char *cid, uint64_t now_ms, struct conn_refusal *why);

/* --- home thread --- */

/* A text was over its rate (or was not). From the CONN_REFUSED_MAX-th in a row on the transport reads nothing
 * for CONN_REST_MS. */
#define CONN_REFUSED_MAX 32
#define CONN_REST_MS 500
void conn_count_refusal(struct conn *c, bool refused, uint64_t now_ms);
uint64_t conn_rests_until_ms(const struct conn *c); /* 0: it is read */

/* Puts it into the wheel until conn_dead, due when its token ends. */
void conn_expires_in(struct conn *c, struct wheel *w);
struct conn *conn_of_expiry(struct wheel_link *l);

/* The conversation its next messages go to: borrowed from the conn, which holds a reference. NULL: not found yet. */
struct session *conn_session(const struct conn *c);
void conn_bind(struct conn *c, struct session *s);
/* A text was refused before it was handed on: what is handed on next takes that along (take), and is held where it is
 * dealt with, behind everything that was handed on before. Of several the first. */
void conn_put_off(struct conn *c, struct conn_refusal why);
struct conn_refusal conn_take_put_off(struct conn *c);
/* Texts that arrive before there is a conversation, with what they take along. 0, E_FULL. take: the oldest, ownership
 * moves out; NULL: none. */
int conn_early_put(struct conn *c, const char *text, size_t len) NODISCARD;
struct message *conn_early_take(struct conn *c, struct conn_refusal *behind);

/* The oldest message of the outbox, its reference moves out; NULL: empty. */
struct message *conn_outbox_take(struct conn *c);
/* The same, left where it is; borrowed. */
const struct message *conn_outbox_peek(const struct conn *c);
bool conn_outbox_empty(const struct conn *c);
void conn_clean(struct conn *c);
/* 0: not closing; else the code, *reason borrowed. */
int conn_closing(const struct conn *c, const char **reason);
/* Whether a bye of that close is among what was sent. */
bool conn_bye_said(const struct conn *c, int code);
/* The socket is gone: empties the outbox, unbinds; what is sent from now on is dropped. */
void conn_dead(struct conn *c);
bool conn_is_dead(const struct conn *c);
