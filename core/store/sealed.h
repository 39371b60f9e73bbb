/* In: records, and what is stored in the place of their texts. Out: one from the other. Why: what the content of a
 * message and the name of a conversation are bound to, and what becomes of one that cannot be read, is the same for
 * every backend. A content is bound to every field of its message, to its conversation and to that one's user; a name
 * to its conversation and user. So whoever changes, swaps or moves any of them in the database only makes it
 * unreadable. Any thread; the log gets a line for the first that cannot be read of each reading, and their number. */
#pragma once
#include "attr.h"
#include "cipher.h"
#include "store.h"

/* For the record as it will be read back, with its seq; as cipher_seal. */
int sealed_message(const struct keyring *k, const char *session_id, const char *user_id, const struct message_record *m,
                   char **out, size_t *len) NODISCARD;
/* NULL and "" give *out NULL: there is no name. */
int sealed_name(const struct keyring *k, const char *session_id, const char *user_id, const char *name, char **out,
                size_t *len) NODISCARD;
/* A token of a share. It is found by its hash, 64 hex digits. */
int sealed_share(const struct keyring *k, const char *session_id, const char *user_id, const char *token, char **out,
                 size_t *len) NODISCARD;
#define SHARE_HASH_LEN 64
int sealed_share_hash(const char *token, char out[SHARE_HASH_LEN + 1]) NODISCARD; /* 0, UV_EIO */
int sealed_share_open(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                      size_t stored_len, char **out, size_t *len) NODISCARD;
int sealed_share_again(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                       size_t stored_len, char **out, size_t *len) NODISCARD;
/* The text of what is stored, as cipher_open; foreign as in struct cipher_place. */
int sealed_message_open(const struct keyring *k, const char *session_id, const char *user_id,
                        const struct message_record *m, bool foreign, const void *stored, size_t stored_len, char **out,
                        size_t *len) NODISCARD;
int sealed_name_open(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                     size_t stored_len, char **out, size_t *len) NODISCARD;
/* What is stored, sealed anew; 1: it is in the newest form already. Else as
 * cipher_open. */
int sealed_message_again(const struct keyring *k, const char *session_id, const char *user_id,
                         const struct message_record *m, bool foreign, const void *stored, size_t stored_len,
                         char **out, size_t *len) NODISCARD;
int sealed_name_again(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                      size_t stored_len, char **out, size_t *len) NODISCARD;

/* One reading of some records. */
struct unsealing {
  const struct keyring *keys;
  size_t read, damaged, keyless; /* keyless: of the damaged, those whose key is not in the ring */
};

/* Sets content and content_len; or, when it cannot be read, damaged, and takes extra and cid away: nothing that may be
 * forged goes further. 0, UV_ENOMEM. */
int unsealing_message(struct unsealing *u, const char *session_id, const char *user_id, struct message_record *m,
                      bool foreign, const void *stored, size_t len) NODISCARD;
/* Sets name, or name_damaged. stored NULL or empty: there is none. id and user_id are there. */
int unsealing_name(struct unsealing *u, struct session_record *r, bool foreign, const void *stored,
                   size_t len) NODISCARD;
/* Sets share_token, or leaves it NULL when it cannot be read: then there is no token that anybody could be given. */
int unsealing_share(struct unsealing *u, struct session_record *r, const void *stored, size_t len) NODISCARD;
/* E_STORE when there was something, and nothing of it could be read for want of its key: that is a mistake in the
 * settings, and the reader is told so. Else 0. */
int unsealing_end(const struct unsealing *u);
