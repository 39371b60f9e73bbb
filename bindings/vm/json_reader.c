/* In: the text of a message, and what each kind of message may hold. Out: the declared fields, clean, without a table
 * of all of it in between; or nothing, when it is in any way out of the ordinary.
 * Why: nearly all messages are one flat object of a few short texts. Whatever else stands in one (a nested value, a
 * text to be trimmed, too many fields, a fault) is left to json_read and scripts/lib/check.lua, which judge all of it
 * and say what is wrong. So this knows no errors, and there is nothing in which it could judge otherwise. */
#include "json.h"

#include "guard.h"
#include "json_plain.h"
#include "utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MEMBERS 16    /* of a message; one with more goes the long way */
#define FIELDS 20     /* of a kind of message: likewise */
#define NAME_BYTES 32 /* bytes of a name; likewise */
#define ESCAPED 1024  /* bytes of a text with escapes; likewise */
#define KINDS 1000

enum sort { OTHER, STRING, TOKEN }; /* OTHER: lib/check looks at the value */

struct name {
  uint8_t len;
  char bytes[NAME_BYTES];
};

struct declared {
  struct name name;
  uint8_t sort;
  bool optional;
  double low, high; /* bytes */
};

struct kind {
  struct name name;
  bool quick;
  uint8_t count;
  uint8_t columns[JSON_COLUMNS]; /* the fields that have a result of their own; FIELDS: it has no such field */
  struct declared fields[FIELDS];
};

struct json_reader {
  size_t count;
  struct kind kinds[];
};

/* ---- what is declared ---- */

static bool take_name(lua_State *L, int index, struct name *out) {
  size_t len = 0;
  const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &len) : NULL;
  if (!text || len > NAME_BYTES) {
    return false;
  }
  out->len = (uint8_t)len;
  memcpy(out->bytes, text, len);
  return true;
}

static bool same(const struct name *a, const char *bytes, size_t len) {
  return a->len == len && memcmp(a->bytes, bytes, len) == 0;
}

/* The field at the top, { name, optional, plain, low, high }. */
static bool take_field(lua_State *L, struct declared *f) {
  int at = lua_gettop(L);
  if (!lua_istable(L, at)) {
    return false;
  }
  for (const char *const *key = (const char *const[]){"name", "optional", "plain", "low", "high", NULL}; *key; key++) {
    lua_pushstring(L, *key);
    lua_rawget(L, at);
  }
  const char *plain = lua_type(L, at + 3) == LUA_TSTRING ? lua_tostring(L, at + 3) : "";
  f->sort = strcmp(plain, "string") == 0 ? STRING : strcmp(plain, "token") == 0 ? TOKEN : OTHER;
  f->optional = lua_toboolean(L, at + 2);
  f->low = lua_tonumber(L, at + 4);
  f->high = lua_tonumber(L, at + 5);
  bool well = take_name(L, at + 1, &f->name);
  lua_settop(L, at);
  return well;
}

/* The kind whose name and fields are at the top. One that does not fit in here goes the long way. */
static void take_kind(lua_State *L, struct kind *k, const struct name columns[JSON_COLUMNS]) {
  int fields = lua_gettop(L);
  size_t count = lua_istable(L, fields) ? lua_objlen(L, fields) : FIELDS;
  k->quick = take_name(L, fields - 1, &k->name) && count < FIELDS;
  k->count = 0;
  for (size_t i = 0; i < JSON_COLUMNS; i++) {
    k->columns[i] = FIELDS;
  }
  for (size_t i = 0; k->quick && i < count; i++) {
    lua_rawgeti(L, fields, (int)i + 1);
    k->quick = take_field(L, &k->fields[i]);
    lua_pop(L, 1);
    for (size_t c = 0; k->quick && c < JSON_COLUMNS; c++) {
      const struct name *name = &k->fields[i].name;
      if (k->fields[i].sort != OTHER && same(&columns[c], name->bytes, name->len)) {
        k->columns[c] = (uint8_t)i;
      }
    }
    k->count++;
  }
}

void json_reader(lua_State *L) {
  struct name columns[JSON_COLUMNS] = {{0}};
  size_t count = 0;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  for (int i = 0; i < JSON_COLUMNS; i++) {
    lua_rawgeti(L, 1, i + 1);
    luaL_argcheck(L, take_name(L, -1, &columns[i]), 1, "three names are expected");
    lua_pop(L, 1);
  }
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    luaL_argcheck(L, ++count <= KINDS, 2, "too many kinds");
  }
  struct json_reader *r = lua_newuserdata(L, sizeof *r + count * sizeof *r->kinds);
  memset(r, 0, sizeof *r + count * sizeof *r->kinds);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    take_kind(L, &r->kinds[r->count++], columns);
  }
}

/* ---- what was said ---- */

struct member {
  const char *name, *value; /* value: of a text, behind its quote */
  size_t name_len, len;
  char first; /* of the value: " t f n, or 0 of a number */
  bool escaped;
  double number;
};

struct scan {
  const char *at, *end;
  size_t count;
  struct member members[MEMBERS];
};

static char peek(struct scan *s) {
  while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) {
    s->at++;
  }
  return s->at < s->end ? *s->at : 0;
}

/* Behind the quote; up to behind the other. */
static bool scan_text(struct scan *s, const char **from, size_t *len, bool *escaped) {
  const char *p = *from = s->at;
  *escaped = false;
  while ((p += json_plain(p, (size_t)(s->end - p))) < s->end && *p == '\\') {
    *escaped = true;
    p += s->end - p > 1 ? 2 : 1;
  }
  if (p >= s->end || *p != '"') {
    return false;
  }
  *len = (size_t)(p - *from);
  s->at = p + 1;
  return true;
}

/* A whole number of at most 15 digits. */
static bool scan_number(struct scan *s, double *out) {
  bool negative = *s->at == '-';
  const char *from = s->at += negative;
  double value = 0;
  while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && s->at - from < 16) {
    value = value * 10 + (*s->at++ - '0');
  }
  size_t n = (size_t)(s->at - from);
  *out = negative ? -value : value;
  return n > 0 && n <= 15 && (n == 1 || *from != '0');
}

static bool scan_word(struct scan *s, const char *word, size_t len) {
  if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0) {
    return false;
  }
  s->at += len;
  return true;
}

static bool scan_value(struct scan *s, struct member *m) {
  m->first = peek(s);
  switch (m->first) {
  case '"':
    s->at++;
    return scan_text(s, &m->value, &m->len, &m->escaped);
  case 't':
    return scan_word(s, "true", 4);
  case 'f':
    return scan_word(s, "false", 5);
  case 'n':
    return scan_word(s, "null", 4);
  case '{':
  case '[':
    return false;
  default:
    m->first = 0;
    return s->at < s->end && scan_number(s, &m->number);
  }
}

static bool scan_object(struct scan *s) {
  if (peek(s) != '{') {
    return false;
  }
  for (char c = ','; c == ',';) {
    struct member *m = &s->members[s->count];
    bool escaped;
    s->at++;
    if (s->count == MEMBERS || peek(s) != '"') {
      return false;
    }
    s->at++;
    if (!scan_text(s, &m->name, &m->name_len, &escaped) || escaped || peek(s) != ':') {
      return false;
    }
    s->at++;
    if (!scan_value(s, m)) {
      return false;
    }
    s->count++;
    c = peek(s);
    if (c != ',' && c != '}') {
      return false;
    }
  }
  s->at++;
  return !peek(s) && s->at == s->end;
}

/* *out: the member of that name; NULL: there is none, or it is null. false: there are two. */
static bool find(const struct scan *s, const struct name *name, const struct member **out) {
  size_t found = 0;
  *out = NULL;
  for (size_t i = 0; i < s->count; i++) {
    const struct member *m = &s->members[i];
    if (same(name, m->name, m->name_len)) {
      *out = m->first == 'n' ? NULL : m;
      found++;
    }
  }
  return found < 2;
}

/* ---- one field ---- */

/* Its text, unescaped into room when it has to be. NULL: it is none, or a faulty or a long one. */
static const char *text_of(const struct member *m, char room[ESCAPED], size_t *len) {
  *len = m->len;
  if (m->first != '"') {
    return NULL;
  }
  if (!m->escaped) {
    return m->value;
  }
  *len = m->len <= ESCAPED ? json_unescape(m->value, m->len, room) : SIZE_MAX;
  return *len == SIZE_MAX ? NULL : room;
}

/* As lib/check has it: a text is taken when there is nothing to clean. */
static bool fits(const struct declared *f, const char *text, size_t len) {
  if ((double)len < f->low || (double)len > f->high) {
    return false;
  }
  if (f->sort == TOKEN) {
    for (size_t i = 0; i < len; i++) {
      if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
        return false;
      }
    }
    return true;
  }
  bool blank = len && ((unsigned char)text[0] <= ' ' || (unsigned char)text[len - 1] <= ' ');
  return !blank && !memchr(text, 0, len);
}

/* Pushes the text, or nil when it is not there. */
static bool push_column(lua_State *L, const struct scan *s, const struct declared *f) {
  char room[ESCAPED];
  const struct member *m;
  size_t len = 0;
  if (!find(s, &f->name, &m)) {
    return false;
  }
  const char *text = m ? text_of(m, room, &len) : NULL;
  bool there = text && fits(f, text, len) && (len || f->sort == TOKEN);
  if (there) {
    lua_pushlstring(L, text, len);
    return true;
  }
  lua_pushnil(L);
  return f->optional && (!m || (text && !len && fits(f, text, len)));
}

/* Puts the value of a member into the table at the top, which is made when there is none. */
static bool put_other(lua_State *L, const struct member *m) {
  char room[ESCAPED];
  size_t len;
  const char *text = m->first == '"' ? text_of(m, room, &len) : NULL;
  if (m->first == '"' && !text) {
    return false;
  }
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  lua_pushlstring(L, m->name, m->name_len);
  if (text) {
    lua_pushlstring(L, text, len);
  } else if (m->first) {
    lua_pushboolean(L, m->first == 't');
  } else {
    lua_pushnumber(L, m->number);
  }
  lua_rawset(L, -3);
  return true;
}

/* The rest of what is declared; the table of it, or nil, is at the top. */
static bool put_others(lua_State *L, const struct scan *s, const struct kind *k) {
  for (size_t i = 0; i < k->count; i++) {
    const struct declared *f = &k->fields[i];
    const struct member *m;
    bool column = false;
    for (size_t c = 0; c < JSON_COLUMNS; c++) {
      column |= k->columns[c] == i;
    }
    if (column) {
      continue;
    }
    if (!find(s, &f->name, &m) || (!m && !f->optional) || (m && !put_other(L, m))) {
      return false;
    }
  }
  return true;
}

/* Also what nobody has declared has to be JSON. */
static bool escapes_well(const struct scan *s) {
  char room[ESCAPED];
  size_t len;
  for (size_t i = 0; i < s->count; i++) {
    if (s->members[i].first == '"' && s->members[i].escaped && !text_of(&s->members[i], room, &len)) {
      return false;
    }
  }
  return true;
}

/* ---- a message ---- */

static const struct kind *kind_of(const struct json_reader *r, const struct scan *s) {
  static const struct name type = {4, "type"};
  const struct member *m;
  if (!find(s, &type, &m) || !m || m->first != '"' || m->escaped) {
    return NULL;
  }
  for (size_t i = 0; i < r->count; i++) {
    if (same(&r->kinds[i].name, m->value, m->len)) {
      return r->kinds[i].quick ? &r->kinds[i] : NULL;
    }
  }
  return NULL;
}

int json_take(lua_State *L, const struct json_reader *r) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  struct scan s;
  s.at = text;
  s.end = text + len;
  s.count = 0;
  guard_poll(L);
  if (len > JSON_TEXT || !scan_object(&s) || utf8_span(text, len) < len || !escapes_well(&s)) {
    return 0;
  }
  const struct kind *k = kind_of(r, &s);
  if (!k) {
    return 0;
  }
  lua_pushlstring(L, k->name.bytes, k->name.len);
  for (size_t c = 0; c < JSON_COLUMNS; c++) {
    if (k->columns[c] == FIELDS) {
      lua_pushnil(L);
    } else if (!push_column(L, &s, &k->fields[k->columns[c]])) {
      return 0;
    }
  }
  lua_pushnil(L);
  return put_others(L, &s, k) ? JSON_COLUMNS + 2 : 0;
}
