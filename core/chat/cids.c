/* In: cids. Out: bits that say which may have been there. Why: see cids.h. The hash has a secret seed, so nobody can
 * choose cids that fill the filter faster than others do. */
#include "cids.h"

#include "hash.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BITS (CIDS_BYTES * 8)
#define PROBES 6

struct cids {
  uint8_t bits[CIDS_BYTES];
};

static struct hash_seed seed;
static pthread_once_t drawn = PTHREAD_ONCE_INIT;

static void draw(void) {
  seed = hash_seed_draw();
}

struct cids *cids_new(void) {
  pthread_once(&drawn, draw);
  return calloc(1, sizeof(struct cids));
}

void cids_free(struct cids *c) {
  free(c);
}

/* Two halves of one hash make all the places (Kirsch and Mitzenmacher). */
static unsigned place(uint64_t hash, unsigned probe) {
  return (unsigned)(((uint32_t)hash + probe * ((uint32_t)(hash >> 32) | 1)) % BITS);
}

void cids_add(struct cids *c, const char *cid) {
  uint64_t hash = hash_bytes(seed, cid, strlen(cid));
  for (unsigned i = 0; i < PROBES; i++) {
    unsigned at = place(hash, i);
    c->bits[at / 8] |= (uint8_t)(1u << at % 8);
  }
}

bool cids_may_have(const struct cids *c, const char *cid) {
  uint64_t hash = hash_bytes(seed, cid, strlen(cid));
  for (unsigned i = 0; i < PROBES; i++) {
    unsigned at = place(hash, i);
    if (!(c->bits[at / 8] & 1u << at % 8)) {
      return false;
    }
  }
  return true;
}
