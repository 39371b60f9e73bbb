/* In: a text nobody has decoded. Out: its cid or type, if it is a JSON object that has one. Why: see peek.h. */
#include "peek.h"

#include "store.h"

#include <stdbool.h>
#include <string.h>

/* The end of the string that begins behind the quote at p; *plain: it holds no escapes. NULL: it has no end. */
static const char *string_end(const char *p, const char *end, bool *plain) {
  *plain = true;
  for (; p < end && *p != '"'; p++) {
    if ((unsigned char)*p < 0x20) {
      return NULL;
    }
    if (*p == '\\') {
      *plain = false;
      p++;
    }
  }
  return p < end ? p : NULL;
}

static const char *skip_blanks(const char *p, const char *end) {
  while (p < end && strchr(" \t\r\n", *p)) {
    p++;
  }
  return p;
}

/* The value that is the string from..to, if it can be one. */
static size_t take(const char *from, const char *to, bool plain, size_t max, const char **value) {
  size_t len = (size_t)(to - from);
  if (!plain || len < 1 || len > max) {
    return 0;
  }
  *value = from;
  return len;
}

static size_t peek(const char *text, size_t len, const char *name, size_t max, const char **value) {
  const char *end = text + len, *p = len <= PEEK_MAX ? skip_blanks(text, end) : end;
  size_t found = 0;
  size_t name_len = strlen(name);
  bool wanted = false; /* the last key of the object was `name` */
  int depth = 0;
  if (p == end || *p != '{') {
    return 0;
  }
  for (; p < end; p++) {
    if (*p == '"') {
      bool plain;
      const char *from = p + 1, *to = string_end(from, end, &plain);
      if (!to) {
        return 0;
      }
      const char *next = skip_blanks(to + 1, end);
      bool key = depth == 1 && next < end && *next == ':';
      if (!key && wanted) {
        found = take(from, to, plain, max, value);
      }
      wanted = key && (size_t)(to - from) == name_len && memcmp(from, name, name_len) == 0;
      p = to;
    } else if (*p == '{' || *p == '[') {
      depth++;
      wanted = wanted && depth == 1;
    } else if (*p == '}' || *p == ']') {
      depth--;
    } else if (*p == ',') {
      wanted = false;
    }
  }
  return depth == 0 ? found : 0;
}

size_t peek_cid(const char *text, size_t len, const char **cid) {
  return peek(text, len, "cid", STORE_CID_MAX, cid);
}

size_t peek_type(const char *text, size_t len, const char **type) {
  return peek(text, len, "type", PEEK_TYPE_MAX, type);
}
