/* In: the bytes behind a head. Out: the pieces of the body among them, and where it ends. Why: see body.h.
 *
 *   SIZE --digit--> SIZE --;--> EXTENSION --CR--> SIZE_LF --LF--> DATA --all--> DATA_CR -> DATA_LF --LF--> SIZE
 *                                                    `--(size 0)--> TRAILER --CR--> END_LF --LF--> DONE
 *                                                       ^  `--else--> TRAILER_LINE --CR--> TRAILER_LF --LF--'
 *   A body with a length is WHOLE until its last byte. */
#include "body.h"

#include <string.h>

enum phase { WHOLE, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LINE, TRAILER_LF, END_LF, DONE };
enum { SIZE_DIGITS_MAX = 15 };

int body_init(struct body *b, bool chunked, uint64_t length, uint64_t limit) {
  *b = (struct body){.limit = limit};
  if (chunked) {
    b->phase = SIZE;
    return 0;
  }
  b->phase = length ? WHOLE : DONE;
  b->left = length;
  return length > limit ? 413 : 0;
}

bool body_complete(const struct body *b) {
  return b->phase == DONE;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int on_size(struct body *b, char c) {
  int value = hex_value(c);
  if (value >= 0) {
    b->left = b->left << 4 | (uint64_t)value;
    return ++b->digits > SIZE_DIGITS_MAX ? 400 : 0;
  }
  if (!b->digits || (c != '\r' && c != ';')) {
    return 400;
  }
  b->phase = c == ';' ? EXTENSION : SIZE_LF;
  return 0;
}

/* A byte of what is skipped: anything that is text, up to CR. */
static int on_skipped(struct body *b, char c, enum phase next) {
  if (c == '\r') {
    b->phase = (uint8_t)next;
    return 0;
  }
  if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f) {
    return 400;
  }
  return ++b->extra > BODY_EXTRA_MAX ? 413 : 0;
}

static int on_size_end(struct body *b) {
  b->digits = 0;
  if (b->left > b->limit - b->total) {
    return 413;
  }
  b->total += b->left;
  b->phase = b->left ? DATA : TRAILER;
  return 0;
}

static int on_trailer(struct body *b, char c) {
  if (c == '\r') {
    b->phase = END_LF;
    return 0;
  }
  if (c == ' ' || c == '\t' || c == ':') {
    return 400; /* a folded line, or a field without a name */
  }
  b->phase = TRAILER_LINE;
  return on_skipped(b, c, TRAILER_LF);
}

static int expect(struct body *b, char c, char wanted, enum phase next) {
  b->phase = (uint8_t)next;
  return c == wanted ? 0 : 400;
}

/* One byte that is not content. */
static int on_byte(struct body *b, char c) {
  switch (b->phase) {
  case SIZE:
    return on_size(b, c);
  case EXTENSION:
    return on_skipped(b, c, SIZE_LF);
  case SIZE_LF:
    return c == '\n' ? on_size_end(b) : 400;
  case DATA_CR:
    return expect(b, c, '\r', DATA_LF);
  case DATA_LF:
    return expect(b, c, '\n', SIZE);
  case TRAILER:
    return on_trailer(b, c);
  case TRAILER_LINE:
    return on_skipped(b, c, TRAILER_LF);
  case TRAILER_LF:
    return expect(b, c, '\n', TRAILER);
  case END_LF:
    return expect(b, c, '\n', DONE);
  default:
    return 0;
  }
}

int body_next(struct body *b, const char **bytes, size_t *len, const char **piece, size_t *piece_len) {
  *piece_len = 0;
  while (*len && b->phase != DONE) {
    if (b->phase == WHOLE || b->phase == DATA) {
      *piece = *bytes;
      *piece_len = b->left < *len ? (size_t)b->left : *len;
      *bytes += *piece_len;
      *len -= *piece_len;
      b->left -= *piece_len;
      if (!b->left) {
        b->phase = b->phase == WHOLE ? DONE : DATA_CR;
      }
      return 0;
    }
    int status = on_byte(b, **bytes);
    if (status) {
      return status;
    }
    ++*bytes;
    --*len;
  }
  return 0;
}
