/* In: a template such as {"content":"number {i}","session_id":"{session}"}. Out: the text of one message.
 * Why: every message of a run differs, and rendering must cost the generator next to nothing: the template is cut into
 * pieces once. Only {i} and {session} are places; any other brace is text, because JSON is full of them. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_TEMPLATE_MAX 4096
#define TEXT_PLACES_MAX 8
#define TEXT_SESSION_MAX 128
#define TEXT_MAX (TEXT_TEMPLATE_MAX + TEXT_PLACES_MAX * TEXT_SESSION_MAX) /* of a rendered text */

struct text {
  struct text_piece {
    const char *start; /* borrowed from the template */
    size_t length;
    enum text_place { TEXT_END, TEXT_NUMBER, TEXT_SESSION } then;
  } piece[TEXT_PLACES_MAX + 1];
  bool needs_session;
};

/* Borrows the template for the life of *t. E_TOO_BIG: too long, or more than TEXT_PLACES_MAX places. */
int text_init(struct text *t, const char *template) NODISCARD;
/* Writes at most TEXT_MAX bytes, not terminated; their number. session: at most TEXT_SESSION_MAX bytes. */
size_t text_render(const struct text *t, char *out, uint64_t number, const char *session);
