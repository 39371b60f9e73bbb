/* In: a value of Lua. Out: its JSON text, or why there is none and where. Why: see json.h. Nothing in here raises while
 * memory of C is held: tables are read without their metatables, and the text is pushed by whoever can (lua_json.c). */
#include "json.h"

#include "guard.h"
#include "json_plain.h"
#include "utf8.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL 4096          /* bytes; most texts are shorter and need no memory of their own */
#define KEY_SHOWN 64        /* bytes of a key in the place of a fault */
#define EXACT 0x1p53        /* whole numbers up to this one are exact */
#define FAULT_TEXT 320      /* bytes */
#define LOOK_UP_BYTES 65536 /* of a text: then it is looked whether the slice has to end */

struct json_step {
  const char *key; /* NULL: an index */
  size_t len;
  int index;
};

struct writer {
  lua_State *L;
  char *bytes; /* small, or malloc'ed */
  size_t len, room;
  size_t values, text;
  int depth;
  const void *array, *raw; /* the marks; looked up at the first table */
  const char *why;         /* of a fault */
  bool everywhere;         /* it is one of the whole, not of a place */
  struct json_step path[JSON_DEPTH];
  char own[80]; /* for a why that has to be put together */
  char small[SMALL];
};

static bool fault(struct writer *w, const char *why) {
  w->why = why;
  return false;
}

static bool too_much(struct writer *w, const char *why) {
  w->everywhere = true;
  return fault(w, why);
}

static bool reserve(struct writer *w, size_t more) {
  if (w->room - w->len >= more) {
    return true;
  }
  size_t room = w->room * 2 > w->len + more ? w->room * 2 : w->len + more;
  char *grown = realloc(w->bytes == w->small ? NULL : w->bytes, room);
  if (!grown) {
    return too_much(w, "not enough memory");
  }
  if (w->bytes == w->small) {
    memcpy(grown, w->small, w->len);
  }
  w->bytes = grown;
  w->room = room;
  return true;
}

static bool put(struct writer *w, const char *bytes, size_t len) {
  if (!reserve(w, len)) {
    return false;
  }
  memcpy(w->bytes + w->len, bytes, len);
  w->len += len;
  return true;
}

static bool put_escape(struct writer *w, unsigned char c) {
  static const char named[128] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\', ['/'] = '/'};
  static const char hex[] = "0123456789abcdef";
  char text[] = {'\\', named[c] ? named[c] : 'u', '0', '0', hex[c >> 4], hex[c & 15]};
  return put(w, text, named[c] ? 2 : sizeof text);
}

static bool put_string(struct writer *w, const char *text, size_t len) {
  w->text += len;
  if (w->text > JSON_BYTES) {
    return too_much(w, "more than 1 MiB of text");
  }
  size_t valid = utf8_span(text, len);
  if (valid < len) {
    snprintf(w->own, sizeof w->own, "not UTF-8 at byte %zu", valid + 1);
    return fault(w, w->own);
  }
  if (!reserve(w, len + 2)) {
    return false;
  }
  w->bytes[w->len++] = '"';
  for (size_t at = 0, looked = 0; at < len;) {
    size_t piece = len - at < LOOK_UP_BYTES ? len - at : LOOK_UP_BYTES;
    size_t plain = json_unescaped(text + at, piece);
    if (!put(w, text + at, plain) || (plain < piece && !put_escape(w, (unsigned char)text[at + plain]))) {
      return false;
    }
    at += plain + (plain < piece);
    if (at - looked >= LOOK_UP_BYTES && guard_ending()) {
      return too_much(w, "ended");
    }
    looked = at - looked >= LOOK_UP_BYTES ? at : looked;
  }
  return put(w, "\"", 1);
}

static bool put_number(struct writer *w, double n) {
  char text[32];
  int len = 0;
  if (!isfinite(n)) {
    return fault(w, isnan(n) ? "NaN has no place in JSON" : "an infinity has no place in JSON");
  }
  if (fabs(n) <= INT32_MAX && n == (double)(int32_t)n && (n != 0 || !signbit(n))) {
    char *end = text + sizeof text, *p = end;
    uint32_t rest = n < 0 ? 0 - (uint32_t)(int32_t)n : (uint32_t)n;
    do {
      *--p = (char)('0' + rest % 10);
    } while (rest /= 10);
    if (n < 0) {
      *--p = '-';
    }
    return put(w, p, (size_t)(end - p));
  }
  if (fabs(n) <= EXACT && n == floor(n)) {
    len = snprintf(text, sizeof text, "%.0f", n);
  } else {
    for (int digits = 15; digits <= 17; digits++) { /* as few as bring the same number back */
      len = snprintf(text, sizeof text, "%.*g", digits, n);
      if (strtod(text, NULL) == n) {
        break;
      }
    }
  }
  return put(w, text, (size_t)len);
}

static bool put_value(struct writer *w);

/* The value at the top belongs to the last step of the path. Pops it. */
static bool put_part(struct writer *w, const char *key, size_t len, int index) {
  w->path[w->depth - 1] = (struct json_step){key, len, index};
  bool well = put_value(w);
  lua_pop(w->L, 1);
  return well;
}

/* The keys of the table at the top are 1 to n, and nothing else. */
static bool is_sequence(struct writer *w, size_t n) {
  lua_State *L = w->L;
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++) {
    double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
    if (lua_type(L, -2) != LUA_TNUMBER) {
      lua_pop(L, 2);
      return fault(w, "a table with both a list and named fields has no place in JSON");
    }
    if (!(key >= 1 && key <= (double)n) || key != floor(key) || count > JSON_VALUES) {
      lua_pop(L, 2);
      return count > JSON_VALUES ? too_much(w, "more than 50000 values")
                                 : fault(w, "a list with holes has no place in JSON (json.null fills one)");
    }
  }
  return count == n || fault(w, "a list with holes has no place in JSON (json.null fills one)");
}

static bool put_array(struct writer *w) {
  size_t n = lua_objlen(w->L, -1);
  if (!is_sequence(w, n) || !put(w, "[", 1)) {
    return false;
  }
  for (size_t i = 1; i <= n; i++) {
    if (i > 1 && !put(w, ",", 1)) {
      return false;
    }
    lua_rawgeti(w->L, -1, (int)i);
    if (!put_part(w, NULL, 0, (int)i)) {
      return false;
    }
  }
  return put(w, "]", 1);
}

static bool put_object(struct writer *w) {
  lua_State *L = w->L;
  if (!put(w, "{", 1)) {
    return false;
  }
  bool first = true;
  for (lua_pushnil(L); lua_next(L, -2);) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      snprintf(w->own, sizeof w->own, "the keys of a JSON object are strings, not %s", luaL_typename(L, -2));
      w->path[w->depth - 1].index = -1;
      lua_pop(L, 2);
      return fault(w, lua_objlen(L, -1) ? "a table with both a list and named fields has no place in JSON" : w->own);
    }
    size_t len;
    const char *key = lua_tolstring(L, -2, &len);
    if (!lua_touserdata(L, -1) && lua_islightuserdata(L, -1)) { /* null is absence */
      lua_pop(L, 1);
      continue;
    }
    if ((!first && !put(w, ",", 1)) || !put_string(w, key, len) || !put(w, ":", 1)) {
      lua_pop(L, 2);
      return false;
    }
    if (!put_part(w, key, len, 0)) {
      lua_pop(L, 1);
      return false;
    }
    first = false;
  }
  return put(w, "}", 1);
}

/* What the first key is decides; the rest must agree. */
static bool is_list(struct writer *w) {
  lua_State *L = w->L;
  lua_pushnil(L);
  if (!lua_next(L, -2)) {
    return false;
  }
  bool list = lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) == floor(lua_tonumber(L, -2));
  lua_pop(L, 2);
  return list;
}

static bool put_table(struct writer *w) {
  lua_State *L = w->L;
  const void *mark = NULL;
  if (!w->raw) {
    w->array = json_mark_of(L, JSON_MARK_ARRAY);
    w->raw = json_mark_of(L, JSON_MARK_RAW);
  }
  if (lua_getmetatable(L, -1)) {
    mark = lua_topointer(L, -1);
    lua_pop(L, 1);
  }
  if (mark == w->raw) {
    size_t len;
    lua_rawgeti(L, -1, 1);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    bool well = text ? put(w, text, len) : fault(w, "no text");
    lua_pop(L, 1);
    return well;
  }
  if (w->depth == JSON_DEPTH) {
    return too_much(w, "deeper than 32");
  }
  w->path[w->depth++] = (struct json_step){NULL, 0, -1};
  if (!(mark == w->array || is_list(w) ? put_array(w) : put_object(w))) {
    return false;
  }
  w->depth--;
  return true;
}

/* The value at the top. After a fault the path says where it is. */
static bool put_value(struct writer *w) {
  lua_State *L = w->L;
  size_t len;
  const char *text;
  if (++w->values > JSON_VALUES) {
    return too_much(w, "more than 50000 values");
  }
  if (guard_ending()) {
    return too_much(w, "ended");
  }
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &len);
    return put_string(w, text, len);
  case LUA_TNUMBER:
    return put_number(w, lua_tonumber(L, -1));
  case LUA_TBOOLEAN:
    return lua_toboolean(L, -1) ? put(w, "true", 4) : put(w, "false", 5);
  case LUA_TTABLE:
    return put_table(w);
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(L, -1)) {
      return put(w, "null", 4);
    }
    break;
  default:
    break;
  }
  snprintf(w->own, sizeof w->own, "a %s has no place in JSON", luaL_typename(L, -1));
  return fault(w, w->own);
}

static bool is_name(const struct json_step *s) {
  for (size_t i = 0; i < s->len; i++) {
    char c = s->key[i];
    if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i && c >= '0' && c <= '9'))) {
      return false;
    }
  }
  return s->len > 0;
}

/* Pushes `at .items[3].name: why`. The keys are still in their tables. */
static void push_fault(struct writer *w) {
  luaL_Buffer b;
  luaL_buffinit(w->L, &b);
  bool placed = false;
  for (int i = 0; i < w->depth && !w->everywhere; i++) {
    const struct json_step *s = &w->path[i];
    char text[KEY_SHOWN + 16];
    if (!s->key && s->index < 0) {
      continue;
    }
    if (!s->key) {
      snprintf(text, sizeof text, "[%d]", s->index);
    } else if (s->len > KEY_SHOWN) {
      snprintf(text, sizeof text, "[a key of %zu bytes]", s->len);
    } else {
      snprintf(text, sizeof text, is_name(s) ? ".%.*s" : "[\"%.*s\"]", (int)s->len, s->key);
    }
    luaL_addstring(&b, placed ? "" : "at ");
    luaL_addstring(&b, text);
    placed = true;
  }
  luaL_addstring(&b, placed ? ": " : "");
  luaL_addstring(&b, w->why);
  luaL_pushresult(&b);
}

static void writer_open(struct writer *w, lua_State *L) {
  w->L = L;
  w->bytes = w->small;
  w->room = SMALL;
  w->len = w->values = w->text = 0;
  w->depth = 0;
  w->array = w->raw = NULL;
  w->why = NULL;
  w->everywhere = false;
}

/* Pushes the text, or nil and why there is none. */
static int writer_close(struct writer *w, bool well) {
  lua_State *L = w->L;
  if (well) {
    lua_pushlstring(L, w->bytes, w->len);
  }
  if (w->bytes != w->small) {
    free(w->bytes);
  }
  guard_poll(L);
  if (well) {
    return 1;
  }
  lua_pushnil(L);
  push_fault(w);
  return 2;
}

int json_write(lua_State *L) {
  struct writer w;
  writer_open(&w, L);
  return writer_close(&w, put_value(&w));
}

/* ---- documents of one kind ---- */

struct json_template {
  size_t count;                       /* of the names */
  size_t ends[JSON_TEMPLATE_MAX + 2]; /* of head, tail, and `,"name":` for each name, in bytes */
  char bytes[];
};

static bool put_piece(struct writer *w, const struct json_template *t, size_t i) {
  size_t from = i ? t->ends[i - 1] : 0;
  return put(w, t->bytes + from, t->ends[i] - from);
}

void json_template(lua_State *L) {
  struct writer w;
  int count = lua_gettop(L) - 2;
  size_t len, ends[JSON_TEMPLATE_MAX + 2];
  luaL_argcheck(L, count >= 0 && count <= JSON_TEMPLATE_MAX, 3, "head, tail and at most 32 names are expected");
  for (int i = 1; i <= count + 2; i++) {
    luaL_checktype(L, i, LUA_TSTRING);
  }
  writer_open(&w, L);
  bool well = true;
  for (int i = 1; well && i <= count + 2; i++) {
    const char *text = lua_tolstring(L, i, &len);
    well = i <= 2 ? put(&w, text, len) : put(&w, ",", 1) && put_string(&w, text, len) && put(&w, ":", 1);
    well = well && (w.len <= SMALL || too_much(&w, "too long"));
    ends[i - 1] = w.len;
  }
  struct json_template *t = well && w.bytes == w.small ? lua_newuserdata(L, sizeof *t + w.len) : NULL;
  if (!t) {
    w.why = w.why ? w.why : "too long";
    lua_pop(L, writer_close(&w, false));
    luaL_error(L, "the constant parts of a document: %s", w.why);
    return;
  }
  t->count = (size_t)count;
  memcpy(t->ends, ends, sizeof ends);
  memcpy(t->bytes, w.small, w.len);
}

static bool put_fields(struct writer *w, const struct json_template *t, int top) {
  for (int i = 0; i < (int)t->count && 3 + i <= top; i++) {
    if (lua_isnil(w->L, 3 + i)) {
      continue;
    }
    w->values = w->text = 0; /* what is bounded is each value */
    lua_pushvalue(w->L, 3 + i);
    if (!put_piece(w, t, (size_t)i + 2) || !put_value(w)) {
      return false;
    }
    lua_settop(w->L, top);
  }
  return true;
}

int json_fill(lua_State *L, const struct json_template *t) {
  struct writer w;
  size_t first_len, second_len;
  const char *first = luaL_checklstring(L, 1, &first_len), *second = luaL_checklstring(L, 2, &second_len);
  writer_open(&w, L);
  bool well = put_piece(&w, t, 0) && put(&w, first, first_len) && put(&w, "\"", 1) &&
              put_fields(&w, t, lua_gettop(L)) && put_piece(&w, t, 1) && put(&w, second, second_len) &&
              put(&w, "\"}", 2);
  return writer_close(&w, well);
}
