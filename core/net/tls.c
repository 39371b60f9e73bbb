/* In: a certificate chain and its private key as PEM files. Out: the same for each TLS handshake. Why: see tls.h.
 * OpenSSL asks for the certificate when a handshake begins (SSL_CTX_set_cert_cb), so putting a new one in force is one
 * pointer under a lock, for all workers at once. */
#include "tls.h"

#include "err.h"
#include "lock.h"
#include "regular.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WHY_MAX 512
#define FILE_MAX (1 << 20)

struct pair {
  atomic_int refs;
  X509 *cert;
  STACK_OF(X509) * chain;
  EVP_PKEY *key;
};

struct tls {
  char *cert_file, *key_file;
  struct lock lock; /* guards pair, for the length of one reference */
  struct pair *pair;
};

static void pair_unref(struct pair *p) {
  if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
    return;
  }
  X509_free(p->cert);
  sk_X509_pop_free(p->chain, X509_free);
  EVP_PKEY_free(p->key);
  free(p);
}

static int refuse(char why[WHY_MAX], const char *setting, const char *file, const char *reason) {
  ERR_clear_error(); /* OpenSSL keeps what went wrong per thread; nobody else will ask for it */
  snprintf(why, WHY_MAX, "%s: %.300s: %.120s", setting, file, reason);
  return E_INVALID;
}

/* ---- reading ---- */

/* The file in memory, so that a file that grows or is replaced meanwhile is still read as one. NULL and why[]. */
static BIO *file_read(const char *setting, const char *file, char why[WHY_MAX]) {
  char *text = NULL;
  size_t len = 0;
  BIO *bio = NULL;
  int code = regular_read(file, FILE_MAX, &text, &len);
  if (code) {
    refuse(why, setting, file,
           code == E_TOO_BIG       ? "is larger than 1MiB"
           : code == E_UNSUPPORTED ? "is no regular file"
                                   : err_text(code));
  } else if (!(bio = BIO_new(BIO_s_mem())) || (len && BIO_write(bio, text, (int)len) != (int)len)) {
    BIO_free(bio);
    bio = NULL;
    refuse(why, setting, file, err_text(UV_ENOMEM));
  }
  if (text) {
    OPENSSL_cleanse(text, len);
  }
  free(text);
  return bio;
}

static int chain_read(struct pair *p, const char *file, char why[WHY_MAX]) {
  static const char setting[] = "TLS_CERT_FILE";
  BIO *bio = file_read(setting, file, why);
  if (!bio) {
    return E_INVALID;
  }
  p->chain = sk_X509_new_null();
  for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
    if (!p->cert) {
      p->cert = cert;
    } else if (!p->chain || !sk_X509_push(p->chain, cert)) {
      X509_free(cert);
      BIO_free(bio);
      return refuse(why, setting, file, err_text(UV_ENOMEM));
    }
  }
  /* No further block is how a good file ends; anything else is damage. */
  bool whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  BIO_free(bio);
  if (!p->cert || !whole) {
    return refuse(why, setting, file, p->cert || !whole ? "is damaged PEM" : "holds no PEM certificate");
  }
  ERR_clear_error();
  return 0;
}

/* Without it OpenSSL would ask at the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg) {
  (void)buf, (void)size, (void)writing, (void)arg;
  return -1;
}

static int key_read(struct pair *p, const char *file, char why[WHY_MAX]) {
  static const char setting[] = "TLS_KEY_FILE";
  BIO *bio = file_read(setting, file, why);
  if (!bio) {
    return E_INVALID;
  }
  p->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
  bool locked = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ;
  BIO_free(bio);
  if (!p->key) {
    return refuse(why, setting, file,
                  locked ? "is encrypted; a key without a passphrase is needed" : "holds no private key in PEM");
  }
  return 0;
}

/* Tries the pair as a handshake will: also keys and signatures that are too weak are found here. */
static int pair_try(const struct pair *p, const char *cert_file, const char *key_file, char why[WHY_MAX]) {
  if (X509_check_private_key(p->cert, p->key) != 1) {
    return refuse(why, "TLS_KEY_FILE", key_file, "is not the key of the certificate in TLS_CERT_FILE");
  }
  SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
  if (ctx && SSL_CTX_use_cert_and_key(ctx, p->cert, p->key, p->chain, 1) == 1) {
    SSL_CTX_free(ctx);
    return 0;
  }
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  SSL_CTX_free(ctx);
  return refuse(why, "TLS_CERT_FILE", cert_file, reason ? reason : "cannot be used");
}

static int pair_read(const struct tls *t, struct pair **out, char why[WHY_MAX]) {
  struct pair *p = calloc(1, sizeof *p);
  *out = NULL;
  if (!p) {
    snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM));
    return UV_ENOMEM;
  }
  atomic_init(&p->refs, 1);
  ERR_clear_error();
  int code = chain_read(p, t->cert_file, why);
  code = code ? code : key_read(p, t->key_file, why);
  code = code ? code : pair_try(p, t->cert_file, t->key_file, why);
  if (code) {
    pair_unref(p);
    return code;
  }
  *out = p;
  return 0;
}

/* ---- in force ---- */

static int present(SSL *ssl, void *arg) {
  struct tls *t = arg;
  lock_acquire(&t->lock);
  struct pair *p = t->pair;
  atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
  lock_release(&t->lock);
  int ok = SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 1);
  pair_unref(p);
  return ok;
}

void tls_attach(struct tls *t, struct ssl_ctx_st *ctx) {
  SSL_CTX_set_cert_cb(ctx, present, t);
}

int tls_reload(struct tls *t, char why[WHY_MAX]) {
  struct pair *fresh;
  int code = pair_read(t, &fresh, why);
  if (code) {
    return code;
  }
  lock_acquire(&t->lock);
  struct pair *old = t->pair;
  t->pair = fresh;
  lock_release(&t->lock);
  pair_unref(old);
  return 0;
}

int tls_new(const char *cert_file, const char *key_file, struct tls **out, char why[WHY_MAX]) {
  struct tls *t = calloc(1, sizeof *t);
  *out = NULL;
  snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM)); /* everything else says what it is */
  if (!t) {
    return UV_ENOMEM;
  }
  lock_init(&t->lock);
  t->cert_file = strdup(cert_file);
  t->key_file = strdup(key_file);
  int code = t->cert_file && t->key_file ? tls_reload(t, why) : UV_ENOMEM;
  if (code) {
    tls_free(t);
    return code;
  }
  *out = t;
  return 0;
}

void tls_free(struct tls *t) {
  if (!t) {
    return;
  }
  pair_unref(t->pair);
  lock_deinit(&t->lock);
  free(t->cert_file);
  free(t->key_file);
  free(t);
}
