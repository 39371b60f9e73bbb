/* In: a server that runs, and time. Out: what has to happen now and then: idle conversations leave memory, limiters
 * forget who was quiet, old conversations are erased, unanswered messages are answered, the store is asked whether it
 * is there, and the service manager hears that the server is well. Why: see upkeep.h. */
#include "upkeep.h"

#include "admission.h"
#include "erasure.h"
#include "err.h"
#include "log.h"
#include "log_share.h"
#include "metrics.h"
#include "notify.h"
#include "recovery.h"
#include "server_impl.h"

#include <uv.h>

#define TELL_MS 1000
#define DAY_MS 86400000ll
#define RECOVERY_EVERY_MS 1000
#define ASK_STORE_MS 5000

void upkeep_order(void *arg, bool begins) {
  struct server *s = arg;
  if (s->phase == STOP_NOT) {
    notify_reloading(begins);
  }
}

static void tell_alive(uv_timer_t *timer) {
  (void)timer;
  (void)notify_send("WATCHDOG=1");
}

static void sweep_sessions(uv_timer_t *timer) {
  struct server *s = timer->data;
  struct worker *any = s->sites[0].worker;
  size_t gone = sessions_sweep(s->sessions, worker_now_ms(any), (uint64_t)config_int(s->config, SETTING_SESSION_TTL));
  if (gone) {
    LOG(LOG_INFO, "server", "idle conversations have left memory", LINT("count", gone),
        LINT("left", sessions_count(s->sessions)));
  }
}

static struct worker *take_turns(void *ctx, size_t number) {
  struct server *s = ctx;
  return s->sites[number % s->started].worker;
}

/* What an earlier server left unanswered. */
static void recover(uv_timer_t *timer) {
  struct server *s = timer->data;
  if (atomic_load(&s->stopping) || !recovery_step(s->recovery)) {
    uv_timer_stop(timer);
  }
}

static void on_store_answer(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  ((struct server *)op->arg)->store_asked = false;
  metrics_set(METRIC_STORE_READY, op->code == 0);
  store_op_free(op);
}

/* The same question as /readyz, for who only reads metrics. A store that has not answered since the last time is away.
 */
static void ask_store(uv_timer_t *timer) {
  struct server *s = timer->data;
  struct store_op *op = s->store_asked ? NULL : store_op_new(STORE_PING);
  if (op) {
    op->arg = s;
    op->post.run = on_store_answer;
    op->reply_to = s->home;
    s->store_asked = store_submit(s->store, op) == 0;
  }
  if (op && !s->store_asked) {
    store_op_free(op);
  }
  if (!op || !s->store_asked) {
    metrics_set(METRIC_STORE_READY, 0);
  }
}

static void sweep_old(uv_timer_t *timer) {
  struct server *s = timer->data;
  int64_t now_ms = (int64_t)worker_wall_ms(s->sites[0].worker);
  erasure_idle(s->erasure, now_ms - config_int(s->config, SETTING_RETENTION_DAYS) * DAY_MS, now_ms);
}

static void sweep_limits(uv_timer_t *timer) {
  struct server *s = timer->data;
  uint64_t now = worker_now_ms(s->sites[0].worker);
  size_t gone = limiters_sweep(s->world.limiters, now);
  admission_sweep(s, now);
  shared_sweep(s->shared, now);
  LOG(LOG_DEBUG, "server", "the limiters are cleaned up", LINT("forgotten", gone));
}

static void say_left_out(void *arg, const char *script, uint64_t left_out) {
  (void)arg;
  LOG(LOG_WARN, "script", "lines left out of the log: more than SCRIPT_LOG_RATE", LSTR("script", script),
      LINT("count", left_out));
}

static void tell_left_out(uv_timer_t *timer) {
  struct server *s = timer->data;
  log_shares_tell(s->world.log_shares, say_left_out, NULL);
}

/* ---- life ---- */

/* One of the timers from now on, for the first time after `after_ms`. */
static int every(struct server *s, uv_timer_cb fn, uint64_t after_ms, uint64_t ms) {
  return uv_timer_start(&s->upkeep[s->upkeep_count++], fn, after_ms, ms);
}

void upkeep_open(struct server *s) {
  for (size_t i = 0; i < UPKEEP_TIMERS; i++) {
    uv_timer_init(&s->loop, &s->upkeep[i]);
    s->upkeep[i].data = s;
  }
}

int upkeep_start(struct server *s) {
  const struct config *c = s->config;
  uint64_t sessions_ms = (uint64_t)config_int(c, SETTING_SESSION_CLEANUP_INTERVAL);
  uint64_t limits_ms = (uint64_t)config_int(c, SETTING_RATE_LIMIT_CLEANUP_INTERVAL);
  uint64_t retention_ms = (uint64_t)config_int(c, SETTING_RETENTION_CLEANUP_INTERVAL);
  int64_t now_ms = (int64_t)worker_wall_ms(s->sites[0].worker);
  s->recovery = recovery_new(&(struct recovery_world){s->store, s->home, take_turns, s},
                             now_ms - config_int(c, SETTING_ANSWER_LATE_MAX));
  int code = s->recovery ? every(s, recover, 0, RECOVERY_EVERY_MS) : UV_ENOMEM;
  code = code ? code : every(s, sweep_sessions, sessions_ms, sessions_ms);
  code = code ? code : every(s, sweep_limits, limits_ms, limits_ms);
  code = code ? code : every(s, tell_left_out, TELL_MS, TELL_MS);
  code = code ? code : every(s, ask_store, 0, ASK_STORE_MS);
  code = code || !config_int(c, SETTING_RETENTION_DAYS) ? code : every(s, sweep_old, 0, retention_ms);
  return code || !notify_watchdog_ms() ? code : every(s, tell_alive, 0, notify_watchdog_ms());
}

void upkeep_stop(struct server *s) {
  for (size_t i = 0; i < UPKEEP_TIMERS; i++) {
    uv_timer_stop(&s->upkeep[i]);
  }
}
