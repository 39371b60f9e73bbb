/* In: bytes that claim to be UTF-8. Out: how long the sequence at their start is, and what follows from that for a
 * whole text. Why: exact as the table of RFC 3629 section 4: only the second byte needs a range of its own, and that
 * range is what keeps out overlong forms (after E0 and F0), surrogates (after ED) and what lies beyond U+10FFFF (after
 * F4). */
#include "utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool within(uint8_t byte, uint8_t low, uint8_t high) {
  return byte >= low && byte <= high;
}

size_t utf8_sequence(const char *bytes, size_t len) {
  const uint8_t *p = (const uint8_t *)bytes;
  if (p[0] < 0x80)
    return 1;
  if (p[0] < 0xc2 || p[0] > 0xf4)
    return 0;
  if (p[0] < 0xe0)
    return len >= 2 && within(p[1], 0x80, 0xbf) ? 2 : 0;
  if (p[0] < 0xf0)
    return len >= 3 && within(p[1], p[0] == 0xe0 ? 0xa0 : 0x80, p[0] == 0xed ? 0x9f : 0xbf) && within(p[2], 0x80, 0xbf)
             ? 3
             : 0;
  return len >= 4 && within(p[1], p[0] == 0xf0 ? 0x90 : 0x80, p[0] == 0xf4 ? 0x8f : 0xbf) && within(p[2], 0x80, 0xbf) &&
             within(p[3], 0x80, 0xbf)
           ? 4
           : 0;
}

#define HIGH_BITS 0x8080808080808080u

/* Most text is ASCII: it is looked at in pieces of 32 bytes, then of eight, and the end byte by byte. */
static size_t ascii_span(const char *bytes, size_t len) {
  size_t at = 0;
  uint64_t w[4];
  for (; len - at >= sizeof w; at += sizeof w) {
    memcpy(w, bytes + at, sizeof w);
    if ((w[0] | w[1] | w[2] | w[3]) & HIGH_BITS) {
      break;
    }
  }
  for (; len - at >= sizeof *w; at += sizeof *w) {
    memcpy(w, bytes + at, sizeof *w);
    if (*w & HIGH_BITS) {
      break;
    }
  }
  while (at < len && (uint8_t)bytes[at] < 0x80) {
    at++;
  }
  return at;
}

size_t utf8_span(const char *bytes, size_t len) {
  size_t at = 0;
  while (at < len) {
    if ((uint8_t)bytes[at] < 0x80) {
      at += ascii_span(bytes + at, len - at);
      continue;
    }
    size_t n = utf8_sequence(bytes + at, len - at);
    if (n == 0)
      break;
    at += n;
  }
  return at;
}

size_t utf8_mend(const char *bytes, size_t len, char *out) {
  size_t at = 0, written = 0;
  while (at < len) {
    size_t good = utf8_span(bytes + at, len - at);
    memcpy(out + written, bytes + at, good);
    at += good;
    written += good;
    if (at < len) {
      memcpy(out + written, "\xef\xbf\xbd", 3);
      at++;
      written += 3;
    }
  }
  return written;
}
