/* In: a key and the time. Out: yes, or no and for how long.
 * Why: keys are in hash chains, and in each shard also in a list ordered by their newest event. A full table evicts
 * from the head of that list, so strangers cannot cause a scan. */
#include "ratelimit.h"

#include "err.h"
#include "hash.h"
#include "lock.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS 16 /* more than there are workers on most machines; a power of two */
#define FIRST_ROOM 4

struct key_events {
  struct key_events *chain;
  struct key_events *older, *newer;
  uint64_t *events; /* ring of times in ms, ascending from first */
  uint32_t first, count, room;
  uint64_t hash;
  size_t key_len;
  char key[];
};

struct shard {
  struct lock lock; /* guards the rest, the shard's chains and its buckets */
  uint64_t latest_ms;
  struct key_events *oldest, *newest;
};

struct ratelimit {
  uint32_t limit;
  uint64_t window_ms;
  size_t max_keys;
  atomic_size_t keys; /* buckets that exist or are about to */
  struct hash_seed seed;
  struct shard shards[SHARDS];
  size_t mask; /* of the chains of one shard */
  struct key_events *chains[];
};

/* One call of ratelimit_take. */
struct attempt {
  const char *key;
  size_t key_len;
  uint64_t hash;
  uint64_t now_ms;
  uint64_t *retry_after_ms;
};

struct ratelimit *ratelimit_new(uint32_t limit, uint64_t window_ms, size_t max_keys) {
  size_t chains = 1;
  while (chains * SHARDS < max_keys)
    chains *= 2;
  struct ratelimit *r = calloc(1, sizeof *r + SHARDS * chains * sizeof *r->chains);
  if (!r)
    return NULL;
  r->limit = limit;
  r->window_ms = window_ms;
  r->max_keys = max_keys;
  r->seed = hash_seed_draw();
  r->mask = chains - 1;
  for (size_t i = 0; i < SHARDS; i++)
    lock_init(&r->shards[i].lock);
  return r;
}

static struct key_events *bucket_new(const struct attempt *a, uint32_t limit) {
  struct key_events *b = calloc(1, sizeof *b + a->key_len);
  if (!b)
    return NULL;
  b->room = limit < FIRST_ROOM ? limit : FIRST_ROOM;
  b->events = malloc(b->room * sizeof *b->events);
  if (!b->events) {
    free(b);
    return NULL;
  }
  b->hash = a->hash;
  b->key_len = a->key_len;
  memcpy(b->key, a->key, a->key_len);
  return b;
}

static void bucket_free(struct key_events *b) {
  if (b)
    free(b->events);
  free(b);
}

static uint64_t bucket_newest_ms(const struct key_events *b) {
  return b->events[((uint64_t)b->first + b->count - 1) % b->room];
}

static bool bucket_grow(struct key_events *b, uint32_t limit) {
  assert(b->room > 0);
  uint32_t room = b->room > limit / 2 ? limit : b->room * 2;
  uint64_t *events = malloc(room * sizeof *events);
  if (!events)
    return false;
  uint32_t upper = b->room - b->first; /* the ring is full: [first, room) then [0, first) */
  memcpy(events, b->events + b->first, upper * sizeof *events);
  memcpy(events + upper, b->events, b->first * sizeof *events);
  free(b->events);
  b->events = events;
  b->first = 0;
  b->room = room;
  return true;
}

static int bucket_take(struct key_events *b, const struct ratelimit *r, const struct attempt *a, uint64_t now_ms) {
  assert(r->limit > 0);
  while (b->count > 0 && b->events[b->first] + r->window_ms <= now_ms) {
    b->first = (b->first + 1) % b->room;
    b->count--;
  }
  if (b->count >= r->limit) {
    *a->retry_after_ms = b->events[b->first] + r->window_ms - a->now_ms;
    return E_LIMITED;
  }
  if (b->count == b->room && !bucket_grow(b, r->limit)) {
    *a->retry_after_ms = r->window_ms;
    return E_LIMITED;
  }
  b->events[((uint64_t)b->first + b->count++) % b->room] = now_ms;
  return 0;
}

static struct shard *shard_of(struct ratelimit *r, uint64_t hash) {
  return &r->shards[hash % SHARDS];
}

/* The link that points to the bucket, or where a new one would be added. */
static struct key_events **chain_find(struct ratelimit *r, uint64_t hash, const char *key, size_t key_len) {
  struct key_events **at = &r->chains[(hash % SHARDS) * (r->mask + 1) + (hash / SHARDS & r->mask)];
  while (*at && ((*at)->hash != hash || (*at)->key_len != key_len || memcmp((*at)->key, key, key_len) != 0))
    at = &(*at)->chain;
  return at;
}

static void line_leave(struct shard *s, struct key_events *b) {
  *(b->older ? &b->older->newer : &s->oldest) = b->newer;
  *(b->newer ? &b->newer->older : &s->newest) = b->older;
}

static void line_join(struct shard *s, struct key_events *b) {
  b->older = s->newest;
  b->newer = NULL;
  *(s->newest ? &s->newest->newer : &s->oldest) = b;
  s->newest = b;
}

/* Takes *fresh into the table when the key is not there yet; E_NOT_FOUND when there is nothing to take. */
static int shard_take(struct ratelimit *r, struct shard *s, const struct attempt *a, struct key_events **fresh)
  REQUIRES(s->lock) {
  struct key_events **at = chain_find(r, a->hash, a->key, a->key_len);
  if (!*at) {
    if (!*fresh)
      return E_NOT_FOUND;
    *at = *fresh;
    *fresh = NULL;
    line_join(s, *at);
  }
  struct key_events *b = *at;
  /* Workers read the clock at slightly different moments; ring and line have to ascend all the same. */
  if (s->latest_ms < a->now_ms)
    s->latest_ms = a->now_ms;
  int code = bucket_take(b, r, a, s->latest_ms);
  if (code == 0) {
    line_leave(s, b);
    line_join(s, b);
  }
  return code;
}

/* Removes the key that has been quiet longest, if it has been quiet for a whole window. */
static struct key_events *shard_evict(struct ratelimit *r, struct shard *s, uint64_t now_ms) {
  lock_acquire(&s->lock);
  struct key_events *b = s->oldest;
  if (b && bucket_newest_ms(b) + r->window_ms <= now_ms) {
    *chain_find(r, b->hash, b->key, b->key_len) = b->chain;
    line_leave(s, b);
  } else {
    b = NULL;
  }
  lock_release(&s->lock);
  return b;
}

/* Reserves room for one more key: a free place, or that of an evicted key. */
static bool keys_reserve(struct ratelimit *r, uint64_t now_ms) {
  size_t keys = atomic_load(&r->keys);
  while (keys < r->max_keys)
    if (atomic_compare_exchange_weak(&r->keys, &keys, keys + 1))
      return true;
  for (size_t i = 0; i < SHARDS; i++) {
    struct key_events *b = shard_evict(r, &r->shards[i], now_ms);
    if (b) {
      bucket_free(b);
      return true;
    }
  }
  return false;
}

int ratelimit_take(struct ratelimit *r, const char *key, size_t key_len, uint64_t now_ms, uint64_t *retry_after_ms) {
  struct attempt a = {key, key_len, hash_bytes(r->seed, key, key_len), now_ms, retry_after_ms};
  struct shard *s = shard_of(r, a.hash);
  struct key_events *fresh = NULL;
  lock_acquire(&s->lock);
  int code = shard_take(r, s, &a, &fresh);
  lock_release(&s->lock);
  if (code != E_NOT_FOUND)
    return code;

  /* A new key. The place is reserved without the lock, because another shard may have to give one up. */
  *retry_after_ms = r->window_ms;
  if (!keys_reserve(r, now_ms))
    return E_LIMITED;
  fresh = bucket_new(&a, r->limit);
  bool made = fresh;
  lock_acquire(&s->lock);
  code = shard_take(r, s, &a, &fresh);
  lock_release(&s->lock);
  if (fresh || !made) /* another thread brought the key meanwhile, or memory is out */
    atomic_fetch_sub(&r->keys, 1);
  bucket_free(fresh);
  return code == E_NOT_FOUND ? E_LIMITED : code;
}

size_t ratelimit_sweep(struct ratelimit *r, uint64_t now_ms) {
  size_t swept = 0;
  for (size_t i = 0; i < SHARDS; i++) {
    struct key_events *b;
    while ((b = shard_evict(r, &r->shards[i], now_ms))) {
      bucket_free(b);
      swept++;
    }
  }
  atomic_fetch_sub(&r->keys, swept);
  return swept;
}

size_t ratelimit_keys(struct ratelimit *r) {
  return atomic_load(&r->keys);
}

void ratelimit_free(struct ratelimit *r) {
  if (!r)
    return;
  for (size_t i = 0; i < SHARDS; i++) {
    struct key_events *b = r->shards[i].oldest;
    while (b) {
      struct key_events *newer = b->newer;
      bucket_free(b);
      b = newer;
    }
    lock_deinit(&r->shards[i].lock);
  }
  free(r);
}
