/* What core/net/tls.h promises: a handshake presents what was read last, and a pair that cannot be used changes
 * nothing.
 */
#include "err.h"
#include "tls.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct files {
  char dir[64], cert[96], key[96];
};

/* --- certificates ------------------------------------------------------------------------------------------------- */

static X509 *certificate(const char *name, EVP_PKEY *key) {
  X509 *cert = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_set_version(cert, 2);
  X509_gmtime_adj(X509_getm_notBefore(cert), -60);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME *subject = X509_get_subject_name(cert);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
  X509_set_issuer_name(cert, subject);
  assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
  return cert;
}

static FILE *opened(const char *path) {
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  return out;
}

static void text_write(const char *path, const char *text) {
  FILE *out = opened(path);
  fputs(text, out);
  fclose(out);
}

static void key_write(const char *path, EVP_PKEY *key, const char *passphrase) {
  FILE *out = opened(path);
  assert_int_equal(
    PEM_write_PrivateKey(out, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)passphrase),
    1);
  fclose(out);
}

/* A certificate of that name with a new key, the key in its file. */
static void pair_write(const struct files *f, const char *name) {
  EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
  X509 *cert = certificate(name, key);
  FILE *out = opened(f->cert);
  assert_int_equal(PEM_write_X509(out, cert), 1);
  fclose(out);
  key_write(f->key, key, NULL);
  X509_free(cert);
  EVP_PKEY_free(key);
}

static struct files files_new(void) {
  struct files f = {.dir = "/tmp/tls_test_XXXXXX"};
  assert_non_null(mkdtemp(f.dir));
  snprintf(f.cert, sizeof f.cert, "%s/cert.pem", f.dir);
  snprintf(f.key, sizeof f.key, "%s/key.pem", f.dir);
  return f;
}

static void files_remove(const struct files *f) {
  unlink(f->cert);
  unlink(f->key);
  rmdir(f->dir);
}

static struct tls *served(const struct files *f) {
  struct tls *t = NULL;
  char why[512];
  if (tls_new(f->cert, f->key, &t, why) != 0)
    fail_msg("%s", why);
  return t;
}

/* --- a handshake in memory ---------------------------------------------------------------------------------------- */

/* The name on the certificate a client is shown; "" when the handshake fails. */
static void presented(SSL_CTX *server_ctx, SSL_CTX *client_ctx, char name[64]) {
  SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
  BIO *left, *right;
  *name = '\0';
  BIO_new_bio_pair(&left, 0, &right, 0);
  SSL_set_bio(server, left, left);
  SSL_set_bio(client, right, right);
  SSL_set_accept_state(server);
  SSL_set_connect_state(client);
  for (int i = 0; i < 20 && !(SSL_is_init_finished(server) && SSL_is_init_finished(client)); i++) {
    SSL_do_handshake(client);
    SSL_do_handshake(server);
  }
  X509 *cert = SSL_get1_peer_certificate(client);
  if (cert)
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, 64);
  X509_free(cert);
  SSL_free(client);
  SSL_free(server);
}

struct wire {
  SSL_CTX *server, *client;
};

static struct wire wire_new(struct tls *t) {
  struct wire w = {SSL_CTX_new(TLS_server_method()), SSL_CTX_new(TLS_client_method())};
  tls_attach(t, w.server);
  return w;
}

static void wire_free(struct wire *w) {
  SSL_CTX_free(w->server);
  SSL_CTX_free(w->client);
}

static void assert_presents(const struct wire *w, const char *expected) {
  char name[64];
  presented(w->server, w->client, name);
  assert_string_equal(name, expected);
}

/* --- promises ----------------------------------------------------------------------------------------------------- */

static void a_handshake_presents_what_was_read_last(void **state) {
  (void)state;
  struct files f = files_new();
  char why[512];
  pair_write(&f, "first");
  struct tls *t = served(&f);
  struct wire w = wire_new(t);
  assert_presents(&w, "first");
  pair_write(&f, "second");
  assert_presents(&w, "first"); /* nobody has said so yet */
  assert_int_equal(tls_reload(t, why), 0);
  assert_presents(&w, "second");
  wire_free(&w);
  tls_free(t);
  files_remove(&f);
}

static void a_pair_that_cannot_be_used_leaves_the_old_one_and_says_why(void **state) {
  (void)state;
  struct files f = files_new(), other = files_new();
  char why[512];
  pair_write(&f, "good");
  pair_write(&other, "other");
  struct tls *t = served(&f);
  struct wire w = wire_new(t);
  const struct {
    const char *cert, *key, *says;
  } bad[] = {
    {"", NULL, "holds no PEM certificate"},
    {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NULL, "is damaged PEM"},
    {"-----BEGIN CERTIFICATE-----\nAA", NULL, "is damaged PEM"},
    {NULL, "", "holds no private key in PEM"},
    {NULL, "-----BEGIN PRIVATE KEY-----\nAA", "holds no private key in PEM"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    pair_write(&f, "new");
    text_write(bad[i].cert ? f.cert : f.key, bad[i].cert ? bad[i].cert : bad[i].key);
    assert_int_equal(tls_reload(t, why), E_INVALID);
    if (!strstr(why, bad[i].says) || !strstr(why, bad[i].cert ? "TLS_CERT_FILE: /tmp/" : "TLS_KEY_FILE: /tmp/"))
      fail_msg("%s", why);
    assert_presents(&w, "good");
  }
  pair_write(&f, "new");
  assert_int_equal(rename(other.key, f.key), 0);
  assert_int_equal(tls_reload(t, why), E_INVALID);
  assert_non_null(strstr(why, "is not the key of the certificate"));
  unlink(f.key);
  assert_int_equal(tls_reload(t, why), E_INVALID);
  assert_non_null(strstr(why, "no such file"));
  assert_int_equal(mkfifo(f.key, 0600), 0); /* nobody writes into it: whoever waited for its end would wait for ever */
  assert_int_equal(tls_reload(t, why), E_INVALID);
  assert_non_null(strstr(why, "is no regular file"));
  assert_presents(&w, "good");
  wire_free(&w);
  tls_free(t);
  files_remove(&f);
  files_remove(&other);
}

static void a_key_that_is_locked_or_too_weak_is_refused_without_a_question(void **state) {
  (void)state;
  struct files f = files_new();
  struct tls *t = NULL;
  char why[512];
  pair_write(&f, "x");
  EVP_PKEY *weak = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
  key_write(f.key, weak, "passphrase");
  assert_int_equal(tls_new(f.cert, f.key, &t, why), E_INVALID);
  assert_non_null(strstr(why, "is encrypted"));
  X509 *cert = certificate("weak", weak);
  FILE *out = opened(f.cert);
  PEM_write_X509(out, cert);
  fclose(out);
  key_write(f.key, weak, NULL);
  assert_int_equal(tls_new(f.cert, f.key, &t, why), E_INVALID);
  assert_non_null(strstr(why, "key too small"));
  assert_null(t);
  X509_free(cert);
  EVP_PKEY_free(weak);
  files_remove(&f);
}

struct hands {
  struct wire wire;
  int wrong;
};

static void *shake(void *arg) {
  struct hands *h = arg;
  for (int i = 0; i < 50; i++) {
    char name[64];
    presented(h->wire.server, h->wire.client, name);
    h->wrong += strcmp(name, "first") != 0 && strcmp(name, "second") != 0;
  }
  return NULL;
}

static void workers_may_shake_hands_while_it_is_read_again(void **state) {
  (void)state;
  struct files f = files_new();
  char why[512];
  pair_write(&f, "first");
  struct tls *t = served(&f);
  struct hands h[2] = {{.wire = wire_new(t)}, {.wire = wire_new(t)}};
  pthread_t threads[2];
  pair_write(&f, "second");
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, shake, &h[i]), 0);
  for (int i = 0; i < 20; i++)
    assert_int_equal(tls_reload(t, why), 0);
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(h[i].wrong, 0);
    wire_free(&h[i].wire);
  }
  tls_free(t);
  files_remove(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_handshake_presents_what_was_read_last),
    cmocka_unit_test(a_pair_that_cannot_be_used_leaves_the_old_one_and_says_why),
    cmocka_unit_test(a_key_that_is_locked_or_too_weak_is_refused_without_a_question),
    cmocka_unit_test(workers_may_shake_hands_while_it_is_read_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
