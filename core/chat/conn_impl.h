/* In: nothing. Out: the inside of a connection, for conn.c, conn_identity.c, conn_session.c and
 * conn_turn.c only.
 * Why: a conversation knows its members (session.c calls conn.c), and a connection knows its conversation; what knows
 * both is a file above the two. */
#pragma once
#ifndef ROOM_CHAT
#error "conn_impl.h is private to core/chat"
#endif

#include "conn.h"
#include "lock.h"

#include <stdatomic.h>

/* A text that came before there was a conversation. */
struct early {
  struct message *message;
  struct conn_refusal behind;
};

struct conn {
  atomic_int refs;
  bool dead, dirty;
  uint16_t close_code, bye_code; /* bye_code: of the close that was said ahead */
  uint64_t id, opened_ms;
  atomic_bool settled; /* what it wanted does not matter any more */
  atomic_bool holds;   /* hold has a cid */
  atomic_bool replaceable, displaced;
  struct mailbox *home;
  struct identity *first; /* of the handshake */
  struct lock lock;       /* guards identity, renew_ms and hold, for the length of a copy */
  struct identity *identity;
  uint64_t renew_ms; /* when the next new token would be in time for one a second */
  struct wheel_link expiry;
  struct session *session;
  void (*on_dirty)(struct conn *, void *);
  void *arg, *site;
  struct message **ring; /* of `room` (a power of two) places */
  uint32_t head, count, room;
  size_t bytes, outbox_limit;
  struct early *early;
  uint32_t early_count, early_head, early_limit;
  struct meter meter;
  atomic_ullong active_ms;
  uint64_t rests_until_ms;
  struct conn_refusal hold, put_off;
  unsigned refused; /* texts since one was let through */
  char *address;
  char *wanted;
  char *reason;
};

/* Whatever waits in it, either way. */
void conn_drop(struct conn *c);
