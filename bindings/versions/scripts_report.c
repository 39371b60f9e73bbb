/* In: the versions of the scripts on all workers. Out: one report. Why: see scripts_report.h. Every worker fills in
 * its own VMs on its own thread and posts the part back; the last part completes the report. */
#include "scripts_report.h"

#include "scripts_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct report_part {
  struct post post;
  struct gathering *gathering;
  struct host *host;
  size_t count;
  struct report_vm vms[SCRIPTS_VERSIONS];
};

struct gathering {
  struct scripts *scripts;
  void (*done)(void *, struct scripts_report *);
  void *arg;
  size_t waiting;
  struct report_part parts[];
};

/* ---- on a worker ---- */

static void count_wait(struct report_vm *r, const char *what) {
  size_t i = 0;
  while (i < r->wait_count && strcmp(r->waits[i].what, what) != 0) {
    i++;
  }
  if (i < REPORT_WAITS) {
    r->wait_count += i == r->wait_count;
    r->waits[i].what = what;
    r->waits[i].count++;
  }
}

struct waiting_list {
  struct report_vm *report;
  uint64_t now_ms;
};

static void add_waiting(void *arg, const struct vm_waiting *w) {
  const struct waiting_list *list = arg;
  struct report_vm *r = list->report;
  count_wait(r, w->what);
  if (r->task_count < REPORT_TASKS) {
    struct report_task *to = &r->tasks[r->task_count++];
    snprintf(to->session, sizeof to->session, "%s", w->session);
    to->waits_for = w->what;
    to->since_ms = list->now_ms - w->since_ms;
  }
}

static void add_vm(struct slot *slot, enum role role, void *arg) {
  static const char *const roles[] = {[ROLE_CURRENT] = "current", [ROLE_CANARY] = "canary", [ROLE_OLD] = "old"};
  struct report_part *part = arg;
  struct worker *w = slot->host->worker;
  const struct vm *vm = slot->vm;
  const struct vm_tally *tally = &slot->version->tally[worker_index(w)];
  struct report_vm *r = &part->vms[part->count++];
  *r = (struct report_vm){.role = roles[role],
                          .number = slot->version->number,
                          .worker = worker_index(w),
                          .waiting = vm_tasks(vm),
                          .memory_bytes = vm_memory(vm),
                          .calls = atomic_load_explicit(&tally->calls, memory_order_relaxed),
                          .errors = atomic_load_explicit(&tally->errors, memory_order_relaxed),
                          .kills = atomic_load_explicit(&tally->kills, memory_order_relaxed)};
  snprintf(r->version, sizeof r->version, "%s", vm_version(vm));
  vm_each_waiting(vm, add_waiting, &(struct waiting_list){r, worker_now_ms(w)});
}

static void gather_here(void *arg) {
  struct report_part *part = arg;
  host_each(part->host, add_vm, part);
  mailbox_put(part->host->scripts->home, &part->post);
}

/* ---- on the main thread ---- */

static void sum_up(struct scripts_report *r, const struct report_vm *vm) {
  size_t i = 0;
  while (i < r->version_count && r->versions[i].number != vm->number) {
    i++;
  }
  if (i == REPORT_VERSIONS) {
    return; /* workers may have different old versions; the table is full */
  }
  struct report_version *v = &r->versions[i];
  if (i == r->version_count) {
    r->version_count++;
    *v = (struct report_version){.role = vm->role, .number = vm->number};
    memcpy(v->version, vm->version, sizeof v->version);
  }
  v->vms++;
  v->waiting += vm->waiting;
  v->memory_bytes += vm->memory_bytes;
  v->calls += vm->calls;
  v->errors += vm->errors;
  v->kills += vm->kills;
}

static struct scripts_report *complete(const struct gathering *g) {
  const struct scripts *s = g->scripts;
  struct scripts_report *r = calloc(1, sizeof *r + s->count * SCRIPTS_VERSIONS * sizeof *r->vms);
  if (!r) {
    return NULL;
  }
  r->history = s->history;
  r->canary_share = s->canary ? s->share : 0;
  r->kept = s->kept_count;
  r->quarantined_count =
    s->world->quarantine ? quarantine_list(s->world->quarantine, r->quarantined, QUARANTINE_NAMES) : 0;
  for (size_t i = 0; i < s->count; i++) {
    for (size_t j = 0; j < g->parts[i].count; j++) {
      r->vms[r->vm_count++] = g->parts[i].vms[j];
      sum_up(r, &g->parts[i].vms[j]);
    }
  }
  return r;
}

static void on_part(struct post *post) {
  struct gathering *g = ((struct report_part *)post)->gathering;
  if (--g->waiting == 0) {
    g->done(g->arg, complete(g));
    free(g);
  }
}

void scripts_report(struct scripts *s, void (*done)(void *, struct scripts_report *), void *arg) {
  struct gathering *g = calloc(1, sizeof *g + s->count * sizeof *g->parts);
  if (!g) {
    done(arg, NULL);
    return;
  }
  *g = (struct gathering){.scripts = s, .done = done, .arg = arg, .waiting = s->count};
  for (size_t i = 0; i < s->count; i++) {
    g->parts[i].post.run = on_part;
    g->parts[i].gathering = g;
    g->parts[i].host = &s->hosts[i];
    worker_call(s->hosts[i].worker, gather_here, &g->parts[i]);
  }
}

/* ---- for people ---- */

void report_time(uint64_t ms, char out[32]) {
  time_t s = (time_t)(ms / 1000);
  struct tm tm;
  gmtime_r(&s, &tm);
  size_t len = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(out + len, 32 - len, ".%03uZ", (unsigned)(ms % 1000));
}

static void print_versions(const struct scripts_report *r, FILE *out) {
  fprintf(out, "%-12s  %-8s %10s %8s %8s %8s %10s\n", "version", "role", "calls", "failed", "killed", "waiting",
          "memory");
  for (size_t i = 0; i < r->version_count; i++) {
    const struct report_version *v = &r->versions[i];
    fprintf(out, "%-12s  %-8s %10llu %8llu %8llu %8zu %6zu KiB\n", v->version, v->role, (unsigned long long)v->calls,
            (unsigned long long)v->errors, (unsigned long long)v->kills, v->waiting, v->memory_bytes / 1024);
  }
  if (r->canary_share) {
    fprintf(out, "the canary has %g %% of the conversations\n", r->canary_share / 100.0);
  }
}

static void print_waits(const struct scripts_report *r, FILE *out) {
  for (size_t i = 0; i < r->vm_count; i++) {
    const struct report_vm *vm = &r->vms[i];
    for (size_t j = 0; j < vm->wait_count; j++) {
      fprintf(out, "%-12s  worker %u: %zu wait for %s\n", vm->version, vm->worker, vm->waits[j].count,
              vm->waits[j].what);
    }
  }
}

void report_print(const struct scripts_report *r, FILE *out) {
  print_versions(r, out);
  print_waits(r, out);
  for (size_t i = 0; i < r->quarantined_count; i++) {
    fprintf(out, "%s is put aside: its handlers were ended too often\n", r->quarantined[i]);
  }
  fprintf(out, "\nearlier versions to go back to: %zu\n", r->kept);
  const struct history_entry *e;
  for (unsigned back = 0; (e = history_at(&r->history, back)); back++) {
    char at[32];
    report_time(e->at_ms, at);
    fprintf(out, "%3u  %s  %-8s  %-12s  %s%s%s%s%s%s%s\n", e->number, at, e->verb, e->version,
            history_outcome(e->outcome), *e->detail ? ": " : "", e->detail, *e->who ? ", by " : "", e->who,
            *e->why ? ", because: " : "", e->why);
  }
}
