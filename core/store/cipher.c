/* In: keys as text; content to seal, stored text to open. Out: one the other, or a code. Why: see cipher.h.
 * What a stored text is has to be told from the text alone (form_of), by the same rule with which a text stored without
 * a key is told from the rest; where the rule cannot know, it errs towards an error and never towards ciphertext. */
#include "cipher.h"

#include "base64url.h"
#include "config_value.h"
#include "err.h"
#include "log.h"
#include "secret.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WHY_MAX 256
#define KEY_LEN 32
#define NONCE_LEN 12
#define TAG_LEN 16
#define OVERHEAD (NONCE_LEN + TAG_LEN)
#define SEALED "cb2:"
#define SEALED_1 "cb1:" /* the form before it */
#define SEALED_LEN 4
#define HEAD_LEN (SEALED_LEN + CIPHER_KEY_ID_LEN + 1) /* cb2:01234567: */
#define ESCAPED "plain:"
#define ESCAPED_LEN 6

struct key {
  unsigned char bytes[KEY_LEN];
  char id[CIPHER_KEY_ID_LEN + 1];
};

struct keyring {
  unsigned accept; /* enum cipher_accept */
  EVP_CIPHER *aes; /* fetched once: looking it up takes as long as a short message */
  size_t count;
  struct key keys[1 + KEYRING_PREVIOUS_MAX]; /* the first one seals */
};

/* How much of its place a ciphertext is bound to. */
enum bond { BOUND_TO_NOTHING, BOUND_TO_SEQ, BOUND_TO_ALL };

/* ---- base64, as keys and the reference have it ---- */

static bool all_digits64(const char *text, size_t len, const char others[2]) {
  for (size_t i = 0; i < len; i++) {
    char c = text[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == others[0] ||
          c == others[1]))
      return false;
  }
  return true;
}

/* How many bytes the text is; 0 when it is no base64. */
static size_t base64_bytes(const char *text, size_t len) {
  if (len == 0 || len % 4 != 0)
    return 0;
  size_t padding = text[len - 1] != '=' ? 0 : text[len - 2] != '=' ? 1 : 2;
  return all_digits64(text, len - padding, "+/") ? len / 4 * 3 - padding : 0;
}

/* Of text that base64_bytes has counted; writes len / 4 * 3 bytes. */
static void base64_decode(const char *text, size_t len, unsigned char *out) {
  EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
}

/* ---- keys ---- */

static bool hex_decode(const char *text, unsigned char out[KEY_LEN]) {
  for (size_t i = 0; i < 2 * KEY_LEN; i++) {
    int digit = OPENSSL_hexchar2int((unsigned char)text[i]);
    if (digit < 0)
      return false;
    out[i / 2] = (unsigned char)(out[i / 2] << 4 | digit);
  }
  return true;
}

static bool key_read(const char *text, size_t len, unsigned char out[KEY_LEN]) {
  if (len == 2 * KEY_LEN)
    return hex_decode(text, out);
  if (len == KEY_LEN) {
    memcpy(out, text, KEY_LEN);
    return true;
  }
  unsigned char bytes[KEY_LEN + 1];
  if (len != (KEY_LEN + 2) / 3 * 4 || base64_bytes(text, len) != KEY_LEN)
    return false;
  base64_decode(text, len, bytes);
  memcpy(out, bytes, KEY_LEN);
  OPENSSL_cleanse(bytes, sizeof bytes);
  return true;
}

static int key_add(struct keyring *k, const char *setting, const char *text, size_t len, char why[WHY_MAX]) {
  struct key *key = &k->keys[k->count];
  if (!key_read(text, len, key->bytes)) {
    snprintf(why, WHY_MAX,
             "%s: a key of %zu characters; it has to be 32 bytes, or 32 bytes as base64 (44 characters) or hex (64); "
             "make one with: openssl rand -base64 32",
             setting, len);
    return E_INVALID;
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  if (!EVP_Q_digest(NULL, "SHA256", NULL, key->bytes, KEY_LEN, digest, NULL))
    return UV_ENOMEM;
  snprintf(key->id, sizeof key->id, "%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3]);
  k->count++;
  return 0;
}

static int keys_add(struct keyring *k, const char *list, char why[WHY_MAX]) {
  int code = 0;
  while (*list != '\0' && code == 0) {
    list += strspn(list, ", ");
    size_t len = strcspn(list, ","), next = len;
    while (len > 0 && list[len - 1] == ' ')
      len--;
    if (len > 0 && k->count == sizeof k->keys / sizeof *k->keys) {
      snprintf(why, WHY_MAX, "ENCRYPTION_PREVIOUS_KEYS: more than %d keys", KEYRING_PREVIOUS_MAX);
      return E_INVALID;
    }
    code = len > 0 ? key_add(k, "ENCRYPTION_PREVIOUS_KEYS", list, len, why) : 0;
    list += next;
  }
  return code;
}

static int placeholder_check(const char *setting, const char *text, char why[WHY_MAX]) {
  const char *placeholder = value_placeholder(text);
  if (!placeholder)
    return 0;
  snprintf(why, WHY_MAX, "%s: still contains the placeholder %s; make a key with: openssl rand -base64 32", setting,
           placeholder);
  return E_INVALID;
}

static int keyring_fill(struct keyring *k, const char *current, const char *previous, char why[WHY_MAX]) {
  int code = placeholder_check("ENCRYPTION_KEY", current, why);
  code = code ? code : placeholder_check("ENCRYPTION_PREVIOUS_KEYS", previous, why);
  code = code ? code : key_add(k, "ENCRYPTION_KEY", current, strlen(current), why);
  code = code ? code : keys_add(k, previous, why);
  if (code == 0) {
    k->aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    code = k->aes ? 0 : UV_ENOMEM;
  }
  return code;
}

int keyring_new(const char *current, const char *previous, unsigned accept, struct keyring **out, char why[WHY_MAX]) {
  *out = NULL;
  if (*current == '\0' && *previous == '\0')
    return 0;
  if (*current == '\0') {
    snprintf(why, WHY_MAX, "ENCRYPTION_PREVIOUS_KEYS: needs ENCRYPTION_KEY too, the key that new messages get");
    return E_INVALID;
  }
  struct keyring *k = calloc(1, sizeof *k);
  snprintf(why, WHY_MAX, "out of memory");
  int code = k ? keyring_fill(k, current, previous, why) : UV_ENOMEM;
  if (code) {
    keyring_free(k);
    return code;
  }
  k->accept = accept;
  *out = k;
  return 0;
}

void keyring_free(struct keyring *k) {
  if (!k)
    return;
  EVP_CIPHER_free(k->aes);
  OPENSSL_cleanse(k, sizeof *k);
  free(k);
}

int encryption_key_check(const char *text, bool *rises, char why[WHY_MAX]) {
  struct keyring *k = NULL;
  int code = keyring_new(text, "", 0, &k, why);
  *rises = code == 0 && k && secret_rises(k->keys[0].bytes, KEY_LEN);
  if (code == 0 && k && secret_repeats(k->keys[0].bytes, KEY_LEN)) {
    snprintf(why, WHY_MAX,
             "ENCRYPTION_KEY: can be guessed; make one with: openssl rand -base64 32. The old one goes to "
             "ENCRYPTION_PREVIOUS_KEYS until `chatbox reencrypt` is done");
    code = E_INVALID;
  }
  keyring_free(k);
  return code;
}

const char *keyring_id(const struct keyring *k) {
  return k->keys[0].id;
}

bool keyring_has(const struct keyring *k, const char *id) {
  for (size_t i = 0; k && i < k->count; i++)
    if (strcmp(k->keys[i].id, id) == 0)
      return true;
  return false;
}

unsigned keyring_accept(const struct keyring *k) {
  return k->accept;
}

struct keyring *keyring_accepting(const struct keyring *k, unsigned accept) {
  struct keyring *copy = malloc(sizeof *copy);
  if (copy) {
    *copy = *k;
    copy->accept = accept;
    EVP_CIPHER_up_ref(copy->aes);
  }
  return copy;
}

/* ---- what a ciphertext is bound to ---- */

/* Feeds additional data in few calls: each of them costs as much as some hundred bytes. */
struct feed {
  EVP_CIPHER_CTX *ctx;
  size_t len;
  bool failed;
  unsigned char bytes[512];
};

static void feed_flush(struct feed *f) {
  int n;
  f->failed = f->failed || (f->len > 0 && !EVP_CipherUpdate(f->ctx, NULL, &n, f->bytes, (int)f->len));
  f->len = 0;
}

static void feed_bytes(struct feed *f, const void *bytes, size_t len) {
  int n;
  if (len > sizeof f->bytes - f->len)
    feed_flush(f);
  if (len > sizeof f->bytes) {
    f->failed = f->failed || len > INT_MAX || !EVP_CipherUpdate(f->ctx, NULL, &n, bytes, (int)len);
  } else if (len > 0) {
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
  }
}

static void feed_number(struct feed *f, uint64_t n) {
  unsigned char bytes[8];
  for (int i = 0; i < 8; i++)
    bytes[i] = (unsigned char)(n >> (56 - 8 * i));
  feed_bytes(f, bytes, sizeof bytes);
}

/* Its length first, so that no two lists of texts give the same bytes. */
static void feed_text(struct feed *f, const char *text) {
  size_t len = text ? strlen(text) : 0;
  feed_number(f, text ? len : UINT64_MAX);
  feed_bytes(f, text, len);
}

static bool place_feed(EVP_CIPHER_CTX *ctx, const struct cipher_place *at, enum bond bond) {
  struct feed f = {.ctx = ctx};
  if (bond == BOUND_TO_SEQ) {
    feed_bytes(&f, at->session_id, strlen(at->session_id));
    feed_number(&f, at->seq);
  } else if (bond == BOUND_TO_ALL) {
    feed_text(&f, SEALED);
    feed_text(&f, at->what);
    feed_text(&f, at->session_id);
    feed_number(&f, at->seq);
    feed_number(&f, (uint64_t)at->at_ms);
    for (size_t i = 0; i < CIPHER_TEXTS; i++)
      feed_text(&f, at->texts[i]);
  }
  feed_flush(&f);
  return !f.failed;
}

/* ---- AES-256-GCM on nonce, ciphertext, tag ---- */

struct bound {
  const struct cipher_place *at; /* NULL with BOUND_TO_NOTHING */
  enum bond bond;
};

/* A context for each call: to keep one is no faster. */
static int gcm(const struct keyring *k, const struct key *key, const struct bound *b, bool seal,
               const unsigned char *nonce, unsigned char *tag, const void *in, size_t len, void *out) {
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  if (!ctx)
    return UV_ENOMEM;
  int n;
  bool done = EVP_CipherInit_ex2(ctx, k->aes, key->bytes, nonce, seal, NULL) && place_feed(ctx, b->at, b->bond);
  if (len > 0)
    done = done && EVP_CipherUpdate(ctx, out, &n, in, (int)len);
  if (!seal)
    done = done && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag);
  done = done && EVP_CipherFinal_ex(ctx, (unsigned char *)out + len, &n);
  if (seal)
    done = done && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag);
  EVP_CIPHER_CTX_free(ctx);
  return done ? 0 : seal ? UV_EIO : E_CIPHER;
}

/* A new object of OVERHEAD + len bytes. */
static int gcm_seal(const struct keyring *k, const struct bound *b, const void *content, size_t len,
                    unsigned char **out) {
  unsigned char *raw = malloc(OVERHEAD + len);
  int code = !raw ? UV_ENOMEM : RAND_bytes(raw, NONCE_LEN) == 1 ? 0 : UV_EIO;
  code = code ? code : gcm(k, &k->keys[0], b, true, raw, raw + NONCE_LEN + len, content, len, raw + NONCE_LEN);
  if (code) {
    free(raw);
    raw = NULL;
  }
  *out = raw;
  return code;
}

/* With every key of that id, or with every key there is: id NULL. */
static int gcm_open(const struct keyring *k, const char *id, const struct bound *b, unsigned char *raw, size_t n,
                    char **out, size_t *out_len) {
  size_t len = n - OVERHEAD;
  char *content = malloc(len + 1);
  int code = content ? E_KEY : UV_ENOMEM;
  for (size_t i = 0; i < k->count && (code == E_KEY || code == E_CIPHER); i++)
    if (!id || memcmp(id, k->keys[i].id, CIPHER_KEY_ID_LEN) == 0)
      code = gcm(k, &k->keys[i], b, false, raw, raw + NONCE_LEN + len, raw + NONCE_LEN, len, content);
  if (code) {
    free(content);
    return code;
  }
  content[len] = '\0';
  *out = content;
  *out_len = len;
  return 0;
}

/* ---- the forms of stored text ---- */

enum form { FORM_PLAIN, FORM_ESCAPED, FORM_SEALED, FORM_SEALED_1, FORM_DAMAGED, FORM_REFERENCE };

static bool begins(const char *text, size_t len, const char *mark, size_t mark_len) {
  return len >= mark_len && memcmp(text, mark, mark_len) == 0;
}

static bool is_key_id(const char *text) {
  for (int i = 0; i < CIPHER_KEY_ID_LEN; i++)
    if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
      return false;
  return true;
}

/* DAMAGED: change any one byte of what a key has sealed, of the marker too, and it is still not taken for plain. */
static enum form form_of(const char *text, size_t len) {
  bool escaped = false;
  for (; begins(text, len, ESCAPED, ESCAPED_LEN); len -= ESCAPED_LEN, text += ESCAPED_LEN)
    escaped = true;
  bool newest = begins(text, len, SEALED, SEALED_LEN), marked = newest || begins(text, len, SEALED_1, SEALED_LEN);
  bool shaped = len >= HEAD_LEN + BASE64URL_LEN(OVERHEAD) && text[HEAD_LEN - 1] == ':' &&
                all_digits64(text + HEAD_LEN, len - HEAD_LEN, "-_");
  enum form form = marked && shaped && is_key_id(text + SEALED_LEN) ? newest ? FORM_SEALED : FORM_SEALED_1
                   : marked || shaped                               ? FORM_DAMAGED
                   : base64_bytes(text, len) >= OVERHEAD            ? FORM_REFERENCE
                                                                    : FORM_PLAIN;
  return escaped && form != FORM_PLAIN ? FORM_ESCAPED : form;
}

static int plain_new(const char *mark, const void *text, size_t len, char **out, size_t *out_len) {
  size_t mark_len = strlen(mark);
  char *copy = malloc(mark_len + len + 1);
  if (!copy)
    return UV_ENOMEM;
  memcpy(copy, mark, mark_len);
  if (len > 0)
    memcpy(copy + mark_len, text, len);
  copy[mark_len + len] = '\0';
  *out = copy;
  *out_len = mark_len + len;
  return 0;
}

int cipher_seal(const struct keyring *k, const struct cipher_place *at, const void *content, size_t len, char **out,
                size_t *out_len) {
  *out = NULL;
  if (len > CIPHER_CONTENT_MAX)
    return E_TOO_BIG;
  if (!k)
    return plain_new(form_of(content, len) == FORM_PLAIN ? "" : ESCAPED, content, len, out, out_len);
  unsigned char *raw;
  int code = gcm_seal(k, &(struct bound){at, BOUND_TO_ALL}, content, len, &raw);
  if (code)
    return code;
  size_t stored_len = HEAD_LEN + BASE64URL_LEN(OVERHEAD + len);
  char *stored = malloc(stored_len + 1);
  if (stored) {
    snprintf(stored, HEAD_LEN + 1, SEALED "%s:", keyring_id(k));
    base64url_encode(raw, OVERHEAD + len, stored + HEAD_LEN);
    *out = stored;
    *out_len = stored_len;
  }
  free(raw);
  return stored ? 0 : UV_ENOMEM;
}

int cipher_seal_reference(const struct keyring *k, const void *content, size_t len, char **out, size_t *out_len) {
  *out = NULL;
  if (len > CIPHER_CONTENT_MAX)
    return E_TOO_BIG;
  if (!k)
    return plain_new("", content, len, out, out_len);
  unsigned char *raw;
  int code = gcm_seal(k, &(struct bound){NULL, BOUND_TO_NOTHING}, content, len, &raw);
  if (code)
    return code;
  char *stored = malloc((OVERHEAD + len + 2) / 3 * 4 + 1);
  if (stored) {
    *out_len = (size_t)EVP_EncodeBlock((unsigned char *)stored, raw, (int)(OVERHEAD + len));
    *out = stored;
  }
  free(raw);
  return stored ? 0 : UV_ENOMEM;
}

static int sealed_open(const struct keyring *k, const struct bound *b, const char *text, size_t len, char **out,
                       size_t *out_len) {
  size_t n;
  unsigned char *raw = malloc(BASE64URL_BYTES(len - HEAD_LEN));
  int code = !raw ? UV_ENOMEM : base64url_decode(text + HEAD_LEN, len - HEAD_LEN, raw, &n) != 0 ? E_CIPHER : 0;
  code = code ? code : gcm_open(k, text + SEALED_LEN, b, raw, n, out, out_len);
  free(raw);
  return code;
}

static int reference_open(const struct keyring *k, const char *text, size_t len, char **out, size_t *out_len) {
  unsigned char *raw = malloc(len / 4 * 3);
  if (!raw)
    return UV_ENOMEM;
  base64_decode(text, len, raw);
  int code = gcm_open(k, NULL, &(struct bound){NULL, BOUND_TO_NOTHING}, raw, base64_bytes(text, len), out, out_len);
  free(raw);
  return code;
}

/* Nothing but its key makes a sealed text readable, whatever is accepted. */
int cipher_open(const struct keyring *k, const struct cipher_place *at, const void *stored, size_t len, char **out,
                size_t *out_len) {
  *out = NULL;
  if (len > CIPHER_STORED_MAX)
    return E_TOO_BIG;
  enum form form = form_of(stored, len);
  if (form == FORM_SEALED || form == FORM_SEALED_1)
    return !k ? E_KEY
              : sealed_open(k, &(struct bound){at, form == FORM_SEALED ? BOUND_TO_ALL : BOUND_TO_SEQ}, stored, len, out,
                            out_len);
  if (k && (k->accept & (CIPHER_PLAINTEXT | CIPHER_ANY_FORM)) == 0 && !((k->accept & CIPHER_TAKEOVER) && at->foreign))
    return form == FORM_DAMAGED ? E_CIPHER : E_PLAINTEXT;
  if (k && (form == FORM_REFERENCE || form == FORM_DAMAGED)) {
    int code = form == FORM_REFERENCE ? reference_open(k, stored, len, out, out_len) : E_CIPHER;
    if (code != E_CIPHER || !(k->accept & CIPHER_PLAINTEXT))
      return code;
  }
  size_t skip = form == FORM_ESCAPED ? ESCAPED_LEN : 0;
  return plain_new("", (const char *)stored + skip, len - skip, out, out_len);
}

bool cipher_is_sealed(const void *stored, size_t len) {
  enum form form = form_of(stored, len);
  return form == FORM_SEALED || form == FORM_SEALED_1;
}

/* The id of the key it was sealed with; "" when it names none. */
static void key_id_of(const void *stored, size_t len, char out[CIPHER_KEY_ID_LEN + 1]) {
  bool named = cipher_is_sealed(stored, len);
  snprintf(out, CIPHER_KEY_ID_LEN + 1, "%.*s", named ? CIPHER_KEY_ID_LEN : 0, (const char *)stored + SEALED_LEN);
}

bool cipher_is_newest(const struct keyring *k, const void *stored, size_t len) {
  char id[CIPHER_KEY_ID_LEN + 1];
  key_id_of(stored, len, id);
  return k && form_of(stored, len) == FORM_SEALED && strcmp(id, keyring_id(k)) == 0;
}

bool cipher_is_reference(const struct keyring *k, const void *stored, size_t len) {
  enum form form = form_of(stored, len);
  if (!k || form != FORM_REFERENCE)
    return !k && form != FORM_SEALED && form != FORM_SEALED_1 && form != FORM_ESCAPED;
  struct keyring newest = {.aes = k->aes, .count = 1, .keys = {k->keys[0]}};
  char *content;
  size_t content_len;
  int code = reference_open(&newest, stored, len, &content, &content_len);
  OPENSSL_cleanse(&newest, sizeof newest);
  if (code == 0)
    free(content);
  return code == 0;
}

void cipher_log_failure(const struct cipher_place *at, const void *stored, size_t len, int code) {
  char id[CIPHER_KEY_ID_LEN + 1], said[64];
  key_id_of(stored, len, id);
  snprintf(said, sizeof said, "a %s cannot be read", at->what);
  LOG(LOG_ERROR, "cipher", said, LSTR("session", at->session_id), LINT("seq", at->seq),
      LSTR("key", *id ? id : "unknown"), LSTR("reason", err_text(code)));
}
