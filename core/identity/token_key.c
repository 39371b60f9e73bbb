/* In: PEM or JWKS text; later a signature. Out: a set of public keys; later yes or no.
 * Why: all that knows OpenSSL's key types is here, so token.c deals in families and bytes. */
#include "token_key.h"

#include "base64url.h"
#include "err.h"
#include "regular.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WHY_MAX 256
#define RSA_BITS_MIN 2048
#define COORDINATE_BYTES 32 /* of P-256 */

struct token_key {
  EVP_PKEY *pkey;
  enum key_family family;
  char *kid;      /* NULL when it has none */
  uint64_t print; /* of the key itself, whatever its kid */
};

struct token_keys {
  atomic_int refs;
  size_t count;
  struct token_key keys[TOKEN_KEYS_MAX];
};

PRINTF_LIKE(2, 3) static int refuse(char why[WHY_MAX], const char *reason, ...) {
  va_list args;
  va_start(args, reason);
  vsnprintf(why, WHY_MAX, reason, args);
  va_end(args);
  ERR_clear_error(); /* OpenSSL keeps what went wrong per thread; nobody else will ask for it */
  return E_INVALID;
}

/* --- adding a key ------------------------------------------------------------------------------------------------- */

static int rsa_check(const EVP_PKEY *pkey, char why[WHY_MAX]) {
  int bits = EVP_PKEY_get_bits(pkey);
  if (bits < RSA_BITS_MIN)
    return refuse(why, "an RSA key has %d bits; %d are the least", bits, RSA_BITS_MIN);
  BIGNUM *exponent = NULL;
  /* With exponent 1 everything is its own signature. */
  bool sound =
    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) && BN_is_odd(exponent) && !BN_is_one(exponent);
  BN_free(exponent);
  return sound ? 0 : refuse(why, "an RSA key has an impossible exponent");
}

static int ec_check(const EVP_PKEY *pkey, char why[WHY_MAX]) {
  char group[32] = "";
  if (!EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) || strcmp(group, SN_X9_62_prime256v1) != 0)
    return refuse(why, "an EC key is not on the curve P-256");
  return 0;
}

/* Never 0. */
static int print_take(EVP_PKEY *pkey, uint64_t *print) {
  unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
  int len = i2d_PUBKEY(pkey, &der);
  if (len <= 0)
    return UV_ENOMEM;
  SHA256(der, (size_t)len, digest);
  OPENSSL_free(der);
  memcpy(print, digest, sizeof *print);
  *print |= 1;
  return 0;
}

/* Takes pkey, also when it refuses. */
static int key_add(struct token_keys *keys, EVP_PKEY *pkey, const char *kid, char why[WHY_MAX]) {
  struct token_key key = {.pkey = pkey};
  int err = 0;
  if (keys->count == TOKEN_KEYS_MAX)
    err = refuse(why, "more than %d keys", TOKEN_KEYS_MAX);
  else if (EVP_PKEY_is_a(pkey, "RSA"))
    err = rsa_check(pkey, why);
  else if (EVP_PKEY_is_a(pkey, "EC")) {
    key.family = KEY_EC;
    err = ec_check(pkey, why);
  } else
    err = refuse(why, "a key is neither RSA nor EC");
  if (!err)
    err = print_take(pkey, &key.print);
  if (!err && kid && !(key.kid = strdup(kid)))
    err = UV_ENOMEM;
  if (err)
    EVP_PKEY_free(pkey);
  else
    keys->keys[keys->count++] = key;
  return err;
}

/* --- PEM ---------------------------------------------------------------------------------------------------------- */

/* NULL and why[] when the block is nothing we can use. */
static EVP_PKEY *pem_key(const char *name, const unsigned char *der, long len, char why[WHY_MAX]) {
  EVP_PKEY *pkey = NULL;
  if (strcmp(name, PEM_STRING_PUBLIC) == 0)
    pkey = d2i_PUBKEY(NULL, &der, len);
  else if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0)
    pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, len);
  else if (strcmp(name, PEM_STRING_X509) == 0) {
    X509 *cert = d2i_X509(NULL, &der, len);
    pkey = cert ? X509_get_pubkey(cert) : NULL;
    X509_free(cert);
  } else {
    (void)(strstr(name, "PRIVATE KEY")
             ? refuse(why, "holds a private key; only the public one belongs here")
             : refuse(why, "holds a block \"%.40s\"; a public key or certificate is asked for", name));
    return NULL;
  }
  if (!pkey)
    (void)refuse(why, "holds a block \"%.40s\" that cannot be read", name);
  return pkey;
}

static int pem_parse(struct token_keys *keys, const char *text, size_t len, char why[WHY_MAX]) {
  BIO *bio = BIO_new_mem_buf(text, (int)len);
  int err = bio ? 0 : UV_ENOMEM;
  while (!err) {
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    if (!PEM_read_bio(bio, &name, &header, &der, &der_len)) {
      /* No further block is how a good file ends; anything else is damage. */
      if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        err = refuse(why, "is damaged PEM");
      ERR_clear_error();
      break;
    }
    EVP_PKEY *pkey = pem_key(name, der, der_len, why);
    err = pkey ? key_add(keys, pkey, NULL, why) : E_INVALID;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
  }
  BIO_free(bio);
  return err;
}

/* --- JWKS --------------------------------------------------------------------------------------------------------- */

/* The bytes of a base64url member, on the heap; NULL when it is absent or malformed. */
static unsigned char *member_bytes(const json_t *jwk, const char *name, size_t *len) {
  const json_t *member = json_object_get(jwk, name);
  size_t text_len = json_string_length(member);
  unsigned char *bytes = text_len > 0 ? malloc(BASE64URL_BYTES(text_len) + 1) : NULL;
  if (bytes && base64url_decode(json_string_value(member), text_len, bytes, len) != 0) {
    free(bytes);
    bytes = NULL;
  }
  return bytes;
}

static EVP_PKEY *pkey_build(const char *type, OSSL_PARAM_BLD *builder) {
  OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
  EVP_PKEY *pkey = NULL;
  if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
      EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    pkey = NULL;
  EVP_PKEY_CTX_free(ctx);
  OSSL_PARAM_free(params);
  return pkey;
}

static EVP_PKEY *jwk_rsa(const json_t *jwk) {
  size_t n_len = 0, e_len = 0;
  unsigned char *n = member_bytes(jwk, "n", &n_len), *e = member_bytes(jwk, "e", &e_len);
  BIGNUM *modulus = n ? BN_bin2bn(n, (int)n_len, NULL) : NULL, *exponent = e ? BN_bin2bn(e, (int)e_len, NULL) : NULL;
  OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
  EVP_PKEY *pkey = NULL;
  if (modulus && exponent && builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) &&
      OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent))
    pkey = pkey_build("RSA", builder);
  OSSL_PARAM_BLD_free(builder);
  BN_free(exponent);
  BN_free(modulus);
  free(e);
  free(n);
  return pkey;
}

static EVP_PKEY *jwk_ec(const json_t *jwk) {
  size_t x_len = 0, y_len = 0;
  unsigned char *x = member_bytes(jwk, "x", &x_len), *y = member_bytes(jwk, "y", &y_len);
  unsigned char point[1 + 2 * COORDINATE_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
  OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
  EVP_PKEY *pkey = NULL;
  if (x && y && x_len == COORDINATE_BYTES && y_len == COORDINATE_BYTES && builder) {
    memcpy(point + 1, x, COORDINATE_BYTES);
    memcpy(point + 1 + COORDINATE_BYTES, y, COORDINATE_BYTES);
    if (OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, SN_X9_62_prime256v1, 0) &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
      pkey = pkey_build("EC", builder);
  }
  OSSL_PARAM_BLD_free(builder);
  free(y);
  free(x);
  return pkey;
}

static bool member_is(const json_t *jwk, const char *name, const char *wanted) {
  const char *text = json_string_value(json_object_get(jwk, name));
  return text && strcmp(text, wanted) == 0;
}

static bool member_allows(const json_t *jwk, const char *name, const char *wanted) {
  return !json_object_get(jwk, name) || member_is(jwk, name, wanted);
}

/* key_ops, where there is one, says what a key is for. */
static bool member_verifies(const json_t *jwk) {
  const json_t *list = json_object_get(jwk, "key_ops"), *operation;
  size_t i;
  json_array_foreach(list, i, operation) {
    const char *name = json_string_value(operation);
    if (name && strcmp(name, "verify") == 0)
      return true;
  }
  return !list;
}

static int jwk_add(struct token_keys *keys, const json_t *jwk, char why[WHY_MAX]) {
  bool rsa = member_is(jwk, "kty", "RSA") && member_allows(jwk, "alg", "RS256");
  bool ec = member_is(jwk, "kty", "EC") && member_is(jwk, "crv", "P-256") && member_allows(jwk, "alg", "ES256");
  if ((!rsa && !ec) || !member_allows(jwk, "use", "sig") || !member_verifies(jwk))
    return 0;
  const char *kid = json_string_value(json_object_get(jwk, "kid"));
  char reason[WHY_MAX] = "its numbers do not make a key";
  if (json_object_get(jwk, "d"))
    return refuse(why, "key \"%.60s\": is a private key; only the public part belongs here", kid ? kid : "");
  EVP_PKEY *pkey = rsa ? jwk_rsa(jwk) : jwk_ec(jwk);
  int err = pkey ? key_add(keys, pkey, kid, reason) : E_INVALID;
  return err == E_INVALID ? refuse(why, "key \"%.60s\": %.180s", kid ? kid : "", reason) : err;
}

static int jwks_parse(struct token_keys *keys, const char *text, size_t len, char why[WHY_MAX]) {
  json_error_t error;
  json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return refuse(why, "is not JSON: line %d: %.160s", error.line, error.text);
  const json_t *list = json_object_get(root, "keys"), *jwk;
  int err = json_is_array(list) ? 0 : refuse(why, "is not a JWKS: it has no array \"keys\"");
  size_t i;
  json_array_foreach(list, i, jwk) {
    if (err)
      break;
    err = jwk_add(keys, jwk, why);
  }
  json_decref(root);
  return err;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int token_keys_parse(const char *text, size_t len, struct token_keys **out, char why[WHY_MAX]) {
  *out = NULL;
  if (len > TOKEN_KEY_FILE_MAX) {
    snprintf(why, WHY_MAX, "is larger than 1MiB");
    return E_TOO_BIG;
  }
  snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM)); /* everything else says what it is */
  struct token_keys *keys = calloc(1, sizeof *keys);
  if (!keys)
    return UV_ENOMEM;
  atomic_init(&keys->refs, 1);
  size_t blank = 0;
  while (blank < len && strchr(" \t\r\n", text[blank]))
    blank++;
  bool jwks = blank < len && text[blank] == '{';
  int err = jwks ? jwks_parse(keys, text, len, why) : pem_parse(keys, text, len, why);
  if (!err && keys->count == 0)
    err = refuse(why, jwks ? "has no RSA or P-256 key for signatures" : "has neither a PEM public key nor a JWKS");
  if (err)
    token_keys_unref(keys);
  else
    *out = keys;
  return err;
}

int token_keys_load(const char *file, struct token_keys **out, char why[WHY_MAX]) {
  *out = NULL;
  char *text = NULL, reason[WHY_MAX];
  size_t len = 0;
  int err = regular_read(file, TOKEN_KEY_FILE_MAX, &text, &len);
  if (err == E_TOO_BIG)
    snprintf(reason, sizeof reason, "is larger than 1MiB");
  else
    snprintf(reason, sizeof reason, "cannot be read: %s",
             err == E_UNSUPPORTED ? "it is no regular file" : err_text(err));
  if (!err)
    err = token_keys_parse(text, len, out, reason);
  if (err)
    snprintf(why, WHY_MAX, "%.80s %.170s", file, reason);
  free(text);
  return err;
}

struct token_keys *token_keys_ref(struct token_keys *keys) {
  if (keys)
    atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
  return keys;
}

void token_keys_unref(struct token_keys *keys) {
  if (!keys || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
    return;
  for (size_t i = 0; i < keys->count; i++) {
    EVP_PKEY_free(keys->keys[i].pkey);
    free(keys->keys[i].kid);
  }
  free(keys);
}

size_t token_keys_count(const struct token_keys *keys) {
  return keys->count;
}

bool token_keys_have(const struct token_keys *keys, uint64_t print) {
  for (size_t i = 0; keys && i < keys->count; i++)
    if (keys->keys[i].print == print)
      return true;
  return false;
}

/* --- signatures --------------------------------------------------------------------------------------------------- */

static bool key_verify(const struct token_key *key, const void *data, size_t data_len, const unsigned char *signature,
                       size_t signature_len) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
            EVP_DigestVerify(ctx, signature, signature_len, data, data_len) == 1;
  EVP_MD_CTX_free(ctx);
  return ok;
}

/* A JWT carries r and s side by side; OpenSSL wants them in DER, on the heap. NULL when they are none. */
static unsigned char *signature_to_der(const unsigned char *raw, size_t raw_len, int *der_len) {
  if (raw_len != 2 * COORDINATE_BYTES)
    return NULL;
  unsigned char *der = NULL;
  BIGNUM *r = BN_bin2bn(raw, COORDINATE_BYTES, NULL), *s = BN_bin2bn(raw + COORDINATE_BYTES, COORDINATE_BYTES, NULL);
  ECDSA_SIG *pair = ECDSA_SIG_new();
  if (r && s && pair && ECDSA_SIG_set0(pair, r, s)) {
    r = s = NULL; /* the pair's now */
    *der_len = i2d_ECDSA_SIG(pair, &der);
  }
  ECDSA_SIG_free(pair);
  BN_free(s);
  BN_free(r);
  return der;
}

int token_keys_verify(const struct token_keys *keys, enum key_family family, const char *kid, const void *data,
                      size_t data_len, const unsigned char *signature, size_t signature_len, uint64_t *print) {
  unsigned char *der = NULL;
  if (family == KEY_EC) {
    int der_len = 0;
    signature = der = signature_to_der(signature, signature_len, &der_len);
    signature_len = der_len > 0 ? (size_t)der_len : 0;
  }
  bool ok = false;
  for (size_t i = 0; !ok && signature && keys && i < keys->count; i++) {
    const struct token_key *key = &keys->keys[i];
    if (key->family == family && (!kid || !key->kid || strcmp(kid, key->kid) == 0))
      ok = key_verify(key, data, data_len, signature, signature_len);
    if (ok)
      *print = key->print;
  }
  OPENSSL_free(der);
  ERR_clear_error();
  return ok ? 0 : E_INVALID;
}
