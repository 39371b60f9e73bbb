/* In: fragments of WebSocket messages as the transport gives them. Out: whole, valid UTF-8 texts; and frame headers.
 * Why: size and encoding are checked here once, so that everything behind it may trust a text. Text and binary frames
 * are treated alike (the contract of the reference, section 1.3). One thread. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One per connection; zero-initialised is ready. Memory: up to the limit while a message comes in pieces. */
struct frame {
  char *bytes;
  size_t len, room;
};

/* Adds a fragment. 1: whole message, *text (borrowed until the next call, not terminated) and *text_len are set;
 * 0: more to come; E_TOO_BIG (close 1009), E_UTF8 (close 1007), UV_ENOMEM. A message of one fragment is not copied. */
int frame_add(struct frame *f, const char *bytes, size_t len, bool last, size_t limit, const char **text,
              size_t *text_len) NODISCARD;
/* Ready again afterwards. Called when a text has been used, it gives back at once what a message in pieces took;
 * otherwise the next frame_add does. */
void frame_deinit(struct frame *f);

bool frame_utf8_valid(const char *bytes, size_t len);

enum frame_opcode { FRAME_TEXT = 1, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };
#define FRAME_HEADER_MAX 10
/* Writes an unmasked, final header for len bytes of payload; its size in bytes (2, 4 or 10). */
size_t frame_header(uint8_t out[FRAME_HEADER_MAX], enum frame_opcode opcode, size_t len);
