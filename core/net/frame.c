/* In: fragments of WebSocket messages as the transport gives them. Out: whole, valid UTF-8 texts; and frame headers.
 * Why: nearly every message is one fragment and goes through without a copy; the others gather in a buffer that never
 * outgrows the limit. UTF-8 is looked at when the message is whole, for a fragment may end inside a character. */
#include "frame.h"

#include "err.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int frame_fail(struct frame *f, int code) {
  frame_deinit(f);
  return code;
}

/* Doubles, but not beyond limit: many small fragments cost no more than linear time, and no more than limit bytes. */
static int frame_append(struct frame *f, const char *bytes, size_t len, size_t limit) {
  if (len == 0)
    return 0;
  if (len > f->room - f->len) {
    size_t need = f->len + len;
    size_t room = f->room > limit / 2 ? limit : f->room * 2;
    if (room < need)
      room = need;
    char *grown = realloc(f->bytes, room);
    if (!grown)
      return UV_ENOMEM;
    f->bytes = grown;
    f->room = room;
  }
  memcpy(f->bytes + f->len, bytes, len);
  f->len += len;
  return 0;
}

int frame_add(struct frame *f, const char *bytes, size_t len, bool last, size_t limit, const char **text,
              size_t *text_len) {
  if (f->len == 0)
    frame_deinit(f); /* a text lent by the call before ends here */
  if (f->len > limit || len > limit - f->len)
    return frame_fail(f, E_TOO_BIG);
  if (f->len > 0 || !last) {
    int code = frame_append(f, bytes, len, limit);
    if (code < 0)
      return frame_fail(f, code);
    if (!last)
      return 0;
    bytes = f->bytes;
    len = f->len;
    f->len = 0;
  }
  if (!frame_utf8_valid(bytes, len))
    return frame_fail(f, E_UTF8);
  *text = len > 0 ? bytes : "";
  *text_len = len;
  return 1;
}

void frame_deinit(struct frame *f) {
  free(f->bytes);
  *f = (struct frame){0};
}

bool frame_utf8_valid(const char *bytes, size_t len) {
  return utf8_span(bytes, len) == len;
}

size_t frame_header(uint8_t out[FRAME_HEADER_MAX], enum frame_opcode opcode, size_t len) {
  out[0] = (uint8_t)(0x80 | opcode);
  if (len <= 125) {
    out[1] = (uint8_t)len;
    return 2;
  }
  size_t bytes = len <= UINT16_MAX ? 2 : 8;
  out[1] = bytes == 2 ? 126 : 127;
  for (size_t i = 0; i < bytes; i++)
    out[2 + i] = (uint8_t)((uint64_t)len >> (8 * (bytes - 1 - i)));
  return 2 + bytes;
}
