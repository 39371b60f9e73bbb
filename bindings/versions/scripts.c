/* In: the folder of scripts, and orders to change what runs. Out: on every worker the VMs of one version, or of two for
 * a while. Why: see scripts.h. An order, and the life of a version:
 *
 *   the folder --> READ, CHECKED, TRIED --> STARTING on every worker --> CURRENT, or CANARY for some conversations
 *                     | a mistake              | one cannot               |      |  promote: CURRENT
 *                     v                        v                          |      |  rollback, or it fails more often
 *                   FAILED: what runs stays as it was            replaced |      |
 *                                                                         v      v
 *                         OLD: its waiting handlers finish, or are cancelled after SCRIPT_DRAIN_TIMEOUT
 *                                                                         v
 *                         FREED; the bundle of one that was current is kept, to roll back to
 *
 * An order crosses threads three times: main asks each worker to start a VM (host_stage), each worker answers
 * (on_staged), main tells each to swap or to discard (decide, host_change). The outcome is written to the history. */
#include "scripts_impl.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define TRIALS_MAX 5 /* of one order, while its folder changes */

/* ---- life ---- */

static void job_free(struct job *job) {
  bundle_unref(job->bundle);
  check_free(job->check);
  version_unref(job->version);
  free(job);
}

/* Said when it is not what was said last: a folder watched for changes is read often. */
static void say_skipped(struct scripts *s, const struct bundle *bundle) {
  const char *skipped = bundle_skipped(bundle);
  if (*skipped && strcmp(skipped, s->skipped) != 0) {
    LOG(LOG_WARN, "script", "left out of the scripts", LSTR("skipped", skipped));
  }
  snprintf(s->skipped, sizeof s->skipped, "%s", skipped);
}

int scripts_new(const struct vm_world *world, const char *dir, size_t workers, struct mailbox *home,
                struct scripts **out, char why[512]) {
  struct scripts *s = calloc(1, sizeof *s + workers * sizeof *s->hosts);
  if (!s || !(s->dir = strdup(dir))) {
    free(s);
    return UV_ENOMEM;
  }
  s->world = world;
  s->home = home;
  s->count = workers;
  struct bundle *bundle = NULL;
  int code = bundle_read(dir, &bundle, why);
  if (!code) {
    say_skipped(s, bundle);
  }
  if (!code && !(s->current = version_new(bundle, ++s->numbers, workers))) {
    code = UV_ENOMEM;
  }
  bundle_unref(bundle);
  if (code) {
    scripts_free(s);
    return code;
  }
  version_show(s->current, "current", 1);
  for (size_t i = 0; i < workers; i++) {
    s->hosts[i].scripts = s;
  }
  *out = s;
  return 0;
}

void scripts_free(struct scripts *s) {
  if (s->running) {
    job_free(s->running);
  }
  for (size_t i = 0; i < s->kept_count; i++) {
    bundle_unref(s->kept[i]);
  }
  version_unref(s->canary);
  version_unref(s->current);
  free(s->dir);
  free(s);
}

/* ---- the outcome of an order ---- */

static void report_outcome(const struct job *job, const char *outcome, bool ok, const char *text) {
  const struct scripts *s = job->scripts;
  if (ok) {
    LOG(LOG_INFO, "script", "the order is carried out", LSTR("outcome", text), LSTR("version", scripts_version(s)));
  } else {
    LOG(LOG_ERROR, "script", "reload failed: the running version goes on", LSTR("error", text),
        LSTR("version", scripts_version(s)), LSTR("refused", job->named));
  }
  if (!ok && s->world->script_error) {
    s->world->script_error(s->world->arg, text, job->named);
  }
  char labels[64];
  snprintf(labels, sizeof labels, "outcome=\"%s\"", outcome);
  metrics_add_labelled(METRIC_SCRIPT_RELOADS, labels, 1);
}

static void name_version(struct job *job, const struct bundle *bundle) {
  snprintf(job->named, sizeof job->named, "%s", bundle_version(bundle));
  history_version(&job->scripts->history, job->entry, job->named);
}

static void tell_order(const struct scripts *s, bool begins) {
  if (s->world->ordered) {
    s->world->ordered(s->world->arg, begins);
  }
}

static void finish(struct job *job, const char *outcome, bool ok, const char *text) {
  struct scripts *s = job->scripts;
  report_outcome(job, outcome, ok, text);
  s->running = NULL;
  tell_order(s, false);
  job->done(job->arg, ok, text);
  job_free(job);
  if (s->again && !s->running) {
    const char *who = s->again;
    s->again = NULL;
    scripts_reload(s, who);
  }
}

static void fail(struct job *job, const char *why) {
  history_settle(&job->scripts->history, job->entry, OUTCOME_FAILED, why);
  finish(job, "failed", false, why);
}

/* ---- read, checked, tried ---- */

/* Finds mistakes by reading the text; this costs the workers nothing. */
static bool reads_well(struct job *job, const struct bundle *bundle, char why[512]) {
  if (check_read(bundle, job->scripts->world->modules, &job->check, why)) {
    return false;
  }
  const struct check *c = job->check;
  if (c->total > 1) {
    snprintf(why, 512, "%.400s (and %zu more: chatbox check)", c->findings[0], c->total - 1);
  } else if (c->total) {
    snprintf(why, 512, "%s", c->findings[0]);
  }
  return c->total == 0;
}

/* Tries the scripts on this thread, in a VM of its own: scripts that fail or never finish loading cost the workers
 * nothing. */
static bool starts_well(const struct job *job, struct bundle *bundle, char why[512]) {
  struct worker_options o = {.by_hand = true};
  struct worker *w = worker_new(&o);
  struct vm *vm = NULL;
  size_t at = 0;
  snprintf(why, 512, "out of memory");
  int code = w ? vm_new(w, job->scripts->world, bundle, &vm, why) : UV_ENOMEM;
  code = code ? code : check_next(job->check, vm, &at, why);
  if (vm) {
    vm_free(vm);
  }
  if (w) {
    worker_free(w);
  }
  return code == 0;
}

/* ---- starting on every worker ---- */

static void decide(struct job *job);

static void on_staged(struct post *post) {
  struct job *job = ((struct host_start *)post)->job;
  if (--job->waiting == 0) {
    decide(job);
  }
}

/* Takes the bundle. */
static void stage_all(struct job *job, struct bundle *bundle) {
  struct scripts *s = job->scripts;
  name_version(job, bundle);
  job->version = version_new(bundle, ++s->numbers, s->count);
  bundle_unref(bundle);
  if (!job->version) {
    fail(job, "out of memory");
    return;
  }
  job->waiting = s->count;
  for (size_t i = 0; i < s->count; i++) {
    job->stages[i] = (struct host_start){.post.run = on_staged, .job = job, .host = &s->hosts[i]};
    worker_call(s->hosts[i].worker, host_stage, &job->stages[i]);
  }
}

/* ---- current, or canary ---- */

/* Makes v the current version and takes over the reference. */
static void become_current(struct scripts *s, struct version *v) {
  version_show(s->current, "current", -1);
  version_show(v, "current", 1);
  version_unref(s->current);
  s->current = v;
  if (s->world->quarantine) {
    quarantine_enable(s->world->quarantine, NULL); /* new scripts may have fixed what was wrong */
  }
}

static void canary_fails(struct scripts *s);

static void percent(char *out, size_t room, unsigned share) {
  snprintf(out, room, "%u.%02u", share / 100, share % 100);
  for (char *end = out + strlen(out) - 1; *end == '0' || *end == '.'; end--) {
    char was = *end;
    *end = 0;
    if (was == '.') {
      break;
    }
  }
}

/* Every worker has started the new version. */
static void take_over(struct job *job) {
  struct scripts *s = job->scripts;
  struct history *h = &s->history;
  char text[96], share[16];
  if (job->verb == SCRIPTS_CANARY) {
    s->canary = version_ref(job->version);
    s->share = job->share;
    s->before = version_counts(s->current);
    version_show(s->canary, "canary", 1);
    percent(share, sizeof share, job->share);
    snprintf(text, sizeof text, "version %s has %s %% of the conversations", bundle_version(job->version->bundle),
             share);
    history_settle(h, job->entry, OUTCOME_CANARY, text);
    canary_watch(s, canary_fails);
    finish(job, "canary", true, text);
    return;
  }
  bool back = job->verb == SCRIPTS_ROLLBACK;
  if (back) {
    version_forget(s);
  } else {
    version_keep(s, s->current->bundle);
  }
  history_turn(h, OUTCOME_RUNNING, back ? OUTCOME_ROLLED_BACK : OUTCOME_REPLACED);
  history_settle(h, job->entry, OUTCOME_RUNNING, NULL);
  become_current(s, version_ref(job->version));
  snprintf(text, sizeof text, "version %s", scripts_version(s));
  finish(job, back ? "rolled_back" : "ok", true, text);
}

static void decide(struct job *job) {
  struct scripts *s = job->scripts;
  const struct host_start *failed = NULL;
  for (size_t i = 0; i < s->count && !failed; i++) {
    failed = job->stages[i].code ? &job->stages[i] : NULL;
  }
  enum host_change change = failed ? HOST_DISCARD : job->verb == SCRIPTS_CANARY ? HOST_CANARY : HOST_SWAP;
  s->canary_number += change == HOST_CANARY;
  for (size_t i = 0; i < s->count; i++) {
    if (!job->stages[i].code) {
      host_change(&s->hosts[i], change, &job->stages[i].fresh, s->canary_number, job->share);
    }
  }
  if (failed) {
    fail(job, failed->why);
  } else {
    take_over(job);
  }
}

/* ---- promoted, rolled back ---- */

static void no_canary(struct scripts *s) {
  version_show(s->canary, "canary", -1);
  s->canary = NULL;
}

static void tell_hosts(struct scripts *s, enum host_change change) {
  for (size_t i = 0; i < s->count; i++) {
    host_change(&s->hosts[i], change, NULL, 0, 0);
  }
}

static void promote(struct job *job) {
  struct scripts *s = job->scripts;
  char text[64];
  tell_hosts(s, HOST_PROMOTE);
  version_keep(s, s->current->bundle);
  struct version *canary = s->canary;
  no_canary(s);
  become_current(s, canary);
  history_turn(&s->history, OUTCOME_RUNNING, OUTCOME_REPLACED);
  history_turn(&s->history, OUTCOME_CANARY, OUTCOME_PROMOTED);
  name_version(job, s->current->bundle);
  history_settle(&s->history, job->entry, OUTCOME_RUNNING, NULL);
  snprintf(text, sizeof text, "version %s has all conversations", scripts_version(s));
  finish(job, "promoted", true, text);
}

static void drop_canary(struct job *job) {
  struct scripts *s = job->scripts;
  char text[256], numbers[160];
  canary_describe(s, numbers, sizeof numbers);
  snprintf(text, sizeof text, "version %s has no conversations any more: %s", bundle_version(s->canary->bundle),
           numbers);
  tell_hosts(s, HOST_DROP_CANARY);
  name_version(job, s->canary->bundle);
  history_turn(&s->history, OUTCOME_CANARY, OUTCOME_ROLLED_BACK);
  history_settle(&s->history, job->entry, OUTCOME_DONE, numbers);
  struct version *canary = s->canary;
  no_canary(s);
  version_unref(canary);
  finish(job, "rolled_back", true, text);
}

/* ---- orders ---- */

static void read_and_stage(struct job *job) {
  struct scripts *s = job->scripts;
  struct bundle *bundle = NULL;
  char why[512];
  if (s->world->reloading) {
    s->world->reloading(s->world->arg);
  }
  if (bundle_read(s->dir, &bundle, why)) {
    fail(job, why);
    return;
  }
  say_skipped(s, bundle);
  if (strcmp(bundle_version(bundle), scripts_version(s)) == 0) {
    history_drop(&s->history, job->entry);
    bundle_unref(bundle);
    finish(job, "unchanged", true, "nothing has changed");
    return;
  }
  if (s->trial) {
    job->bundle = bundle;
    job->trials++;
    s->trial(s->trial_arg, s);
    return;
  }
  if (!reads_well(job, bundle, why) || !starts_well(job, bundle, why)) {
    name_version(job, bundle);
    bundle_unref(bundle);
    fail(job, why);
    return;
  }
  stage_all(job, bundle);
}

void scripts_try_with(struct scripts *s, scripts_trial *trial, void *arg) {
  s->trial = trial;
  s->trial_arg = arg;
}

void scripts_tried(struct scripts *s, const char *version, const char *why) {
  struct job *job = s->running;
  struct bundle *bundle = job->bundle;
  bool same = strcmp(bundle_version(bundle), version) == 0;
  job->bundle = NULL;
  if (!why && same) {
    stage_all(job, bundle);
    return;
  }
  if (!why && job->trials < TRIALS_MAX) {
    bundle_unref(bundle);
    read_and_stage(job);
    return;
  }
  name_version(job, bundle);
  bundle_unref(bundle);
  fail(job, why ? why : "the folder of scripts changes faster than it can be checked");
}

static void begin(struct job *job) {
  struct scripts *s = job->scripts;
  if (job->verb == SCRIPTS_PROMOTE) {
    promote(job);
  } else if (job->verb == SCRIPTS_ROLLBACK && s->canary) {
    drop_canary(job);
  } else if (job->verb == SCRIPTS_ROLLBACK) {
    stage_all(job, bundle_ref(s->kept[0]));
  } else {
    read_and_stage(job);
  }
}

/* Why the order cannot be carried out now; NULL when it can. */
static const char *refusal(const struct scripts *s, enum scripts_verb verb) {
  if (s->running) {
    return "another reload is running";
  }
  if (s->canary && (verb == SCRIPTS_RELOAD || verb == SCRIPTS_CANARY)) {
    return "a canary is running: promote it or roll it back first";
  }
  if (!s->canary && verb == SCRIPTS_PROMOTE) {
    return "there is no canary";
  }
  if (!s->canary && verb == SCRIPTS_ROLLBACK && !s->kept_count) {
    return "there is no earlier version to go back to";
  }
  return NULL;
}

void scripts_do(struct scripts *s, const struct scripts_order *o, scripts_done *done, void *arg) {
  static const char *const verbs[] = {[SCRIPTS_RELOAD] = "reload",
                                      [SCRIPTS_CANARY] = "canary",
                                      [SCRIPTS_PROMOTE] = "promote",
                                      [SCRIPTS_ROLLBACK] = "rollback"};
  const char *no = refusal(s, o->verb);
  struct job *job = no ? NULL : calloc(1, sizeof *job + s->count * sizeof *job->stages);
  if (!job) {
    LOG(LOG_WARN, "script", "an order is refused", LSTR("order", verbs[o->verb]), LSTR("who", o->who),
        LSTR("error", no));
    done(arg, false, no ? no : "out of memory");
    return;
  }
  LOG(LOG_INFO, "script", "an order for the scripts", LSTR("order", verbs[o->verb]), LSTR("who", o->who),
      LSTR("why", o->why ? o->why : ""), LSTR("version", scripts_version(s)));
  job->scripts = s;
  job->verb = o->verb;
  job->share = o->share;
  job->done = done;
  job->arg = arg;
  job->entry = history_add(&s->history, verbs[o->verb], o->who, o->why, worker_wall_ms(s->hosts[0].worker));
  s->running = job;
  tell_order(s, true);
  begin(job);
}

static void on_canary_gone(void *arg, bool ok, const char *text) {
  (void)arg;
  LOG(LOG_ERROR, "script", "the canary was rolled back", LSTR("outcome", text), LSTR("done", ok ? "true" : "false"));
}

static void canary_fails(struct scripts *s) {
  struct scripts_order order = {.verb = SCRIPTS_ROLLBACK, .who = "canary watch", .why = "it fails more often"};
  scripts_do(s, &order, on_canary_gone, NULL);
}

static void on_nobody(void *arg, bool ok, const char *text) {
  (void)arg, (void)ok, (void)text; /* log and history have it */
}

void scripts_reload(struct scripts *s, const char *who) {
  struct scripts_order order = {.verb = SCRIPTS_RELOAD, .who = who};
  if (s->running) {
    s->again = who;
  } else {
    scripts_do(s, &order, on_nobody, NULL);
  }
}

/* ---- beside orders ---- */

bool scripts_enable(struct scripts *s, const char *name, const char *who) {
  bool back = s->world->quarantine && quarantine_enable(s->world->quarantine, name) > 0;
  if (back) {
    LOG(LOG_INFO, "script", "answers again", LSTR("name", name), LSTR("who", who));
  }
  return back;
}

void scripts_warn(const struct scripts *s) {
  struct check *c = NULL;
  char why[512];
  if (check_read(s->current->bundle, s->world->modules, &c, why)) {
    LOG(LOG_WARN, "script", "the scripts were not checked", LSTR("error", why));
    return;
  }
  for (size_t i = 0; i < c->count; i++) {
    LOG(LOG_WARN, "script", "a mistake in a script", LSTR("error", c->findings[i]),
        LSTR("version", scripts_version(s)));
  }
  check_free(c);
}
