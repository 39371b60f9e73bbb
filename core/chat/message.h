/* In: the text of one outgoing document. Out: the same bytes, shared by every member it is sent to.
 * Why: a fan-out to many members copies nothing; the last reader frees. */
#pragma once
#include "attr.h"

#include <stdatomic.h>
#include <stddef.h>

struct message {
  atomic_int refs;
  size_t len; /* bytes */
  char text[];
};

/* Copies text. One reference, the caller's. NULL when memory is out. Any thread. */
struct message *message_new(const char *text, size_t len) NODISCARD;
/* The same of two pieces. */
struct message *message_join(const char *text, size_t len, const char *more, size_t more_len) NODISCARD;
struct message *message_ref(struct message *m);
void message_unref(struct message *m); /* NULL is allowed */
