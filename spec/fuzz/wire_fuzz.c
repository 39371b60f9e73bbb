/* In: what a server sends to our own client: the answer to its upgrade, then frames, cut into pieces as chance, which
 * is the input, decides. Out: an abort when how the bytes were cut changes what comes out, when a text is longer than
 * its bound, or when what the client sends back is no masked frame. Why: people point `chatbox chat` at any address.
 * The stream below is memory: nothing is sent anywhere. The first byte says what follows: even: frames behind a good
 * answer; odd: the answer itself. */
#include "stream.h"
#include "wire.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
enum { KEY_LEN = 24 };

static void check(bool holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    abort();
  }
}

/* ---- the server ---- */

struct stream {
  char *bytes; /* what it has to say */
  size_t len, at;
  uint32_t chance;
  size_t step;    /* bytes of a piece; 0: by chance */
  bool asked;     /* the request has come */
  bool pause;     /* nothing is there the next time it is asked */
  size_t written; /* frames that came back */
};

static struct {
  const uint8_t *data;
  size_t size, step;
  struct stream *last;
} input;

int stream_open(struct stream **out, const struct url *u, uint64_t deadline_ms, const volatile int *stop,
                char why[STREAM_WHY]) {
  struct stream *s = calloc(1, sizeof *s);
  (void)u, (void)deadline_ms, (void)stop, (void)why;
  s->chance = (uint32_t)input.size * 2654435761u ^ input.data[input.size - 1];
  s->step = input.step;
  *out = input.last = s;
  return 0;
}

void stream_close(struct stream *s) {
  if (s) {
    free(s->bytes);
    free(s);
  }
}

void stream_wait(struct stream *s, int fd, uint64_t deadline_ms, const volatile int *stop, int *server, int *other) {
  (void)s, (void)fd, (void)deadline_ms, (void)stop;
  *server = 1;
  *other = 0;
}

ssize_t stream_read(struct stream *s, void *out, size_t room) {
  s->pause = !s->pause;
  if (s->at == s->len) {
    return UV_EOF;
  }
  if (!s->pause) {
    return 0;
  }
  s->chance = s->chance * 1664525u + 1013904223u;
  size_t n = s->step ? s->step : 1 + (s->chance >> 24) % 40, left = s->len - s->at;
  n = n < left ? n : left;
  n = n < room ? n : room;
  memcpy(out, s->bytes + s->at, n);
  s->at += n;
  return (ssize_t)n;
}

/* The answer to the request, with the bytes of the input behind it or in place of it. */
static void answer(struct stream *s, const char *request, size_t len) {
  static const char name[] = "Sec-WebSocket-Key: ";
  const char *key = memmem(request, len, name, sizeof name - 1);
  check(key, "a request without a key");
  char joined[KEY_LEN + sizeof GUID], accept[64];
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_len = 0;
  memcpy(joined, key + sizeof name - 1, KEY_LEN);
  memcpy(joined + KEY_LEN, GUID, sizeof GUID);
  EVP_Digest(joined, KEY_LEN + sizeof GUID - 1, digest, &digest_len, EVP_sha1(), NULL);
  EVP_EncodeBlock((unsigned char *)accept, digest, (int)digest_len);
  s->bytes = malloc(input.size + 256);
  s->len = 0;
  if (input.data[0] % 2 == 0) {
    s->len = (size_t)sprintf(s->bytes, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
  }
  memcpy(s->bytes + s->len, input.data + 1, input.size - 1);
  s->len += input.size - 1;
}

int stream_write(struct stream *s, const void *bytes, size_t len) {
  const uint8_t *b = bytes;
  if (!s->asked) {
    s->asked = true;
    answer(s, bytes, len);
    return 0;
  }
  check(len >= 6 && (b[0] & 0xf0) == 0x80 && (b[0] & 0x0f) >= 8, "it answers with something that is no control frame");
  check((b[1] & 0x80) && (b[1] & 0x7f) <= 125 && len == 6u + (b[1] & 0x7f), "its frame is no masked frame");
  s->written++;
  return 0;
}

/* ---- the client ---- */

struct heard {
  int code;
  size_t texts, pongs, bytes, written;
  uint64_t hash;
  struct wire_close close;
};

static void mix(struct heard *h, const void *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) {
    h->hash = (h->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
  }
  h->hash = (h->hash ^ 0x100) * 1099511628211u;
}

static struct heard hear(size_t step) {
  static const struct url url = {.host = "server", .port = "80", .path = "/chatbox/ws"};
  static const volatile int stop;
  struct heard h = {.hash = 14695981039346656037u};
  struct wire *w;
  char why[STREAM_WHY];
  input.step = step;
  h.code = wire_open(&w, &url, "token", "", 0, &stop, why);
  if (h.code) {
    check(strlen(why) > 0, "a refusal without a reason");
    for (const char *c = why; *c; c++) {
      check(*c >= ' ' && *c < 0x7f, "a reason that is not fit for a terminal");
    }
    return h;
  }
  for (enum wire_news news = WIRE_NOTHING; news != WIRE_CLOSED;) {
    const char *text = NULL;
    size_t len = 0;
    news = wire_next(w, &text, &len, &h.close);
    if (news == WIRE_TEXT) {
      check(len <= WIRE_TEXT_MAX, "a text that is too long");
      h.texts++;
      h.bytes += len;
      mix(&h, text, len);
    }
    h.pongs += news == WIRE_PONG;
  }
  check(strlen(h.close.reason) <= WIRE_REASON_MAX, "a reason that is too long");
  h.written = input.last->written;
  wire_free(w);
  return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) {
    return 0;
  }
  input.data = data;
  input.size = size;
  struct heard whole = hear(size + 256);
  for (size_t step = 0; step < 2 && (step == 0 || size < 400); step++) {
    struct heard h = hear(step);
    check(h.code == whole.code, "a cut changes whether it is refused");
    check(h.texts == whole.texts && h.bytes == whole.bytes && h.hash == whole.hash, "a cut changes the texts");
    check(h.pongs == whole.pongs && h.written == whole.written, "a cut changes what is answered");
    check(h.close.code == whole.close.code && strcmp(h.close.reason, whole.close.reason) == 0, "a cut changes the end");
  }
  return 0;
}
