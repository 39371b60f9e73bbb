/* In: the text of one setting. Out: its number, or no; and numbers as the text one would write.
 * Why: the reader, the error that names the bounds and docs/settings.md must agree on how a duration or a size is
 * spelled. Pure functions of their arguments, any thread. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stdint.h>

enum setting_type { SETTING_STRING, SETTING_INT, SETTING_BOOL, SETTING_DURATION, SETTING_SIZE };

#define VALUE_TEXT_MAX 32 /* bytes of any number as text, its NUL included */

/* Whether text is a value of that type; INT, BOOL (0/1), DURATION (ms) and SIZE (bytes) put it into *out, STRING its
 * length. Numbers are not negative; what does not fit 63 bits is not a number. */
bool value_parse(enum setting_type type, const char *text, int64_t *out) NODISCARD;
void value_format(enum setting_type type, int64_t number, char out[VALUE_TEXT_MAX]);
/* "number", "duration", ... */
const char *value_type_name(enum setting_type type);
/* The marker of a value nobody filled in yet (REPLACE_WITH, ...) that text contains, in any case; else NULL. */
const char *value_placeholder(const char *text);
