/* In: records and stored texts. Out: one from the other. Why: see sealed.h. */
#include "sealed.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static struct cipher_place message_place(const char *session_id, const char *user_id, const struct message_record *m,
                                         bool foreign) {
  return (struct cipher_place){.what = "message",
                               .session_id = session_id,
                               .seq = m->seq,
                               .at_ms = m->at_ms,
                               .texts = {user_id, m->id, m->sender, m->type, m->cid, m->extra},
                               .foreign = foreign};
}

static struct cipher_place name_place(const char *session_id, const char *user_id, bool foreign) {
  return (struct cipher_place){.what = "name", .session_id = session_id, .texts = {user_id}, .foreign = foreign};
}

static struct cipher_place share_place(const char *session_id, const char *user_id) {
  return (struct cipher_place){.what = "share", .session_id = session_id, .texts = {user_id}};
}

int sealed_message(const struct keyring *k, const char *session_id, const char *user_id, const struct message_record *m,
                   char **out, size_t *len) {
  struct cipher_place at = message_place(session_id, user_id, m, false);
  return cipher_seal(k, &at, m->content_len > 0 ? m->content : "", m->content_len, out, len);
}

int sealed_name(const struct keyring *k, const char *session_id, const char *user_id, const char *name, char **out,
                size_t *len) {
  struct cipher_place at = name_place(session_id, user_id, false);
  *out = NULL;
  *len = 0;
  return !name || *name == '\0' ? 0 : cipher_seal(k, &at, name, strlen(name), out, len);
}

int sealed_share(const struct keyring *k, const char *session_id, const char *user_id, const char *token, char **out,
                 size_t *len) {
  struct cipher_place at = share_place(session_id, user_id);
  return cipher_seal(k, &at, token, strlen(token), out, len);
}

int sealed_share_hash(const char *token, char out[SHARE_HASH_LEN + 1]) {
  unsigned char digest[SHARE_HASH_LEN / 2];
  unsigned len = 0;
  if (EVP_Digest(token, strlen(token), digest, &len, EVP_sha256(), NULL) != 1 || len != sizeof digest)
    return UV_EIO;
  for (size_t i = 0; i < sizeof digest; i++)
    sprintf(out + 2 * i, "%02x", digest[i]);
  return 0;
}

int sealed_share_open(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                      size_t stored_len, char **out, size_t *len) {
  struct cipher_place at = share_place(session_id, user_id);
  return cipher_open(k, &at, stored, stored_len, out, len);
}

int sealed_message_open(const struct keyring *k, const char *session_id, const char *user_id,
                        const struct message_record *m, bool foreign, const void *stored, size_t stored_len, char **out,
                        size_t *len) {
  struct cipher_place at = message_place(session_id, user_id, m, foreign);
  return cipher_open(k, &at, stored, stored_len, out, len);
}

int sealed_name_open(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                     size_t stored_len, char **out, size_t *len) {
  struct cipher_place at = name_place(session_id, user_id, true);
  return cipher_open(k, &at, stored, stored_len, out, len);
}

static int again(const struct keyring *k, const struct cipher_place *at, const void *stored, size_t stored_len,
                 char **out, size_t *len) {
  char *text;
  size_t text_len;
  if (cipher_is_newest(k, stored, stored_len))
    return 1;
  int code = cipher_open(k, at, stored, stored_len, &text, &text_len);
  if (code)
    return code;
  code = cipher_seal(k, at, text, text_len, out, len);
  free(text);
  return code;
}

int sealed_message_again(const struct keyring *k, const char *session_id, const char *user_id,
                         const struct message_record *m, bool foreign, const void *stored, size_t stored_len,
                         char **out, size_t *len) {
  struct cipher_place at = message_place(session_id, user_id, m, foreign);
  return again(k, &at, stored, stored_len, out, len);
}

int sealed_name_again(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                      size_t stored_len, char **out, size_t *len) {
  struct cipher_place at = name_place(session_id, user_id, false);
  return again(k, &at, stored, stored_len, out, len);
}

int sealed_share_again(const struct keyring *k, const char *session_id, const char *user_id, const void *stored,
                       size_t stored_len, char **out, size_t *len) {
  struct cipher_place at = share_place(session_id, user_id);
  return again(k, &at, stored, stored_len, out, len);
}

/* ---- reading ---- */

/* 0: *out is the text; 1: it cannot be read, and that was noted; UV_ENOMEM. */
static int unsealing_text(struct unsealing *u, const struct cipher_place *at, const void *stored, size_t len,
                          char **out, size_t *out_len) {
  u->read++;
  int code = cipher_open(u->keys, at, stored, len, out, out_len);
  if (code == 0 || code == UV_ENOMEM)
    return code;
  metrics_add(METRIC_DAMAGED, 1);
  if (u->damaged++ == 0)
    cipher_log_failure(at, stored, len, code);
  u->keyless += code == E_KEY;
  *out_len = 0;
  return 1;
}

int unsealing_message(struct unsealing *u, const char *session_id, const char *user_id, struct message_record *m,
                      bool foreign, const void *stored, size_t len) {
  struct cipher_place at = message_place(session_id, user_id, m, foreign);
  int code = unsealing_text(u, &at, stored, len, &m->content, &m->content_len);
  if (code != 1)
    return code;
  m->damaged = true;
  free(m->cid);
  free(m->extra);
  m->cid = m->extra = NULL;
  m->content = strdup("");
  return m->content ? 0 : UV_ENOMEM;
}

int unsealing_name(struct unsealing *u, struct session_record *r, bool foreign, const void *stored, size_t len) {
  struct cipher_place at = name_place(r->id, r->user_id, foreign);
  if (!stored || len == 0)
    return 0;
  size_t name_len;
  int code = unsealing_text(u, &at, stored, len, &r->name, &name_len);
  if (code == 1)
    r->name_damaged = true;
  return code == 1 ? 0 : code;
}

int unsealing_share(struct unsealing *u, struct session_record *r, const void *stored, size_t len) {
  struct cipher_place at = share_place(r->id, r->user_id);
  size_t token_len;
  int code = stored && len > 0 ? unsealing_text(u, &at, stored, len, &r->share_token, &token_len) : 0;
  return code == 1 ? 0 : code;
}

int unsealing_end(const struct unsealing *u) {
  if (u->damaged > 1)
    LOG(LOG_ERROR, "cipher", "and more of what was asked for", LINT("damaged", u->damaged), LINT("of", u->read));
  return u->read > 0 && u->keyless == u->read ? E_STORE : 0;
}
