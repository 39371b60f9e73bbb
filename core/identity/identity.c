/* In: what a token says of a user. Out: one counted block of memory with all of it. Why: see identity.h. */
#include "identity.h"

#include <stdlib.h>
#include <string.h>

static const char *text_copy(char **at, const char *text) {
  char *copy = *at;
  *at = stpcpy(copy, text) + 1;
  return copy;
}

struct identity *identity_new(const char *user_id, const char *name, const char *const *roles, size_t role_count,
                              int64_t expires_s) {
  size_t size = sizeof(struct identity) + role_count * sizeof *roles + strlen(user_id) + 1 + strlen(name) + 1;
  for (size_t i = 0; i < role_count; i++)
    size +=
      strlen(roles[i]) + 1; /* NOLINT(clang-analyzer-core.CallAndMessage): the caller has set role_count of them */
  struct identity *identity = malloc(size);
  if (!identity)
    return NULL;

  char *at = (char *)(identity->roles + role_count);
  atomic_init(&identity->refs, 1);
  identity->user_id = text_copy(&at, user_id);
  identity->name = text_copy(&at, name);
  identity->expires_s = expires_s;
  identity->key = 0;
  identity->admin = false;
  identity->role_count = role_count;
  for (size_t i = 0; i < role_count; i++) {
    identity->roles[i] = text_copy(&at, roles[i]);
    if (strcmp(roles[i], "admin") == 0 || strcmp(roles[i], "chat_admin") == 0)
      identity->admin = true;
  }
  return identity;
}

struct identity *identity_ref(struct identity *i) {
  atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
  return i;
}

void identity_unref(struct identity *i) {
  if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
    free(i);
}
