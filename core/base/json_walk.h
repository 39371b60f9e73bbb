/* In: the text of a JSON object. Out: where its members stand, byte for byte; what a string in it says.
 * Why: what a client sent as metadata is kept as it was sent. A tree (jansson) would lose what it cannot hold: halves
 * of surrogate pairs, numbers of many digits. This looks at one level, allocates nothing, and does not judge what lies
 * inside a value. Any thread. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the text it was found in. */
struct json_span {
  const char *text;
  size_t len;
};
struct json_walk {
  const char *at, *end;
  bool first;
};

/* false: it is no object. */
bool json_walk_open(struct json_walk *w, struct json_span object) NODISCARD;
/* The next member: key is a string with its quotes, value any JSON. false: there is none, or the text is broken there.
 */
bool json_walk_next(struct json_walk *w, struct json_span *key, struct json_span *value) NODISCARD;
/* After the last member: whether the object ends there, and the text with it. */
bool json_walk_ended(struct json_walk *w) NODISCARD;
/* The value of the last member of this name, which needs no escapes; false: there is none. */
bool json_walk_find(struct json_span object, const char *name, struct json_span *value) NODISCARD;
/* What a string with its quotes says, into out[] of at least string.len bytes. 0; E_INVALID: it is no string; E_UTF8:
 * nobody can say it in UTF-8 (half of a surrogate pair). */
int json_walk_text(struct json_span string, char *out, size_t *len) NODISCARD;
