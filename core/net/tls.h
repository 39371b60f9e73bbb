/* In: TLS_CERT_FILE and TLS_KEY_FILE. Out: each TLS handshake presents the certificate that was read last.
 * Why: a certificate is renewed while the server runs. The files are read once for all workers, checked as a pair, and
 * only then put in force; connections that are open keep what they were opened with. Thread: new, reload and free
 * belong to the main one; attached contexts may be in use on any. Bound: 1 MiB a file. */
#pragma once
#include "attr.h"

struct tls;
struct ssl_ctx_st; /* OpenSSL's */

/* 0, or a negative code and one line that names the setting and the file. */
int tls_new(const char *cert_file, const char *key_file, struct tls **out, char why[512]) NODISCARD;
/* Reads both files again. 0: they are in force from the next handshake on; else nothing has changed, and why[] says
 * what is wrong with them. */
int tls_reload(struct tls *t, char why[512]) NODISCARD;
/* Handshakes of ctx present the certificate in force at that moment. t has to outlive ctx. */
void tls_attach(struct tls *t, struct ssl_ctx_st *ctx);
void tls_free(struct tls *t); /* NULL is allowed */
