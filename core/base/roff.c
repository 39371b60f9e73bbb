/* In: plain text. Out: roff. Why: see roff.h. */
#include "roff.h"

#include <string.h>

/* A hyphen of plain roff may be printed as a typographic one, which cannot be pasted into a shell; quotes likewise. */
static const char *escaped(char c) {
  switch (c) {
  case '\\':
    return "\\e";
  case '-':
    return "\\-";
  case '\'':
    return "\\(aq";
  case '`':
    return "\\(ga";
  case '^':
    return "\\(ha";
  case '~':
    return "\\(ti";
  default:
    return NULL;
  }
}

static void part_put(const char *text, size_t len, FILE *out) {
  for (size_t i = 0; i < len; i++) {
    const char *instead = escaped(text[i]);
    if (instead)
      fputs(instead, out);
    else
      putc(text[i], out);
  }
}

void roff_put(const char *text, FILE *out) {
  part_put(text, strlen(text), out);
}

void roff_line(const char *text, FILE *out) {
  do {
    size_t len = strcspn(text, "\n");
    if (*text == '.')
      fputs("\\&", out); /* or the line would be a command */
    part_put(text, len, out);
    putc('\n', out);
    text += len + (text[len] == '\n');
  } while (*text);
}
