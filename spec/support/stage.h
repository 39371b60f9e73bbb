/* In: nothing. Out: two workers by hand, a table of conversations and a real store in a folder of the test's own.
 * Why: what commits and what looks conversations up is tested whole, yet with nothing left to chance: a reply of the
 * store waits in a worker's mailbox until the test lets that worker go on. */
#pragma once
#include "fake_client.h"
#include "folder.h"
#include "id.h"
#include "store_backends.h"
#include "store_caller.h"
#include "worker.h"

struct stage {
  struct folder folder;
  struct store *store;
  struct caller *caller;
  struct sessions *sessions;
  struct worker *workers[2];
};

static inline void stage_item(void *ctx, struct session *s, struct item *item) {
  (void)ctx;
  (void)s;
  item_free(item);
}

static inline void stage_turn(void *ctx) {
  (void)ctx;
}

static inline int stage_start(struct worker *w, void *ctx, char why[512]) {
  (void)w;
  (void)ctx;
  (void)why;
  return 0;
}

static const struct worker_hooks stage_hooks = {
  .start = stage_start, .item = stage_item, .turn = stage_turn, .stop = stage_turn};

static inline struct worker *stage_worker(struct stage *st, unsigned index, struct store *store) {
  struct worker_options o = {.index = index,
                             .hooks = &stage_hooks,
                             .sessions = st->sessions,
                             .store = store,
                             .answer_late_ms = 3600000,
                             .by_hand = true};
  struct worker *w = worker_new(&o);
  if (w == NULL)
    abort();
  return w;
}

/* On a store of the test's own making. */
static inline int stage_open_on(void **state, const struct store_backend *const *backends) {
  struct stage *st = calloc(1, sizeof *st);
  char url[128], why[256];
  if (st == NULL)
    abort();
  folder_open(&st->folder);
  snprintf(url, sizeof url, "%s:%s", backends[0]->scheme, folder_at(&st->folder, "chat.db"));
  struct store_options o = {.backends = backends, .url = url, .readers = 1, .queue = 1000};
  if (store_open(&o, &st->store, why) != 0)
    fail_msg("%s", why);
  st->caller = caller_new();
  st->sessions = sessions_new(8, 4, worker_run_session);
  for (unsigned i = 0; i < 2; i++)
    st->workers[i] = stage_worker(st, i, st->store);
  *state = st;
  return 0;
}

static inline int stage_open(void **state) {
  return stage_open_on(state, store_backends);
}

/* The store has answered all that was asked so far; nobody has seen the answers. */
static inline void stage_wait(struct stage *st) {
  caller_call(st->caller, st->store, store_op_new(STORE_WRITE)); /* empty: behind all writes */
  caller_call(st->caller, st->store, store_op_new(STORE_PING));  /* there is one reader: behind all reads */
  caller_forget(st->caller);
}

/* Everybody goes on until nothing is left to do; a look-up asks the store at most twice. */
static inline void stage_settle(struct stage *st) {
  for (int i = 0; i < 4; i++) {
    stage_wait(st);
    worker_settle(st->workers[0]);
    worker_settle(st->workers[1]);
  }
}

static inline int stage_close(void **state) {
  struct stage *st = *state;
  store_close(st->store);
  for (int i = 0; i < 2; i++) {
    worker_settle(st->workers[i]);
    worker_free(st->workers[i]);
  }
  sessions_free(st->sessions);
  caller_free(st->caller);
  folder_remove(&st->folder);
  free(st);
  return 0;
}

static inline struct mailbox *stage_home(struct stage *st, int worker) {
  return worker_mailbox(st->workers[worker]);
}

/* A conversation of that user, new to the store, owned by a worker. */
static inline struct session *stage_draft(struct stage *st, const char *user, int owner) {
  struct session_record r = {.user_id = (char *)user, .start_ms = 1};
  struct session *s;
  id_new(r.id);
  assert_int_equal(sessions_enter(st->sessions, &r, false, stage_home(st, owner), 0, &s), 0);
  return s;
}

static inline struct conn *stage_member(struct stage *st, struct session *s, const char *user, int worker) {
  struct conn *c = client_new(stage_home(st, worker), user);
  assert_int_equal(session_join(s, c, 0), 0);
  return c;
}

static inline void stage_leave(struct session *s, struct conn *c) {
  session_leave(s, c, 0);
  client_gone(c);
}
