/* In: the text of one outgoing document. Out: one counted block of memory, header and text together.
 * Why: the count is the only thing that changes after birth, so members on all workers read the text without a lock. */
#include "message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct message *message_join(const char *text, size_t len, const char *more, size_t more_len) {
  if (len > SIZE_MAX - sizeof(struct message) || more_len > SIZE_MAX - sizeof(struct message) - len)
    return NULL;
  struct message *m = malloc(sizeof *m + len + more_len);
  if (!m)
    return NULL;
  atomic_init(&m->refs, 1);
  m->len = len + more_len;
  if (len > 0)
    memcpy(m->text, text, len);
  if (more_len > 0)
    memcpy(m->text + len, more, more_len);
  return m;
}

struct message *message_new(const char *text, size_t len) {
  return message_join(text, len, NULL, 0);
}

struct message *message_ref(struct message *m) {
  atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}

void message_unref(struct message *m) {
  if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
    free(m);
}
