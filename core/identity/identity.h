/* In: what a token says of a user. Out: the same, shared by everything that acts for that user.
 * Why: connections, requests and handlers need to know who asks, not how it was proven (token.h). Any thread. */
#pragma once
#include "attr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX 8192     /* bytes */
#define TOKEN_USER_MAX 255 /* bytes of user_id and of name */
#define TOKEN_ROLES_MAX 32

/* Immutable once made, shared by reference. */
struct identity {
  atomic_int refs;
  const char *user_id; /* non-empty; of a token: in Unicode's form NFC, without control characters */
  const char *name;    /* user_id where the token has none */
  int64_t expires_s;   /* it holds until then, JWT_LEEWAY included: seconds since 1970; 0: for ever */
  uint64_t key;        /* which public key has signed for it (token_verifier_knows); 0: the secret */
  bool admin;          /* has role admin or chat_admin */
  size_t role_count;
  const char *roles[]; /* role_count of them */
};
/* Copies everything. NULL when memory is out. */
struct identity *identity_new(const char *user_id, const char *name, const char *const *roles, size_t role_count,
                              int64_t expires_s) NODISCARD;
struct identity *identity_ref(struct identity *i);
void identity_unref(struct identity *i); /* NULL is allowed */
