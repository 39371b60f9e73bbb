/* In: a key and the time. Out: yes, or no and for how long.
 * Why: a sliding log of the last `limit` events per key in a ring: exact, and bounded by limit × keys; a ring starts
 * small and grows, so a key that is seldom seen is cheap. A blocked attempt does not count. Time is an argument, in ms
 * of any monotonic clock. Any thread; sharded locks inside. */
#pragma once
#include "attr.h"
#include "slots.h"

#include <stddef.h>
#include <stdint.h>

struct ratelimit;

/* limit ≥ 1 events per window_ms ≥ 1 and key; at most max_keys ≥ 1 keys. */
struct ratelimit *ratelimit_new(uint32_t limit, uint64_t window_ms, size_t max_keys) NODISCARD;
void ratelimit_free(struct ratelimit *r);
/* 0, or E_LIMITED with *retry_after_ms ≥ 1 (time until the oldest event leaves the window). A new key when the table is
 * full first evicts a key without events in the window; when there is none, or no memory: E_LIMITED, window_ms. */
int ratelimit_take(struct ratelimit *r, const char *key, size_t key_len, uint64_t now_ms,
                   uint64_t *retry_after_ms) NODISCARD;
/* Drops keys whose window is empty; how many. Called every RATE_LIMIT_CLEANUP_INTERVAL. */
size_t ratelimit_sweep(struct ratelimit *r, uint64_t now_ms);
size_t ratelimit_keys(struct ratelimit *r);
