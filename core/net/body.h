/* In: the bytes behind a head. Out: the pieces of the body among them, and where it ends.
 * Why: chunks are taken apart as strictly as the head (RFC 9112, section 7), so that nobody else can see the end of a
 * request elsewhere. Pure functions. Bounds: limit bytes of content; BODY_EXTRA_MAX of what comes with it. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY_EXTRA_MAX 4096 /* chunk extensions and trailers of one body, which are skipped */

struct body {
  uint8_t phase;
  uint8_t digits; /* of a chunk's size */
  uint64_t left;  /* of the chunk or of the whole */
  uint64_t total, limit;
  size_t extra;
};

/* length: ignored when chunked. 0; 413 when that is more than limit. */
int body_init(struct body *b, bool chunked, uint64_t length, uint64_t limit) NODISCARD;
bool body_complete(const struct body *b);
/* Takes from *bytes forward, at most up to the end of the body. 0: *piece (borrowed, perhaps of no bytes) is content;
 * call again until *len is 0 or body_complete. Otherwise the status that refuses it: 400, 413. */
int body_next(struct body *b, const char **bytes, size_t *len, const char **piece, size_t *piece_len) NODISCARD;
