/* In: kills by name. Out: names put aside. Why: see quarantine.h. */
#include "quarantine.h"

#include "lock.h"
#include "metrics.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct entry {
  char name[ASIDE_NAME_MAX + 1]; /* "": free */
  bool aside;
  unsigned count;                  /* of kills that are remembered */
  uint64_t kills[ASIDE_KILLS_MAX]; /* when; the latest first */
};

struct aside {
  unsigned kills;
  uint64_t window_ms;
  atomic_uint changes;
  struct lock lock;
  struct entry entries[ASIDE_NAMES];
};

struct aside *aside_new(unsigned kills, uint64_t window_ms) {
  struct aside *a = calloc(1, sizeof *a);
  if (a) {
    a->kills = kills < ASIDE_KILLS_MAX ? kills : ASIDE_KILLS_MAX;
    a->window_ms = window_ms;
    lock_init(&a->lock);
  }
  return a;
}

void aside_free(struct aside *a) {
  if (a) {
    aside_enable(a, NULL);
    lock_deinit(&a->lock);
    free(a);
  }
}

/* The entry of that name, or the one that makes room for it; NULL: all are put aside. */
static struct entry *entry_for(struct aside *a, const char *name) {
  struct entry *oldest = NULL;
  for (struct entry *e = a->entries; e < a->entries + ASIDE_NAMES; e++) {
    if (strncmp(e->name, name, ASIDE_NAME_MAX) == 0) {
      return e;
    }
    if (!e->aside && (!oldest || e->kills[0] < oldest->kills[0])) {
      oldest = e;
    }
  }
  if (oldest) {
    *oldest = (struct entry){.count = 0};
    strncpy(oldest->name, name, ASIDE_NAME_MAX);
  }
  return oldest;
}

/* Whether it is one too many. */
static bool note_kill(const struct aside *a, struct entry *e, uint64_t now_ms) {
  memmove(e->kills + 1, e->kills, (ASIDE_KILLS_MAX - 1) * sizeof *e->kills);
  e->kills[0] = now_ms;
  e->count += e->count < ASIDE_KILLS_MAX;
  return a->kills && e->count >= a->kills && now_ms - e->kills[a->kills - 1] < a->window_ms;
}

bool aside_kill(struct aside *a, const char *name, uint64_t now_ms) {
  bool newly = false;
  lock_acquire(&a->lock);
  struct entry *e = entry_for(a, name);
  if (e && note_kill(a, e, now_ms) && !e->aside) {
    e->aside = newly = true;
  }
  lock_release(&a->lock);
  if (newly) {
    atomic_fetch_add(&a->changes, 1);
    metrics_add(METRIC_SCRIPTS_ASIDE, 1);
  }
  return newly;
}

size_t aside_enable(struct aside *a, const char *name) {
  size_t back = 0;
  lock_acquire(&a->lock);
  for (struct entry *e = a->entries; e < a->entries + ASIDE_NAMES; e++) {
    if (*e->name && (!name || strncmp(e->name, name, ASIDE_NAME_MAX) == 0)) {
      back += e->aside;
      *e = (struct entry){.count = 0};
    }
  }
  lock_release(&a->lock);
  if (back) {
    atomic_fetch_add(&a->changes, 1);
    metrics_add(METRIC_SCRIPTS_ASIDE, -(int64_t)back);
  }
  return back;
}

unsigned aside_changes(const struct aside *a) {
  return atomic_load_explicit(&a->changes, memory_order_relaxed);
}

size_t aside_list(struct aside *a, char names[][ASIDE_NAME_MAX + 1], size_t most) {
  size_t count = 0;
  lock_acquire(&a->lock);
  for (const struct entry *e = a->entries; e < a->entries + ASIDE_NAMES; e++) {
    if (e->aside && count < most) {
      memcpy(names[count++], e->name, sizeof e->name);
    }
  }
  lock_release(&a->lock);
  return count;
}
