/* In: nothing. Out: the inside of the backend in memory, for the files of this room only.
 * Bound: MEMORY_BYTES of content, then writes fail as on a full disk. */
#pragma once
#ifndef ROOM_STORE_MEMORY
#error "memory_impl.h is private to core/store/memory"
#endif

#include "attr.h"
#include "lock.h"
#include "sealed.h"
#include "store.h"

#include <uthash.h>

#define MEMORY_BYTES (64u << 20)

struct kept_message {
  struct message_record record; /* its content sealed */
  size_t said;                  /* bytes of content before that */
  UT_hash_handle hh;            /* by id, of the whole database */
};

struct kept {
  struct session_record record; /* its name NULL: */
  char *name, *share;           /* as they are stored */
  char share_hash[SHARE_HASH_LEN + 1];
  struct kept_message **messages; /* [seq - 1] */
  size_t count, room;
  UT_hash_handle hh; /* by id */
};

struct memory {
  struct memory *next;
  char *name;
  uint64_t epoch;   /* drawn: the next one of this name is another database */
  struct lock lock; /* guards what follows; see above */
  struct kept *sessions;
  struct kept_message *ids;
  struct audit_record *audits;
  size_t audit_count, bytes;
  bool away, written; /* a writer has it open */
  bool sealed;        /* something in it was sealed with a key */
};

struct memory_handle {
  struct memory *m;
  const struct keyring *keys;
  bool writer;
};

/* ---- kept.c: under the lock, or on the writer's thread ---- */

struct kept *kept_find(struct memory *m, const char *id); /* NULL: there is none */
struct kept_message *kept_cid(const struct kept *k, const char *cid);
void kept_add(struct memory *m, struct kept *k, struct kept_message *message); /* takes it */
void kept_shorten(struct memory *m, struct kept *k, size_t count); /* drops all messages but the first count */
void kept_drop(struct memory *m, struct kept *k);
/* NULL for NULL. Aborts when memory is out, as all small allocations here do. */
char *kept_copy(const char *text);

/* ---- list.c, share.c: under the lock ---- */

int memory_list(struct memory *m, struct store_op *op, int (*copy)(struct session_record *to, const struct kept *k));
int memory_totals(struct memory *m, struct store_op *op);
int memory_share(struct memory_handle *h, struct store_op *op);
void kept_unshare(struct kept *k);
struct kept *kept_shared(struct memory *m, const char *token); /* NULL: there is none */

/* ---- write.c ---- */

void memory_write(void *handle, struct store_op **ops, size_t count);
