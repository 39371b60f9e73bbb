/* In: what something costs, and the time. Out: may it happen now, or how long it has to wait. Why: see bucket.h. */
#include "bucket.h"

#include <stdbool.h>

static uint64_t cost_us(const struct bucket_rate *rate, uint64_t cost) {
  return cost * 1000000 / rate->per_s;
}

/* How long it takes until the bucket is full. */
static uint64_t missing_us(const struct bucket *b, uint64_t now_us) {
  uint64_t full = atomic_load_explicit(&b->full_us, memory_order_relaxed);
  return full > now_us ? full - now_us : 0;
}

uint64_t bucket_wait(const struct bucket *b, const struct bucket_rate *rate, uint64_t cost, uint64_t now_ms) {
  uint64_t missing = missing_us(b, now_ms * 1000), room = rate->burst_ms * 1000, price = cost_us(rate, cost);
  if (missing == 0 || missing + price <= room)
    return 0;
  uint64_t wait = price >= room ? missing : missing + price - room;
  return (wait + 999) / 1000;
}

void bucket_take(struct bucket *b, const struct bucket_rate *rate, uint64_t cost, uint64_t now_ms) {
  uint64_t price = cost_us(rate, cost), now = now_ms * 1000;
  unsigned long long full = atomic_load_explicit(&b->full_us, memory_order_relaxed), next;
  do
    next = (full > now ? full : now) + price;
  while (!atomic_compare_exchange_weak_explicit(&b->full_us, &full, next, memory_order_relaxed, memory_order_relaxed));
}

int bucket_full(const struct bucket *b, uint64_t now_ms) {
  return missing_us(b, now_ms * 1000) == 0;
}
