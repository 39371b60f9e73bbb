/* In: the bytes of a WebSocket, as they come. Out: whole texts, pings, pongs, and the client's close.
 * Why: the rules of RFC 6455 for a client's frames in one place: masked, no reserved bits, known opcodes, control
 * frames short and whole, continuations only where something is continued. A frame that lies whole in the bytes is
 * unmasked where it is and lent, not copied. One thread. Bounds: limit bytes of text, 125 of a control frame. */
#pragma once
#include "attr.h"
#include "frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECODER_HEAD_MAX 14
#define DECODER_CONTROL_MAX 125

/* One per connection; zero-initialised is ready. */
struct decoder {
  struct frame text; /* what has come of a message in pieces */
  char *control;     /* likewise of a control frame */
  uint64_t left;     /* bytes of the frame's payload to come */
  uint8_t head[DECODER_HEAD_MAX], head_len;
  uint8_t mask[4];
  uint8_t opcode, control_len;
  uint32_t fragments; /* frames that were no whole message; whoever counts them sets it back */
  bool payload;       /* the head is complete */
  bool final;
  bool message; /* a message has begun and is not complete */
};

enum decoder_event { DECODER_MORE, DECODER_TEXT, DECODER_PING, DECODER_PONG, DECODER_CLOSE };

/* Takes from *bytes (changed in place) up to the end of a frame at most. An event, with its payload in *out (borrowed
 * until the next call, not terminated); DECODER_MORE: all was taken. E_PROTOCOL (close 1002), E_TOO_BIG (1009), E_UTF8
 * (1007), UV_ENOMEM: the connection cannot go on. */
int decoder_next(struct decoder *d, char **bytes, size_t *len, size_t limit, const char **out,
                 size_t *out_len) NODISCARD;
/* Gives back what a message in pieces took; call it when a text has been used. */
void decoder_rest(struct decoder *d);
void decoder_deinit(struct decoder *d);

/* The payload of a close frame: 0 and *code (0: it says none); E_PROTOCOL, E_UTF8. */
int decoder_close_code(const char *payload, size_t len, int *code) NODISCARD;
