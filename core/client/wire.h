/* In: the address of a server, a token, texts. Out: the texts of the server, its refusal, or its close.
 * Why: a WebSocket (RFC 6455), seen from the client: the upgrade, masked frames, fragments put together, pings
 * answered. Bound: WIRE_TEXT_MAX bytes of one message. One thread. */
#pragma once
#include "attr.h"
#include "stream.h"

#include <stdbool.h>
#include <stddef.h>

#define WIRE_TEXT_MAX ((size_t)4 * 1024 * 1024)
#define WIRE_REASON_MAX 123

struct wire;

struct wire_close {
  int code; /* 1006: the connection broke without a close frame; 1005: the frame said none */
  char reason[WIRE_REASON_MAX + 1];
};

/* Connects and upgrades until deadline_ms. session: "" for none. 0; UV_EINTR: *stop; E_FORBIDDEN: the server refused,
 * with status and text in why[]; another code: one line in why[]. */
int wire_open(struct wire **out, const struct url *u, const char *token, const char *session, uint64_t deadline_ms,
              const volatile int *stop, char why[STREAM_WHY]) NODISCARD;
/* Without a word. NULL is allowed. */
void wire_free(struct wire *w);
/* The close frame; the server's comes back as WIRE_CLOSED. */
void wire_close(struct wire *w, int code);

/* The last argument of stream_wait in both directions: see there. */
void wire_wait(struct wire *w, int fd, uint64_t deadline_ms, const volatile int *stop, int *server, int *other);

/* 0 or a code: the connection is broken. */
int wire_text(struct wire *w, const char *text, size_t len) NODISCARD;
int wire_ping(struct wire *w) NODISCARD;

enum wire_news { WIRE_NOTHING, WIRE_TEXT, WIRE_PONG, WIRE_CLOSED };
/* What has come, one piece a call until WIRE_NOTHING. text: borrowed until the next call. After WIRE_CLOSED: wire_free.
 */
enum wire_news wire_next(struct wire *w, const char **text, size_t *len, struct wire_close *close);
