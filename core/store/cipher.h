/* In: the content of a message and the place where it lies. Out: text that a store can keep, and back.
 * Why: who reads the disk or a backup does not read the conversations, and what was changed, or moved to another place,
 * is an error and nothing a user ever sees. AES-256-GCM. What is stored has one of four forms:
 *   cb1:KEYID:DATA  written with a key; bound to its session and seq. DATA: base64url of nonce(12) ciphertext tag(16)
 *   DATA            as the reference writes it: base64 with padding, no key id, bound to nothing; every key is tried
 *   plain:TEXT      plain, written without a key, where TEXT alone would be taken for one of the others
 *   TEXT            plain
 * So a text reads back as it was said whatever it looks like, also when there is a key only later.
 * Any thread. Nonces are random: change the key well before 2^32 messages. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_PREVIOUS_MAX 16
#define CIPHER_KEY_ID_LEN 8              /* hex digits */
#define CIPHER_CONTENT_MAX (256u << 20)  /* bytes */
#define CIPHER_STORED_MAX (384ull << 20) /* bytes of what that becomes, in any form */

/* The key that seals, and those that still open; immutable. */
struct keyring;

/* A key is 32 bytes, or base64 (44 characters) or hex (64) of 32; previous: comma list, may be "". Both "": *out is
 * NULL, a keyring like any other to what follows: nothing is encrypted. allow_plaintext: what looks encrypted, names no
 * key and opens with none is plain text. 0; UV_ENOMEM; E_INVALID with one line in why[] that names the setting. */
int keyring_new(const char *current, const char *previous, bool allow_plaintext, struct keyring **out,
                char why[256]) NODISCARD;
void keyring_free(struct keyring *k); /* wipes the keys */
/* First 8 hex digits of the SHA-256 of the key that seals. */
const char *keyring_id(const struct keyring *k);

/* All give a new heap object with a NUL behind *out_len bytes, and leave *out NULL when they fail: E_TOO_BIG,
 * UV_ENOMEM; to seal, UV_EIO (no randomness); to open, E_KEY (of a key that is not in the ring) and E_CIPHER (changed,
 * moved, or in the reference's form and of another key). */
int cipher_seal(const struct keyring *k, const char *session_id, uint64_t seq, const void *content, size_t len,
                char **out, size_t *out_len) NODISCARD;
int cipher_open(const struct keyring *k, const char *session_id, uint64_t seq, const void *stored, size_t len,
                char **out, size_t *out_len) NODISCARD;
/* In the reference's form, or plain without a keyring: for a database that is handed back to it. */
int cipher_seal_reference(const struct keyring *k, const void *content, size_t len, char **out,
                          size_t *out_len) NODISCARD;

/* Whether there is nothing left to do for it: sealed with the key that seals. */
bool cipher_is_newest(const struct keyring *k, const void *stored, size_t len);
/* The same for a database that is handed back: what cipher_seal_reference makes. */
bool cipher_is_reference(const struct keyring *k, const void *stored, size_t len);
/* One line in the log for what cipher_open has refused: place, key and reason, no content. */
void cipher_log_failure(const char *session_id, uint64_t seq, const void *stored, size_t len, int code);
