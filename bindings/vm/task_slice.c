/* In: what a handler wants while it runs, commits that have settled. Out: all of a slice, or nothing of it; what was
 * stored, for session:flush. Why: what a handler sends, appends and counts takes effect when its slice has ended well.
 */
#include "bind.h"

#include "effects.h"
#include "err.h"
#include "log.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

void task_discard(struct task *t) {
  while (t->effects) {
    struct effects *e = t->effects;
    t->effects = e->next;
    effects_free(e);
  }
  for (size_t i = 0; i < t->count_used; i++) {
    free(t->counts[i].name);
    free(t->counts[i].labels);
  }
  t->count_used = 0;
}

struct effects *task_pending(const struct task *t, const struct session *s) {
  for (struct effects *e = t->effects; e; e = e->next) {
    if (e->session == s) {
      return e;
    }
  }
  return NULL;
}

struct effects *task_effects(struct task *t, struct session *s) {
  struct effects *e = task_pending(t, s);
  if (!e && (e = effects_new(s, t->conn, worker_wall_ms(t->vm->worker)))) {
    e->owned = s == t->session && t->kind != TASK_NOTICE;
    struct effects **link = &t->effects;
    while (*link) {
      link = &(*link)->next;
    }
    *link = e;
  }
  return e;
}

#define STORED_MAX 4096 /* what is never flushed is not kept for ever: then the older half goes */

static void forget_half(struct task *t) {
  size_t half = t->stored_used / 2;
  for (size_t i = 0; i < half; i++) {
    free(t->stored[i].cid);
  }
  t->stored_used -= half;
  memmove(t->stored, t->stored + half, t->stored_used * sizeof *t->stored);
}

static void note_stored(struct task *t, const struct effects *e) {
  t->commit_code = t->commit_code ? t->commit_code : e->code;
  for (size_t i = 0; e->code == 0 && i < e->message_count; i++) {
    if (t->stored_used == STORED_MAX) {
      forget_half(t);
    }
    if (t->stored_used == t->stored_room) {
      size_t room = t->stored_room ? t->stored_room * 2 : 4;
      struct stored *all = realloc(t->stored, room * sizeof *all);
      if (!all) {
        t->commit_code = UV_ENOMEM;
        return;
      }
      t->stored = all;
      t->stored_room = room;
    }
    const struct message_record *m = &e->messages[i];
    struct stored *s = &t->stored[t->stored_used++];
    *s = (struct stored){.seq = m->seq, .duplicate = m->duplicate, .cid = m->cid ? strdup(m->cid) : NULL};
    memcpy(s->id, m->id, sizeof s->id);
  }
}

void task_forget_stored(struct task *t) {
  for (size_t i = 0; i < t->stored_used; i++) {
    free(t->stored[i].cid);
  }
  t->stored_used = 0;
  t->commit_code = 0;
}

static void flushed(struct task *t) {
  lua_State *co = t->co;
  t->flushing = false;
  if (t->commit_code) {
    task_forget_stored(t);
    lua_pushnil(co);
    lua_pushstring(co, err_text(E_STORE));
    lua_pushstring(co, err_name(E_STORE));
    task_resume(t, 3);
    return;
  }
  lua_createtable(co, (int)t->stored_used, 0);
  for (size_t i = 0; i < t->stored_used; i++) {
    const struct stored *s = &t->stored[i];
    lua_createtable(co, 0, 4);
    lua_pushstring(co, s->id);
    lua_setfield(co, -2, "id");
    lua_pushnumber(co, (double)s->seq);
    lua_setfield(co, -2, "seq");
    lua_pushstring(co, s->cid); /* NULL pushes nil */
    lua_setfield(co, -2, "cid");
    lua_pushboolean(co, s->duplicate);
    lua_setfield(co, -2, "duplicate");
    lua_rawseti(co, -2, (int)i + 1);
  }
  task_forget_stored(t);
  task_resume(t, 1);
}

void task_begin_flush(struct task *t) {
  t->flushing = true;
  if (t->in_flight == 0) {
    flushed(t);
  }
}

/* A slice that stored something has settled; its task may be over long since. */
static void on_settled(struct effects *e, void *arg) {
  struct task *t = arg;
  struct vm *vm = t->vm;
  bool alive = t->generation == (uint32_t)e->token;
  /* session:flush waits, or will in a moment, and answers nil: then the script tells the user. */
  bool told = alive && (t->flushing || t->begin == task_begin_flush);
  if (alive) {
    t->in_flight--;
    note_stored(t, e);
  }
  if (e->code) {
    LOG(LOG_ERROR, "store", "what a handler wanted was not stored", LSTR("error", err_name(e->code)),
        LSTR("session", session_id(e->session)), LSTR("version", vm_version(vm)));
    if (e->conn && !told && t->refused != (uint32_t)e->token) {
      t->refused = (uint32_t)e->token;
      vm_refused(vm, e->session, e->conn, "STORE");
    }
  }
  effects_free(e);
  if (alive && t->flushing && t->in_flight == 0) {
    flushed(t);
  }
  vm->outstanding--;
  vm_maybe_idle(vm);
}

static void commit_counts(struct task *t) {
  for (size_t i = 0; i < t->count_used; i++) {
    struct count *c = &t->counts[i];
    if (!c->name) {
      metrics_add((enum metric)c->metric, (int64_t)c->n);
    } else if (metrics_script_add(c->name, c->labels, c->n)) {
      LOG(LOG_WARN, "script", "a metric was not counted: too many series", LSTR("name", c->name));
    }
    free(c->name);
    free(c->labels);
  }
  t->count_used = 0;
}

void task_commit(struct task *t) {
  while (t->effects) {
    struct effects *e = t->effects;
    t->effects = e->next;
    e->next = NULL;
    if (effects_empty(e)) {
      effects_free(e);
      continue;
    }
    if (effects_stores(e)) {
      e->done = on_settled;
      e->arg = t;
      e->token = t->generation;
      t->in_flight++;
      t->vm->outstanding++;
    }
    effects_commit(e, worker_home(t->vm->worker));
  }
  commit_counts(t);
}
