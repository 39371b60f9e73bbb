/* In: a text. Out: its value, by the letter of RFC 8259, or why it has none. Why: see json.h. Everything it needs is
 * memory of Lua's: it may raise when that runs out. */
#include "json.h"

#include "guard.h"
#include "json_plain.h"
#include "utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_MEMBERS 8 /* of a message: its table need not grow three times */
#define SMALL 1024      /* bytes; a shorter string with escapes needs no memory of its own */

enum { TEXT = 1, MEMBER, BROKEN }; /* where they are on the stack */

struct reader {
  lua_State *L;
  const char *start, *at, *end;
  const char *member; /* whose bytes are wanted; NULL: half a surrogate pair is an error */
  size_t member_len;
  const char *raw; /* its bytes */
  size_t raw_len;
  size_t values;
  int depth;
  bool halved; /* half a surrogate pair was seen */
  const char *why;
};

static bool fault(struct reader *r, const char *why) {
  r->why = why;
  return false;
}

static void skip_space(struct reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) {
    r->at++;
  }
}

/* The next character that is no white space; 0 at the end. */
static char peek(struct reader *r) {
  skip_space(r);
  return r->at < r->end ? *r->at : 0;
}

static int hex_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* Four digits at p; -1. */
static int32_t read_unit(const struct reader *r, const char *p) {
  int32_t unit = 0;
  for (int i = 0; i < 4; i++) {
    int digit = r->end - p > i ? hex_value(p[i]) : -1;
    if (digit < 0) {
      return -1;
    }
    unit = unit * 16 + digit;
  }
  return unit;
}

static size_t put_point(uint32_t c, char *out) {
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--, c >>= 6) {
    out[i] = (char)(0x80 | (c & 0x3f));
  }
  out[0] = (char)(lead[n] | c);
  return n;
}

/* What follows \u at r->at. The bytes written, at most 4; 0: a fault. */
static size_t read_point(struct reader *r, char *out) {
  int32_t unit = read_unit(r, r->at);
  if (unit < 0) {
    fault(r, "\\u needs four hexadecimal digits");
    return 0;
  }
  r->at += 4;
  uint32_t point = (uint32_t)unit;
  if (unit >= 0xd800 && unit <= 0xdfff) {
    int32_t low =
      unit < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u' ? read_unit(r, r->at + 2) : -1;
    if (low >= 0xdc00 && low <= 0xdfff) {
      r->at += 6;
      point = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    } else if (r->member) {
      r->halved = true;
      point = 0xfffd;
    } else {
      fault(r, "half of a surrogate pair");
      return 0;
    }
  }
  return put_point(point, out);
}

/* Unescapes up to the quote; the bytes written, or SIZE_MAX. out: as long as the escaped text. */
static size_t unescape(struct reader *r, char *out) {
  static const char named[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
  size_t len = 0;
  while (*r->at != '"') {
    if (*r->at != '\\') {
      out[len++] = *r->at++;
      continue;
    }
    const char *escape = r->at;
    char c = escape[1];
    r->at += 2;
    size_t n = 1;
    if (c == 'u') {
      n = read_point(r, out + len);
    } else if (named[(unsigned char)c]) {
      out[len] = named[(unsigned char)c];
    } else {
      fault(r, "an unknown escape");
      n = 0;
    }
    if (!n) {
      r->at = escape;
      return SIZE_MAX;
    }
    len += n;
  }
  return len;
}

size_t json_unescape(const char *escaped, size_t len, char *out) {
  struct reader r = {.at = escaped, .end = escaped + len};
  return unescape(&r, out);
}

/* Behind the opening quote. Pushes the string. */
static bool read_string(struct reader *r) {
  const char *from = r->at, *p = from;
  bool escaped = false;
  while ((p += json_plain(p, (size_t)(r->end - p))) < r->end && *p != '"') {
    if (*p != '\\') {
      r->at = p;
      return fault(r, "a control character in a string");
    }
    escaped = true;
    p += p + 1 < r->end ? 2 : 1;
  }
  if (p >= r->end) {
    r->at = r->end;
    return fault(r, "a string without an end");
  }
  size_t len = (size_t)(p - from);
  if (!escaped) {
    lua_pushlstring(r->L, from, len);
    r->at = p + 1;
    return true;
  }
  char small[SMALL], *out = len <= SMALL ? small : lua_newuserdata(r->L, len);
  small[0] = 0; /* gcc cannot see that unescape() writes what it counts */
  size_t n = unescape(r, out);
  if (n == SIZE_MAX) {
    return false;
  }
  r->at++;
  lua_pushlstring(r->L, out, n);
  if (out != small) {
    lua_remove(r->L, -2);
  }
  return true;
}

static size_t digits(struct reader *r) {
  const char *from = r->at;
  while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
    r->at++;
  }
  return (size_t)(r->at - from);
}

static bool read_number(struct reader *r) {
  const char *from = r->at;
  r->at += *from == '-';
  const char *whole = r->at;
  size_t n = digits(r);
  if (n == 0 || (n > 1 && *whole == '0')) {
    return fault(r, n ? "a number with a leading zero" : "no value");
  }
  bool plain = true;
  if (r->at < r->end && *r->at == '.') {
    plain = false;
    r->at++;
    if (!digits(r)) {
      return fault(r, "a number without digits behind its point");
    }
  }
  if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
    plain = false;
    r->at++;
    r->at += r->at < r->end && (*r->at == '+' || *r->at == '-');
    if (!digits(r)) {
      return fault(r, "a number without an exponent");
    }
  }
  double value = 0;
  if (plain && n <= 15) {
    for (size_t i = 0; i < n; i++) {
      value = value * 10 + (whole[i] - '0');
    }
    value = *from == '-' ? -value : value;
  } else {
    value = strtod(from, NULL); /* a text of Lua's ends with a NUL */
  }
  lua_pushnumber(r->L, value);
  return true;
}

static bool read_word(struct reader *r, const char *word) {
  size_t len = strlen(word);
  if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0) {
    return fault(r, "no value");
  }
  r->at += len;
  return true;
}

static bool read_value(struct reader *r);

static bool read_array(struct reader *r) {
  lua_State *L = r->L;
  lua_newtable(L);
  r->at++;
  if (peek(r) == ']') {
    r->at++;
    json_mark(L, JSON_MARK_ARRAY); /* only an empty one needs it */
    return true;
  }
  for (int i = 1;; i++) {
    if (!read_value(r)) {
      return false;
    }
    lua_rawseti(L, -2, i);
    char c = peek(r);
    if (c != ',' && c != ']') {
      return fault(r, "neither , nor ]");
    }
    r->at++;
    if (c == ']') {
      return true;
    }
  }
}

/* The value of the member whose name is at the top, of the outermost object. Pushes it. */
static bool read_member(struct reader *r) {
  lua_State *L = r->L;
  size_t len;
  const char *name = lua_tolstring(L, -1, &len);
  bool wanted = len == r->member_len && memcmp(name, r->member, len) == 0;
  skip_space(r);
  const char *from = r->at;
  if (!read_value(r)) {
    return false;
  }
  if (wanted) {
    r->raw = lua_islightuserdata(L, -1) ? NULL : from; /* null is absence */
    r->raw_len = (size_t)(r->at - from);
  } else if (r->halved) {
    lua_pushvalue(L, -2);
    lua_replace(L, BROKEN);
  }
  r->halved = false;
  return true;
}

static bool read_object(struct reader *r) {
  lua_State *L = r->L;
  lua_createtable(L, 0, r->depth == 1 ? USUAL_MEMBERS : 0);
  r->at++;
  if (peek(r) == '}') {
    r->at++;
    return true;
  }
  for (;;) {
    if (peek(r) != '"') {
      return fault(r, "no name of a field");
    }
    r->at++;
    if (!read_string(r)) {
      return false;
    }
    if (peek(r) != ':') {
      return fault(r, "no : behind the name of a field");
    }
    r->at++;
    if (!(r->member && r->depth == 1 ? read_member(r) : read_value(r))) {
      return false;
    }
    if (lua_islightuserdata(L, -1)) { /* null is absence */
      lua_pop(L, 1);
      lua_pushnil(L);
    }
    lua_rawset(L, -3);
    char c = peek(r);
    if (c != ',' && c != '}') {
      return fault(r, "neither , nor }");
    }
    r->at++;
    if (c == '}') {
      return true;
    }
  }
}

static bool read_nested(struct reader *r, bool (*read)(struct reader *)) {
  if (r->depth == JSON_DEPTH) {
    return fault(r, "deeper than 32");
  }
  r->depth++;
  if (!read(r)) {
    return false;
  }
  r->depth--;
  return true;
}

static bool read_value(struct reader *r) {
  lua_State *L = r->L;
  char c = peek(r);
  if (++r->values > JSON_VALUES) {
    return fault(r, "more than 50000 values");
  }
  guard_poll(L);
  switch (c) {
  case '{':
    return read_nested(r, read_object);
  case '[':
    return read_nested(r, read_array);
  case '"':
    r->at++;
    return read_string(r);
  case 't':
    lua_pushboolean(L, 1);
    return read_word(r, "true");
  case 'f':
    lua_pushboolean(L, 0);
    return read_word(r, "false");
  case 'n':
    lua_pushlightuserdata(L, NULL);
    return read_word(r, "null");
  default:
    return c == '-' || (c >= '0' && c <= '9') ? read_number(r) : fault(r, c ? "no value" : "an end too early");
  }
}

static int push_fault(lua_State *L, const struct reader *r) {
  lua_settop(L, TEXT);
  lua_pushnil(L);
  if (r->values > JSON_VALUES || !r->start) {
    lua_pushstring(L, r->why); /* of the whole */
  } else {
    lua_pushfstring(L, "%s at byte %d", r->why, (int)(r->at - r->start) + 1);
  }
  return 2;
}

int json_read(lua_State *L) {
  struct reader r = {.L = L};
  size_t len;
  const char *text = luaL_checklstring(L, TEXT, &len);
  r.member = luaL_optlstring(L, MEMBER, NULL, &r.member_len);
  lua_settop(L, BROKEN);
  luaL_checkstack(L, JSON_DEPTH * 3 + 8, "no room for its depth");
  lua_pushnil(L);
  lua_replace(L, BROKEN);
  if (len > JSON_TEXT) {
    r.why = "more than 4 MiB of text";
    return push_fault(L, &r);
  }
  r.start = r.at = text;
  r.end = text + len;
  size_t valid = utf8_span(text, len);
  if (valid < len) {
    r.at += valid;
    r.why = "not UTF-8";
    return push_fault(L, &r);
  }
  if (!read_value(&r)) {
    return push_fault(L, &r);
  }
  if (peek(&r) || r.at < r.end) {
    r.why = "more than one value";
    return push_fault(L, &r);
  }
  if (!r.member) {
    return 1;
  }
  if (r.raw) {
    lua_pushlstring(L, r.raw, r.raw_len);
  } else {
    lua_pushnil(L);
  }
  lua_pushvalue(L, BROKEN);
  return 3;
}
