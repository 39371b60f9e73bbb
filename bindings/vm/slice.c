/* In: what a handler wants to change while it runs; commits that have settled. Out: all changes of a slice, or none;
 * what was stored, for session:flush. Why: see slice.h. */
#include "slice.h"

#include "effects.h"
#include "err.h"
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
  t->slice.kept = false;
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

/* Whether it stores a part of the answer; the message it answers is none. */
static bool goes_further(const struct effects *e) {
  return e->kept ? effects_grown(e) : !e->opens && effects_stores(e);
}

/* What this is to the message it deals with. */
static void mark(struct task *t, struct effects *e, bool last) {
  struct errand *errand = &t->errand;
  errand->stored |= e->opens > 0;
  if (errand->stored && last) {
    effects_mark(e, errand->dealing.id, STORE_DEALT);
  } else if (errand->stored && !errand->begun && goes_further(e) && !e->mark.id[0]) {
    effects_mark(e, errand->dealing.id, STORE_BEGUN);
    errand->begun = true;
  }
}

static void mark_all(struct task *t, bool last) {
  struct effects *e = NULL;
  if (!t->errand.dealing.id[0]) {
    return;
  }
  e = last && t->errand.stored ? slice_effects(t, t->session) : slice_pending(t, t->session);
  if (e) {
    mark(t, e, last);
  }
}

void slice_take_errand(struct task *t, const char *id, bool stored) {
  struct errand *errand = &t->errand;
  memcpy(errand->dealing.id, id, sizeof errand->dealing.id);
  errand->stored = errand->settled = stored;
  errand->begun = false;
  session_dealing_add(t->session, &errand->dealing);
}

void slice_forget_errand(struct task *t) {
  if (t->errand.dealing.id[0]) {
    session_dealing_remove(t->session, &t->errand.dealing);
  }
}

void slice_end_errand(struct task *t) {
  bool stored = t->errand.dealing.id[0] && t->errand.stored;
  struct effects *e = stored ? effects_new(t->session, NULL, worker_wall_ms(t->vm->worker)) : NULL;
  if (e) {
    effects_mark(e, t->errand.dealing.id, STORE_DEALT);
    effects_commit(e, worker_home(t->vm->worker));
  }
  slice_forget_errand(t);
}

/* What follows it in the conversation waits: what is refused has to be sent again first, see conn_turn.c. */
static void take_turn(struct task *t, struct effects *e) {
  struct mailbox *wake;
  bool again = false;
  for (size_t i = 0; i < e->keep.messages; i++) {
    again |= !!e->messages[i].cid;
  }
  if (again && t->turn.has && !t->turn.held && !session_busy(t->session)) {
    e->turn = true;
    session_set_busy(t->session, true, &wake);
  }
}

void slice_give_turn(struct vm *vm, const struct effects *e) {
  struct mailbox *wake;
  if (e->turn) {
    session_set_busy(e->session, false, &wake);
    worker_wake(vm->worker, e->session, wake);
  }
}

int slice_keep(struct task *t) {
  struct effects *e = slice_pending(t, t->session);
  int code = e ? effects_keep(e) : 0;
  if (!code) {
    t->slice.kept = e;
    commit_counts(t);
  }
  return code;
}

bool slice_unsettled(const struct task *t) {
  return t->slice.kept || t->commits.kept;
}

static struct effects *take_kept(struct task *t) {
  struct effects **link = &t->slice.effects;
  while (*link && !(*link)->kept) {
    link = &(*link)->next;
  }
  struct effects *e = *link;
  if (e) {
    *link = e->next;
    e->next = NULL;
  }
  return e;
}

void slice_fail(struct task *t, void (*settled)(struct effects *e, void *task)) {
  struct effects *e = t->slice.kept ? take_kept(t) : NULL;
  slice_discard(t);
  if (!e) {
    slice_end_errand(t);
    return;
  }
  effects_cut(e);
  t->slice.effects = e;
  slice_commit(t, true, settled);
}

void slice_commit(struct task *t, bool last, void (*settled)(struct effects *e, void *task)) {
  mark_all(t, last);
  t->slice.kept = false;
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
      t->commits.kept += e->kept;
      t->vm->outstanding++;
      if (e->kept && last) {
        take_turn(t, e);
      }
    }
    effects_commit(e, worker_home(t->vm->worker));
  }
  commit_counts(t);
}

/* ---- what was stored, until somebody asks ---- */

#define STORED_MAX 4096 /* bound for handlers that never flush: the older half is dropped */

static void forget_half(struct task *t) {
  size_t half = t->commits.used / 2;
  for (size_t i = 0; i < half; i++) {
    free(t->commits.stored[i].cid);
  }
  t->commits.used -= half;
  memmove(t->commits.stored, t->commits.stored + half, t->commits.used * sizeof *t->commits.stored);
}

/* The message it deals with has been stored, or not, or it was there already: then it is dealt with here only if nobody
 * has, and nobody else does. */
static void note_errand(struct task *t, struct effects *e) {
  struct message_record *m = &e->messages[e->opens - 1];
  if (e->code) {
    slice_forget_errand(t); /* but it may be stored all the same, and stays open then */
  } else if (m->duplicate) {
    uint64_t late_ms = worker_home(t->vm->worker)->late_ms;
    m->open = m->open && (uint64_t)m->at_ms + late_ms >= e->now_ms && !effects_dealing_with(t->session, m->id);
    slice_forget_errand(t);
    if (m->open) {
      slice_take_errand(t, m->id, true);
    }
  } else {
    t->errand.settled = true;
  }
}

/* What its client has to send first, see conn_turn.c. */
void slice_note_client(const struct effects *e, uint64_t now_ms) {
  for (size_t i = 0; e->conn && i < e->message_count; i++) {
    const struct message_record *m = &e->messages[i];
    bool said = m->sender && strcmp(m->sender, "user") == 0;
    if (said && e->code) {
      conn_hold(e->conn, conn_refusal_of(m->cid, m->cid ? strlen(m->cid) : 0, E_STORE, 0, now_ms), now_ms);
    } else if (said && m->cid) {
      conn_came(e->conn, m->cid);
    }
  }
}

/* The message this answers was there already, and has its answer. */
static bool was_dealt_with(const struct effects *e) {
  if (!e->opens) {
    return false;
  }
  const struct message_record *opened = &e->messages[e->opens - 1];
  return opened->duplicate && !opened->open;
}

void slice_note_stored(struct task *t, struct effects *e) {
  if (e->session == t->session && t->errand.dealing.id[0]) {
    if (e->opens) {
      note_errand(t, e);
    } else if (e->code && e->mark.what == STORE_ATTEMPT && e->mark.id[0]) {
      slice_forget_errand(t);
    }
  }
  if (e->kept) {
    t->commits.kept--;
    t->commits.lost |= e->code || was_dealt_with(e);
  }
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
    *s = (struct stored){
      .seq = m->seq, .duplicate = m->duplicate, .open = m->duplicate && m->open, .cid = m->cid ? strdup(m->cid) : NULL};
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
