/* In: a seed and bytes. Out: SipHash-2-4 of them (Aumasson and Bernstein, 2012).
 * Why: the cheapest keyed hash that is known to resist chosen keys; ours are short, so speed per byte hardly matters.
 */
#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sip {
  uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int bits) {
  return (x << bits) | (x >> (64 - bits));
}

static void sip_rounds(struct sip *s, int rounds) {
  while (rounds-- > 0) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
  }
}

static void sip_word(struct sip *s, uint64_t word) {
  s->v3 ^= word;
  sip_rounds(s, 2);
  s->v0 ^= word;
}

struct hash_seed hash_seed_draw(void) {
  struct hash_seed seed;
  ssize_t got;
  do
    got = getrandom(&seed, sizeof seed, 0);
  while (got < 0 && errno == EINTR);
  if (got != sizeof seed)
    abort();
  return seed;
}

uint64_t hash_bytes(struct hash_seed seed, const void *bytes, size_t len) {
  struct sip s = {seed.k0 ^ 0x736f6d6570736575u, seed.k1 ^ 0x646f72616e646f6du, seed.k0 ^ 0x6c7967656e657261u,
                  seed.k1 ^ 0x7465646279746573u};
  const uint8_t *p = bytes;
  for (size_t left = len; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    sip_word(&s, word);
  }
  uint64_t tail = (uint64_t)len << 56;
  for (size_t i = 0; i < len % 8; i++)
    tail |= (uint64_t)p[i] << (8 * i);
  sip_word(&s, tail);
  s.v2 ^= 0xff;
  sip_rounds(&s, 4);
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
