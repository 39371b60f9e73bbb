/* In: nothing. Out: what config_load.c needs of config.c. Why: whoever reads a source of settings says where each value
 * came from; nobody else may. Both functions put one line into why[] when they refuse. */
#pragma once
#ifndef ROOM_CONFIG
#error "config_impl.h is private to core/config"
#endif

#include "config.h"

/* config_set that also says where the value came from: a static string, NULL keeps the one there is. */
int config_put(struct config *c, enum setting s, const char *text, const char *source, char why[512]) NODISCARD;
/* Rules about several settings; they hold only when every source has been read. */
int config_check(const struct config *c, char why[512]) NODISCARD;
