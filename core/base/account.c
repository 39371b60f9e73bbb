/* In: what one user or one address does. Out: yes, or how long it has to wait. Why: see account.h. Accounts hang in
 * chains to be found, and those that nobody uses in a line, the one that was let go first at its head. */
#include "account.h"

#include "err.h"
#include "hash.h"
#include "lock.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct account {
  struct accounts *table;
  struct account *chain;
  struct account *older, *newer; /* of the line; refs is 0 */
  size_t refs;                   /* guarded by the table's lock, as are the links */
  struct bucket work, bytes;
  atomic_size_t held[ACCOUNT_HOLDS];
  size_t key_len;
  char key[];
};

struct accounts {
  struct account_limits limits;
  struct hash_seed seed;
  size_t max, mask;
  struct lock lock; /* guards the rest */
  size_t count;
  struct account *oldest, *newest;
  struct account *chains[];
};

struct accounts *accounts_new(const struct account_limits *limits, size_t max) {
  size_t chains = 1;
  while (chains < max)
    chains *= 2;
  struct accounts *t = calloc(1, sizeof *t + chains * sizeof *t->chains);
  if (!t)
    return NULL;
  t->limits = *limits;
  t->seed = hash_seed_draw();
  t->max = max;
  t->mask = chains - 1;
  lock_init(&t->lock);
  return t;
}

static void line_leave(struct accounts *t, struct account *a) {
  *(a->older ? &a->older->newer : &t->oldest) = a->newer;
  *(a->newer ? &a->newer->older : &t->newest) = a->older;
}

static void line_join(struct accounts *t, struct account *a) {
  a->older = t->newest;
  a->newer = NULL;
  *(t->newest ? &t->newest->newer : &t->oldest) = a;
  t->newest = a;
}

static struct account **chain_find(struct accounts *t, const char *key, size_t len) {
  struct account **at = &t->chains[hash_bytes(t->seed, key, len) & t->mask];
  while (*at && ((*at)->key_len != len || memcmp((*at)->key, key, len) != 0))
    at = &(*at)->chain;
  return at;
}

/* Of the line only. */
static void forget(struct accounts *t, struct account *a) REQUIRES(t->lock) {
  *chain_find(t, a->key, a->key_len) = a->chain;
  line_leave(t, a);
  t->count--;
  free(a);
}

static struct account *add(struct accounts *t, const char *key, size_t len) REQUIRES(t->lock) {
  if (t->count >= t->max && t->oldest)
    forget(t, t->oldest);
  struct account *a = t->count < t->max ? calloc(1, sizeof *a + len) : NULL;
  if (!a)
    return NULL;
  a->table = t;
  a->key_len = len;
  memcpy(a->key, key, len);
  struct account **at = chain_find(t, key, len);
  a->chain = *at;
  *at = a;
  t->count++;
  return a;
}

struct account *accounts_open(struct accounts *t, const char *key, size_t len) {
  lock_acquire(&t->lock);
  struct account *a = *chain_find(t, key, len);
  if (!a)
    a = add(t, key, len);
  else if (a->refs == 0)
    line_leave(t, a);
  if (a)
    a->refs++;
  lock_release(&t->lock);
  return a;
}

struct account *account_ref(struct account *a) {
  lock_acquire(&a->table->lock);
  assert(a->refs > 0);
  a->refs++;
  lock_release(&a->table->lock);
  return a;
}

void account_unref(struct account *a) {
  if (!a)
    return;
  struct accounts *t = a->table;
  lock_acquire(&t->lock);
  assert(a->refs > 0);
  if (--a->refs == 0)
    line_join(t, a);
  lock_release(&t->lock);
}

size_t accounts_sweep(struct accounts *t, uint64_t now_ms) {
  size_t swept = 0;
  lock_acquire(&t->lock);
  for (struct account *a = t->oldest, *next; a; a = next) {
    next = a->newer;
    if (bucket_full(&a->work, now_ms) && bucket_full(&a->bytes, now_ms)) {
      forget(t, a);
      swept++;
    }
  }
  lock_release(&t->lock);
  return swept;
}

size_t accounts_count(struct accounts *t) {
  lock_acquire(&t->lock);
  size_t count = t->count;
  lock_release(&t->lock);
  return count;
}

void accounts_free(struct accounts *t) {
  if (!t)
    return;
  while (t->oldest) {
    struct account *a = t->oldest;
    line_leave(t, a);
    free(a);
  }
  lock_deinit(&t->lock);
  free(t);
}

/* ---- what is held ---- */

int account_hold(struct account *a, enum account_hold what, size_t amount) {
  if (!a)
    return 0;
  size_t before = atomic_fetch_add_explicit(&a->held[what], amount, memory_order_relaxed);
  if (before == 0 || before + amount <= a->table->limits.holds[what])
    return 0;
  atomic_fetch_sub_explicit(&a->held[what], amount, memory_order_relaxed);
  return E_LIMITED;
}

void account_let_go(struct account *a, enum account_hold what, size_t amount) {
  if (a)
    atomic_fetch_sub_explicit(&a->held[what], amount, memory_order_relaxed);
}

size_t account_held(const struct account *a, enum account_hold what) {
  return atomic_load_explicit(&a->held[what], memory_order_relaxed);
}

/* ---- what is spent ---- */

static uint64_t longer(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static uint64_t account_wait(const struct account *a, uint64_t work, uint64_t bytes, uint64_t now_ms) {
  if (!a)
    return 0;
  const struct account_limits *l = &a->table->limits;
  return longer(bucket_wait(&a->work, &l->work, work, now_ms), bucket_wait(&a->bytes, &l->bytes, bytes, now_ms));
}

static void account_take(struct account *a, uint64_t work, uint64_t bytes, uint64_t now_ms) {
  if (a) {
    bucket_take(&a->work, &a->table->limits.work, work, now_ms);
    bucket_take(&a->bytes, &a->table->limits.bytes, bytes, now_ms);
  }
}

uint64_t meter_spend(struct meter *m, uint64_t work, uint64_t bytes, uint64_t now_ms) {
  uint64_t wait = longer(account_wait(m->user, work, bytes, now_ms), account_wait(m->address, work, bytes, now_ms));
  if (m->own) {
    wait = longer(wait, bucket_wait(&m->work, &m->own->work, work, now_ms));
    wait = longer(wait, bucket_wait(&m->bytes, &m->own->bytes, bytes, now_ms));
  }
  if (wait > 0)
    return wait;
  if (m->own) {
    bucket_take(&m->work, &m->own->work, work, now_ms);
    bucket_take(&m->bytes, &m->own->bytes, bytes, now_ms);
  }
  account_take(m->user, work, bytes, now_ms);
  account_take(m->address, work, bytes, now_ms);
  return 0;
}

void meter_deinit(struct meter *m) {
  account_unref(m->user);
  account_unref(m->address);
  m->user = m->address = NULL;
}
