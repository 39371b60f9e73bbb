/* In: JSON text. Out: spans of it. Why: see json_walk.h. */
#include "json_walk.h"

#include "err.h"

#include <stdint.h>
#include <string.h>

static void skip_blanks(struct json_walk *w) {
  while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\r' || *w->at == '\n')) {
    w->at++;
  }
}

static bool take(struct json_walk *w, char c) {
  skip_blanks(w);
  bool there = w->at < w->end && *w->at == c;
  w->at += there;
  return there;
}

/* Behind the string that begins at the quote here. */
static bool skip_string(struct json_walk *w) {
  for (w->at++; w->at < w->end && *w->at != '"'; w->at++) {
    w->at += *w->at == '\\';
  }
  bool ended = w->at < w->end;
  w->at += ended;
  return ended;
}

/* Behind the value that begins here: a string, what stands in brackets, or anything up to the next comma or bracket. */
static bool skip_value(struct json_walk *w) {
  size_t depth = 0;
  const char *from = w->at;
  while (w->at < w->end) {
    char c = *w->at;
    if (depth == 0 && w->at > from && (c == ',' || c == '}')) {
      break;
    }
    if (c == '"') {
      if (!skip_string(w)) {
        return false;
      }
      continue;
    }
    depth += c == '{' || c == '[';
    if (c == '}' || c == ']') {
      if (depth == 0) {
        return false;
      }
      depth--;
    }
    w->at++;
  }
  return depth == 0 && w->at > from;
}

bool json_walk_open(struct json_walk *w, struct json_span object) {
  *w = (struct json_walk){.at = object.text, .end = object.text + object.len, .first = true};
  return take(w, '{');
}

static bool member(struct json_walk *w, struct json_span *key, struct json_span *value) {
  if (!w->first && !take(w, ',')) {
    return false;
  }
  w->first = false;
  skip_blanks(w);
  key->text = w->at;
  if (w->at == w->end || *w->at != '"' || !skip_string(w)) {
    return false;
  }
  key->len = (size_t)(w->at - key->text);
  if (!take(w, ':')) {
    return false;
  }
  skip_blanks(w);
  value->text = w->at;
  if (!skip_value(w)) {
    return false;
  }
  value->len = (size_t)(w->at - value->text);
  while (value->len && strchr(" \t\r\n", value->text[value->len - 1])) {
    value->len--;
  }
  return value->len;
}

/* What is no member is left where it is, with the comma before it. */
bool json_walk_next(struct json_walk *w, struct json_span *key, struct json_span *value) {
  struct json_walk before = *w;
  bool found = member(w, key, value);
  if (!found) {
    *w = before;
  }
  return found;
}

bool json_walk_ended(struct json_walk *w) {
  bool closed = take(w, '}');
  skip_blanks(w);
  return closed && w->at == w->end;
}

bool json_walk_find(struct json_span object, const char *name, struct json_span *value) {
  struct json_walk w;
  struct json_span key, one;
  size_t len = strlen(name);
  bool found = false;
  if (!json_walk_open(&w, object)) {
    return false;
  }
  while (json_walk_next(&w, &key, &one)) {
    if (key.len == len + 2 && memcmp(key.text + 1, name, len) == 0) {
      *value = one;
      found = true;
    }
  }
  return found;
}

/* The four digits of \uXXXX; -1: they are none. */
static int32_t hex4(const char *at, const char *end) {
  int32_t n = 0;
  for (int i = 0; i < 4; i++, at++) {
    int digit = at >= end                  ? -1
                : *at >= '0' && *at <= '9' ? *at - '0'
                : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10
                : *at >= 'A' && *at <= 'F' ? *at - 'A' + 10
                                           : -1;
    if (digit < 0) {
      return -1;
    }
    n = n * 16 + digit;
  }
  return n;
}

static size_t put_utf8(char *out, int32_t c) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3f));
  out[2] = (char)(0x80 | (c >> 6 & 0x3f));
  out[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

/* *at is behind \u; never longer than what it was written with. */
static int put_escaped(const char **at, const char *end, char *out, size_t *len) {
  int32_t c = hex4(*at, end);
  if (c < 0) {
    return E_INVALID;
  }
  *at += 4;
  if (c >= 0xd800 && c < 0xe000) {
    bool pair = c < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u';
    int32_t low = pair ? hex4(*at + 2, end) : -1;
    if (low < 0xdc00 || low >= 0xe000) {
      return E_UTF8;
    }
    *at += 6;
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  }
  *len += put_utf8(out + *len, c);
  return 0;
}

int json_walk_text(struct json_span string, char *out, size_t *len) {
  static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (string.len < 2 || string.text[0] != '"' || string.text[string.len - 1] != '"') {
    return E_INVALID;
  }
  const char *at = string.text + 1, *end = string.text + string.len - 1;
  int code = 0;
  *len = 0;
  while (!code && at < end) {
    if (*at != '\\') {
      out[(*len)++] = *at++;
      continue;
    }
    const char *escape = ++at < end && *at ? strchr(escapes, *at) : NULL;
    if (escape) {
      out[(*len)++] = meant[escape - escapes];
      at++;
    } else {
      code = at < end && *at == 'u' ? (at++, put_escaped(&at, end, out, len)) : E_INVALID;
    }
  }
  return code;
}
