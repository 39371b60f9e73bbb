/* In: counts. Out: warnings. Why: see key_use.h. */
#include "key_use.h"

#include "log.h"
#include "metrics.h"

#define EIGHTH (KEY_USE_MAX / 8)

static void key_use_say(const struct key_use *u, const char *key_id) {
  LOG(u->used >= KEY_USE_MAX ? LOG_ERROR : LOG_WARN, "cipher",
      u->used >= KEY_USE_MAX ? "ENCRYPTION_KEY has sealed more texts than is safe: change it now"
                             : "ENCRYPTION_KEY is to be changed before it has sealed 2^32 texts: put it into "
                               "ENCRYPTION_PREVIOUS_KEYS and set a new one",
      LSTR("key", key_id), LINT("sealed", u->used));
}

void key_use_begin(struct key_use *u, const char *key_id, uint64_t stored) {
  u->used = u->reserved = stored;
  metrics_add(METRIC_KEY_SEALED, (int64_t)stored - metrics_value(METRIC_KEY_SEALED));
  if (stored >= KEY_USE_WARN)
    key_use_say(u, key_id);
}

uint64_t key_use_wanted(const struct key_use *u, uint64_t n) {
  return u->used + n <= u->reserved ? 0 : u->used + n + KEY_USE_STEP;
}

void key_use_add(struct key_use *u, const char *key_id, uint64_t n, uint64_t stored) {
  uint64_t before = u->used;
  u->used += n;
  u->reserved = stored > 0 ? stored : u->reserved;
  metrics_add(METRIC_KEY_SEALED, (int64_t)n);
  if (u->used >= KEY_USE_WARN && before / EIGHTH != u->used / EIGHTH)
    key_use_say(u, key_id);
}
