/* In: a key to be counted. Out: yes, or the bound it has reached. Why: handshakes are rare beside messages, so one
 * lock and one table are enough. A key is remembered only while it holds a slot, so nothing has to be cleaned up. */
#include "slots.h"

#include "err.h"
#include "hash.h"
#include "lock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct holder {
  struct holder *next;
  uint32_t count;
  size_t key_len;
  char key[];
};

struct slots {
  struct lock lock; /* guards table and taken */
  struct hash_seed seed;
  uint32_t per_key, total, taken;
  size_t mask;
  struct holder *table[];
};

struct slots *slots_new(uint32_t per_key, uint32_t total) {
  size_t chains = 1;
  while (chains < total)
    chains *= 2;
  struct slots *s = calloc(1, sizeof *s + chains * sizeof *s->table);
  if (!s)
    return NULL;
  lock_init(&s->lock);
  s->seed = hash_seed_draw();
  s->per_key = per_key;
  s->total = total;
  s->mask = chains - 1;
  return s;
}

void slots_free(struct slots *s) {
  if (!s)
    return;
  for (size_t i = 0; i <= s->mask; i++)
    while (s->table[i]) {
      struct holder *h = s->table[i];
      s->table[i] = h->next;
      free(h);
    }
  lock_deinit(&s->lock);
  free(s);
}

/* The link that points to the holder, or where a new one would be added. */
static struct holder **slots_find(struct slots *s, const char *key, size_t key_len) {
  struct holder **at = &s->table[hash_bytes(s->seed, key, key_len) & s->mask];
  while (*at && ((*at)->key_len != key_len || memcmp((*at)->key, key, key_len) != 0))
    at = &(*at)->next;
  return at;
}

static int slots_take_locked(struct slots *s, const char *key, size_t key_len) REQUIRES(s->lock) {
  struct holder **at = slots_find(s, key, key_len);
  if (*at && (*at)->count >= s->per_key)
    return E_LIMITED;
  if (s->taken >= s->total)
    return E_FULL;
  if (!*at) {
    *at = calloc(1, sizeof **at + key_len);
    if (!*at)
      return E_FULL;
    (*at)->key_len = key_len;
    memcpy((*at)->key, key, key_len);
  }
  (*at)->count++;
  s->taken++;
  return 0;
}

int slots_take(struct slots *s, const char *key, size_t key_len) {
  lock_acquire(&s->lock);
  int code = slots_take_locked(s, key, key_len);
  lock_release(&s->lock);
  return code;
}

void slots_give(struct slots *s, const char *key, size_t key_len) {
  lock_acquire(&s->lock);
  struct holder **at = slots_find(s, key, key_len);
  struct holder *h = *at;
  assert(h);
  if (h) {
    s->taken--;
    if (--h->count == 0) {
      *at = h->next;
      free(h);
    }
  }
  lock_release(&s->lock);
}

uint32_t slots_total(struct slots *s) {
  lock_acquire(&s->lock);
  uint32_t taken = s->taken;
  lock_release(&s->lock);
  return taken;
}
