/* In: the folder of scripts, requests to reload. Out: on every worker one current VM, all of one version.
 * Why: see scripts.h. A reload crosses threads three times: main asks each worker to start a VM, each worker answers,
 * main tells each to swap or to discard. */
#include "scripts.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define OLD_MAX 2 /* versions that still drain; a further one is cancelled at once */

struct old {
  struct vm *vm;
  struct timer *deadline;
  struct host *host;
};

/* One worker's VMs. */
struct host {
  struct scripts *scripts;
  struct worker *worker;
  struct vm *current;
  struct old old[OLD_MAX];
};

struct stage {
  struct post post; /* the worker's answer */
  struct reload *reload;
  struct host *host;
  struct vm *vm;
  int code;
  char why[512];
};

struct reload {
  struct scripts *scripts;
  struct bundle *bundle;
  void (*done)(void *, bool, const char *);
  void *arg;
  size_t waiting;
  struct stage stages[];
};

struct scripts {
  const struct vm_world *world;
  char *dir;
  struct bundle *bundle;
  struct mailbox *home;
  struct reload *running;
  size_t count;
  struct host hosts[];
};

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
  int code = bundle_read(dir, &s->bundle, why);
  if (code) {
    scripts_free(s);
    return code;
  }
  for (size_t i = 0; i < workers; i++) {
    s->hosts[i].scripts = s;
  }
  *out = s;
  return 0;
}

void scripts_free(struct scripts *s) {
  bundle_unref(s->bundle);
  free(s->running);
  free(s->dir);
  free(s);
}

const char *scripts_version(const struct scripts *s) {
  return bundle_version(s->bundle);
}

/* ---- on a worker ---- */

int scripts_attach(struct scripts *s, struct worker *w, size_t index, char why[512]) {
  struct host *h = &s->hosts[index];
  h->worker = w;
  for (size_t i = 0; i < OLD_MAX; i++) {
    h->old[i].host = h;
  }
  return vm_new(w, s->world, s->bundle, &h->current, why);
}

struct vm *scripts_vm(struct scripts *s, size_t index) {
  return s->hosts[index].current;
}

size_t scripts_tasks(struct scripts *s, size_t index) {
  struct host *h = &s->hosts[index];
  size_t tasks = h->current ? vm_tasks(h->current) : 0;
  for (size_t i = 0; i < OLD_MAX; i++) {
    tasks += h->old[i].vm ? vm_tasks(h->old[i].vm) : 0;
  }
  return tasks;
}

static void each_vm(struct host *h, void (*fn)(struct vm *vm)) {
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (h->old[i].vm) {
      fn(h->old[i].vm);
    }
  }
  if (h->current) {
    fn(h->current);
  }
}

void scripts_cancel(struct scripts *s, size_t index) {
  each_vm(&s->hosts[index], vm_cancel);
}

void scripts_cancel_askers(struct scripts *s, size_t index) {
  each_vm(&s->hosts[index], vm_cancel_askers);
}

static void drop_old(struct old *old) {
  if (old->deadline) {
    worker_timer_stop(old->host->worker, old->deadline);
  }
  vm_free(old->vm);
  *old = (struct old){.host = old->host};
}

void scripts_detach(struct scripts *s, size_t index) {
  struct host *h = &s->hosts[index];
  scripts_cancel(s, index);
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (h->old[i].vm) {
      drop_old(&h->old[i]);
    }
  }
  if (h->current) {
    vm_free(h->current);
    h->current = NULL;
  }
}

static void on_idle(void *arg);

static void free_drained(void *arg) {
  struct old *old = arg;
  if (old->vm && vm_idle(old->vm)) {
    LOG(LOG_INFO, "script", "an old version has drained", LSTR("version", vm_version(old->vm)),
        LINT("worker", worker_index(old->host->worker)));
    drop_old(old);
  } else if (old->vm) {
    vm_when_idle(old->vm, on_idle, old);
  }
}

/* By post: the VM that became idle is still on the stack of whoever noticed. */
static void on_idle(void *arg) {
  struct old *old = arg;
  worker_call(old->host->worker, free_drained, old);
}

static void on_deadline(void *arg) {
  struct old *old = arg;
  old->deadline = NULL;
  LOG(LOG_WARN, "script", "handlers of an old version are cancelled", LSTR("version", vm_version(old->vm)),
      LINT("handlers", vm_tasks(old->vm)), LINT("worker", worker_index(old->host->worker)));
  vm_cancel(old->vm);
}

/* A place among the old ones, or NULL. */
static struct old *place_for_old(struct host *h) {
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (!h->old[i].vm) {
      return &h->old[i];
    }
  }
  return NULL;
}

static void retire(struct host *h, struct vm *vm) {
  struct old *old = place_for_old(h);
  old->vm = vm;
  uint64_t drain_ms = (uint64_t)config_int(h->scripts->world->config, SETTING_SCRIPT_DRAIN_TIMEOUT);
  old->deadline = worker_timer(h->worker, drain_ms, on_deadline, old);
  vm_when_idle(vm, on_idle, old);
}

/* When all places are taken the first old version is cancelled, so that its place is free. */
static void stage_here(void *arg) {
  struct stage *stage = arg;
  struct host *h = stage->host;
  for (size_t i = 0; !place_for_old(h) && i < OLD_MAX; i++) {
    vm_cancel(h->old[i].vm);
    free_drained(&h->old[i]);
  }
  if (place_for_old(h)) {
    stage->code = vm_new(h->worker, h->scripts->world, stage->reload->bundle, &stage->vm, stage->why);
  } else {
    stage->code = E_BUSY;
    snprintf(stage->why, sizeof stage->why, "two older versions are still waiting for the store; try again");
  }
  mailbox_put(h->scripts->home, &stage->post);
}

struct swap {
  struct host *host;
  struct vm *vm;
  bool keep;
};

static void swap_here(void *arg) {
  struct swap *swap = arg;
  struct host *h = swap->host;
  if (swap->keep) {
    struct vm *before = h->current;
    h->current = swap->vm;
    retire(h, before);
  } else {
    vm_free(swap->vm);
  }
  free(swap);
}

/* ---- on the main thread ---- */

static void finish(struct reload *r, const char *outcome, bool ok, const char *text) {
  char labels[64];
  snprintf(labels, sizeof labels, "outcome=\"%s\"", outcome);
  metrics_add_labelled(METRIC_SCRIPT_RELOADS, labels, 1);
  r->scripts->running = NULL;
  r->done(r->arg, ok, text);
  bundle_unref(r->bundle);
  free(r);
}

static void decide(struct reload *r) {
  struct scripts *s = r->scripts;
  const struct stage *failed = NULL;
  for (size_t i = 0; i < s->count && !failed; i++) {
    failed = r->stages[i].code ? &r->stages[i] : NULL;
  }
  for (size_t i = 0; i < s->count; i++) {
    if (r->stages[i].code) {
      continue;
    }
    struct swap *swap = malloc(sizeof *swap);
    if (!swap) {
      abort(); /* half the workers on another version would be worse than no server */
    }
    *swap = (struct swap){r->stages[i].host, r->stages[i].vm, !failed};
    worker_call(r->stages[i].host->worker, swap_here, swap);
  }
  if (failed) {
    finish(r, "failed", false, failed->why);
    return;
  }
  bundle_unref(s->bundle);
  s->bundle = bundle_ref(r->bundle);
  if (s->world->aside) {
    aside_enable(s->world->aside, NULL); /* what was wrong may be mended */
  }
  char text[64];
  snprintf(text, sizeof text, "version %s", bundle_version(r->bundle));
  finish(r, "ok", true, text);
}

static void on_staged(struct post *post) {
  struct reload *r = ((struct stage *)post)->reload;
  if (--r->waiting == 0) {
    decide(r);
  }
}

void scripts_reload(struct scripts *s, const char *cause, void (*done)(void *, bool, const char *), void *arg) {
  if (s->running) {
    done(arg, false, "another reload is running");
    return;
  }
  struct reload *r = calloc(1, sizeof *r + s->count * sizeof *r->stages);
  if (!r) {
    done(arg, false, "out of memory");
    return;
  }
  r->scripts = s;
  r->done = done;
  r->arg = arg;
  s->running = r;
  char why[512];
  LOG(LOG_INFO, "script", "reloading", LSTR("cause", cause));
  if (bundle_read(s->dir, &r->bundle, why)) {
    finish(r, "failed", false, why);
    return;
  }
  if (strcmp(bundle_version(r->bundle), bundle_version(s->bundle)) == 0) {
    finish(r, "unchanged", true, "nothing has changed");
    return;
  }
  r->waiting = s->count;
  for (size_t i = 0; i < s->count; i++) {
    r->stages[i] = (struct stage){.post.run = on_staged, .reload = r, .host = &s->hosts[i]};
    worker_call(s->hosts[i].worker, stage_here, &r->stages[i]);
  }
}
