/* In: bundles that are started. Out: reference-counted versions, the sum of their calls on all workers, and the earlier
 * bundles to roll back to.
 * Why: see scripts_impl.h. A version lives as long as a VM, an order or the list of versions refers to it. */
#include "scripts_impl.h"

#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct version *version_new(struct bundle *bundle, unsigned number, size_t workers) {
  size_t size = sizeof(struct version) + workers * sizeof(struct vm_tally);
  struct version *v = aligned_alloc(_Alignof(struct version), size + -size % _Alignof(struct version));
  if (v) {
    memset(v, 0, size);
    atomic_init(&v->refs, 1);
    v->bundle = bundle_ref(bundle);
    v->number = number;
    v->workers = workers;
  }
  return v;
}

struct version *version_ref(struct version *v) {
  atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
  return v;
}

void version_unref(struct version *v) {
  if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
    bundle_unref(v->bundle);
    free(v);
  }
}

struct counts version_counts(const struct version *v) {
  struct counts sum = {0};
  for (size_t i = 0; i < v->workers; i++) {
    sum.calls += atomic_load_explicit(&v->tally[i].calls, memory_order_relaxed);
    sum.errors += atomic_load_explicit(&v->tally[i].errors, memory_order_relaxed);
    sum.kills += atomic_load_explicit(&v->tally[i].kills, memory_order_relaxed);
  }
  return sum;
}

void version_show(const struct version *v, const char *role, int n) {
  char labels[64];
  snprintf(labels, sizeof labels, "version=\"%s\",role=\"%s\"", bundle_version(v->bundle), role);
  metrics_add_labelled(METRIC_SCRIPT_INFO, labels, n);
}

const char *scripts_version(const struct scripts *s) {
  return bundle_version(s->current->bundle);
}

/* ---- what is kept to go back to ---- */

void version_keep(struct scripts *s, struct bundle *bundle) {
  if (s->kept_count == SCRIPTS_KEPT) {
    bundle_unref(s->kept[--s->kept_count]);
  }
  memmove(s->kept + 1, s->kept, s->kept_count * sizeof *s->kept);
  s->kept[0] = bundle_ref(bundle);
  s->kept_count++;
}

void version_forget(struct scripts *s) {
  bundle_unref(s->kept[0]);
  s->kept_count--;
  memmove(s->kept, s->kept + 1, s->kept_count * sizeof *s->kept);
}
