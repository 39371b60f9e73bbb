/* In: kills by name. Out: names in quarantine. Why: see quarantine.h. */
#include "quarantine.h"

#include "lock.h"
#include "metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct quarantine_entry {
  char name[QUARANTINE_NAME_MAX + 1]; /* "": free */
  bool quarantined;
  unsigned count;                       /* of kills that are remembered */
  uint64_t kills[QUARANTINE_KILLS_MAX]; /* when; the latest first */
};

struct quarantine {
  unsigned kills;
  uint64_t window_ms;
  atomic_uint changes;
  struct lock lock;
  struct quarantine_entry entries[QUARANTINE_NAMES];
};

struct quarantine *quarantine_new(unsigned kills, uint64_t window_ms) {
  struct quarantine *q = calloc(1, sizeof *q);
  if (q) {
    q->kills = kills < QUARANTINE_KILLS_MAX ? kills : QUARANTINE_KILLS_MAX;
    q->window_ms = window_ms;
    lock_init(&q->lock);
  }
  return q;
}

void quarantine_free(struct quarantine *q) {
  if (q) {
    quarantine_enable(q, NULL);
    lock_deinit(&q->lock);
    free(q);
  }
}

/* Which of them it is, beside how many there are. What would end the label early is shown as a question mark. */
static void show(const char *name, int64_t n) {
  char labels[METRIC_LABELS_MAX + 1];
  snprintf(labels, sizeof labels, "name=\"%s\"", name);
  for (char *p = labels + strlen("name=\""), *end = labels + strlen(labels) - 1; p < end; p++) {
    *p = *p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '?' : *p;
  }
  metrics_add(METRIC_SCRIPTS_QUARANTINED, n);
  metrics_add_labelled(METRIC_SCRIPT_QUARANTINED, labels, n);
}

/* The entry of that name, or a new one in place of the oldest; NULL when all are in quarantine. */
static struct quarantine_entry *entry_for(struct quarantine *q, const char *name) {
  struct quarantine_entry *oldest = NULL;
  for (struct quarantine_entry *e = q->entries; e < q->entries + QUARANTINE_NAMES; e++) {
    if (strncmp(e->name, name, QUARANTINE_NAME_MAX) == 0) {
      return e;
    }
    if (!e->quarantined && (!oldest || e->kills[0] < oldest->kills[0])) {
      oldest = e;
    }
  }
  if (oldest) {
    *oldest = (struct quarantine_entry){.count = 0};
    strncpy(oldest->name, name, QUARANTINE_NAME_MAX);
  }
  return oldest;
}

/* Notes the kill; whether it was one too many. */
static bool note_kill(const struct quarantine *q, struct quarantine_entry *e, uint64_t now_ms) {
  memmove(e->kills + 1, e->kills, (QUARANTINE_KILLS_MAX - 1) * sizeof *e->kills);
  e->kills[0] = now_ms;
  e->count += e->count < QUARANTINE_KILLS_MAX;
  return q->kills && e->count >= q->kills && now_ms - e->kills[q->kills - 1] < q->window_ms;
}

bool quarantine_kill(struct quarantine *q, const char *name, uint64_t now_ms) {
  bool newly = false;
  lock_acquire(&q->lock);
  struct quarantine_entry *e = entry_for(q, name);
  if (e && note_kill(q, e, now_ms) && !e->quarantined) {
    e->quarantined = newly = true;
  }
  lock_release(&q->lock);
  if (newly) {
    atomic_fetch_add(&q->changes, 1);
    show(name, 1);
  }
  return newly;
}

/* "bot:x" names all of "bot:x hears y". */
static bool is_named(const struct quarantine_entry *e, const char *name) {
  size_t len = name ? strlen(name) : 0;
  return !name || strncmp(e->name, name, QUARANTINE_NAME_MAX) == 0 ||
         (len < QUARANTINE_NAME_MAX && strncmp(e->name, name, len) == 0 && e->name[len] == ' ');
}

size_t quarantine_enable(struct quarantine *q, const char *name) {
  char names[QUARANTINE_NAMES][QUARANTINE_NAME_MAX + 1];
  size_t back = 0;
  lock_acquire(&q->lock);
  for (struct quarantine_entry *e = q->entries; e < q->entries + QUARANTINE_NAMES; e++) {
    if (*e->name && is_named(e, name)) {
      if (e->quarantined) {
        memcpy(names[back++], e->name, sizeof e->name);
      }
      *e = (struct quarantine_entry){.count = 0};
    }
  }
  lock_release(&q->lock);
  if (back) {
    atomic_fetch_add(&q->changes, 1);
  }
  for (size_t i = 0; i < back; i++) {
    show(names[i], -1);
  }
  return back;
}

unsigned quarantine_changes(const struct quarantine *q) {
  return atomic_load_explicit(&q->changes, memory_order_relaxed);
}

size_t quarantine_list(struct quarantine *q, char names[][QUARANTINE_NAME_MAX + 1], size_t most) {
  size_t count = 0;
  lock_acquire(&q->lock);
  for (const struct quarantine_entry *e = q->entries; e < q->entries + QUARANTINE_NAMES; e++) {
    if (e->quarantined && count < most) {
      memcpy(names[count++], e->name, sizeof e->name);
    }
  }
  lock_release(&q->lock);
  return count;
}
