/* In: nothing. Out: the inside of a session, for session.c and sessions.c only.
 * Why: the table and the single session are two files, but nobody else may see these fields. */
#pragma once
#ifndef ROOM_CHAT
#error "session_impl.h is private to core/chat"
#endif

#include "lock.h"
#include "session.h"

#include <stdatomic.h>
#include <uthash.h>

struct user {
  char *id;
  struct session *active;   /* not ended; borrowed: it is in the table */
  struct session *sessions; /* all of this user in memory, linked by user_next */
  size_t session_count;
  UT_hash_handle hh;
};

struct session {
  struct rwlock lock;
  atomic_int refs;
  /* immutable */
  session_handle handle;
  size_t inbox_limit, inbox_bytes_max;
  struct sessions *table; /* NULL: it never was in one */
  /* The table hears that only its own reference is left; called without a lock, and the session may be gone by then. */
  void (*rest)(struct sessions *table, session_handle handle);
  /* guarded by the table's lock */
  struct user *user;
  struct session *user_next;
  UT_hash_handle by_id, by_handle;
  bool in_table, resting;
  uint64_t rested;                         /* in which order */
  struct session *rest_before, *rest_next; /* of those nobody refers to but the table */
  /* guarded by lock */
  struct session_record record; /* record.id and record.user_id are immutable */
  bool stored, scheduled, erased;
  bool doubtful, repairing;         /* session_record.c */
  struct session_record *confirmed; /* while writes > 0 */
  unsigned writes, failures;
  struct mailbox *owner;
  struct conn **members;
  size_t member_count, member_room;
  struct item *inbox, **inbox_tail;
  struct item *later, **later_tail;
  size_t waiting;       /* items in inbox and later */
  size_t waiting_bytes; /* of them */
  unsigned holds;
  uint64_t touched_ms;
  atomic_bool passing; /* ended, or nothing was ever said: as of the last unlock; any thread may look */
  bool busy;           /* written under the lock by the owner, so the owner may read it without */
  /* owner only */
  struct post post;
  struct out_queue out;
  struct catchup *catchups;
  struct session_pin pin;
  struct session *ready_next;
  struct dealing *dealing;
  void *asker;
  struct cids *cids;        /* NULL: there was none */
  bool cids_all, cids_lost; /* all: of its whole life; lost: memory was out */
};

/* Nothing of it waits, runs, is held or is on its way: it may change its owner, or be forgotten. */
bool session_quiet(const struct session *s) REQUIRES_SHARED(*s);
/* The items lie in its inbox; it is new, and nobody else's. */
void session_put_first(struct session *s, struct item *items);
struct session *session_new(const struct session_record *record, bool stored, struct mailbox *owner, size_t inbox_limit,
                            void (*run)(struct post *)) NODISCARD;
