/* In: a user id in any spelling. Out: its one spelling. Why: see user_id.h. */
#include "user_id.h"

#include "err.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <uv.h>

#define LINE_SEPARATOR 0x2028
#define PARAGRAPH_SEPARATOR 0x2029

static bool ascii_printable(const char *text) {
  for (; *text; text++)
    if (*text < ' ' || *text > '~')
      return false;
  return true;
}

static int characters_check(const char *text) {
  for (const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text; *p;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t len = utf8proc_iterate(p, -1, &c);
    if (len <= 0 || c < ' ' || (c >= 0x7F && c <= 0x9F) || c == LINE_SEPARATOR || c == PARAGRAPH_SEPARATOR)
      return E_INVALID;
    p += len;
  }
  return 0;
}

int user_id_normalise(const char *text, char out[TOKEN_USER_MAX + 1]) {
  size_t len = strlen(text);
  /* NFC shortens by less than this; without a bound first, a stranger's text would be worked on at any length. */
  if (len == 0 || len > 4 * TOKEN_USER_MAX || characters_check(text) != 0)
    return E_INVALID;
  bool plain = ascii_printable(text); /* is its own NFC */
  utf8proc_uint8_t *composed = plain ? NULL : utf8proc_NFC((const utf8proc_uint8_t *)text);
  if (!plain && !composed)
    return UV_ENOMEM;
  const char *result = plain ? text : (const char *)composed;
  len = strlen(result);
  if (len <= TOKEN_USER_MAX)
    memcpy(out, result, len + 1);
  free(composed);
  return len <= TOKEN_USER_MAX ? 0 : E_INVALID;
}
