/* In: conversations and messages as they are to lie in memory. Out: them, found, added and dropped. Why: reading
 * (memory.c) and writing (write.c) are two files that share these. Under the lock, or on the writer's thread. */
#include "memory_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kept *kept_find(struct memory *m, const char *id) {
  struct kept *k;
  HASH_FIND_STR(m->sessions, id, k);
  return k;
}

struct kept_message *kept_cid(const struct kept *k, const char *cid) {
  for (size_t i = 0; cid && i < k->count; i++) {
    if (k->messages[i]->record.cid && strcmp(k->messages[i]->record.cid, cid) == 0)
      return k->messages[i];
  }
  return NULL;
}

char *kept_copy(const char *text) {
  char *out = text ? strdup(text) : NULL;
  if (text && !out)
    abort();
  return out;
}

void kept_add(struct memory *m, struct kept *k, struct kept_message *new) {
  if (k->count == k->room) {
    k->room = k->room ? 2 * k->room : 8;
    k->messages = realloc(k->messages, k->room * sizeof *k->messages);
    if (!k->messages)
      abort();
  }
  k->messages[k->count++] = new;
  HASH_ADD_KEYPTR(hh, m->ids, new->record.id, STORE_ID_LEN, new);
  m->bytes += new->record.content_len;
}

static void message_drop(struct memory *m, struct kept_message *gone) {
  assert(m->ids && gone->hh.tbl == m->ids->hh.tbl); /* it is one of them */
  HASH_DEL(m->ids, gone);
  m->bytes -= gone->record.content_len;
  message_record_deinit(&gone->record);
  free(gone);
}

void kept_shorten(struct memory *m, struct kept *k, size_t down_to) {
  while (k->count > down_to)
    message_drop(m, k->messages[--k->count]);
}

void kept_drop(struct memory *m, struct kept *k) {
  kept_shorten(m, k, 0);
  HASH_DEL(m->sessions, k);
  session_record_deinit(&k->record);
  free(k->name);
  free(k->share);
  free(k->messages);
  free(k);
}
