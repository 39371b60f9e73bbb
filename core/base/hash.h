/* In: a key that a stranger may have chosen. Out: 64 bits that cannot be predicted.
 * Why: users and addresses choose the keys of our tables; with a hash without a secret they could choose keys that
 * all collide. SipHash-2-4 with a seed per table. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct hash_seed {
  uint64_t k0, k1;
};

/* A random seed from the kernel; aborts when there is none. */
struct hash_seed hash_seed_draw(void);
uint64_t hash_bytes(struct hash_seed seed, const void *bytes, size_t len);
