/* In: a limit, cuts and bytes, all from the fuzzer. Out: an abort when how a message was cut changes what comes out, or
 * when the UTF-8 check disagrees with one that is written for clarity.
 * Why: fragmenting is free for whoever attacks; it must never be a way around size or encoding. */
#include "err.h"
#include "frame.h"

#include <stdlib.h>
#include <string.h>

enum { CUTS = 8 };

static void check(bool holds) {
  if (!holds)
    abort();
}

/* RFC 3629 by arithmetic: decode, then look at the number. */
static bool naive_utf8_valid(const uint8_t *p, size_t len) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < len;) {
    size_t n = p[i] < 0x80 ? 1 : p[i] >> 5 == 6 ? 2 : p[i] >> 4 == 14 ? 3 : p[i] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > len - i)
      return false;
    uint32_t c = n == 1 ? p[i] : p[i] & (0xffu >> (n + 1));
    for (size_t k = 1; k < n; k++) {
      if (p[i + k] >> 6 != 2)
        return false;
      c = c << 6 | (p[i + k] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
      return false;
    i += n;
  }
  return true;
}

/* Hands a fragment over in memory of its own, so that a read beyond it, or after the call, is seen. */
static int add_copy(struct frame *f, const uint8_t *bytes, size_t len, bool last, size_t limit, char **copy,
                    const char **text, size_t *text_len) {
  free(*copy);
  *copy = malloc(len > 0 ? len : 1);
  memcpy(*copy, bytes, len);
  return frame_add(f, *copy, len, last, limit, text, text_len);
}

/* The same bytes in CUTS + 1 fragments; the result of the last call made. */
static int add_in_pieces(struct frame *f, const uint8_t *cuts, const uint8_t *bytes, size_t len, size_t limit,
                         char **copy, const char **text, size_t *text_len) {
  size_t at = 0;
  for (int i = 0; i < CUTS; i++) {
    size_t n = cuts[i] % (len - at + 1);
    int code = add_copy(f, bytes + at, n, false, limit, copy, text, text_len);
    if (code < 0)
      return code;
    check(code == 0);
    check(f->room <= limit);
    at += n;
  }
  return add_copy(f, bytes + at, len - at, true, limit, copy, text, text_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < CUTS + 1)
    return 0;
  const uint8_t *cuts = data + 1, *bytes = data + 1 + CUTS;
  size_t len = size - 1 - CUTS, limit = data[0] < 128 ? data[0] : 4096;
  bool valid = naive_utf8_valid(bytes, len);
  check(frame_utf8_valid((const char *)bytes, len) == valid);
  int expected = len > limit ? E_TOO_BIG : valid ? 1 : E_UTF8;

  struct frame f = {0};
  char *copy = NULL;
  const char *text = NULL;
  size_t text_len = 0;
  for (int round = 0; round < 2; round++) { /* twice: whatever the first message was, it leaves nothing behind */
    int code = add_in_pieces(&f, cuts, bytes, len, limit, &copy, &text, &text_len);
    check(code == expected);
    check(code != 1 || (text_len == len && memcmp(text, bytes, len) == 0));
    code = add_copy(&f, bytes, len, true, limit, &copy, &text, &text_len);
    check(code == expected);
    check(code != 1 || (text_len == len && memcmp(text, bytes, len) == 0));
  }
  frame_deinit(&f);
  free(copy);
  return 0;
}
