/* In: operations that wait for a thread. Out: the same, first come, first served. Why: a queue has a bound, in
 * operations and in bytes, and beside it one for each user, so that the bound of all is not one person's to fill. Lock:
 * whoever owns the queue holds its own around every call. */
#pragma once
#ifndef ROOM_STORE
#error "queue.h is private to core/store"
#endif

#include "attr.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct post;
struct share;
struct store_op;

struct queue {
  struct post *first, **last; /* linked through store_op.post */
  size_t count, bytes;
  size_t max, user_max; /* operations */
  struct share *shares; /* of those who have something in it */
  pthread_cond_t ready; /* signalled by whoever pushes */
};

/* For waits that have a limit: on a clock that nobody sets. */
void monotonic_cond(pthread_cond_t *c);
void queue_init(struct queue *q, size_t max, size_t user_max);
/* user: a hash of the id, 0: nobody's. STORE_QUEUE_BYTES bytes, an eighth of it a user's; one operation always fits. */
bool queue_full(struct queue *q, uint64_t user, size_t bytes) NODISCARD;
void queue_push(struct queue *q, struct store_op *op);
/* At most max, the oldest first; how many. */
size_t queue_take(struct queue *q, struct store_op **ops, size_t max);
