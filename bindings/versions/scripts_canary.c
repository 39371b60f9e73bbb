/* In: call counts of two versions. Out: a rollback when the canary fails more often.
 * Why: users notice a failing version before its author does. A canary serves too few conversations to hurt many;
 * once it has had enough calls to judge, its failures decide whether it stays. The timer runs on worker 0, the
 * decision is made on the main thread. */
#include "scripts_impl.h"

#include <stdio.h>

static struct counts since(struct counts now, struct counts then) {
  return (struct counts){now.calls - then.calls, now.errors - then.errors, now.kills - then.kills};
}

static double failing(struct counts c) {
  return c.calls ? 100.0 * (double)c.errors / (double)c.calls : 0;
}

void canary_describe(const struct scripts *s, char *out, size_t room) {
  struct counts canary = version_counts(s->canary), current = since(version_counts(s->current), s->before);
  snprintf(out, room, "%llu of %llu calls failed (%.1f %%), of the current version %llu of %llu (%.1f %%)",
           (unsigned long long)canary.errors, (unsigned long long)canary.calls, failing(canary),
           (unsigned long long)current.errors, (unsigned long long)current.calls, failing(current));
}

static bool too_bad(const struct scripts *s) {
  const struct config *config = s->world->config;
  struct counts canary = version_counts(s->canary), current = since(version_counts(s->current), s->before);
  return canary.calls >= (uint64_t)config_int(config, SETTING_SCRIPT_CANARY_MIN) &&
         failing(canary) > failing(current) + (double)config_int(config, SETTING_SCRIPT_CANARY_MARGIN);
}

/* ---- on worker 0 ---- */

static void on_time(void *arg) {
  struct scripts *s = arg;
  mailbox_put(s->home, &s->judge);
}

static void judge_later(void *arg) {
  struct scripts *s = arg;
  if (!worker_timer(s->hosts[0].worker, CANARY_INTERVAL_MS, on_time, s)) {
    on_time(s); /* no memory for a timer: judge now rather than never */
  }
}

/* ---- on the main thread ---- */

static void judge(struct post *post) {
  struct scripts *s = (struct scripts *)((char *)post - offsetof(struct scripts, judge));
  s->watching = s->canary;
  if (s->canary && !s->running && too_bad(s)) {
    s->watching = false;
    s->canary_fails(s);
  }
  if (s->watching) {
    worker_call(s->hosts[0].worker, judge_later, s);
  }
}

void canary_watch(struct scripts *s, void (*fails)(struct scripts *s)) {
  s->canary_fails = fails;
  if (!s->watching) {
    s->watching = true;
    s->judge.run = judge;
    worker_call(s->hosts[0].worker, judge_later, s);
  }
}
