/* In: nothing. Out: what config_load.c and config_print.c need of config.c. Why: whoever reads a source of settings
 * says where each value came from, and whoever prints the table sees its rows; nobody else may. */
#pragma once
#ifndef ROOM_CONFIG
#error "config_impl.h is private to core/config"
#endif

#include "config.h"

struct setting_row {
  const char *name;
  enum setting_type type;
  const char *fallback;
  int64_t min, max;
  bool secret;
  const char *help;
};

const struct setting_row *setting_row(enum setting s);
/* "1 to 255 bytes", "250ms to 1h". Means nothing for a boolean. */
void setting_bounds(enum setting s, char out[3 * VALUE_TEXT_MAX]);
/* Another name of the setting, NULL: it has none. */
const char *setting_alias(enum setting s);

/* Both put one line into why[] when they refuse. config_put is config_set that also says where the value came
 * from: a static string, NULL keeps the one there is. */
int config_put(struct config *c, enum setting s, const char *text, const char *source, char why[512]) NODISCARD;
/* Rules about several settings; they hold only when every source has been read. */
int config_check(const struct config *c, char why[512]) NODISCARD;
