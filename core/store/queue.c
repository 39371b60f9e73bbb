/* In: operations. Out: the same, first come, first served. Why: see queue.h. */
#include "queue.h"

#include "store.h"

#include <stdlib.h>
#include <time.h>
#include <uthash.h>

/* What one user has in a queue. */
struct share {
  uint64_t user; /* a hash of the id; two that have the same one share it */
  size_t count, bytes;
  UT_hash_handle hh;
};

_Static_assert(offsetof(struct store_op, post) == 0, "a queued post is its operation");

void monotonic_cond(pthread_cond_t *c) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* for waits that have a limit */
  pthread_cond_init(c, &attr);
  pthread_condattr_destroy(&attr);
}

void queue_init(struct queue *q, size_t max, size_t user_max) {
  q->max = max;
  q->user_max = user_max;
  q->last = &q->first;
  monotonic_cond(&q->ready);
}

static struct share *share_find(struct queue *q, uint64_t user) {
  struct share *h;
  HASH_FIND(hh, q->shares, &user, sizeof user, h);
  return h;
}

/* Without memory for it, it has no bound: better than refusing what there is room for. */
static void share_take(struct queue *q, uint64_t user, size_t bytes) {
  struct share *h = user ? share_find(q, user) : NULL;
  if (user && !h && (h = calloc(1, sizeof *h))) {
    h->user = user;
    HASH_ADD(hh, q->shares, user, sizeof h->user, h);
  }
  if (h) {
    h->count++;
    h->bytes += bytes;
  }
}

static void share_give(struct queue *q, uint64_t user, size_t bytes) {
  struct share *h = user ? share_find(q, user) : NULL;
  if (!h)
    return;
  h->bytes -= bytes < h->bytes ? bytes : h->bytes;
  if (--h->count == 0) {
    HASH_DEL(q->shares, h);
    free(h);
  }
}

bool queue_full(struct queue *q, uint64_t user, size_t bytes) {
  const struct share *h = user ? share_find(q, user) : NULL;
  return q->count >= q->max || (q->count > 0 && q->bytes + bytes > STORE_QUEUE_BYTES) ||
         (h && (h->count >= q->user_max || h->bytes + bytes > STORE_QUEUE_BYTES / 8));
}

void queue_push(struct queue *q, struct store_op *op) {
  share_take(q, op->share, store_op_bytes(op));
  op->post.next = NULL;
  *q->last = &op->post;
  q->last = &op->post.next;
  q->count++;
  q->bytes += store_op_bytes(op);
}

size_t queue_take(struct queue *q, struct store_op **ops, size_t max) {
  size_t n = 0;
  while (n < max && q->first) {
    struct store_op *op = (struct store_op *)q->first;
    q->first = op->post.next;
    q->count--;
    q->bytes -= store_op_bytes(op);
    share_give(q, op->share, store_op_bytes(op));
    ops[n++] = op;
  }
  if (!q->first)
    q->last = &q->first;
  return n;
}
