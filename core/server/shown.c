/* In: settings, the names of limiters and outcomes. Out: metrics. Why: see shown.h. */
#include "shown.h"

#include "limiters.h"
#include "metrics.h"
#include "server_impl.h"

#include <sys/resource.h>

static void show_limit(const char *name, int64_t limit) {
  char labels[64];
  snprintf(labels, sizeof labels, "setting=\"%s\"", name);
  metrics_add_labelled(METRIC_LIMIT, labels, limit);
}

static void show_limits(const struct server *s) {
  static const enum setting shown[] = {SETTING_MAX_CONNECTIONS, SETTING_MAX_SESSIONS, SETTING_STORE_QUEUE};
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
    show_limit(config_name(shown[i]), config_int(s->config, shown[i]));
  }
  show_limit("SCRIPT_COROUTINES", config_int(s->config, SETTING_SCRIPT_COROUTINES) * (int64_t)s->count);
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    show_limit("DESCRIPTORS", (int64_t)limit.rlim_cur);
  }
}

/* Those of limiters.h, and those that count at the door: accept.c, gate.c, admission.c. */
static void show_counters(void) {
  static const char *const limiters[] = {"limiter=\"address\"",
                                         "limiter=\"work\"",
                                         "limiter=\"frame\"",
                                         "limiter=\"connection\"",
                                         "limiter=\"idle_connection\"",
                                         "limiter=\"handshake\"",
                                         "limiter=\"address_handshake\"",
                                         "limiter=\"address_body\"",
#define LABEL(id, name, label, setting, addresses) "limiter=\"" label "\"",
                                         LIMITERS(LABEL)
#undef LABEL
  };
  for (size_t i = 0; i < sizeof limiters / sizeof *limiters; i++) {
    metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, limiters[i], 0);
  }
  metrics_add_labelled(METRIC_SCRIPT_RELOADS, "outcome=\"failed\"", 0);
}

void shown_begin(const struct server *s) {
  show_limits(s);
  show_counters();
  metrics_set(METRIC_START_TIME, (int64_t)(worker_wall_ms(s->sites[0].worker) / 1000));
}
