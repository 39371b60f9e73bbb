/* In: nothing. Out: the inside of a connection, for conn.c, conn_identity.c and conn_session.c only.
 * Why: a conversation knows its members (session.c calls conn.c), and a connection knows its conversation; what knows
 * both is a file above the two. */
#pragma once
#ifndef ROOM_CHAT
#error "conn_impl.h is private to core/chat"
#endif

#include "conn.h"
#include "lock.h"

#include <stdatomic.h>

struct conn {
  atomic_int refs;
  bool dead, dirty;
  uint16_t close_code;
  uint64_t id, opened_ms;
  atomic_bool settled;          /* what it wanted does not matter any more */
  _Atomic uint64_t first_again; /* number of the cid that has to come again first; 0: none */
  struct mailbox *home;
  struct identity *first; /* of the handshake */
  struct lock lock;       /* guards identity and renew_ms, for the length of one reference */
  struct identity *identity;
  uint64_t renew_ms; /* when the next new token would be in time for one a second */
  struct wheel_link expiry;
  struct session *session;
  void (*on_dirty)(struct conn *, void *);
  void *arg, *site;
  struct message **ring; /* of `room` (a power of two) places */
  uint32_t head, count, room;
  size_t bytes, outbox_limit;
  struct message **early;
  uint32_t early_count, early_head, early_limit;
  struct meter meter;
  atomic_ullong active_ms;
  uint64_t rests_until_ms;
  unsigned refused; /* texts since one was let through */
  char *address;
  char *wanted;
  char *reason;
};

/* Whatever waits in it, either way. */
void conn_drop(struct conn *c);
