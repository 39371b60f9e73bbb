/* In: the bytes of a WebSocket. Out: whole texts and control frames. Why: see decoder.h. */
#include "decoder.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { CONTINUATION = 0, BINARY = 2 };
enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, CONTROL = 0x08 };

/* ---- the head of a frame ---- */

static size_t head_size(const struct decoder *d) {
  if (d->head_len < 2) {
    return 2;
  }
  uint8_t length = d->head[1] & LENGTH;
  return 2 + 4 + (length == 126 ? 2u : length == 127 ? 8u : 0u);
}

/* What the first two bytes say is judged before the rest is waited for. */
static int judge_start(const struct decoder *d) {
  uint8_t opcode = d->head[0] & OPCODE, length = d->head[1] & LENGTH;
  bool final = d->head[0] & FIN;
  if ((d->head[0] & RESERVED) || !(d->head[1] & MASKED)) {
    return E_PROTOCOL;
  }
  switch (opcode) {
  case CONTINUATION:
    return d->message ? 0 : E_PROTOCOL;
  case FRAME_TEXT:
  case BINARY:
    return d->message ? E_PROTOCOL : 0;
  case FRAME_CLOSE:
  case FRAME_PING:
  case FRAME_PONG:
    return final && length <= DECODER_CONTROL_MAX ? 0 : E_PROTOCOL;
  default:
    return E_PROTOCOL;
  }
}

/* A length is written in as few bytes as it needs, and has no highest bit (section 5.2). */
static int read_length(struct decoder *d) {
  uint8_t length = d->head[1] & LENGTH;
  size_t bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
  d->left = bytes ? 0 : length;
  for (size_t i = 0; i < bytes; i++) {
    d->left = d->left << 8 | d->head[2 + i];
  }
  memcpy(d->mask, d->head + 2 + bytes, 4);
  bool minimal = bytes == 0 || (bytes == 2 ? d->left > 125 : d->left > UINT16_MAX);
  return minimal && !(d->left >> 63) ? 0 : E_PROTOCOL;
}

/* 1: the head is complete; 0: more of it is to come. */
static int take_head(struct decoder *d, char **bytes, size_t *len, size_t limit) {
  while (d->head_len < head_size(d)) {
    if (!*len) {
      return 0;
    }
    d->head[d->head_len++] = (uint8_t) * (*bytes)++;
    --*len;
    int code = d->head_len == 2 ? judge_start(d) : 0;
    if (code) {
      return code;
    }
  }
  int code = read_length(d);
  if (code) {
    return code;
  }
  d->opcode = d->head[0] & OPCODE;
  d->final = d->head[0] & FIN;
  d->payload = true;
  d->head_len = 0;
  d->control_len = 0;
  d->fragments += !(d->opcode & CONTROL) && (d->opcode == CONTINUATION || !d->final);
  /* What will not fit is refused before it is waited for. */
  return !(d->opcode & CONTROL) && (d->left > limit || d->text.len > limit - (size_t)d->left) ? E_TOO_BIG : 1;
}

/* ---- its payload ---- */

static void unmask(struct decoder *d, char *bytes, size_t len) {
  uint64_t wide, part;
  memcpy(&wide, d->mask, 4);
  memcpy((char *)&wide + 4, d->mask, 4);
  size_t at = 0;
  for (; len - at >= sizeof wide; at += sizeof wide) {
    memcpy(&part, bytes + at, sizeof part);
    part ^= wide;
    memcpy(bytes + at, &part, sizeof part);
  }
  for (size_t i = at; i < len; i++) {
    bytes[i] = (char)((uint8_t)bytes[i] ^ d->mask[i & 3]);
  }
  /* The next byte of the frame meets the byte of the mask that is due. */
  uint8_t turned[4];
  for (size_t i = 0; i < 4; i++) {
    turned[i] = d->mask[(i + len) & 3];
  }
  memcpy(d->mask, turned, 4);
}

static int on_text(struct decoder *d, const char *bytes, size_t len, size_t limit, const char **out, size_t *out_len) {
  bool whole = d->left == 0;
  d->message = !(whole && d->final);
  int code = frame_add(&d->text, bytes, len, !d->message, limit, out, out_len);
  return code == 1 ? DECODER_TEXT : code;
}

static int on_control(struct decoder *d, const char *bytes, size_t len, const char **out, size_t *out_len) {
  *out = bytes;
  *out_len = len;
  if (d->left || d->control_len) { /* in pieces */
    if (!d->control && !(d->control = malloc(DECODER_CONTROL_MAX))) {
      return UV_ENOMEM;
    }
    memcpy(d->control + d->control_len, bytes, len);
    d->control_len = (uint8_t)(d->control_len + len);
    *out = d->control;
    *out_len = d->control_len;
  }
  if (d->left) {
    return DECODER_MORE;
  }
  return d->opcode == FRAME_PING ? DECODER_PING : d->opcode == FRAME_PONG ? DECODER_PONG : DECODER_CLOSE;
}

int decoder_next(struct decoder *d, char **bytes, size_t *len, size_t limit, const char **out, size_t *out_len) {
  for (;;) {
    if (!d->payload) {
      int code = take_head(d, bytes, len, limit);
      if (code != 1) {
        return code;
      }
    }
    if (!*len && d->left) {
      return DECODER_MORE;
    }
    char *part = *bytes;
    size_t part_len = d->left < *len ? (size_t)d->left : *len;
    *bytes += part_len;
    *len -= part_len;
    d->left -= part_len;
    unmask(d, part, part_len);
    d->payload = d->left > 0;
    int event = d->opcode & CONTROL ? on_control(d, part, part_len, out, out_len)
                                    : on_text(d, part, part_len, limit, out, out_len);
    if (event != DECODER_MORE) {
      return event;
    }
  }
}

void decoder_rest(struct decoder *d) {
  if (!d->message && (d->text.bytes || d->text.room)) {
    frame_deinit(&d->text);
  }
}

void decoder_deinit(struct decoder *d) {
  frame_deinit(&d->text);
  free(d->control);
  *d = (struct decoder){0};
}

int decoder_close_code(const char *payload, size_t len, int *code) {
  *code = 0;
  if (len == 0) {
    return 0;
  }
  if (len == 1) {
    return E_PROTOCOL;
  }
  *code = (uint8_t)payload[0] << 8 | (uint8_t)payload[1];
  bool defined = (*code >= 1000 && *code <= 1003) || (*code >= 1007 && *code <= 1014);
  if (!defined && (*code < 3000 || *code > 4999)) {
    return E_PROTOCOL;
  }
  return frame_utf8_valid(payload + 2, len - 2) ? 0 : E_UTF8;
}
