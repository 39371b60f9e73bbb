/* In: orders of the main thread. Out: the VMs of one worker, and the choice which of them gets a message.
 * Why: see scripts.h. Only its worker touches a host, so no message waits for a lock; orders are posted and arrive
 * in order. An old VM is freed after its last handler has ended, never while it is on the stack. */
#include "scripts_impl.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>

#define OLD_MAX (SCRIPTS_VERSIONS - 1)
#define ANSWER_MS 50 /* poll interval while an order of this VM is not answered */

void host_each(struct host *h, void (*fn)(struct slot *slot, enum role role, void *arg), void *arg) {
  if (h->current.vm) {
    fn(&h->current, ROLE_CURRENT, arg);
  }
  if (h->canary.vm) {
    fn(&h->canary, ROLE_CANARY, arg);
  }
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (h->old[i].vm) {
      fn(&h->old[i], ROLE_OLD, arg);
    }
  }
}

/* ---- messages ---- */

static unsigned share_of(const char *id) {
  uint32_t hash = 2166136261u; /* FNV-1a; ids are random, nobody chooses theirs */
  for (; *id; id++) {
    hash = (hash ^ (unsigned char)*id) * 16777619u;
  }
  return hash % SCRIPTS_WHOLE;
}

/* The id decides, so a conversation always gets the same version. But while handlers wait in it, the conversation
 * stays with the version they began on. */
static struct vm *vm_of(struct host *h, struct session *s) {
  if (!h->canary.vm) {
    return h->current.vm;
  }
  struct session_pin *pin = session_pin(s);
  if (pin->parked == 0) {
    pin->canary = share_of(session_id(s)) < h->share ? h->canary_number : 0;
  }
  return pin->canary == h->canary_number ? h->canary.vm : h->current.vm;
}

void scripts_item(struct scripts *s, size_t index, struct session *session, struct item *item) {
  vm_item(vm_of(&s->hosts[index], session), session, item);
}

/* Runs on the worker of the connection, which need not own the session; so it must not ask which version the session
 * is pinned to. */
void scripts_refused(struct scripts *s, size_t index, struct session *session, struct conn *c, const char *code,
                     const char *cid) {
  vm_refused(s->hosts[index].current.vm, session, c, code, cid);
}

void scripts_put_off(struct scripts *s, size_t index, struct conn *c, const char *text, size_t len, int code,
                     uint32_t wait_ms, char cid[STORE_CID_MAX + 1]) {
  conn_put_off(c, vm_refusal(s->hosts[index].current.vm, text, len, code, wait_ms, cid));
}

/* ---- life ---- */

static void on_nearly_full(void *arg);

static int slot_open(struct slot *slot, struct host *h, struct version *v, char why[512]) {
  struct vm *vm;
  int code = vm_new(h->worker, h->scripts->world, v->bundle, &vm, why);
  if (!code) {
    *slot = (struct slot){.vm = vm, .version = version_ref(v), .host = h};
    vm_count_into(vm, &v->tally[worker_index(h->worker)]);
    vm_when_nearly_full(vm, on_nearly_full, h);
  }
  return code;
}

static void slot_close(struct slot *slot) {
  if (slot->deadline) {
    worker_timer_stop(slot->host->worker, slot->deadline);
  }
  vm_free(slot->vm);
  version_unref(slot->version);
  *slot = (struct slot){.host = slot->host};
}

int scripts_attach(struct scripts *s, struct worker *w, size_t index, char why[512]) {
  struct host *h = &s->hosts[index];
  h->worker = w;
  for (size_t i = 0; i < OLD_MAX; i++) {
    h->old[i].host = h;
  }
  if (index == 0) { /* the main thread waits until this worker has started */
    unsigned entry = history_add(&s->history, "start", "", "", worker_wall_ms(w));
    history_version(&s->history, entry, scripts_version(s));
    history_settle(&s->history, entry, OUTCOME_RUNNING, NULL);
  }
  return slot_open(&h->current, h, s->current, why);
}

struct vm *scripts_vm(struct scripts *s, size_t index) {
  return s->hosts[index].current.vm;
}

static void count_tasks(struct slot *slot, enum role role, void *arg) {
  (void)role;
  *(size_t *)arg += vm_tasks(slot->vm);
}

size_t scripts_tasks(struct scripts *s, size_t index) {
  size_t tasks = 0;
  host_each(&s->hosts[index], count_tasks, &tasks);
  return tasks;
}

static void cancel_all(struct slot *slot, enum role role, void *arg) {
  (void)role, (void)arg;
  vm_cancel(slot->vm);
}

void scripts_cancel(struct scripts *s, size_t index) {
  host_each(&s->hosts[index], cancel_all, NULL);
}

static void cancel_askers(struct slot *slot, enum role role, void *arg) {
  (void)role, (void)arg;
  vm_cancel_askers(slot->vm);
}

void scripts_cancel_askers(struct scripts *s, size_t index) {
  host_each(&s->hosts[index], cancel_askers, NULL);
}

static void close_slot(struct slot *slot, enum role role, void *arg) {
  (void)role, (void)arg;
  slot_close(slot);
}

void scripts_detach(struct scripts *s, size_t index) {
  scripts_cancel(s, index);
  host_each(&s->hosts[index], close_slot, NULL);
}

/* ---- old versions ---- */

static void on_idle(void *arg);

static void free_drained(void *arg) {
  struct slot *old = arg;
  if (old->vm && vm_idle(old->vm)) {
    LOG(LOG_INFO, "script", "an old version has drained", LSTR("version", vm_version(old->vm)),
        LINT("worker", worker_index(old->host->worker)));
    slot_close(old);
  } else if (old->vm) {
    vm_when_idle(old->vm, on_idle, old);
  }
}

/* Posted, because the VM that became idle is still on the call stack. */
static void on_idle(void *arg) {
  struct slot *old = arg;
  worker_call(old->host->worker, free_drained, old);
}

/* A script that gave the order which made this version old still gets its answer, however short the drain time is. */
static void on_deadline(void *arg) {
  struct slot *old = arg;
  if (old->host->asked) {
    old->deadline = worker_timer(old->host->worker, ANSWER_MS, on_deadline, old);
    return;
  }
  old->deadline = NULL;
  LOG(LOG_WARN, "script", "handlers of an old version are cancelled", LSTR("version", vm_version(old->vm)),
      LINT("handlers", vm_tasks(old->vm)), LINT("worker", worker_index(old->host->worker)));
  vm_replace(old->vm);
}

static struct slot *place_for_old(struct host *h) {
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (!h->old[i].vm) {
      return &h->old[i];
    }
  }
  abort(); /* there are never more than SCRIPTS_VERSIONS */
}

static void retire(struct host *h, struct slot *slot) {
  struct slot *old = place_for_old(h);
  *old = *slot;
  *slot = (struct slot){.host = h};
  vm_quarantines(old->vm, false);
  uint64_t drain_ms = (uint64_t)config_int(h->scripts->world->config, SETTING_SCRIPT_DRAIN_TIMEOUT);
  old->deadline = worker_timer(h->worker, drain_ms, on_deadline, old);
  vm_when_idle(old->vm, on_idle, old);
}

/* ---- orders ---- */

static size_t version_count(const struct host *h) {
  size_t count = !!h->current.vm + !!h->canary.vm + h->staged;
  for (size_t i = 0; i < OLD_MAX; i++) {
    count += !!h->old[i].vm;
  }
  return count;
}

static struct slot *oldest(struct host *h) {
  struct slot *first = NULL;
  for (size_t i = 0; i < OLD_MAX; i++) {
    if (h->old[i].vm && (!first || h->old[i].version->number < first->version->number)) {
      first = &h->old[i];
    }
  }
  return first;
}

/* At the limit of versions, cancels the oldest one that is draining. */
static bool make_room(struct host *h) {
  struct slot *old = version_count(h) >= SCRIPTS_VERSIONS ? oldest(h) : NULL;
  if (old) {
    vm_replace(old->vm);
    free_drained(old);
  }
  return version_count(h) < SCRIPTS_VERSIONS;
}

/* ---- a VM whose scripts keep too much ---- */

/* Starts the same version again with empty memory; the old VM drains like that of an old version. */
static void renew(struct slot *slot) {
  struct host *h = slot->host;
  struct slot fresh;
  char why[512] = "older versions are still draining";
  if (!make_room(h) || slot_open(&fresh, h, slot->version, why)) {
    LOG(LOG_ERROR, "script", "its memory is full, and it cannot be started anew", LSTR("error", why),
        LSTR("version", vm_version(slot->vm)));
    vm_when_nearly_full(slot->vm, on_nearly_full, h);
    return;
  }
  LOG(LOG_WARN, "script", "its memory is full of what scripts keep: it starts anew (SCRIPT_MEMORY_LIMIT)",
      LSTR("version", vm_version(slot->vm)), LINT("worker", worker_index(h->worker)));
  retire(h, slot);
  *slot = fresh;
  vm_quarantines(slot->vm, slot == &h->current);
}

static void renew_nearly_full(void *arg) {
  struct host *h = arg;
  struct slot *slots[] = {&h->current, &h->canary};
  for (size_t i = 0; i < 2; i++) {
    if (slots[i]->vm && vm_nearly_full(slots[i]->vm)) {
      renew(slots[i]);
    }
  }
}

/* Posted, because this is noticed on the call stack of the VM itself. */
static void on_nearly_full(void *arg) {
  worker_call(((struct host *)arg)->worker, renew_nearly_full, arg);
}

void host_stage(void *arg) {
  struct host_start *stage = arg;
  struct host *h = stage->host;
  if (make_room(h)) {
    stage->code = slot_open(&stage->fresh, h, stage->job->version, stage->why);
    h->staged = stage->code == 0;
  } else {
    stage->code = E_BUSY;
    snprintf(stage->why, sizeof stage->why, "older versions are still waiting for the store; try again");
  }
  mailbox_put(h->scripts->home, &stage->post);
}

struct host_order {
  struct host *host;
  enum host_change what;
  struct slot fresh;
  unsigned canary_number, share;
};

static void change_here(void *arg) {
  struct host_order *c = arg;
  struct host *h = c->host;
  h->staged = h->staged && !c->fresh.vm;
  switch (c->what) {
  case HOST_DISCARD:
    slot_close(&c->fresh);
    break;
  case HOST_SWAP:
    retire(h, &h->current);
    h->current = c->fresh;
    break;
  case HOST_CANARY:
    h->canary = c->fresh;
    vm_quarantines(h->canary.vm, false);
    h->canary_number = c->canary_number;
    h->share = c->share;
    break;
  case HOST_PROMOTE:
    retire(h, &h->current);
    h->current = h->canary;
    vm_quarantines(h->current.vm, true);
    h->canary = (struct slot){.host = h};
    break;
  case HOST_DROP_CANARY:
    retire(h, &h->canary);
    break;
  }
  free(c);
}

void host_change(struct host *h, enum host_change change, const struct slot *fresh, unsigned canary_number,
                 unsigned share) {
  struct host_order *c = malloc(sizeof *c);
  if (!c) {
    abort();
  }
  *c = (struct host_order){.host = h, .what = change, .canary_number = canary_number, .share = share};
  if (fresh) {
    c->fresh = *fresh;
  }
  worker_call(h->worker, change_here, c);
}
