/* In: bytes of a string. Out: how many at its start stand in JSON as they are. Why: nearly all do, and looking at eight
 * at a time costs a fifth of looking at each. Both ways of the codec use it; see json.h. */
#pragma once
#ifndef ROOM_BINDINGS
#error "json_plain.h is private to the bindings"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_EACH 0x0101010101010101u /* of eight bytes */
#define JSON_TOPS 0x8080808080808080u

/* Not 0 when one of the eight bytes is c. */
static inline uint64_t json_any(uint64_t eight, uint8_t c) {
  uint64_t other = eight ^ (JSON_EACH * c);
  return (other - JSON_EACH) & ~other & JSON_TOPS;
}

/* Not 0 when one of the eight bytes is a control character, a quote or a backslash. */
static inline uint64_t json_any_special(uint64_t eight) {
  return ((eight - JSON_EACH * ' ') & ~eight & JSON_TOPS) | json_any(eight, '"') | json_any(eight, '\\');
}

static inline bool json_special(char c) {
  return (unsigned char)c < ' ' || c == '"' || c == '\\';
}

/* Up to the first byte that ends a string, begins an escape, or may not stand in one. */
static inline size_t json_plain(const char *bytes, size_t len) {
  size_t n = 0;
  for (uint64_t eight; len - n >= sizeof eight; n += sizeof eight) {
    memcpy(&eight, bytes + n, sizeof eight);
    if (json_any_special(eight)) {
      break;
    }
  }
  while (n < len && !json_special(bytes[n])) {
    n++;
  }
  return n;
}

/* Up to the first byte that is written as an escape: those, the slash and DEL. */
static inline size_t json_unescaped(const char *bytes, size_t len) {
  size_t n = 0;
  for (uint64_t eight; len - n >= sizeof eight; n += sizeof eight) {
    memcpy(&eight, bytes + n, sizeof eight);
    if (json_any_special(eight) | json_any(eight, '/') | json_any(eight, 0x7f)) {
      break;
    }
  }
  while (n < len && !json_special(bytes[n]) && bytes[n] != '/' && bytes[n] != 0x7f) {
    n++;
  }
  return n;
}
