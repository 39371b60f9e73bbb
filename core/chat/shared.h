/* In: keys and small values from every worker's scripts. Out: the same, seen by all at once.
 * Why: VMs keep no state (there are many, and reloads replace them); what has to be known across conversations is here.
 * Any thread; one lock, held for a copy. Bounds: SHARED_KEYS keys, SHARED_BYTES bytes (keys, values, 64 each), and
 * some of that for each file of the scripts, so that none of them fills it for all: E_FULL after what has expired is
 * gone. Time is an argument, ms of a monotonic clock. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_KEY_MAX 255

struct shared;
enum shared_type { SHARED_NONE, SHARED_TEXT, SHARED_NUMBER, SHARED_BOOL };
struct shared_value {
  enum shared_type type;
  char *text; /* of get: a heap copy, the caller's */
  size_t len;
  double number; /* SHARED_BOOL: 0 or 1 */
};

struct shared *shared_new(size_t max_keys, size_t max_bytes) NODISCARD;
/* The same bounds for what one of them (a file of the scripts: `of`) has set last. Without this call: none. Before any
 * other thread has it. */
void shared_limit(struct shared *s, size_t keys_of_one, size_t bytes_of_one);
void shared_free(struct shared *s);
/* ttl_ms 0: for ever. A value of SHARED_NONE deletes. 0, E_FULL, E_INVALID (key), E_NOT_FOUND (nothing to
 * delete), UV_ENOMEM. */
int shared_set(struct shared *s, const char *of, const char *key, size_t key_len, const struct shared_value *v,
               uint64_t ttl_ms, uint64_t now_ms) NODISCARD;
/* 0 (SHARED_NONE when absent or expired) or UV_ENOMEM. */
int shared_get(struct shared *s, const char *key, size_t key_len, uint64_t now_ms, struct shared_value *out) NODISCARD;
/* Adds to a number, an absent one counts as 0; the ttl is set when it is new. E_CONFLICT: it is not a number. */
int shared_add(struct shared *s, const char *of, const char *key, size_t key_len, double n, uint64_t ttl_ms,
               uint64_t now_ms, double *sum) NODISCARD;
size_t shared_keys(struct shared *s);
/* Forgets what has expired. */
void shared_sweep(struct shared *s, uint64_t now_ms);
