/* In: a text and a Lua pattern. Out: where it matches.
 * Why: see pattern.h. A pattern is a sequence of items. An item is a character class with an optional repetition, or
 * one of the special forms: ( ) %b %f %1 $. Where an item can match in several ways, the matcher tries each by
 * calling itself for the rest of the pattern. */
#include "pattern.h"

#include "guard.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#define POLL_STEPS 1024

void pattern_init(struct pattern *m, lua_State *L, const char *text, size_t len, const char *pattern_end) {
  m->L = L;
  m->text = text;
  m->text_end = text + len;
  m->end = pattern_end;
  m->steps = m->depth = 0;
  m->captured = 0;
}

static void step(struct pattern *m, size_t n) {
  m->steps += (unsigned)n;
  if (m->steps >= POLL_STEPS) {
    m->steps = 0;
    guard_poll(m->L);
  }
}

/* ---- classes ---- */

static bool in_class(unsigned char c, unsigned char letter) {
  bool in;
  switch (tolower(letter)) {
  case 'a':
    in = isalpha(c);
    break;
  case 'c':
    in = iscntrl(c);
    break;
  case 'd':
    in = isdigit(c);
    break;
  case 'g':
    in = isgraph(c);
    break;
  case 'l':
    in = islower(c);
    break;
  case 'p':
    in = ispunct(c);
    break;
  case 's':
    in = isspace(c);
    break;
  case 'u':
    in = isupper(c);
    break;
  case 'w':
    in = isalnum(c);
    break;
  case 'x':
    in = isxdigit(c);
    break;
  case 'z':
    in = c == 0;
    break;
  default:
    return letter == c;
  }
  return isupper(letter) ? !in : in;
}

/* p points to a [. Returns the ] that closes the set; a ] directly after [ or [^ belongs to the set. */
static const char *set_last(const struct pattern *m, const char *p) {
  p += p + 1 < m->end && p[1] == '^' ? 2 : 1;
  do {
    if (p >= m->end) {
      luaL_error(m->L, "malformed pattern (missing ']')");
    }
    p += *p == '%' ? 2 : 1;
  } while (p >= m->end || *p != ']');
  return p;
}

/* Returns the end of the character class at p. */
static const char *class_end(const struct pattern *m, const char *p) {
  if (*p == '%') {
    if (p + 1 >= m->end) {
      luaL_error(m->L, "malformed pattern (ends with '%%')");
    }
    return p + 2;
  }
  return *p == '[' ? set_last(m, p) + 1 : p + 1;
}

static bool in_set(unsigned char c, const char *p, const char *last) {
  bool in = true;
  if (*++p == '^') {
    in = false;
    p++;
  }
  for (; p < last; p++) {
    if (*p == '%') {
      if (in_class(c, (unsigned char)*++p)) {
        return in;
      }
    } else if (p + 2 < last && p[1] == '-') {
      if ((unsigned char)*p <= c && c <= (unsigned char)p[2]) {
        return in;
      }
      p += 2;
    } else if ((unsigned char)*p == c) {
      return in;
    }
  }
  return !in;
}

/* Whether the class from p to `behind` matches the character at s. */
static bool takes(struct pattern *m, const char *s, const char *p, const char *behind) {
  step(m, 1);
  if (s >= m->text_end) {
    return false;
  }
  unsigned char c = (unsigned char)*s;
  switch (*p) {
  case '.':
    return true;
  case '%':
    return in_class(c, (unsigned char)p[1]);
  case '[':
    return in_set(c, p, behind - 1);
  default:
    return (unsigned char)*p == c;
  }
}

/* ---- items ---- */

static const char *match(struct pattern *m, const char *s, const char *p);

static const char *as_many(struct pattern *m, const char *s, const char *p, const char *behind) {
  ptrdiff_t n = 0;
  while (takes(m, s + n, p, behind)) {
    n++;
  }
  for (; n >= 0; n--) {
    const char *to = match(m, s + n, behind + 1);
    if (to) {
      return to;
    }
  }
  return NULL;
}

static const char *as_few(struct pattern *m, const char *s, const char *p, const char *behind) {
  for (;; s++) {
    const char *to = match(m, s, behind + 1);
    if (to || !takes(m, s, p, behind)) {
      return to;
    }
  }
}

static const char *open_capture(struct pattern *m, const char *s, const char *p, ptrdiff_t what) {
  if (m->captured == PATTERN_CAPTURES) {
    luaL_error(m->L, "too many captures");
  }
  m->captures[m->captured].at = s;
  m->captures[m->captured++].len = what;
  const char *to = match(m, s, p);
  m->captured -= !to;
  return to;
}

static const char *close_capture(struct pattern *m, const char *s, const char *p) {
  int i = m->captured - 1;
  while (i >= 0 && m->captures[i].len != CAPTURE_OPEN) {
    i--;
  }
  if (i < 0) {
    luaL_error(m->L, "invalid pattern capture");
  }
  m->captures[i].len = s - m->captures[i].at;
  const char *to = match(m, s, p);
  if (!to) {
    m->captures[i].len = CAPTURE_OPEN;
  }
  return to;
}

/* p points past the b of %bxy. */
static const char *balanced(struct pattern *m, const char *s, const char *p) {
  if (p + 1 >= m->end) {
    luaL_error(m->L, "unbalanced pattern");
  }
  if (s >= m->text_end || *s != *p) {
    return NULL;
  }
  size_t open = 1;
  for (const char *at = s + 1; at < m->text_end; at++) {
    step(m, 1);
    if (*at == p[1]) {
      if (--open == 0) {
        return at + 1;
      }
    } else {
      open += *at == *p;
    }
  }
  return NULL;
}

/* p points to the set of %f[set]; whether s is at a frontier of it. */
static bool frontier(struct pattern *m, const char *s, const char *p, const char **behind) {
  if (p >= m->end || *p != '[') {
    luaL_error(m->L, "missing '[' after '%%f' in pattern");
  }
  *behind = class_end(m, p);
  unsigned char before = s == m->text ? 0 : (unsigned char)s[-1];
  unsigned char at = s >= m->text_end ? 0 : (unsigned char)*s;
  return !in_set(before, p, *behind - 1) && in_set(at, p, *behind - 1);
}

/* Matches the text of capture `digit` again. Returns the end of it, or NULL. */
static const char *again(struct pattern *m, const char *s, char digit) {
  int i = digit - '1';
  if (i < 0 || i >= m->captured || m->captures[i].len == CAPTURE_OPEN) {
    luaL_error(m->L, "invalid capture index");
  }
  size_t len = (size_t)m->captures[i].len; /* for a position capture: larger than any text */
  if ((size_t)(m->text_end - s) < len) {
    return NULL;
  }
  step(m, 1 + len / 64);
  return memcmp(m->captures[i].at, s, len) == 0 ? s + len : NULL;
}

/* Handles the special forms after %. Returns false when it is an ordinary class. *s NULL: no match; *p: the rest of
 * the pattern. */
static bool special(struct pattern *m, const char **s, const char **p) {
  char form = *p + 1 < m->end ? (*p)[1] : 0;
  if (form == 'b') {
    *s = balanced(m, *s, *p + 2);
    *p += 4;
  } else if (form == 'f') {
    const char *behind;
    *s = frontier(m, *s, *p + 2, &behind) ? *s : NULL;
    *p = behind;
  } else if (isdigit((unsigned char)form)) {
    *s = again(m, *s, form);
    *p += 2;
  } else {
    return false;
  }
  return true;
}

/* Matches a class with its repetition. True: the rest has to be matched, from *s and *p; false: *s is the result. */
static bool repeated(struct pattern *m, const char **s, const char **p) {
  const char *behind = class_end(m, *p);
  char how = behind < m->end ? *behind : 0;
  if (how == '*' || how == '-') {
    *s = how == '*' ? as_many(m, *s, *p, behind) : as_few(m, *s, *p, behind);
    return false;
  }
  bool one = takes(m, *s, *p, behind);
  if (how == '+') {
    *s = one ? as_many(m, *s + 1, *p, behind) : NULL;
    return false;
  }
  if (how == '?') {
    const char *to = one ? match(m, *s + 1, behind + 1) : NULL;
    *s = to ? to : *s;
    *p = behind + 1;
    return !to;
  }
  *s = one ? *s + 1 : NULL;
  *p = behind;
  return one;
}

static const char *rest(struct pattern *m, const char *s, const char *p) {
  while (s && p < m->end) {
    switch (*p) {
    case '(':
      return p + 1 < m->end && p[1] == ')' ? open_capture(m, s, p + 2, CAPTURE_POSITION)
                                           : open_capture(m, s, p + 1, CAPTURE_OPEN);
    case ')':
      return close_capture(m, s, p + 1);
    case '$':
      if (p + 1 == m->end) {
        return s == m->text_end ? s : NULL;
      }
      break;
    case '%':
      if (special(m, &s, &p)) {
        continue;
      }
      break;
    }
    if (!repeated(m, &s, &p)) {
      return s;
    }
  }
  return s;
}

static const char *match(struct pattern *m, const char *s, const char *p) {
  step(m, 1);
  if (++m->depth > PATTERN_DEPTH) {
    luaL_error(m->L, "pattern too complex");
  }
  s = rest(m, s, p);
  m->depth--;
  return s;
}

const char *pattern_at(struct pattern *m, const char *at, const char *p) {
  m->captured = 0;
  return match(m, at, p);
}

/* ---- captures ---- */

void pattern_push(struct pattern *m, int i, const char *from, const char *to) {
  if (i >= m->captured) {
    if (i > 0) {
      luaL_error(m->L, "invalid capture index");
    }
    lua_pushlstring(m->L, from, (size_t)(to - from));
  } else if (m->captures[i].len == CAPTURE_POSITION) {
    lua_pushinteger(m->L, m->captures[i].at - m->text + 1);
  } else if (m->captures[i].len == CAPTURE_OPEN) {
    luaL_error(m->L, "unfinished capture");
  } else {
    lua_pushlstring(m->L, m->captures[i].at, (size_t)m->captures[i].len);
  }
}

int pattern_push_all(struct pattern *m, const char *from, const char *to) {
  int count = m->captured == 0 && from ? 1 : m->captured;
  luaL_checkstack(m->L, count, "too many captures");
  for (int i = 0; i < count; i++) {
    pattern_push(m, i, from, to);
  }
  return count;
}
