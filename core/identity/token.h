/* In: a JWT as a client sent it. Out: who it is, or one reason why not.
 * Why: identity is decided once, in C, before a script sees the connection (reference, section 4). Algorithms: HS256,
 * HS384, HS512 with JWT_SECRET; RS256, ES256 with the keys of JWT_PUBLIC_KEY_FILE (PEM or JWKS, `kid` honoured). An
 * algorithm is accepted only with a key of its own family, so a public key can never serve as an HMAC secret.
 * Thread: a verifier is immutable after new and may be used by all. Bound: a token of at most 8 KiB. */
#pragma once
#include "attr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX 8192
#define TOKEN_USER_MAX 255 /* bytes of user_id and of name */
#define TOKEN_ROLES_MAX 32

/* Immutable once made, shared by reference. */
struct identity {
  atomic_int refs;
  const char *user_id; /* non-empty, valid UTF-8 */
  const char *name;    /* user_id where the token has none */
  int64_t expires_s;   /* seconds since 1970; 0: never (only when exp is not required) */
  bool admin;          /* has role admin or chat_admin */
  size_t role_count;
  const char *roles[]; /* role_count of them */
};
/* Copies everything. NULL when memory is out. */
struct identity *identity_new(const char *user_id, const char *name, const char *const *roles, size_t role_count,
                              int64_t expires_s) NODISCARD;
struct identity *identity_ref(struct identity *i);
void identity_unref(struct identity *i); /* NULL is allowed */

struct token_verifier;
struct token_options {
  const char *secret;          /* NULL or "": no HS* */
  const char *public_key_file; /* NULL or "": no RS256, ES256 */
  bool require_exp;
};
/* 0 or a negative code with one line for the operator in why[]: a weak secret names the rule it breaks (≥ 32 bytes, no
 * placeholder, none of the words of reference section 4), a key file what is wrong with it. */
int token_verifier_new(const struct token_options *o, struct token_verifier **out, char why[256]) NODISCARD;
void token_verifier_free(struct token_verifier *v);
/* 0 and *out (one reference); E_EXPIRED, E_INVALID, E_TOO_BIG, UV_ENOMEM. now_s: seconds since 1970. No leeway. */
int token_verify(const struct token_verifier *v, const char *token, size_t len, int64_t now_s,
                 struct identity **out) NODISCARD;

/* 0 when the secret may be used; E_INVALID and why. */
int token_secret_check(const char *secret, char why[256]) NODISCARD;
/* HS256. A heap string, the caller frees; NULL when memory is out. */
char *token_mint(const char *secret, const char *user_id, const char *name, const char *const *roles, size_t role_count,
                 int64_t now_s, int64_t lifetime_s) NODISCARD;
