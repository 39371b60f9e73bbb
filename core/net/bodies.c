/* In: what each body takes. Out: sums by address, and the oldest that could go. Why: see bodies.h. */
#include "bodies.h"

#include "address.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <uv.h>

struct body_source {
  char address[ADDRESS_MAX];
  struct link unfinished; /* shares, the oldest first */
  size_t bytes, count;
  UT_hash_handle hh;
};

static struct body_source *source_of(struct bodies *b, const char *address, bool make) {
  struct body_source *s;
  HASH_FIND_STR(b->sources, address, s);
  if (!s && make && (s = calloc(1, sizeof *s))) {
    memcpy(s->address, address, strnlen(address, sizeof s->address - 1));
    s->unfinished = (struct link){&s->unfinished, &s->unfinished};
    HASH_ADD_STR(b->sources, address, s);
  }
  return s;
}

int bodies_hold(struct bodies *b, struct body_share *share, const char *address, size_t bytes) {
  struct body_source *s = share->source ? share->source : source_of(b, address, true);
  if (!s) {
    return UV_ENOMEM;
  }
  size_t others = s->bytes - share->bytes;
  if (others && (bytes > b->limit || others > b->limit - bytes)) {
    return E_FULL;
  }
  if (!share->source) {
    share->source = s;
    s->count++;
    link_put(&s->unfinished, &share->mates);
  }
  s->bytes = others + bytes;
  share->bytes = bytes;
  return 0;
}

struct body_share *bodies_oldest(struct bodies *b, const struct body_share *share, const char *address) {
  struct body_source *s = source_of(b, address, false);
  if (!s) {
    return NULL;
  }
  struct link *l = s->unfinished.next;
  l = l == &share->mates ? l->next : l;
  return l == &s->unfinished ? NULL : (struct body_share *)((char *)l - offsetof(struct body_share, mates));
}

void bodies_complete(struct body_share *share) {
  if (share->source) {
    link_drop(&share->mates);
  }
}

void bodies_let_go(struct bodies *b, struct body_share *share) {
  struct body_source *s = share->source;
  if (!s) {
    return;
  }
  link_drop(&share->mates);
  s->bytes -= share->bytes;
  *share = (struct body_share){0};
  if (--s->count == 0) {
    HASH_DEL(b->sources, s);
    free(s);
  }
}
