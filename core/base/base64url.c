/* In: bytes, or base64url text. Out: the other. Why: strict and small; OpenSSL's decoder takes padding and blanks. */
#include "base64url.h"

#include "err.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const void *bytes, size_t len, char *out) {
  const unsigned char *in = bytes;
  uint32_t bits = 0;
  int have = 0;
  for (size_t i = 0; i < len; i++) {
    bits = bits << 8 | in[i];
    for (have += 8; have >= 6; have -= 6)
      *out++ = alphabet[bits >> (have - 6) & 63];
  }
  if (have > 0)
    *out++ = alphabet[bits << (6 - have) & 63];
  *out = '\0';
}

static int digit_value(char c) {
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '-' ? 62 : c == '_' ? 63 : E_INVALID;
}

int base64url_decode(const char *text, size_t len, unsigned char *out, size_t *out_len) {
  unsigned char *start = out;
  uint32_t bits = 0;
  int have = 0;
  for (size_t i = 0; i < len; i++) {
    int digit = digit_value(text[i]);
    if (digit < 0)
      return E_INVALID;
    bits = bits << 6 | (uint32_t)digit;
    have += 6;
    if (have >= 8) {
      have -= 8;
      *out++ = (unsigned char)(bits >> have);
    }
  }
  *out_len = (size_t)(out - start);
  return have == 6 || (bits & ((1U << have) - 1)) != 0 ? E_INVALID : 0;
}
