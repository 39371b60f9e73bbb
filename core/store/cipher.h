/* In: a text, and the place where it lies. Out: text that a store can keep, and back.
 * Why: who reads the disk or a backup does not read the conversations, and what was changed, or moved to another place,
 * is an error and nothing a user ever takes for genuine. AES-256-GCM. What is stored has one of five forms:
 *   cb2:KEYID:DATA  written with a key; bound to all of its place. DATA: base64url of nonce(12) ciphertext tag(16)
 *   cb1:KEYID:DATA  as earlier versions wrote it: bound to session and seq only. Readable; reencrypt makes it cb2
 *   DATA            as the reference writes it: base64 with padding, no key id, bound to nothing; every key is tried
 *   plain:TEXT      plain, written without a key, where TEXT alone would be taken for one of the others
 *   TEXT            plain
 * So a text reads back as it was said whatever it looks like, also when there is a key only later. With a key only the
 * first two are genuine; `accept` says what else is read, and where.
 * Any thread. Nonces are random: change the key well before 2^32 texts (key_use.h counts them). */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_PREVIOUS_MAX 16
#define CIPHER_KEY_ID_LEN 8              /* hex digits */
#define CIPHER_CONTENT_MAX (256u << 20)  /* bytes */
#define CIPHER_STORED_MAX (384ull << 20) /* bytes of what that becomes, in any form */
#define CIPHER_TEXTS 6

/* The key that seals, and those that still open; immutable. */
struct keyring;

/* What a text is bound to: where it lies, and all that stands beside it. Borrowed. */
struct cipher_place {
  const char *what;       /* "message", "name", …: one kind is never taken for another */
  const char *session_id; /* this and seq are all that the form cb1 is bound to */
  uint64_t seq;
  int64_t at_ms;
  const char *texts[CIPHER_TEXTS]; /* always in the same order; NULL is another thing than "" */
  bool foreign;                    /* another program may have written it: see CIPHER_TAKEOVER */
};

/* What is read besides the sealed forms when there is a key; bits. */
enum cipher_accept {
  CIPHER_PLAINTEXT = 1, /* everything: also text that looks encrypted and opens with no key is plain text */
  CIPHER_TAKEOVER = 2,  /* plain text and the reference's form, in foreign places */
  CIPHER_ANY_FORM = 4,  /* plain text and the reference's form everywhere: for those who seal all of it anew */
};

/* A key is 32 bytes, or base64 (44 characters) or hex (64) of 32; previous: comma list, may be "". Both "": *out is
 * NULL, a keyring like any other to what follows: nothing is encrypted, all plain text is read. accept: of the bits
 * above. 0; UV_ENOMEM; E_INVALID with one line in why[] that names the setting. */
int keyring_new(const char *current, const char *previous, unsigned accept, struct keyring **out,
                char why[256]) NODISCARD;
void keyring_free(struct keyring *k); /* wipes the keys */
/* Whether text is a key that may seal (those before it are what they are). 0; E_INVALID with one line in why[] that
 * names ENCRYPTION_KEY: no key, or only a few different bytes. *rises: its bytes follow each other, as in 0123...: a
 * bad key, but one that servers have been running with. "" is no key, and right. */
int encryption_key_check(const char *text, bool *rises, char why[256]) NODISCARD;
/* First 8 hex digits of the SHA-256 of the key that seals. */
const char *keyring_id(const struct keyring *k);
/* Whether one of its keys has that id. */
bool keyring_has(const struct keyring *k, const char *id);
unsigned keyring_accept(const struct keyring *k);
/* The same keys, accepting this; NULL: no memory. */
struct keyring *keyring_accepting(const struct keyring *k, unsigned accept) NODISCARD;

/* All give a new heap object with a NUL behind *out_len bytes, and leave *out NULL when they fail: E_TOO_BIG,
 * UV_ENOMEM; to seal, UV_EIO (no randomness); to open, E_KEY (of a key that is not in the ring), E_CIPHER (changed,
 * moved, or in the reference's form and of another key) and E_PLAINTEXT (in no sealed form, where that is not accepted;
 * a sealed text whose mark was broken may look like that). */
int cipher_seal(const struct keyring *k, const struct cipher_place *at, const void *content, size_t len, char **out,
                size_t *out_len) NODISCARD;
int cipher_open(const struct keyring *k, const struct cipher_place *at, const void *stored, size_t len, char **out,
                size_t *out_len) NODISCARD;
/* In the reference's form, or plain without a keyring: for a database that is handed back to it. */
int cipher_seal_reference(const struct keyring *k, const void *content, size_t len, char **out,
                          size_t *out_len) NODISCARD;

/* Whether there is nothing left to do for it: sealed in the newest form with the key that seals. */
bool cipher_is_newest(const struct keyring *k, const void *stored, size_t len);
/* The same for a database that is handed back: what cipher_seal_reference makes. */
bool cipher_is_reference(const struct keyring *k, const void *stored, size_t len);
/* Whether it is in a sealed form. */
bool cipher_is_sealed(const void *stored, size_t len);
/* One line in the log for what cipher_open has refused: place, key and reason, no content. */
void cipher_log_failure(const struct cipher_place *at, const void *stored, size_t len, int code);
