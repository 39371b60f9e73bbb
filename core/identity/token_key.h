/* In: the public keys an operator names: PEM (keys or certificates) or JWKS. Out: did one of them sign this.
 * Why: which key may check which algorithm is decided when it is loaded, by its kind; a token only chooses among keys
 * of the family its algorithm names. RS256 takes RSA of 2048 bits or more, ES256 takes P-256. A certificate is only the
 * wrapping of its key: dates and issuer are not looked at.
 * Thread: immutable after loading, then any thread. Bound: 64 keys, a file of 1 MiB. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_KEYS_MAX 64
#define TOKEN_KEY_FILE_MAX (1 << 20)

enum key_family { KEY_RSA, KEY_EC };

struct token_keys;

/* 0; or a negative code and one line in why[]. Keys of a JWKS that are of a kind or use we have no use for are passed
 * over; one that is ours but broken, weak or private is an error, and so is a file without a usable key. */
int token_keys_load(const char *file, struct token_keys **out, char why[256]) NODISCARD;
/* The same from memory. */
int token_keys_parse(const char *text, size_t len, struct token_keys **out, char why[256]) NODISCARD;
/* One reference comes from load or parse. NULL is allowed. */
struct token_keys *token_keys_ref(struct token_keys *keys);
void token_keys_unref(struct token_keys *keys);
size_t token_keys_count(const struct token_keys *keys);
/* Whether the key of that print is among them. keys may be NULL. */
bool token_keys_have(const struct token_keys *keys, uint64_t print);

/* 0 when a key of that family, and with that kid where both the token and the key have one, signed the data as RS256 or
 * ES256; *print tells that key from all others, and is never 0. Else E_INVALID. kid may be NULL, and so may keys. */
int token_keys_verify(const struct token_keys *keys, enum key_family family, const char *kid, const void *data,
                      size_t data_len, const unsigned char *signature, size_t signature_len, uint64_t *print) NODISCARD;
