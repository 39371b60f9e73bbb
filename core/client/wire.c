/* In: the address of a server, a token, texts. Out: the texts of the server, its refusal, or its close. Why: see
 * wire.h. */
#include "wire.h"

#include "err.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <uv.h>

#define HEAD_MAX (16 * 1024) /* of the answer to the upgrade, and what of its body is shown */
#define FRAME_HEAD 14
#define BROKEN "the server broke the protocol"
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum { OP_MORE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

struct wire {
  struct stream *stream;
  unsigned char *in; /* bytes that are no whole frame yet */
  size_t in_len, in_room, in_used;
  char *text; /* of a message in fragments */
  size_t text_len;
  bool partial; /* a message has begun and not ended */
  bool ended;   /* the stream */
  bool unread;  /* the answer to the upgrade brought more than itself */
  bool closing; /* our close frame has been sent */
};

/* ---- the upgrade ---- */

static void base64(const unsigned char *bytes, int len, char *out) {
  EVP_EncodeBlock((unsigned char *)out, bytes, len);
}

/* What the server has to answer to this key. */
static void accept_of(const char *key, char out[32]) {
  char joined[64];
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  int n = snprintf(joined, sizeof joined, "%s" GUID, key);
  EVP_Digest(joined, (size_t)n, digest, &len, EVP_sha1(), NULL);
  base64(digest, (int)len, out);
}

static int upgrade_ask(struct wire *w, const struct url *u, const char *token, const char *session, const char *key) {
  char authority[URL_HOST_MAX + 10];
  url_authority(u, authority);
  size_t room = strlen(token) + strlen(session) + URL_PATH_MAX + URL_HOST_MAX + 512;
  char *request = malloc(room);
  if (!request) {
    return UV_ENOMEM;
  }
  int len = snprintf(request, room,
                     "GET %s%s%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nAuthorization: Bearer %s\r\n\r\n",
                     u->path, *session ? "?session_id=" : "", session, authority, key, token);
  int code = stream_write(w->stream, request, (size_t)len);
  free(request);
  return code;
}

/* More bytes into in[]; 0 also when there are none yet. */
static int fill(struct wire *w) {
  if (w->in_used > 0) {
    memmove(w->in, w->in + w->in_used, w->in_len - w->in_used);
    w->in_len -= w->in_used;
    w->in_used = 0;
  }
  if (w->in_room - w->in_len < 4096) {
    size_t room = w->in_room ? 2 * w->in_room : 16384;
    unsigned char *more = room <= 2 * WIRE_TEXT_MAX + 32768 ? realloc(w->in, room) : NULL;
    if (!more) {
      return UV_ENOMEM;
    }
    w->in = more;
    w->in_room = room;
  }
  ssize_t n = stream_read(w->stream, w->in + w->in_len, w->in_room - w->in_len - 1);
  if (n < 0) {
    return (int)n;
  }
  w->in_len += (size_t)n;
  w->in[w->in_len] = 0;
  return 0;
}

/* The value of a header in head, or NULL; *len its length. */
static const char *header_of(const char *head, const char *name, size_t *len) {
  size_t name_len = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
    const char *field = line + 2;
    if (strncasecmp(field, name, name_len) == 0 && field[name_len] == ':') {
      field += name_len + 1;
      field += strspn(field, " \t");
      *len = strcspn(field, " \t\r\n");
      return field;
    }
  }
  return NULL;
}

/* One line of what the server answered instead, fit to be shown on a terminal. */
static int refused(const char *head, const char *body, char why[STREAM_WHY]) {
  char text[161];
  size_t len = 0;
  for (const char *c = body; *c && len < sizeof text - 1; c++) {
    text[len++] = isprint((unsigned char)*c) ? *c : ' ';
  }
  while (len > 0 && text[len - 1] == ' ') {
    len--;
  }
  text[len] = 0;
  int status = strncmp(head, "HTTP/1.", 7) == 0 ? atoi(head + 9) : 0;
  if (status == 0) {
    snprintf(why, STREAM_WHY, "this is no HTTP server");
  } else if (status == 404 || status < 400) {
    snprintf(why, STREAM_WHY, "the server answered %d: there is no chat at this address", status);
  } else {
    snprintf(why, STREAM_WHY, "the server refused: %d%s%s", status, len ? " " : "", text);
  }
  return E_FORBIDDEN;
}

/* A refusal is whole when all of its body is there, or the server has hung up. */
static bool refusal_whole(const char *head, size_t body_len) {
  size_t len;
  const char *stated = header_of(head, "Content-Length", &len);
  return stated && body_len >= (size_t)atoi(stated);
}

static int upgrade_answer(struct wire *w, const char *key, uint64_t deadline_ms, const volatile int *stop,
                          char why[STREAM_WHY]) {
  char expected[32];
  accept_of(key, expected);
  for (int code = 0;;) {
    char *head = (char *)w->in, *end = w->in_len ? strstr(head, "\r\n\r\n") : NULL;
    if (end && strncmp(head, "HTTP/1.1 101", 12) == 0) {
      size_t len = 0;
      const char *accept = header_of(head, "Sec-WebSocket-Accept", &len);
      if (!accept || len != strlen(expected) || memcmp(accept, expected, len) != 0) {
        snprintf(why, STREAM_WHY, "what answers there does not speak WebSocket");
        return E_FORBIDDEN;
      }
      w->in_used = (size_t)(end + 4 - head);
      w->unread = w->in_len > w->in_used;
      return 0;
    }
    size_t body = end ? (size_t)(w->in_len - (size_t)(end + 4 - head)) : 0;
    if (end && (code || w->in_len >= HEAD_MAX || refusal_whole(head, body))) {
      return refused(head, end + 4, why);
    }
    if (code || w->in_len >= HEAD_MAX) {
      snprintf(why, STREAM_WHY, "%s", w->in_len ? "this is no HTTP server" : "the server hung up");
      return E_FORBIDDEN;
    }
    int server, other;
    stream_wait(w->stream, -1, deadline_ms, stop, &server, &other);
    if (*stop) {
      return UV_EINTR;
    }
    if (!server) {
      snprintf(why, STREAM_WHY, "the server does not answer");
      return UV_ETIMEDOUT;
    }
    code = fill(w);
  }
}

int wire_open(struct wire **out, const struct url *u, const char *token, const char *session, uint64_t deadline_ms,
              const volatile int *stop, char why[STREAM_WHY]) {
  unsigned char noise[16];
  char key[32];
  struct wire *w = calloc(1, sizeof *w);
  *out = NULL;
  snprintf(why, STREAM_WHY, "out of memory");
  if (!w || getrandom(noise, sizeof noise, 0) != sizeof noise) {
    free(w);
    return UV_ENOMEM;
  }
  base64(noise, sizeof noise, key);
  int code = stream_open(&w->stream, u, deadline_ms, stop, why);
  if (!code) {
    code = upgrade_ask(w, u, token, session, key);
    if (code) {
      snprintf(why, STREAM_WHY, "the server hung up");
    }
  }
  code = code ? code : upgrade_answer(w, key, deadline_ms, stop, why);
  if (code) {
    wire_free(w);
    return code;
  }
  *out = w;
  return 0;
}

void wire_free(struct wire *w) {
  if (w) {
    stream_close(w->stream);
    free(w->in);
    free(w->text);
    free(w);
  }
}

void wire_wait(struct wire *w, int fd, uint64_t deadline_ms, const volatile int *stop, int *server, int *other) {
  stream_wait(w->stream, fd, w->unread ? 0 : deadline_ms, stop, server, other);
  *server = *server || w->unread;
}

/* ---- frames ---- */

static int frame_send(struct wire *w, int opcode, const void *payload, size_t len) {
  unsigned char *frame = malloc(FRAME_HEAD + len);
  unsigned char mask[4];
  size_t n = 2;
  if (!frame || getrandom(mask, sizeof mask, 0) != sizeof mask) {
    free(frame);
    return UV_ENOMEM;
  }
  frame[0] = (unsigned char)(0x80 | opcode);
  frame[1] = (unsigned char)(0x80 | (len < 126 ? len : len < 65536 ? 126 : 127));
  for (int bits = len < 126 ? 0 : len < 65536 ? 16 : 64; bits > 0; bits -= 8) {
    frame[n++] = (unsigned char)((uint64_t)len >> (bits - 8));
  }
  memcpy(frame + n, mask, 4);
  n += 4;
  for (size_t i = 0; i < len; i++) {
    frame[n + i] = ((const unsigned char *)payload)[i] ^ mask[i & 3];
  }
  int code = stream_write(w->stream, frame, n + len);
  free(frame);
  return code;
}

int wire_text(struct wire *w, const char *text, size_t len) {
  return frame_send(w, OP_TEXT, text, len);
}

int wire_ping(struct wire *w) {
  return frame_send(w, OP_PING, "c", 1);
}

void wire_close(struct wire *w, int code) {
  unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
  if (!w->closing) {
    w->closing = true;
    (void)!frame_send(w, OP_CLOSE, payload, sizeof payload);
  }
}

struct wire_frame {
  int opcode;
  bool final;
  const unsigned char *payload;
  size_t len;
};

/* The first whole frame of in[]; 1: taken, 0: more bytes are needed, E_PROTOCOL or E_TOO_BIG. */
static int frame_take(struct wire *w, struct wire_frame *out) {
  const unsigned char *b = w->in + w->in_used;
  size_t have = w->in_len - w->in_used, head = 2;
  if (have < 2) {
    return 0;
  }
  uint64_t len = b[1] & 0x7f;
  size_t more = len == 126 ? 2 : len == 127 ? 8 : 0;
  out->opcode = b[0] & 0x0f;
  out->final = b[0] & 0x80;
  bool control = out->opcode >= OP_CLOSE;
  bool known = out->opcode <= OP_BINARY || (control && out->opcode <= OP_PONG);
  if (b[0] & 0x70 || b[1] & 0x80 || !known || (control && (!out->final || len > 125))) {
    return E_PROTOCOL;
  }
  if (have < head + more) {
    return 0;
  }
  if (more) {
    len = 0;
    for (size_t i = 0; i < more; i++) {
      len = len << 8 | b[head++];
    }
  }
  if (len > WIRE_TEXT_MAX) {
    return E_TOO_BIG;
  }
  if (have < head + len) {
    return 0;
  }
  out->payload = b + head;
  out->len = (size_t)len;
  w->in_used += head + (size_t)len;
  return 1;
}

static enum wire_news closed(struct wire_close *out, int code, const void *reason, size_t len) {
  len = len < WIRE_REASON_MAX ? len : WIRE_REASON_MAX;
  out->code = code;
  if (len > 0) {
    memcpy(out->reason, reason, len);
  }
  out->reason[len] = 0;
  return WIRE_CLOSED;
}

/* A frame of a text; WIRE_TEXT when that completes it. */
static enum wire_news text_take(struct wire *w, const struct wire_frame *f, const char **text, size_t *len,
                                struct wire_close *close) {
  bool first = f->opcode != OP_MORE;
  if (first == w->partial) {
    return closed(close, 1002, BROKEN, sizeof BROKEN - 1);
  }
  if (first && f->final) {
    *text = (const char *)f->payload;
    *len = f->len;
    return WIRE_TEXT;
  }
  w->text_len = first ? 0 : w->text_len;
  char *more = w->text_len + f->len <= WIRE_TEXT_MAX ? realloc(w->text, w->text_len + f->len + 1) : NULL;
  if (!more) {
    return closed(close, 1009, "a message that is too long", 26);
  }
  w->text = more;
  memcpy(w->text + w->text_len, f->payload, f->len);
  w->text_len += f->len;
  w->partial = !f->final;
  *text = w->text;
  *len = w->text_len;
  return f->final ? WIRE_TEXT : WIRE_NOTHING;
}

static enum wire_news frame_act(struct wire *w, const struct wire_frame *f, const char **text, size_t *len,
                                struct wire_close *close) {
  switch (f->opcode) {
  case OP_PING:
    (void)!frame_send(w, OP_PONG, f->payload, f->len);
    return WIRE_NOTHING;
  case OP_PONG:
    return WIRE_PONG;
  case OP_CLOSE: {
    int code = f->len >= 2 ? f->payload[0] << 8 | f->payload[1] : 1005;
    wire_close(w, code == 1005 ? 1000 : code);
    return closed(close, code, f->len > 2 ? f->payload + 2 : NULL, f->len > 2 ? f->len - 2 : 0);
  }
  default:
    return text_take(w, f, text, len, close);
  }
}

enum wire_news wire_next(struct wire *w, const char **text, size_t *len, struct wire_close *close) {
  w->unread = false;
  for (;;) {
    struct wire_frame f;
    int code = frame_take(w, &f);
    if (code < 0) {
      return closed(close, code == E_TOO_BIG ? 1009 : 1002, BROKEN, sizeof BROKEN - 1);
    }
    enum wire_news news = code ? frame_act(w, &f, text, len, close) : WIRE_NOTHING;
    if (news != WIRE_NOTHING) {
      return news;
    }
    if (code) {
      continue;
    }
    if (w->ended) {
      return closed(close, 1006, NULL, 0);
    }
    size_t before = w->in_len - w->in_used;
    w->ended = fill(w) < 0;
    if (!w->ended && w->in_len - w->in_used == before) {
      return WIRE_NOTHING;
    }
  }
}
