/* In: a key a stranger may have chosen. Out: 64 bits he cannot foresee.
 * Why: users and addresses pick the keys of our tables; under a hash without a secret they could pick keys that all
 * fall into one chain. SipHash-2-4 with a seed drawn per table. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct hash_seed {
  uint64_t k0, k1;
};

/* From the kernel; the program ends where there is no randomness to be had. */
struct hash_seed hash_seed_draw(void);
uint64_t hash_bytes(struct hash_seed seed, const void *bytes, size_t len);
