/* In: any header and payload, and a key. Out: a token signed by it, right or wrong as the test wants it.
 * Why: the verifier has to be shown tokens token_mint would never make. Test code: aborts when OpenSSL refuses. */
#pragma once
#include "base64url.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void jwt_must(int ok) {
  if (!ok)
    abort();
}

static inline EVP_PKEY *jwt_rsa_key(size_t bits) {
  return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits);
}
static inline EVP_PKEY *jwt_ec_key(const char *curve) {
  return EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);
}

/* header.payload, on the heap. */
static inline char *jwt_unsigned(const char *header, size_t header_len, const char *payload, size_t payload_len) {
  size_t first = BASE64URL_LEN(header_len);
  char *token = malloc(first + 1 + BASE64URL_LEN(payload_len) + 1);
  jwt_must(token != NULL);
  base64url_encode(header, header_len, token);
  token[first] = '.';
  base64url_encode(payload, payload_len, token + first + 1);
  return token;
}

/* Takes token, returns it with the signature behind it. */
static inline char *jwt_append(char *token, const unsigned char *signature, size_t len) {
  size_t used = strlen(token);
  token = realloc(token, used + 1 + BASE64URL_LEN(len) + 1);
  jwt_must(token != NULL);
  token[used] = '.';
  base64url_encode(signature, len, token + used + 1);
  return token;
}

static inline char *jwt_hmac(const char *digest, const void *secret, size_t secret_len, char *token) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  size_t len = 0;
  jwt_must(EVP_Q_mac(NULL, "HMAC", NULL, digest, NULL, secret, secret_len, (const unsigned char *)token, strlen(token),
                     mac, sizeof mac, &len) != NULL);
  return jwt_append(token, mac, len);
}

/* RS256, or ES256 with r and s side by side, by the kind of the key. */
static inline char *jwt_sign(EVP_PKEY *key, char *token) {
  unsigned char signature[1024];
  size_t len = sizeof signature;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  jwt_must(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1);
  jwt_must(EVP_DigestSign(ctx, signature, &len, (const unsigned char *)token, strlen(token)) == 1);
  EVP_MD_CTX_free(ctx);
  if (EVP_PKEY_is_a(key, "EC")) {
    const unsigned char *der = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)len);
    jwt_must(BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32) == 32);
    jwt_must(BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32) == 32);
    ECDSA_SIG_free(pair);
    len = 64;
  }
  return jwt_append(token, signature, len);
}

/* The public half as PEM, on the heap. */
static inline char *jwt_pem(EVP_PKEY *key) {
  BIO *bio = BIO_new(BIO_s_mem());
  char *text;
  jwt_must(PEM_write_bio_PUBKEY(bio, key) == 1);
  long len = BIO_get_mem_data(bio, &text);
  char *copy = strndup(text, (size_t)len);
  BIO_free(bio);
  return copy;
}

static inline char *jwt_member(EVP_PKEY *key, const char *param, size_t bytes) {
  BIGNUM *number = NULL;
  unsigned char buffer[1024];
  jwt_must(EVP_PKEY_get_bn_param(key, param, &number) == 1);
  size_t len = bytes ? bytes : (size_t)BN_num_bytes(number);
  jwt_must(BN_bn2binpad(number, buffer, (int)len) == (int)len);
  BN_free(number);
  char *text = malloc(BASE64URL_LEN(len) + 1);
  base64url_encode(buffer, len, text);
  return text;
}

/* The public half as a JWK, on the heap; extra: further members such as ,"kid":"a". */
static inline char *jwt_jwk(EVP_PKEY *key, const char *extra) {
  int rsa = EVP_PKEY_is_a(key, "RSA");
  char *first = jwt_member(key, rsa ? OSSL_PKEY_PARAM_RSA_N : OSSL_PKEY_PARAM_EC_PUB_X, rsa ? 0 : 32);
  char *second = jwt_member(key, rsa ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_EC_PUB_Y, rsa ? 0 : 32);
  char *jwk = NULL;
  int len = rsa
              ? asprintf(&jwk, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", first, second, extra)
              : asprintf(&jwk, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"%s}", first, second, extra);
  jwt_must(len > 0);
  free(first);
  free(second);
  return jwk;
}
