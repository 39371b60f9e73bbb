/* In: a template. Out: rendered texts. Why: text.h. No format string is interpreted on the hot path. */
#include "text.h"

#include "err.h"

#include <string.h>

static enum text_place place_at(const char *at, size_t *length) {
  static const struct {
    const char *name;
    enum text_place place;
  } places[] = {{"{i}", TEXT_NUMBER}, {"{session}", TEXT_SESSION}};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    *length = strlen(places[i].name);
    if (strncmp(at, places[i].name, *length) == 0)
      return places[i].place;
  }
  return TEXT_END;
}

int text_init(struct text *t, const char *template) {
  size_t places = 0, length;
  const char *start = template, *at = template;
  if (strlen(template) > TEXT_TEMPLATE_MAX)
    return E_TOO_BIG;
  t->needs_session = false;
  while ((at = strchr(at, '{'))) {
    enum text_place place = place_at(at, &length);
    if (place == TEXT_END) {
      at++;
      continue;
    }
    if (places == TEXT_PLACES_MAX)
      return E_TOO_BIG;
    t->piece[places++] = (struct text_piece){start, (size_t)(at - start), place};
    t->needs_session |= place == TEXT_SESSION;
    start = at += length;
  }
  t->piece[places] = (struct text_piece){start, strlen(start), TEXT_END};
  return 0;
}

static size_t number_render(char *out, uint64_t number) {
  char digits[20];
  size_t n = 0;
  do
    digits[n++] = (char)('0' + number % 10);
  while (number /= 10);
  for (size_t i = 0; i < n; i++)
    out[i] = digits[n - 1 - i];
  return n;
}

size_t text_render(const struct text *t, char *out, uint64_t number, const char *session) {
  char *at = out;
  for (const struct text_piece *p = t->piece;; p++) {
    memcpy(at, p->start, p->length);
    at += p->length;
    if (p->then == TEXT_END)
      return (size_t)(at - out);
    if (p->then == TEXT_NUMBER) {
      at += number_render(at, number);
    } else {
      size_t length = strnlen(session, TEXT_SESSION_MAX);
      memcpy(at, session, length);
      at += length;
    }
  }
}
