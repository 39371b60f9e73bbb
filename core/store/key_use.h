/* In: how many texts a key is about to seal. Out: how many it has sealed, what of that is to be stored, and a warning
 * in good time. Why: nonces are random, and with 2^32 of them under one key two may be the same (NIST SP 800-38D). The
 * number is stored in steps ahead of the texts, so it never says too little, and at most a step too much for each end
 * of the program. Thread: the store's writer. */
#pragma once
#include <stdint.h>

#define KEY_USE_STEP 1024
#define KEY_USE_WARN (1ull << 31)
#define KEY_USE_MAX (1ull << 32)

struct key_use {
  uint64_t used, reserved; /* reserved is what is stored */
};

/* With what is stored. Warns when it is near the end already. */
void key_use_begin(struct key_use *u, const char *key_id, uint64_t stored);
/* Before n texts are sealed: what is to be stored first, or 0: nothing. */
uint64_t key_use_wanted(const struct key_use *u, uint64_t n);
/* n texts were sealed, and what was wanted (or 0) is stored. Warns once for each eighth from KEY_USE_WARN on. */
void key_use_add(struct key_use *u, const char *key_id, uint64_t n, uint64_t stored);
