/* In: a JWT as a client sent it. Out: who it is, or one reason why not.
 * Why: identity is decided once, in C, before a script sees the connection (reference, section 4). Algorithms: HS256,
 * HS384, HS512 with JWT_SECRET; RS256, ES256 with the keys of JWT_PUBLIC_KEY_FILE (PEM or JWKS, `kid` honoured). An
 * algorithm is accepted only with a key of its own family, so a public key can never serve as an HMAC secret.
 * Thread: a verifier may be used by all; only its public keys can change, as a whole, while it is in use. Bound: a
 * token of at most 8 KiB. */
#pragma once
#include "attr.h"
#include "identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token_verifier;
struct token_options {
  const char *secret;          /* NULL or "": no HS* */
  const char *public_key_file; /* NULL or "": no RS256, ES256 */
  const char *issuer;          /* what `iss` has to be; NULL or "": anything or nothing */
  const char *audience;        /* what `aud` has to be or hold; NULL or "": anything or nothing */
  int64_t leeway_s;            /* how far the clocks of issuer and server may be apart */
  bool require_exp;
};
/* 0 or a negative code with one line for the operator in why[]: a weak secret names the rule it breaks (≥ 32 bytes, no
 * placeholder, none of the words of reference section 4), a key file what is wrong with it. */
int token_verifier_new(const struct token_options *o, struct token_verifier **out, char why[256]) NODISCARD;
void token_verifier_free(struct token_verifier *v);
/* Reads public_key_file again. 0: its keys are in force from now on, and those it no longer has are refused; else
 * nothing has changed, and why[] says what is wrong with it. 0 when no such file was named. */
int token_verifier_read_keys(struct token_verifier *v, char why[256]) NODISCARD;
/* Whether the key that signed for who is still in force. */
bool token_verifier_knows(struct token_verifier *v, const struct identity *who);
/* 0 and *out (one reference); E_EXPIRED, E_INVALID, E_TOO_BIG, UV_ENOMEM. now_s: seconds since 1970. */
int token_verify(struct token_verifier *v, const char *token, size_t len, int64_t now_s,
                 struct identity **out) NODISCARD;

/* 0 when the secret may be used; E_INVALID and why. */
int token_secret_check(const char *secret, char why[256]) NODISCARD;
struct token_statement {
  const char *user_id, *name;
  const char *const *roles;
  size_t role_count;
  const char *issuer, *audience; /* NULL or "": not stated */
  int64_t now_s, lifetime_s;
};
/* HS256. A heap string, the caller frees; NULL when memory is out. */
char *token_sign(const char *secret, const struct token_statement *s) NODISCARD;
/* The same without issuer and audience. */
char *token_mint(const char *secret, const char *user_id, const char *name, const char *const *roles, size_t role_count,
                 int64_t now_s, int64_t lifetime_s) NODISCARD;
