/* In: what something costs, and the time. Out: may it happen now, or how long it has to wait.
 * Why: a token bucket as one number, the instant at which it is full again: no timer refills it, an idle one costs
 * nothing, and any thread may look and take without a lock. Two threads at once may overdraw it by what one takes.
 * Time is an argument: ms of any monotonic clock. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* per_s ≥ 1 units flow in each second, and as much as burst_ms brings is there at most. */
struct bucket_rate {
  uint64_t per_s, burst_ms;
};

/* All zero: full. */
struct bucket {
  atomic_ullong full_us;
};

/* 0: cost units may be taken now; else ms ≥ 1 until they may. What costs more than the bucket holds has to wait until
 * it is full, and then passes. */
uint64_t bucket_wait(const struct bucket *b, const struct bucket_rate *rate, uint64_t cost, uint64_t now_ms);
/* Takes them, also where bucket_wait says no. cost ≤ 2^40. */
void bucket_take(struct bucket *b, const struct bucket_rate *rate, uint64_t cost, uint64_t now_ms);
/* Nothing that was taken is missing any more. */
int bucket_full(const struct bucket *b, uint64_t now_ms);
