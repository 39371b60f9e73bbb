/* In: which user or session a command is about. Out: the same as part of a line, and back. Why: see subject.h. */
#include "subject.h"

#include "err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_control(char c) {
  return (unsigned char)c < ' ' || c == 0x7F;
}

static bool is_plain(const char *id) {
  for (; *id; id++) {
    if (is_control(*id)) {
      return false;
    }
  }
  return true;
}

int subject_write(const char *kind, const char *id, char *out, size_t room) {
  bool plain = is_plain(id);
  size_t len = (size_t)snprintf(out, room, "%s%s ", kind, plain ? "" : "%");
  for (; *id && len + 3 < room; id++) {
    if (plain || (*id != '%' && !is_control(*id))) {
      out[len++] = *id;
    } else {
      len += (size_t)snprintf(out + len, room - len, "%%%02X", (unsigned)(unsigned char)*id);
    }
  }
  if (len >= room) {
    return E_TOO_BIG;
  }
  out[len] = '\0';
  return *id ? E_TOO_BIG : 0;
}

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *subject_read(char *text) {
  bool plain = *text == ' ';
  if (!plain && strncmp(text, "% ", 2) != 0) {
    return NULL;
  }
  char *id = text + (plain ? 1 : 2), *to = id;
  for (const char *from = id; *from; from++) {
    if (plain || *from != '%') {
      *to++ = *from;
      continue;
    }
    int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
    if (low < 0 || high + low == 0) {
      return NULL;
    }
    *to++ = (char)(high * 16 + low);
    from += 2;
  }
  *to = '\0';
  return *id ? id : NULL;
}
