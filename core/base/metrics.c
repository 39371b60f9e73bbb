/* In: counts and durations from every thread. Out: the Prometheus text format 0.0.4.
 * Why: a series, once made, is never freed and its numbers are atomics; so the lock covers only finding or making
 * one, and a scrape walks the lists without it. What has no labels needs neither lock nor search. */
#include "metrics.h"

#include "err.h"
#include "lock.h"
#include "utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 100
#define SCRIPT_PREFIX "chatbox_script_"
#define BOUNDS_MAX 11

enum kind { COUNTER, GAUGE, HISTOGRAM, LONGHIST };

static const struct {
  const char *name, *help;
  enum kind kind;
} described[METRIC_COUNT] = {
#define METRIC_ROW(id, name, kind, help) {name, help, kind},
  METRICS(METRIC_ROW)
#undef METRIC_ROW
};

static const struct bounds {
  int count;
  double le[BOUNDS_MAX];
} bounds[] = {
  [HISTOGRAM] = {11, {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
  [LONGHIST] = {10, {1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600}},
};

/* One line of output, or one histogram. Each has its own cache line, because workers count different things at once. */
struct series {
  _Alignas(64) struct series *next;
  atomic_int_least64_t count; /* COUNTER, GAUGE */
  _Atomic double sum;         /* histograms; counters of scripts, which may be fractions */
  atomic_int_least64_t buckets[BOUNDS_MAX + 1];
  char labels[METRIC_LABELS_MAX + 1];
};

struct script_family {
  struct script_family *next;
  struct series *series;
  char name[NAME_MAX_BYTES + 1];
};

static struct series plain[METRIC_COUNT];

/* Guards the heads and lengths of the lists; entries are only added at the head. */
static struct lock table_lock = {PTHREAD_MUTEX_INITIALIZER};
static struct series *labelled[METRIC_COUNT];
static size_t labelled_count[METRIC_COUNT];
static struct script_family *script_families;
static size_t script_count;

static void sum_add(_Atomic double *sum, double n) {
  double old = atomic_load_explicit(sum, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(sum, &old, old + n, memory_order_relaxed, memory_order_relaxed))
    ;
}

static void series_count(struct series *s, int64_t n) {
  atomic_fetch_add_explicit(&s->count, n, memory_order_relaxed);
}

static void series_observe(struct series *s, const struct bounds *b, double seconds) {
  if (!(seconds > 0) || isinf(seconds))
    seconds = 0; /* the clock was set back; the count still has to be right */
  int at = 0;
  while (at < b->count && seconds > b->le[at])
    at++;
  atomic_fetch_add_explicit(&s->buckets[at], 1, memory_order_relaxed);
  sum_add(&s->sum, seconds);
}

/* NULL when memory is out. labels fit. */
static struct series *series_push(struct series **head, const char *labels) {
  struct series *s = aligned_alloc(_Alignof(struct series), sizeof *s);
  if (!s)
    return NULL;
  memset(s, 0, sizeof *s);
  strcpy(s->labels, labels);
  s->next = *head;
  *head = s;
  return s;
}

static struct series *series_find(struct series *s, const char *labels) {
  while (s && strcmp(s->labels, labels) != 0)
    s = s->next;
  return s;
}

/* Of the label name at p; 0 when there is none, or one that Prometheus keeps for itself. */
static size_t label_length(const char *p) {
  size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
  return (*p >= '0' && *p <= '9') || strncmp(p, "__", 2) == 0 ? 0 : len;
}

/* Where the quoted value that starts at p ends (behind the quote), or NULL. */
static const char *value_end(const char *p) {
  if (*p++ != '"')
    return NULL;
  while (*p != '"') {
    if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
      return NULL;
    size_t n = *p != 0 && *p != '\n' ? utf8_sequence(p, strnlen(p, 4)) : 0;
    if (n == 0)
      return NULL;
    p += n;
  }
  return p + 1;
}

/* Whether labels are name="value" pairs that would not break the document; other (may be NULL) gets them with each
 * value replaced by "other". */
static bool labels_check(const char *labels, char other[METRIC_LABELS_MAX + 1]) {
  size_t used = 0;
  if (strnlen(labels, METRIC_LABELS_MAX + 1) > METRIC_LABELS_MAX)
    return false;
  for (const char *p = labels;; p++) {
    size_t len = label_length(p);
    if (len == 0 || p[len] != '=')
      return false;
    if (other) {
      int n =
        snprintf(other + used, METRIC_LABELS_MAX + 1 - used, "%s%.*s=\"other\"", used > 0 ? "," : "", (int)len, p);
      used += (size_t)n;
      if (used > METRIC_LABELS_MAX)
        return false;
    }
    p = value_end(p + len + 1);
    if (!p)
      return false;
    if (*p != ',')
      return *p == 0;
  }
}

/* The series of these labels, or of "other" at the bound. NULL when memory is out or the labels are malformed. */
static struct series *labelled_get(enum metric m, const char *labels) {
  char other[METRIC_LABELS_MAX + 1];
  if (!labels_check(labels, other))
    return NULL;
  lock_acquire(&table_lock);
  struct series *s = series_find(labelled[m], labels);
  if (!s && labelled_count[m] >= METRIC_SERIES_MAX) {
    labels = other;
    s = series_find(labelled[m], labels);
  }
  if (!s) {
    s = series_push(&labelled[m], labels);
    labelled_count[m] += !!s;
  }
  lock_release(&table_lock);
  return s;
}

void metrics_add(enum metric m, int64_t n) {
  series_count(&plain[m], n);
}

void metrics_set(enum metric m, int64_t value) {
  atomic_store_explicit(&plain[m].count, value, memory_order_relaxed);
}

void metrics_observe(enum metric m, double seconds) {
  series_observe(&plain[m], &bounds[described[m].kind], seconds);
}

void metrics_add_labelled(enum metric m, const char *labels, int64_t n) {
  struct series *s = labelled_get(m, labels);
  if (s)
    series_count(s, n);
}

void metrics_observe_labelled(enum metric m, const char *labels, double seconds) {
  struct series *s = labelled_get(m, labels);
  if (s)
    series_observe(s, &bounds[described[m].kind], seconds);
}

static int64_t series_value(const struct series *s) {
  int64_t value = atomic_load_explicit(&s->count, memory_order_relaxed);
  for (int i = 0; i <= BOUNDS_MAX; i++)
    value += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
  return value;
}

static struct series *labelled_head(enum metric m) {
  lock_acquire(&table_lock);
  struct series *s = labelled[m];
  lock_release(&table_lock);
  return s;
}

int64_t metrics_value(enum metric m) {
  int64_t value = series_value(&plain[m]);
  for (const struct series *s = labelled_head(m); s; s = s->next)
    value += series_value(s);
  return value;
}

/* Well-formed, and not one of ours: two families of one name would make a scraper drop the page. */
static bool script_name_ok(const char *name) {
  size_t len = strnlen(name, NAME_MAX_BYTES + 1);
  for (int m = 0; m < METRIC_COUNT; m++)
    if (strncmp(described[m].name, SCRIPT_PREFIX, strlen(SCRIPT_PREFIX)) == 0 &&
        strcmp(described[m].name + strlen(SCRIPT_PREFIX), name) == 0)
      return false;
  return len >= 1 && len <= NAME_MAX_BYTES && (*name < '0' || *name > '9') &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == len;
}

static int script_get(const char *name, const char *labels, struct series **out) REQUIRES(table_lock) {
  struct script_family *f = script_families;
  while (f && strcmp(f->name, name) != 0)
    f = f->next;
  *out = f ? series_find(f->series, labels) : NULL;
  if (*out)
    return 0;
  if (script_count >= METRIC_SCRIPT_MAX)
    return E_FULL;
  if (!f) {
    f = calloc(1, sizeof *f);
    if (!f)
      return E_FULL;
    strcpy(f->name, name);
    f->next = script_families;
    script_families = f;
  }
  *out = series_push(&f->series, labels);
  if (!*out)
    return E_FULL;
  script_count++;
  return 0;
}

int metrics_script_add(const char *name, const char *labels, double n) {
  if (!script_name_ok(name) || (labels && !labels_check(labels, NULL)) || !(n >= 0) || isinf(n))
    return E_INVALID;
  struct series *s;
  lock_acquire(&table_lock);
  int code = script_get(name, labels ? labels : "", &s);
  lock_release(&table_lock);
  if (code == 0)
    sum_add(&s->sum, n);
  return code;
}

static void render_head(FILE *out, const char *prefix, const char *name, const char *help, const char *type) {
  fprintf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, type);
}

static void render_histogram(FILE *out, const char *name, const struct series *s, const struct bounds *b) {
  const char *comma = *s->labels != 0 ? "," : "";
  const char *open = *s->labels != 0 ? "{" : "", *close = *s->labels != 0 ? "}" : "";
  int64_t total = 0; /* the buckets are read once, so that they, +Inf and _count agree */
  for (int i = 0; i < b->count; i++) {
    total += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRId64 "\n", name, s->labels, comma, b->le[i], total);
  }
  total += atomic_load_explicit(&s->buckets[b->count], memory_order_relaxed);
  fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRId64 "\n", name, s->labels, comma, total);
  fprintf(out, "%s_sum%s%s%s %.15g\n", name, open, s->labels, close,
          atomic_load_explicit(&s->sum, memory_order_relaxed));
  fprintf(out, "%s_count%s%s%s %" PRId64 "\n", name, open, s->labels, close, total);
}

static void render_series(FILE *out, enum metric m, const struct series *s) {
  const char *name = described[m].name;
  if (described[m].kind == HISTOGRAM || described[m].kind == LONGHIST)
    render_histogram(out, name, s, &bounds[described[m].kind]);
  else
    fprintf(out, *s->labels != 0 ? "%s{%s} %" PRId64 "\n" : "%s%s %" PRId64 "\n", name, s->labels,
            (int64_t)atomic_load_explicit(&s->count, memory_order_relaxed));
}

static void render_metric(FILE *out, enum metric m) {
  static const char *const types[] = {"counter", "gauge", "histogram", "histogram"};
  const struct series *head = labelled_head(m);
  render_head(out, "", described[m].name, described[m].help, types[described[m].kind]);
  if (!head || series_value(&plain[m]) != 0) /* a metric that is used with labels has no line without */
    render_series(out, m, &plain[m]);
  for (const struct series *s = head; s; s = s->next)
    if (described[m].kind != GAUGE || series_value(s) != 0) /* a gauge of something that is gone has no line */
      render_series(out, m, s);
}

/* The lock is taken per family: its list may grow meanwhile. */
static void render_scripts(FILE *out) {
  lock_acquire(&table_lock);
  const struct script_family *f = script_families;
  lock_release(&table_lock);
  for (; f; f = f->next) {
    render_head(out, SCRIPT_PREFIX, f->name, "Counter of a script", "counter");
    lock_acquire(&table_lock);
    const struct series *s = f->series;
    lock_release(&table_lock);
    for (; s; s = s->next)
      fprintf(out, *s->labels != 0 ? SCRIPT_PREFIX "%s{%s} %.15g\n" : SCRIPT_PREFIX "%s%s %.15g\n", f->name, s->labels,
              atomic_load_explicit(&s->sum, memory_order_relaxed));
  }
}

char *metrics_render(size_t *len) {
  char *text = NULL;
  FILE *out = open_memstream(&text, len);
  if (!out)
    return NULL;
  for (int m = 0; m < METRIC_COUNT; m++)
    render_metric(out, (enum metric)m);
  render_scripts(out);
  bool whole = !ferror(out);
  if (fclose(out) != 0 || !whole) {
    free(text);
    return NULL;
  }
  return text;
}

void metrics_print(FILE *out) {
  static const char *const types[] = {"counter", "gauge", "histogram", "histogram"};
  fputs(
    "# Metrics\n\nMade from the table in `core/base/metrics.h` by `./dev docs`. The server shows them to "
    "`METRICS_ALLOWED_NETWORKS` under\n`/metrics/prometheus`, behind its path prefix. What scripts count "
    "(`chat.metrics.add`) is shown beside them, as\n`chatbox_script_NAME`.\n\n`deployments/prometheus` has a "
    "configuration for Prometheus and alerts on these, [runbook.md](runbook.md) says for\neach alert what to do, and "
    "`deployments/grafana/chatbox.json` is a dashboard with a panel for each metric.\n\n"
    "| Name | Kind | What it says |\n|---|---|---|\n",
    out);
  for (int m = 0; m < METRIC_COUNT; m++)
    fprintf(out, "| `%s` | %s | %s |\n", described[m].name, types[described[m].kind], described[m].help);
  fputs("\nBuckets of a histogram end at", out);
  for (int i = 0; i < bounds[HISTOGRAM].count; i++)
    fprintf(out, " %g", bounds[HISTOGRAM].le[i]);
  fputs(" s; those of a connection's life at", out);
  for (int i = 0; i < bounds[LONGHIST].count; i++)
    fprintf(out, " %g", bounds[LONGHIST].le[i]);
  fputs(" s.\n", out);
}
