/* In: what a handler wants while it runs, commits that have settled. Out: all of a slice, or nothing of it; what was
 * stored, for session:flush. Why: see slice.h. */
#include "slice.h"

#include "effects.h"
#include "log.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- while it runs ---- */

struct effects *slice_pending(const struct task *t, const struct session *s) {
  for (struct effects *e = t->slice.effects; e; e = e->next) {
    if (e->session == s) {
      return e;
    }
  }
  return NULL;
}

struct effects *slice_effects(struct task *t, struct session *s) {
  struct effects *e = slice_pending(t, s);
  if (!e && (e = effects_new(s, t->conn, worker_wall_ms(t->vm->worker)))) {
    e->owned = s == t->session && t->kind != TASK_NOTICE;
    struct effects **link = &t->slice.effects;
    while (*link) {
      link = &(*link)->next;
    }
    *link = e;
  }
  return e;
}

/* ---- its end: nothing of it, or all ---- */

void slice_discard(struct task *t) {
  while (t->slice.effects) {
    struct effects *e = t->slice.effects;
    t->slice.effects = e->next;
    effects_free(e);
  }
  for (size_t i = 0; i < t->slice.count_used; i++) {
    free(t->slice.counts[i].name);
    free(t->slice.counts[i].labels);
  }
  t->slice.count_used = 0;
}

static void commit_counts(struct task *t) {
  for (size_t i = 0; i < t->slice.count_used; i++) {
    struct count *c = &t->slice.counts[i];
    if (!c->name) {
      metrics_add((enum metric)c->metric, (int64_t)c->n);
    } else if (metrics_script_add(c->name, c->labels, c->n)) {
      LOG(LOG_WARN, "script", "a metric was not counted: too many series", LSTR("name", c->name));
    }
    free(c->name);
    free(c->labels);
  }
  t->slice.count_used = 0;
}

void slice_commit(struct task *t, void (*settled)(struct effects *e, void *task)) {
  while (t->slice.effects) {
    struct effects *e = t->slice.effects;
    t->slice.effects = e->next;
    e->next = NULL;
    if (effects_empty(e)) {
      effects_free(e);
      continue;
    }
    if (effects_stores(e)) {
      e->done = settled;
      e->arg = t;
      e->token = t->generation;
      t->commits.in_flight++;
      t->vm->outstanding++;
    }
    effects_commit(e, worker_home(t->vm->worker));
  }
  commit_counts(t);
}

/* ---- what was stored, until somebody asks ---- */

#define STORED_MAX 4096 /* what is never flushed is not kept for ever: then the older half goes */

static void forget_half(struct task *t) {
  size_t half = t->commits.used / 2;
  for (size_t i = 0; i < half; i++) {
    free(t->commits.stored[i].cid);
  }
  t->commits.used -= half;
  memmove(t->commits.stored, t->commits.stored + half, t->commits.used * sizeof *t->commits.stored);
}

void slice_note_stored(struct task *t, const struct effects *e) {
  t->commits.code = t->commits.code ? t->commits.code : e->code;
  for (size_t i = 0; e->code == 0 && i < e->message_count; i++) {
    if (t->commits.used == STORED_MAX) {
      forget_half(t);
    }
    if (t->commits.used == t->commits.room) {
      size_t room = t->commits.room ? t->commits.room * 2 : 4;
      struct stored *all = realloc(t->commits.stored, room * sizeof *all);
      if (!all) {
        t->commits.code = UV_ENOMEM;
        return;
      }
      t->commits.stored = all;
      t->commits.room = room;
    }
    const struct message_record *m = &e->messages[i];
    struct stored *s = &t->commits.stored[t->commits.used++];
    *s = (struct stored){.seq = m->seq, .duplicate = m->duplicate, .cid = m->cid ? strdup(m->cid) : NULL};
    memcpy(s->id, m->id, sizeof s->id);
  }
}

void slice_forget_stored(struct task *t) {
  for (size_t i = 0; i < t->commits.used; i++) {
    free(t->commits.stored[i].cid);
  }
  t->commits.used = 0;
  t->commits.code = 0;
}
