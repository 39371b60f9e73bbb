/* In: ids, handles, users. Out: the session of each, at most one active per user.
 * Why: check and act happen under this table's one lock, so two devices that connect at the same instant get the
 * same conversation. No session's lock is taken under it: a thread holds at most one lock. */
#include "session_impl.h"

#include "err.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct sessions {
  struct lock lock;
  size_t max, inbox_limit;
  struct sessions_limits limits;
  void (*run)(struct post *);
  session_handle last;
  uint64_t epoch; /* goes up when something has been erased, or forgotten: it may have changed since it was read */
  char *barred;   /* user who is being erased, or NULL */
  struct session *by_id, *by_handle;
  struct user *users;
  uint64_t rests;                  /* counts */
  struct session *idlest, *latest; /* those nobody refers to but the table, in the order they were let go; others among
                                      them have been found again since */
};

struct sessions *sessions_new(size_t max, size_t inbox_limit, void (*run)(struct post *)) {
  struct sessions *t = calloc(1, sizeof *t);
  if (t) {
    lock_init(&t->lock);
    t->max = max;
    t->inbox_limit = inbox_limit;
    t->run = run;
    t->epoch = 1;
    t->limits = (struct sessions_limits){SIZE_MAX, SIZE_MAX};
  }
  return t;
}

void sessions_limit(struct sessions *t, const struct sessions_limits *limits) {
  t->limits = *limits;
}

static void rest_leave(struct sessions *t, struct session *s) {
  if (s->resting) {
    s->resting = false;
    *(s->rest_before ? &s->rest_before->rest_next : &t->idlest) = s->rest_next;
    *(s->rest_next ? &s->rest_next->rest_before : &t->latest) = s->rest_before;
  }
}

static void rest_join(struct sessions *t, struct session *s) {
  s->resting = true;
  s->rested = ++t->rests;
  s->rest_before = t->latest;
  s->rest_next = NULL;
  *(t->latest ? &t->latest->rest_next : &t->idlest) = s;
  t->latest = s;
}

static void unlink_user(struct sessions *t, struct session *s) {
  struct user *u = s->user;
  struct session **link = &u->sessions;
  while (*link != s) {
    link = &(*link)->user_next;
  }
  *link = s->user_next;
  u->session_count--;
  if (u->active == s) {
    u->active = NULL;
    metrics_add(METRIC_ACTIVE_SESSIONS, -1);
  }
  if (!u->sessions) {
    HASH_DELETE(hh, t->users, u);
    free(u->id);
    free(u);
  }
}

static void take_out(struct sessions *t, struct session *s) {
  t->epoch++; /* a record that is being read may be older than what it has last stored */
  HASH_DELETE(by_id, t->by_id, s);
  HASH_DELETE(by_handle, t->by_handle, s);
  rest_leave(t, s);
  unlink_user(t, s);
  s->in_table = false;
}

void sessions_free(struct sessions *t) {
  struct session *s, *next;
  HASH_ITER(by_handle, t->by_handle, s, next) {
    take_out(t, s);
    s->table = NULL;
    session_unref(s);
  }
  lock_deinit(&t->lock);
  free(t->barred);
  free(t);
}

/* A new reference to what is in the table, which is in use from now on. */
static struct session *found(struct sessions *t, struct session *s) {
  rest_leave(t, s);
  return session_ref(s);
}

struct session *sessions_get(struct sessions *t, session_handle handle) {
  struct session *s;
  lock_acquire(&t->lock);
  HASH_FIND(by_handle, t->by_handle, &handle, sizeof handle, s);
  if (s) {
    found(t, s);
  }
  lock_release(&t->lock);
  return s;
}

static struct session *find_id(struct sessions *t, const char *id) {
  struct session *s;
  HASH_FIND(by_id, t->by_id, id, strlen(id), s);
  return s;
}

static struct user *find_user(struct sessions *t, const char *user_id) {
  struct user *u;
  HASH_FIND(hh, t->users, user_id, strlen(user_id), u);
  return u;
}

struct session *sessions_find(struct sessions *t, const char *id) {
  lock_acquire(&t->lock);
  struct session *s = find_id(t, id);
  if (s) {
    found(t, s);
  }
  lock_release(&t->lock);
  return s;
}

struct session *sessions_active(struct sessions *t, const char *user_id) {
  lock_acquire(&t->lock);
  struct user *u = find_user(t, user_id);
  struct session *s = u && u->active ? found(t, u->active) : NULL;
  lock_release(&t->lock);
  return s;
}

static struct user *user_of(struct sessions *t, const char *user_id) {
  struct user *u = find_user(t, user_id);
  if (u) {
    return u;
  }
  u = calloc(1, sizeof *u);
  if (!u || !(u->id = strdup(user_id))) {
    free(u);
    return NULL;
  }
  HASH_ADD_KEYPTR(hh, t->users, u->id, strlen(u->id), u);
  return u;
}

static void sessions_rest(struct sessions *t, session_handle handle);

/* Under the table's lock; s is new and nobody else's, so its fields may be read without its own lock. */
static void put_in(struct sessions *t, struct session *s, struct user *u) {
  s->handle = ++t->last;
  s->table = t;
  s->rest = sessions_rest;
  s->user = u;
  s->user_next = u->sessions;
  u->sessions = s;
  u->session_count++;
  s->in_table = true;
  HASH_ADD_KEYPTR(by_id, t->by_id, s->record.id, strlen(s->record.id), s);
  HASH_ADD(by_handle, t->by_handle, handle, sizeof s->handle, s);
  if (!u->active && s->record.end_ms == 0) {
    u->active = s;
    metrics_add(METRIC_ACTIVE_SESSIONS, 1);
  }
}

/* ---- leaving memory ---- */

/* Under the table's lock. With one reference left, the table's, nobody else can look at it: its fields may be read. */
static bool forsaken(const struct session *s) NO_THREAD_SAFETY_ANALYSIS {
  return atomic_load(&s->refs) == 1 && s->member_count == 0 && session_quiet(s) && !session_doubtful(s);
}

/* Without a lock: somebody has let go the last reference but the table's. */
static void sessions_rest(struct sessions *t, session_handle handle) {
  struct session *s;
  lock_acquire(&t->lock);
  HASH_FIND(by_handle, t->by_handle, &handle, sizeof handle, s);
  if (s && !forsaken(s)) {
    s = NULL;
  }
  if (s && !atomic_load(&s->passing)) {
    if (!s->resting) { /* a sweep that looked at it is no use of it */
      rest_join(t, s);
    }
    s = NULL;
  }
  if (s) {
    take_out(t, s);
  }
  lock_release(&t->lock);
  if (s) {
    session_unref(s);
  }
}

/* Takes the idlest one out; NULL: all are in use. Who has been found again is looked at once and leaves the line. */
static struct session *evict(struct sessions *t) {
  while (t->idlest) {
    struct session *s = t->idlest;
    if (forsaken(s)) {
      take_out(t, s);
      return s;
    }
    rest_leave(t, s); /* comes back when it is let go */
  }
  return NULL;
}

/* The same among those of one user, of which there are few. */
static struct session *evict_of(struct sessions *t, struct user *u) {
  struct session *idlest = NULL;
  for (struct session *s = u->sessions; s; s = s->user_next) {
    if (s->resting && forsaken(s) && (!idlest || s->rested < idlest->rested)) {
      idlest = s;
    }
  }
  if (idlest) {
    take_out(t, idlest);
  }
  return idlest;
}

/* Room for one more of this user: 0, E_LIMITED, E_FULL. *gone: taken out for it, or NULL. */
static int make_room(struct sessions *t, const char *user_id, struct session **gone) {
  struct user *u = find_user(t, user_id);
  if (u && u->session_count >= t->limits.per_user) {
    *gone = evict_of(t, u);
    return *gone ? 0 : E_LIMITED;
  }
  if (HASH_CNT(by_handle, t->by_handle) >= t->max) {
    *gone = evict(t);
    return *gone ? 0 : E_FULL;
  }
  return 0;
}

static int enter_locked(struct sessions *t, struct session *fresh, uint64_t read_at, struct session **out,
                        struct session **gone) {
  const struct session_record *r = &fresh->record;
  if (t->barred && strcmp(t->barred, r->user_id) == 0) {
    return E_BUSY;
  }
  if (read_at && read_at != t->epoch) {
    return E_CONFLICT;
  }
  struct session *s = find_id(t, r->id);
  if (!s && !fresh->stored) {
    struct user *u = find_user(t, r->user_id);
    s = u ? u->active : NULL;
  }
  if (s) {
    *out = found(t, s);
    return E_DUPLICATE;
  }
  int code = make_room(t, r->user_id, gone);
  if (code) {
    return code;
  }
  struct user *u = user_of(t, r->user_id);
  if (!u) {
    return UV_ENOMEM;
  }
  put_in(t, fresh, u);
  *out = session_ref(fresh);
  return 0;
}

int sessions_enter_with(struct sessions *t, const struct session_record *record, uint64_t read_at,
                        struct mailbox *owner, uint64_t now_ms, struct item *items, struct session **out,
                        struct mailbox **wake) {
  struct session *fresh = session_new(record, read_at != 0, owner, t->inbox_limit, t->run);
  *wake = NULL;
  if (!fresh) {
    items_free(items);
    return UV_ENOMEM;
  }
  fresh->touched_ms = now_ms;
  fresh->inbox_bytes_max = t->limits.inbox_bytes;
  struct session *gone = NULL;
  session_put_first(fresh, items);
  lock_acquire(&t->lock);
  int code = enter_locked(t, fresh, read_at, out, &gone);
  lock_release(&t->lock);
  if (gone) {
    metrics_add(METRIC_SESSIONS_EVICTED, 1);
    session_unref(gone);
  }
  if (code) {
    session_unref(fresh);
  } else if (items) {
    session_wake(fresh, wake);
  }
  return code == E_DUPLICATE ? 0 : code;
}

int sessions_enter(struct sessions *t, const struct session_record *record, uint64_t read_at, struct mailbox *owner,
                   uint64_t now_ms, struct session **out) {
  struct mailbox *wake;
  return sessions_enter_with(t, record, read_at, owner, now_ms, NULL, out, &wake);
}

void sessions_ended(struct sessions *t, struct session *s) {
  lock_acquire(&t->lock);
  if (s->in_table && s->user->active == s) {
    s->user->active = NULL;
    metrics_add(METRIC_ACTIVE_SESSIONS, -1);
  }
  lock_release(&t->lock);
}

void sessions_reopened(struct sessions *t, struct session *s) {
  lock_acquire(&t->lock);
  if (s->in_table && !s->user->active) {
    s->user->active = s;
    metrics_add(METRIC_ACTIVE_SESSIONS, 1);
  }
  lock_release(&t->lock);
}

/* Whether it may be dropped from memory; asked under its own lock. */
static bool idle(struct session *s, uint64_t now_ms, uint64_t ttl_ms) {
  session_lock_read(s);
  bool quiet = s->member_count == 0 && session_quiet(s);
  bool over = !s->stored || now_ms >= s->touched_ms + ttl_ms; /* a worker may have touched it after now_ms */
  bool sure = !session_doubtful(s);
  session_unlock_read(s);
  return quiet && over && sure;
}

static void ask_for_repair(struct session *s) {
  struct mailbox *wake;
  struct item *item = session_wants_repair(s) ? item_new(ITEM_REPAIR, NULL, NULL, 0) : NULL;
  if (item && session_put(s, item, &wake) == 0 && wake) {
    session_post(s, wake);
  }
}

#define SWEEP_CHUNK 256

/* Copies references out of the table, starting behind handle `after`. */
static size_t chunk(struct sessions *t, session_handle *after, struct session **out) {
  size_t count = 0;
  lock_acquire(&t->lock);
  struct session *s = t->by_handle;
  if (*after) {
    HASH_FIND(by_handle, t->by_handle, after, sizeof *after, s);
    s = s ? s->by_handle.next : NULL;
  }
  for (; s && count < SWEEP_CHUNK; s = s->by_handle.next) {
    out[count++] = session_ref(s);
    *after = s->handle;
  }
  lock_release(&t->lock);
  return count;
}

size_t sessions_sweep(struct sessions *t, uint64_t now_ms, uint64_t ttl_ms) {
  struct session *looked_at[SWEEP_CHUNK];
  session_handle after = 0;
  size_t gone = 0, count;
  while ((count = chunk(t, &after, looked_at)) > 0) {
    session_handle last = after;
    for (size_t i = 0; i < count; i++) {
      struct session *s = looked_at[i];
      bool remove = idle(s, now_ms, ttl_ms);
      ask_for_repair(s);
      if (remove) {
        lock_acquire(&t->lock);
        /* Two references mean the table's and ours: nobody can have found it since it was judged. */
        remove = s->in_table && atomic_load(&s->refs) == 2;
        if (remove && s->handle == last) {
          after = s->by_handle.prev ? ((struct session *)s->by_handle.prev)->handle : 0;
        }
        if (remove) {
          take_out(t, s);
        }
        lock_release(&t->lock);
      }
      if (remove) {
        session_unref(s);
        gone++;
      }
      session_unref(s);
    }
    if (count < SWEEP_CHUNK) {
      break;
    }
  }
  return gone;
}

void sessions_each_member(struct sessions *t, void (*fn)(struct conn *c, void *arg), void *arg) {
  struct session *found[SWEEP_CHUNK];
  session_handle after = 0;
  size_t count;
  while ((count = chunk(t, &after, found)) > 0) {
    for (size_t i = 0; i < count; i++) {
      struct members members;
      session_members(found[i], &members);
      for (size_t k = 0; k < members.count; k++) {
        fn(members.all[k], arg);
      }
      members_free(&members);
      session_unref(found[i]);
    }
  }
}

size_t sessions_count(struct sessions *t) {
  lock_acquire(&t->lock);
  size_t count = HASH_CNT(by_handle, t->by_handle);
  lock_release(&t->lock);
  return count;
}

void sessions_each_of_user(struct sessions *t, const char *user_id,
                           void (*fn)(struct session *s, struct conn *c, void *arg), void *arg) {
  lock_acquire(&t->lock);
  struct user *u = find_user(t, user_id);
  size_t count = u ? u->session_count : 0;
  struct session **all = count ? calloc(count, sizeof(struct session *)) : NULL;
  size_t used = 0;
  for (struct session *s = all ? u->sessions : NULL; s; s = s->user_next) {
    all[used++] = session_ref(s);
  }
  lock_release(&t->lock);
  for (size_t i = 0; i < used; i++) {
    struct members members;
    session_members(all[i], &members);
    for (size_t k = 0; k < members.count; k++) {
      if (strcmp(conn_user(members.all[k]), user_id) == 0) {
        fn(all[i], members.all[k], arg);
      }
    }
    members_free(&members);
    session_unref(all[i]);
  }
  free(all);
}

struct notice {
  struct message *message;
  const struct mailbox *here;
};

static void notify(struct session *s, struct conn *c, void *arg) {
  const struct notice *n = arg;
  (void)s;
  conn_send(c, n->message, n->here);
}

void sessions_notify_user(struct sessions *t, const char *user_id, struct message *m, const struct mailbox *here) {
  sessions_each_of_user(t, user_id, notify, &(struct notice){m, here});
}

/* ---- erasing ---- */

uint64_t sessions_epoch(struct sessions *t) {
  lock_acquire(&t->lock);
  uint64_t epoch = t->epoch;
  lock_release(&t->lock);
  return epoch;
}

static int bar_locked(struct sessions *t, const char *user_id, struct session ***out, size_t *count) {
  struct user *u = find_user(t, user_id);
  size_t room = u ? u->session_count : 0;
  if (t->barred) {
    return E_BUSY;
  }
  *out = room ? calloc(room, sizeof(struct session *)) : NULL;
  t->barred = *out || !room ? strdup(user_id) : NULL;
  if (!t->barred) {
    free(*out);
    return UV_ENOMEM;
  }
  while (*count < room) {
    struct session *s = (*out)[(*count)++] = u->sessions; /* removing the last session frees u */
    take_out(t, s);
  }
  return 0;
}

int sessions_bar(struct sessions *t, const char *user_id, struct session ***out, size_t *count) {
  *count = 0;
  lock_acquire(&t->lock);
  int code = bar_locked(t, user_id, out, count);
  lock_release(&t->lock);
  return code;
}

void sessions_unbar(struct sessions *t) {
  lock_acquire(&t->lock);
  free(t->barred);
  t->barred = NULL;
  t->epoch++;
  lock_release(&t->lock);
}

struct session *sessions_take(struct sessions *t, const char *id) {
  lock_acquire(&t->lock);
  struct session *s = find_id(t, id);
  if (s) {
    take_out(t, s);
  }
  t->epoch++;
  lock_release(&t->lock);
  return s;
}
