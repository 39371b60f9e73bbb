/* In: ready sockets, posts of other threads, due timers. Out: calls of the hooks, one after the other.
 * Why: see worker.h. A turn runs before the loop sleeps and after it wakes: posts, due timers, a bounded number of
 * items, then the hook that writes. While items are left the loop does not sleep. */
#include "worker.h"

#include "err.h"
#include "lock.h"
#include "thread.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define ITEMS_PER_TURN 512   /* then the sockets are served */
#define ITEMS_PER_SESSION 16 /* then the next conversation has its turn */
#define ITEMS_MS 50          /* or so long; items that use their whole budget would keep it from coming round */

struct timer {
  uint64_t due_ms, order;
  void (*fn)(void *);
  void *arg;
  size_t place; /* in the heap */
};

struct worker {
  struct worker_options o;
  struct mailbox *mailbox;
  struct effects_home home;
  uv_loop_t loop;
  uv_async_t async;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t again;
  uv_timer_t alarm;
  pthread_t thread;
  atomic_int tid;
  bool stopping;
  struct session *ready, *ready_last;
  struct timer **heap;
  size_t timers, heap_room;
  uint64_t timer_order, alarm_ms;
  uint64_t turn_ms;
  uint64_t hand_ms; /* by hand: what the clock shows */
  struct lock started_lock;
  pthread_cond_t started_cond;
  bool started;
  int start_code;
  char *why;
};

static _Thread_local struct worker *current; /* whose loop this thread runs */

uint64_t worker_now_ns(const struct worker *w) {
  if (w->o.by_hand) {
    return w->hand_ms * 1000000;
  }
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t worker_now_ms(const struct worker *w) {
  return worker_now_ns(w) / 1000000;
}

uint64_t worker_due_ms(const struct worker *w, uint64_t delay_ms) {
  return (worker_now_ns(w) + 999999) / 1000000 + delay_ms;
}

uint64_t worker_wall_ms(const struct worker *w) {
  if (w->o.by_hand) {
    return 1772463601000 + w->hand_ms; /* an instant that specs can name: 2026-03-02T15:00:01Z */
  }
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t worker_turn_ms(const struct worker *w) {
  return w->turn_ms;
}

static uint64_t home_now_ms(void *arg) {
  return worker_turn_ms(arg);
}

/* ---- timers: a binary heap, the earliest first, equals in the order they were made ---- */

static bool earlier(const struct timer *a, const struct timer *b) {
  return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void place(struct worker *w, size_t at, struct timer *t) {
  w->heap[at] = t;
  t->place = at;
}

static void sift(struct worker *w, size_t at) {
  struct timer *t = w->heap[at];
  while (at && earlier(t, w->heap[(at - 1) / 2])) {
    place(w, at, w->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  for (;;) {
    size_t child = at * 2 + 1;
    if (child + 1 < w->timers && earlier(w->heap[child + 1], w->heap[child])) {
      child++;
    }
    if (child >= w->timers || !earlier(w->heap[child], t)) {
      break;
    }
    place(w, at, w->heap[child]);
    at = child;
  }
  place(w, at, t);
}

struct timer *worker_timer(struct worker *w, uint64_t delay_ms, void (*fn)(void *), void *arg) {
  struct timer *t = malloc(sizeof *t);
  if (t && w->timers == w->heap_room) {
    size_t room = w->heap_room ? w->heap_room * 2 : 16;
    struct timer **heap = realloc(w->heap, room * sizeof *heap);
    if (!heap) {
      free(t);
      return NULL;
    }
    w->heap = heap;
    w->heap_room = room;
  }
  if (t) {
    *t = (struct timer){.due_ms = worker_due_ms(w, delay_ms), .order = w->timer_order++, .fn = fn, .arg = arg};
    place(w, w->timers++, t);
    sift(w, t->place);
  }
  return t;
}

static void timer_remove(struct worker *w, struct timer *t) {
  size_t at = t->place;
  struct timer *last = w->heap[--w->timers];
  if (last != t) {
    place(w, at, last);
    sift(w, at);
  }
}

void worker_timer_stop(struct worker *w, struct timer *t) {
  timer_remove(w, t);
  free(t);
}

static void run_timers(struct worker *w) {
  if (!w->timers) {
    return;
  }
  uint64_t now = w->turn_ms, end = w->timer_order;
  /* Timers made meanwhile wait for the next turn; otherwise one that re-arms itself with 0 would never end. */
  while (w->timers && w->heap[0]->due_ms <= now && w->heap[0]->order < end) {
    struct timer *t = w->heap[0];
    timer_remove(w, t);
    t->fn(t->arg);
    free(t);
  }
}

static void on_alarm(uv_timer_t *alarm) {
  ((struct worker *)alarm->data)->alarm_ms = 0; /* the turn that follows does the work */
}

static void set_alarm(struct worker *w) {
  uint64_t due = w->timers ? w->heap[0]->due_ms : 0;
  if (due == w->alarm_ms) {
    return;
  }
  w->alarm_ms = due;
  if (due) {
    uint64_t now = worker_now_ms(w);
    uv_update_time(&w->loop);
    uv_timer_start(&w->alarm, on_alarm, due > now ? due - now : 0, 0);
  } else {
    uv_timer_stop(&w->alarm);
  }
}

/* ---- sessions ---- */

static void make_ready(struct worker *w, struct session *s) {
  *session_ready_link(s) = NULL;
  if (w->ready_last) {
    *session_ready_link(w->ready_last) = s;
  } else {
    w->ready = s;
  }
  w->ready_last = s;
}

void worker_run_session(struct post *post) {
  make_ready(current, session_of_post(post));
}

void worker_wake(struct worker *w, struct session *s, struct mailbox *wake) {
  if (wake == w->mailbox) {
    make_ready(w, s);
  } else if (wake) {
    session_post(s, wake);
  }
}

int worker_put(struct worker *w, struct session *s, struct item *item) {
  struct mailbox *wake;
  int code = session_put(s, item, &wake);
  if (!code) {
    worker_wake(w, s, wake);
  }
  return code;
}

static void run_item(struct worker *w, struct session *s, struct item *item) {
  if (item->kind == ITEM_EFFECTS) {
    effects_apply(item->effects, &w->home);
    item_free(item);
  } else if (item->kind == ITEM_REPAIR) {
    effects_repair(s, &w->home);
    item_free(item);
  } else {
    w->o.hooks->item(w->o.ctx, s, item);
  }
}

/* Returns how many items it ran. Releases the reference of the ready list when the session has nothing more. */
static int run_session(struct worker *w, struct session *s, uint64_t until_ms) {
  for (int i = 0; i < ITEMS_PER_SESSION && (i == 0 || worker_now_ms(w) < until_ms); i++) {
    struct item *item = session_take(s);
    if (!item) {
      session_unref(s);
      return i;
    }
    run_item(w, s, item);
  }
  make_ready(w, s);
  return ITEMS_PER_SESSION;
}

static void run_ready(struct worker *w) {
  int left = ITEMS_PER_TURN;
  uint64_t until_ms = worker_now_ms(w) + ITEMS_MS;
  for (bool first = true; w->ready && left > 0 && (first || worker_now_ms(w) < until_ms); first = false) {
    struct session *s = w->ready;
    if (!(w->ready = *session_ready_link(s))) {
      w->ready_last = NULL;
    }
    left -= run_session(w, s, until_ms) + 1;
  }
}

static void turn(struct worker *w) {
  current = w;
  w->turn_ms = worker_now_ms(w);
  mailbox_drain(w->mailbox);
  run_timers(w);
  run_ready(w);
  w->o.hooks->turn(w->o.ctx);
}

/* ---- the loop ---- */

static void on_again(uv_idle_t *handle) {
  (void)handle; /* an active idle handle keeps the loop from sleeping */
}

static void loop_turn(struct worker *w) {
  if (!w->started || w->stopping) {
    return; /* the hooks are being started or stopped */
  }
  turn(w);
  set_alarm(w);
  if (w->ready) {
    uv_idle_start(&w->again, on_again);
  } else {
    uv_idle_stop(&w->again);
  }
}

static void on_prepare(uv_prepare_t *handle) {
  loop_turn(handle->data);
}

static void on_check(uv_check_t *handle) {
  loop_turn(handle->data);
}

static void on_async(uv_async_t *handle) {
  (void)handle; /* the check that follows drains the mailbox */
}

static void wake(void *arg) {
  struct worker *w = arg;
  if (!w->o.by_hand) {
    uv_async_send(&w->async);
  }
}

struct posted_call {
  struct post post;
  void (*fn)(void *);
  void *arg;
};

static void run_call(struct post *post) {
  struct posted_call *call = (struct posted_call *)post;
  call->fn(call->arg);
  free(call);
}

void worker_call(struct worker *w, void (*fn)(void *), void *arg) {
  struct posted_call *call = malloc(sizeof *call);
  if (!call) {
    abort(); /* start, reload and stop must reach every worker */
  }
  *call = (struct posted_call){.post.run = run_call, .fn = fn, .arg = arg};
  mailbox_put(w->mailbox, &call->post);
}

/* Only the first two can fail: they open descriptors. */
static bool open_loop(struct worker *w) {
  if (uv_loop_init(&w->loop)) {
    return false;
  }
  if (uv_async_init(&w->loop, &w->async, on_async)) {
    uv_loop_close(&w->loop);
    return false;
  }
  uv_prepare_init(&w->loop, &w->prepare);
  uv_check_init(&w->loop, &w->check);
  uv_idle_init(&w->loop, &w->again);
  uv_timer_init(&w->loop, &w->alarm);
  w->prepare.data = w->check.data = w->alarm.data = w;
  uv_prepare_start(&w->prepare, on_prepare);
  uv_check_start(&w->check, on_check);
  return true;
}

struct worker *worker_new(const struct worker_options *o) {
  struct worker *w = calloc(1, sizeof *w);
  struct mailbox *mailbox = mailbox_new(wake, w);
  if (!w || !mailbox || (!o->by_hand && !open_loop(w))) {
    mailbox_free(mailbox);
    free(w);
    return NULL;
  }
  w->o = *o;
  w->mailbox = mailbox;
  lock_init(&w->started_lock);
  pthread_cond_init(&w->started_cond, NULL);
  w->hand_ms = 1000;
  w->home = (struct effects_home){.here = w->mailbox,
                                  .sessions = o->sessions,
                                  .store = o->store,
                                  .now_ms = home_now_ms,
                                  .late_ms = o->answer_late_ms,
                                  .arg = w};
  return w;
}

static void *run(void *arg) {
  struct worker *w = arg;
  current = w;
  atomic_store(&w->tid, (int)syscall(SYS_gettid));
  int code = w->o.hooks->start(w, w->o.ctx, w->why);
  lock_acquire(&w->started_lock);
  w->started = true;
  w->start_code = code;
  pthread_cond_signal(&w->started_cond);
  lock_release(&w->started_lock);
  while (code == 0 && !w->stopping) {
    uv_run(&w->loop, UV_RUN_DEFAULT);
  }
  if (code == 0) {
    mailbox_drain(w->mailbox);
    w->o.hooks->stop(w->o.ctx);
  }
  return NULL;
}

int worker_start(struct worker *w, char why[512]) {
  w->why = why;
  if (w->o.by_hand) {
    current = w;
    return w->o.hooks->start(w, w->o.ctx, why);
  }
  int code = thread_start(&w->thread, run, w);
  if (code) {
    return code;
  }
  lock_acquire(&w->started_lock);
  while (!w->started) {
    pthread_cond_wait(&w->started_cond, &w->started_lock.mutex);
  }
  code = w->start_code;
  lock_release(&w->started_lock);
  if (code) {
    pthread_join(w->thread, NULL);
  }
  return code;
}

static void stop_here(void *arg) {
  struct worker *w = arg;
  w->stopping = true;
  uv_stop(&w->loop);
}

void worker_stop(struct worker *w) {
  if (!w->o.by_hand) {
    worker_call(w, stop_here, w);
  }
}

void worker_join(struct worker *w) {
  if (w->o.by_hand) {
    w->o.hooks->stop(w->o.ctx);
  } else {
    pthread_join(w->thread, NULL);
  }
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) {
    uv_close(handle, NULL);
  }
}

/* Items that nobody will run any more. Effects refer to the session in whose inbox they are, so they have to be
 * taken out. */
static void forget_items(struct session *s) {
  struct item *item;
  while ((item = session_take(s))) {
    if (item->effects) {
      effects_free(item->effects);
    }
    item_free(item);
  }
}

void worker_free(struct worker *w) {
  while (w->ready) {
    struct session *s = w->ready;
    w->ready = *session_ready_link(s);
    forget_items(s);
    session_unref(s);
  }
  while (w->timers) {
    worker_timer_stop(w, w->heap[0]);
  }
  free(w->heap);
  if (!w->o.by_hand) {
    uv_walk(&w->loop, close_handle, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_loop_close(&w->loop);
  }
  mailbox_free(w->mailbox);
  pthread_cond_destroy(&w->started_cond);
  lock_deinit(&w->started_lock);
  if (current == w) {
    current = NULL;
  }
  free(w);
}

struct mailbox *worker_mailbox(struct worker *w) {
  return w->mailbox;
}

int worker_tid(const struct worker *w) {
  return atomic_load(&w->tid);
}

const struct effects_home *worker_home(struct worker *w) {
  return &w->home;
}

bool worker_has_items(const struct worker *w) {
  return w->ready;
}

unsigned worker_index(const struct worker *w) {
  return w->o.index;
}

struct uv_loop_s *worker_loop(struct worker *w) {
  return &w->loop;
}

void worker_settle(struct worker *w) {
  do {
    turn(w);
  } while (w->ready || mailbox_drain(w->mailbox));
}

void worker_advance(struct worker *w, uint64_t ms) {
  uint64_t end = w->hand_ms + ms;
  worker_settle(w);
  while (w->timers && w->heap[0]->due_ms <= end) {
    w->hand_ms = w->heap[0]->due_ms > w->hand_ms ? w->heap[0]->due_ms : w->hand_ms;
    worker_settle(w);
  }
  w->hand_ms = end;
  worker_settle(w);
}
