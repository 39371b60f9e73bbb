/* In: the payload of a token whose signature held. Out: the identity it states, or why not.
 * Why: what a token has to say (reference, section 4) apart from how it is proven (token.c). Any thread. */
#pragma once
#include "attr.h"
#include "identity.h"

/* A JSON object, strict: no duplicate keys, no NUL, nothing behind it. NULL when it is not one. */
struct json_t;
struct json_t *token_json(const char *base64url, size_t len) NODISCARD;

/* What a payload has to say; see token_options. */
struct token_rules {
  const char *issuer, *audience; /* NULL: anything or nothing */
  int64_t leeway_s;
  bool require_exp;
};

/* 0 and *out (one reference); E_EXPIRED, E_INVALID, UV_ENOMEM. */
int token_claims(const struct json_t *payload, const struct token_rules *rules, int64_t now_s,
                 struct identity **out) NODISCARD;
