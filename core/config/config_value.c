/* In: the text of one setting, "1h30m", "64KiB", "yes". Out: milliseconds, bytes, truth; and back to text.
 * Why: one table of units serves reading and writing, so an error message names a bound in words the reader accepts. */
#include "config_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
  const char *name;
  int64_t size;
};

/* Largest first. Where two names are the same size the first is the one we write. */
static const struct unit counts[] = {{"", 1}, {NULL, 0}};
static const struct unit durations[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit sizes[] = {{"GiB", 1 << 30}, {"GB", 1 << 30}, {"MiB", 1 << 20}, {"MB", 1 << 20},
                                    {"KiB", 1 << 10}, {"KB", 1 << 10}, {"", 1},          {NULL, 0}};

static const struct unit *units_of(enum setting_type type) {
  return type == SETTING_DURATION ? durations : type == SETTING_SIZE ? sizes : counts;
}

static const struct unit *unit_find(const struct unit *u, const char *name, size_t len) {
  while (u->name && (strlen(u->name) != len || memcmp(u->name, name, len) != 0))
    u++;
  return u->name ? u : NULL;
}

/* One term such as 64KiB; a duration may have several, each of a smaller unit than the one before it. */
static bool quantity_parse(enum setting_type type, const char *text, int64_t *out) {
  const char *const digits = "0123456789";
  int64_t last_size = INT64_MAX;
  *out = 0;
  if (strcmp(text, "0") == 0)
    return true;
  do {
    size_t digit_count = strspn(text, digits);
    int64_t number = 0;
    for (size_t i = 0; i < digit_count; i++)
      if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text[i] - '0', &number))
        return false;
    text += digit_count;

    size_t name_len = strcspn(text, digits);
    const struct unit *unit = unit_find(units_of(type), text, name_len);
    if (digit_count == 0 || !unit || unit->size >= last_size)
      return false;
    if (__builtin_mul_overflow(number, unit->size, &number) || __builtin_add_overflow(*out, number, out))
      return false;
    last_size = unit->size;
    text += name_len;
  } while (*text && type == SETTING_DURATION);
  return *text == '\0';
}

static bool bool_parse(const char *text, int64_t *out) {
  static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(text, words[i]) == 0) {
      *out = i % 2;
      return true;
    }
  return false;
}

bool value_parse(enum setting_type type, const char *text, int64_t *out) {
  if (type == SETTING_BOOL)
    return bool_parse(text, out);
  if (type != SETTING_STRING)
    return quantity_parse(type, text, out);
  *out = (int64_t)strlen(text);
  return true;
}

void value_format(enum setting_type type, int64_t number, char out[VALUE_TEXT_MAX]) {
  size_t used = 0;
  out[0] = '\0';
  for (const struct unit *u = units_of(type); u->name; u++) {
    if (number < u->size || (type != SETTING_DURATION && number % u->size != 0))
      continue;
    used += (size_t)snprintf(out + used, VALUE_TEXT_MAX - used, "%" PRId64 "%s", number / u->size, u->name);
    number %= u->size;
  }
  if (used == 0)
    snprintf(out, VALUE_TEXT_MAX, "0");
}

const char *value_type_name(enum setting_type type) {
  static const char *const names[] = {
    [SETTING_STRING] = "text",       [SETTING_INT] = "number", [SETTING_BOOL] = "boolean",
    [SETTING_DURATION] = "duration", [SETTING_SIZE] = "size",
  };
  return names[type];
}

const char *value_placeholder(const char *text) {
  static const char *const markers[] = {"REPLACE_WITH", "PLACEHOLDER", "CHANGE-ME", "CHANGE_ME", "YOUR-"};
  for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
    if (strcasestr(text, markers[i]))
      return markers[i];
  return NULL;
}
