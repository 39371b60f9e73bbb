/* In: the address of a server. Out: bytes to and from it, through TLS when the address says so.
 * Why: a command that waits for one socket and one keyboard needs no event loop; it waits in stream_wait, which a
 * signal ends. The certificate of the server is checked against the system's, its name against the address
 * (SSL_CERT_FILE and SSL_CERT_DIR name others). One thread. */
#pragma once
#include "attr.h"
#include "url.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_WHY 256

struct stream;

/* The addresses of the host are tried one after the other until deadline_ms (of stream_now_ms). 0; UV_EINTR: *stop
 * became true; another code: one line in why[]. */
int stream_open(struct stream **out, const struct url *u, uint64_t deadline_ms, const volatile int *stop,
                char why[STREAM_WHY]) NODISCARD;
void stream_close(struct stream *s); /* NULL is allowed */

/* Waits for bytes of the server, or of fd (-1: none), or for a signal, or for deadline_ms. *server and *other say what
 * there is. */
void stream_wait(struct stream *s, int fd, uint64_t deadline_ms, const volatile int *stop, int *server, int *other);
/* Bytes that are there; 0: none yet; UV_EOF or another code: there will be none. */
ssize_t stream_read(struct stream *s, void *out, size_t room) NODISCARD;
/* All of them, or a code. Waits, at most ten seconds. */
int stream_write(struct stream *s, const void *bytes, size_t len) NODISCARD;

uint64_t stream_now_ms(void);
/* Until then, or until a signal. */
void stream_sleep(uint64_t ms, const volatile int *stop);
/* SIGINT and SIGTERM are noted in *stop and wake who waits; SIGPIPE is ignored. Once, before anything else. */
void stream_signals(volatile int *stop);
