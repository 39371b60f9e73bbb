/* In: the settings of rates; what a user or an address wants to do. Out: yes, or no and for how long.
 * Why: see limiters.h. */
#include "limiters.h"

#include "address.h"
#include "err.h"
#include "metrics.h"
#include "ratelimit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS 60000

enum limiter {
#define LIMITER_ENUM(id, name, label, setting, addresses) LIMITER_##id,
  LIMITERS(LIMITER_ENUM)
#undef LIMITER_ENUM
    LIMITER_COUNT
};

static const struct limiter_row {
  const char *name, *labels;
  enum setting setting;
  bool addresses;
} rows[] = {
#define LIMITER_ROW(id, name, label, setting, addresses) {name, "limiter=\"" label "\"", setting, addresses},
  LIMITERS(LIMITER_ROW)
#undef LIMITER_ROW
};

#define LIMITER_NAME(id, name, label, setting, addresses) ", " name
static const char names[] = LIMITERS_OF_ROUTES(LIMITER_NAME);
const char *const limiters_names = names + 2;

struct limiters {
  struct networks *trusted; /* many people stand behind these addresses */
  struct ratelimit *all[LIMITER_COUNT];
};

struct limiters *limiters_new(const struct config *c) {
  struct limiters *l = calloc(1, sizeof *l);
  size_t keys = (size_t)config_int(c, SETTING_RATE_LIMIT_KEYS);
  char bad[64]; /* the gate has told the operator */
  if (l && networks_new(config_string(c, SETTING_TRUSTED_PROXIES), &l->trusted, bad)) {
    free(l);
    return NULL;
  }
  for (int i = 0; l && i < LIMITER_COUNT; i++) {
    uint64_t window = i == LIMITER_MESSAGES ? (uint64_t)config_int(c, SETTING_RATE_WINDOW) : MINUTE_MS;
    l->all[i] = ratelimit_new((uint32_t)config_int(c, rows[i].setting), window, keys);
    if (!l->all[i]) {
      limiters_free(l);
      l = NULL;
    }
  }
  return l;
}

void limiters_free(struct limiters *l) {
  for (int i = 0; l && i < LIMITER_COUNT; i++) {
    ratelimit_free(l->all[i]);
  }
  if (l) {
    networks_free(l->trusted);
  }
  free(l);
}

int limiters_take(struct limiters *l, const char *name, const char *key, size_t len, uint64_t now_ms,
                  uint64_t *retry_after_ms) {
  for (int i = 0; i < LIMITER_COUNT; i++) {
    if (strcmp(name, rows[i].name) != 0) {
      continue;
    }
    char group[ADDRESS_MAX];
    if (rows[i].addresses && networks_contain(l->trusted, key)) {
      return 0;
    }
    if (rows[i].addresses && address_group(key, group)) {
      key = group;
      len = strlen(group);
    }
    int code = ratelimit_take(l->all[i], key, len, now_ms, retry_after_ms);
    if (code) {
      metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, rows[i].labels, 1);
    }
    return code;
  }
  return E_NOT_FOUND;
}

size_t limiters_sweep(struct limiters *l, uint64_t now_ms) {
  size_t gone = 0;
  for (int i = 0; i < LIMITER_COUNT; i++) {
    gone += ratelimit_sweep(l->all[i], now_ms);
  }
  return gone;
}
