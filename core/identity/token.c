/* In: a compact JWT. Out: the identity in it, once its signature, times and claims hold.
 * Why: the order is the point. Nothing of the payload is looked at before the signature over it is known to be ours,
 * and the algorithm the token names only picks among the keys that were loaded for its family. */
#include "token.h"

#include "base64url.h"
#include "config_value.h"
#include "err.h"
#include "lock.h"
#include "secret.h"
#include "token_claims.h"
#include "token_key.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WHY_MAX 256
#define SECRET_MIN 32
#define SIGNATURE_MAX BASE64URL_BYTES(TOKEN_MAX)

struct token_verifier {
  char *secret;                              /* NULL: no HS* */
  char *public_key_file, *issuer, *audience; /* NULL: not set */
  struct token_rules rules;
  struct lock lock;        /* guards keys, for the length of one reference */
  struct token_keys *keys; /* NULL: no RS256, ES256 */
};

/* A digest makes it an HMAC with the secret; otherwise the family says which public keys count. */
struct algorithm {
  const char *name;
  const char *digest;
  enum key_family family;
};

static const struct algorithm algorithms[] = {
  {"HS256", .digest = "SHA256"}, {"HS384", .digest = "SHA384"}, {"HS512", .digest = "SHA512"},
  {"RS256", .family = KEY_RSA},  {"ES256", .family = KEY_EC},
};

/* One part of a token, borrowed from it. */
struct token_part {
  const char *text;
  size_t len;
};

/* --- the secret --------------------------------------------------------------------------------------------------- */

int token_secret_check(const char *secret, char why[WHY_MAX]) {
  static const char *const words[] = {"secret",  "test",    "password", "admin", "changeme",
                                      "default", "example", "demo",     "12345", "placeholder"};
  static const char advice[] = "make one with: openssl rand -base64 32";
  size_t len = strlen(secret);
  const char *placeholder = value_placeholder(secret);
  if (placeholder) {
    snprintf(why, WHY_MAX, "JWT_SECRET: still contains the placeholder %s; %s", placeholder, advice);
    return E_INVALID;
  }
  if (len < SECRET_MIN) {
    snprintf(why, WHY_MAX, "JWT_SECRET: has %zu bytes, at least %d are needed; %s", len, SECRET_MIN, advice);
    return E_INVALID;
  }
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasestr(secret, words[i])) {
      snprintf(why, WHY_MAX,
               "JWT_SECRET: contains \"%s\", which makes it easy to guess (a random one can contain it by chance: "
               "then take another); %s",
               words[i], advice);
      return E_INVALID;
    }
  if (secret_repeats(secret, len)) {
    snprintf(why, WHY_MAX, "JWT_SECRET: is easy to guess, the same few characters repeat in it; %s", advice);
    return E_INVALID;
  }
  return 0;
}

static int hmac(const char *secret, const char *digest, const char *data, size_t len, unsigned char *out,
                size_t *out_len) {
  bool ok = EVP_Q_mac(NULL, "HMAC", NULL, digest, NULL, secret, strlen(secret), (const unsigned char *)data, len, out,
                      EVP_MAX_MD_SIZE, out_len);
  return ok ? 0 : UV_ENOMEM;
}

/* --- the verifier ------------------------------------------------------------------------------------------------- */

static int text_keep(char **to, const char *text) {
  if (text && *text && !(*to = strdup(text)))
    return UV_ENOMEM;
  return 0;
}

static int verifier_fill(struct token_verifier *v, const struct token_options *o, char why[WHY_MAX]) {
  int err = o->secret && *o->secret ? token_secret_check(o->secret, why) : 0;
  if (err)
    return err;
  if (text_keep(&v->secret, o->secret) || text_keep(&v->public_key_file, o->public_key_file) ||
      text_keep(&v->issuer, o->issuer) || text_keep(&v->audience, o->audience))
    return UV_ENOMEM;
  v->rules = (struct token_rules){v->issuer, v->audience, o->leeway_s, o->require_exp};
  return token_verifier_read_keys(v, why);
}

int token_verifier_new(const struct token_options *o, struct token_verifier **out, char why[WHY_MAX]) {
  bool secret = o->secret && *o->secret, key_file = o->public_key_file && *o->public_key_file;
  *out = NULL;
  if (!secret && !key_file) {
    snprintf(why, WHY_MAX,
             "JWT_SECRET or JWT_PUBLIC_KEY_FILE has to be set; make a secret with: openssl rand -base64 32");
    return E_MISSING;
  }
  snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM)); /* everything else says what it is */
  struct token_verifier *v = calloc(1, sizeof *v);
  if (!v)
    return UV_ENOMEM;
  lock_init(&v->lock);
  int err = verifier_fill(v, o, why);
  if (err)
    token_verifier_free(v);
  else
    *out = v;
  return err;
}

void token_verifier_free(struct token_verifier *v) {
  if (!v)
    return;
  if (v->secret)
    OPENSSL_cleanse(v->secret, strlen(v->secret));
  free(v->secret);
  free(v->public_key_file);
  free(v->issuer);
  free(v->audience);
  token_keys_unref(v->keys);
  lock_deinit(&v->lock);
  free(v);
}

/* --- its public keys ---------------------------------------------------------------------------------------------- */

int token_verifier_read_keys(struct token_verifier *v, char why[WHY_MAX]) {
  struct token_keys *fresh;
  char reason[WHY_MAX];
  if (!v->public_key_file)
    return 0;
  int err = token_keys_load(v->public_key_file, &fresh, reason);
  if (err) {
    snprintf(why, WHY_MAX, "JWT_PUBLIC_KEY_FILE: %.*s", WHY_MAX - 32, reason);
    return err;
  }
  lock_acquire(&v->lock);
  struct token_keys *old = v->keys;
  v->keys = fresh;
  lock_release(&v->lock);
  token_keys_unref(old);
  return 0;
}

/* Those in force, referenced; NULL when there are none. */
static struct token_keys *keys_now(struct token_verifier *v) {
  lock_acquire(&v->lock);
  struct token_keys *keys = token_keys_ref(v->keys);
  lock_release(&v->lock);
  return keys;
}

bool token_verifier_knows(struct token_verifier *v, const struct identity *who) {
  if (who->key == 0)
    return true;
  struct token_keys *keys = keys_now(v);
  bool known = token_keys_have(keys, who->key);
  token_keys_unref(keys);
  return known;
}

/* --- verifying ---------------------------------------------------------------------------------------------------- */

/* header.payload.signature, no more and no less. */
static int token_split(const char *token, size_t len, struct token_part parts[3]) {
  for (int i = 0; i < 3; i++) {
    const char *dot = memchr(token, '.', len);
    if (!dot != (i == 2))
      return E_INVALID;
    parts[i] = (struct token_part){token, dot ? (size_t)(dot - token) : len};
    token += dot ? parts[i].len + 1 : 0;
    len -= dot ? parts[i].len + 1 : 0;
  }
  return 0;
}

static const struct algorithm *algorithm_find(const json_t *header) {
  const char *name = json_string_value(json_object_get(header, "alg"));
  for (size_t i = 0; name && i < sizeof algorithms / sizeof *algorithms; i++)
    if (strcmp(name, algorithms[i].name) == 0)
      return &algorithms[i];
  return NULL;
}

/* `signed_part` is header and payload with the dot between them, as they came. *key: which public key signed it; 0: the
 * secret. */
static int signature_check(struct token_verifier *v, const json_t *header, struct token_part signed_part,
                           struct token_part signature, uint64_t *key) {
  const struct algorithm *algorithm = algorithm_find(header);
  const json_t *kid = json_object_get(header, "kid");
  /* crit lists what a reader must understand; we understand no extension. */
  if (!algorithm || json_object_get(header, "crit") || (kid && !json_is_string(kid)))
    return E_INVALID;

  unsigned char given[SIGNATURE_MAX], expected[EVP_MAX_MD_SIZE];
  size_t given_len = 0, expected_len = 0;
  if (base64url_decode(signature.text, signature.len, given, &given_len) != 0)
    return E_INVALID;
  *key = 0;
  if (!algorithm->digest) {
    struct token_keys *keys = keys_now(v);
    int verdict = token_keys_verify(keys, algorithm->family, json_string_value(kid), signed_part.text, signed_part.len,
                                    given, given_len, key);
    token_keys_unref(keys);
    return verdict;
  }
  if (!v->secret)
    return E_INVALID;
  int err = hmac(v->secret, algorithm->digest, signed_part.text, signed_part.len, expected, &expected_len);
  if (err)
    return err;
  return given_len == expected_len && CRYPTO_memcmp(given, expected, expected_len) == 0 ? 0 : E_INVALID;
}

int token_verify(struct token_verifier *v, const char *token, size_t len, int64_t now_s, struct identity **out) {
  struct token_part parts[3];
  uint64_t key = 0;
  *out = NULL;
  if (len > TOKEN_MAX)
    return E_TOO_BIG;
  if (token_split(token, len, parts) != 0)
    return E_INVALID;
  json_t *header = token_json(parts[0].text, parts[0].len);
  struct token_part signed_part = {token, parts[0].len + 1 + parts[1].len};
  int err = header ? signature_check(v, header, signed_part, parts[2], &key) : E_INVALID;
  json_decref(header);
  if (err)
    return err;
  json_t *payload = token_json(parts[1].text, parts[1].len);
  err = payload ? token_claims(payload, &v->rules, now_s, out) : E_INVALID;
  json_decref(payload);
  if (!err)
    (*out)->key = key;
  return err;
}

/* --- minting ------------------------------------------------------------------------------------------------------ */

/* Not stated when it is empty. */
static const char *stated(const char *text) {
  return text && *text ? text : NULL;
}

static char *claims_write(const struct token_statement *s) {
  json_t *list = json_array();
  for (size_t i = 0; i < s->role_count; i++)
    if (json_array_append_new(list, json_string(s->roles[i])) != 0) { /* not UTF-8: rather no token than fewer roles */
      json_decref(list);
      return NULL;
    }
  /* o takes the list, * leaves out what is NULL. */
  json_t *claims = json_pack("{s:s, s:s*, s:o, s:I, s:I, s:s*, s:s*}", "user_id", s->user_id, "name", s->name, "roles",
                             list, "iat", (json_int_t)s->now_s, "exp", (json_int_t)(s->now_s + s->lifetime_s), "iss",
                             stated(s->issuer), "aud", stated(s->audience));
  char *text = claims ? json_dumps(claims, JSON_COMPACT) : NULL;
  json_decref(claims);
  return text;
}

char *token_sign(const char *secret, const struct token_statement *s) {
  static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
  char *payload = claims_write(s);
  size_t header_len = BASE64URL_LEN(sizeof header - 1), payload_len = payload ? BASE64URL_LEN(strlen(payload)) : 0;
  size_t signed_len = header_len + 1 + payload_len, signature_len = 0;
  unsigned char signature[EVP_MAX_MD_SIZE];
  char *token = payload ? malloc(signed_len + 1 + BASE64URL_LEN(sizeof signature) + 1) : NULL;
  if (token) {
    base64url_encode(header, sizeof header - 1, token);
    token[header_len] = '.';
    base64url_encode(payload, strlen(payload), token + header_len + 1);
    if (hmac(secret, "SHA256", token, signed_len, signature, &signature_len) == 0) {
      token[signed_len] = '.';
      base64url_encode(signature, signature_len, token + signed_len + 1);
    } else {
      free(token);
      token = NULL;
    }
  }
  free(payload);
  return token;
}

char *token_mint(const char *secret, const char *user_id, const char *name, const char *const *roles, size_t role_count,
                 int64_t now_s, int64_t lifetime_s) {
  const struct token_statement s = {.user_id = user_id,
                                    .name = name,
                                    .roles = roles,
                                    .role_count = role_count,
                                    .now_s = now_s,
                                    .lifetime_s = lifetime_s};
  return token_sign(secret, &s);
}
