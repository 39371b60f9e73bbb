/* In: looks at the clock, answers of the threads. Out: one call when somebody owes an answer for too long. Why: see
 * watchdog.h. A look that comes late counts as one that came in time: nobody can have answered while everything stood.
 */
#include "watchdog.h"

#include "lock.h"
#include "metrics.h"
#include "thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define LOOKS 10          /* within the time a thread has */
#define LOOK_LEAST_MS 10  /* but not more often than this … */
#define LOOK_MOST_MS 1000 /* … and a deadline is met within this */
#define DEADLINE_LOOK_MS 20
#define DELAY_MS 2000 /* people notice, though it is no stall yet: counted */

struct watched_thread {
  struct post post;
  struct mailbox *mailbox;
  atomic_bool answered;
  uint64_t silent_ms;
};

struct watchdog {
  struct watchdog_options o;
  struct lock lock;
  pthread_cond_t changed;
  pthread_t thread;
  bool running, ending, told;
  bool posting;     /* a look sends posts, without the lock */
  uint64_t last_ms; /* the look before */
  void (*fn)(void *arg);
  void *arg;
  uint64_t left_ms; /* until fn */
  bool fresh;       /* no look yet since it was set: what passed before is not its time */
  size_t count;
  struct watched_thread threads[WATCHDOG_THREADS];
};

uint64_t watchdog_every_ms(const struct watchdog *d) {
  uint64_t every = d->o.stall_ms / LOOKS;
  return every < LOOK_LEAST_MS ? LOOK_LEAST_MS : every > LOOK_MOST_MS ? LOOK_MOST_MS : every;
}

static uint64_t clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_post(struct post *post) {
  atomic_store(&((struct watched_thread *)post)->answered, true);
}

/* Under the lock: what is to be done without it. */
struct duty {
  struct mailbox *ask[WATCHDOG_THREADS];
  struct watched_thread *asked[WATCHDOG_THREADS];
  size_t asks;
  struct watched_thread *stalled;
  void (*fn)(void *arg);
  void *arg;
};

static void look_at_threads(struct watchdog *d, uint64_t passed_ms, struct duty *duty) {
  for (size_t i = 0; i < d->count; i++) {
    struct watched_thread *w = &d->threads[i];
    if (atomic_load(&w->answered)) {
      atomic_store(&w->answered, false);
      w->silent_ms = 0;
      duty->ask[duty->asks] = w->mailbox;
      duty->asked[duty->asks++] = w;
      continue;
    }
    bool noticed = w->silent_ms >= DELAY_MS;
    w->silent_ms += passed_ms;
    metrics_add(METRIC_WORKER_DELAYS, !noticed && w->silent_ms >= DELAY_MS);
    if (w->silent_ms >= d->o.stall_ms && !d->told) {
      d->told = true;
      duty->stalled = w;
    }
  }
}

static void look_at_deadline(struct watchdog *d, uint64_t passed_ms, struct duty *duty) {
  if (!d->fn) {
    return;
  }
  d->left_ms -= d->fresh ? 0 : passed_ms < d->left_ms ? passed_ms : d->left_ms;
  d->fresh = false;
  if (d->left_ms == 0) {
    duty->fn = d->fn;
    duty->arg = d->arg;
    d->fn = NULL;
  }
}

static uint64_t pause_ms(const struct watchdog *d) {
  return d->fn && watchdog_every_ms(d) > DEADLINE_LOOK_MS ? DEADLINE_LOOK_MS : watchdog_every_ms(d);
}

void watchdog_look(struct watchdog *d, uint64_t now_ms) {
  struct duty duty = {.asks = 0};
  lock_acquire(&d->lock);
  uint64_t passed_ms = d->last_ms && now_ms > d->last_ms ? now_ms - d->last_ms : 0;
  uint64_t most_ms = 2 * watchdog_every_ms(d);
  d->last_ms = now_ms;
  passed_ms = passed_ms < most_ms ? passed_ms : most_ms;
  look_at_threads(d, passed_ms, &duty);
  look_at_deadline(d, passed_ms, &duty);
  d->posting = true;
  lock_release(&d->lock);
  for (size_t i = 0; i < duty.asks; i++) {
    mailbox_put(duty.ask[i], &duty.asked[i]->post);
  }
  lock_acquire(&d->lock);
  d->posting = false;
  pthread_cond_broadcast(&d->changed);
  lock_release(&d->lock);
  if (duty.stalled) {
    d->o.stalled(d->o.arg, (size_t)(duty.stalled - d->threads), duty.stalled->silent_ms);
  }
  if (duty.fn) {
    duty.fn(duty.arg);
  }
}

static void *run(void *arg) {
  struct watchdog *d = arg;
  for (;;) {
    watchdog_look(d, clock_ms());
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    lock_acquire(&d->lock);
    uint64_t ms = pause_ms(d);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (!d->ending) { /* one look too many does no harm */
      pthread_cond_timedwait(&d->changed, &d->lock.mutex, &until);
    }
    bool ending = d->ending;
    lock_release(&d->lock);
    if (ending) {
      return NULL;
    }
  }
}

struct watchdog *watchdog_new(const struct watchdog_options *o) {
  struct watchdog *d = calloc(1, sizeof *d);
  if (!d) {
    return NULL;
  }
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&d->changed, &attr);
  pthread_condattr_destroy(&attr);
  lock_init(&d->lock);
  d->o = *o;
  return d;
}

int watchdog_start(struct watchdog *d) {
  int code = thread_start(&d->thread, run, d);
  d->running = code == 0;
  return code;
}

void watchdog_free(struct watchdog *d) {
  if (!d) {
    return;
  }
  lock_acquire(&d->lock);
  d->ending = true;
  pthread_cond_broadcast(&d->changed);
  lock_release(&d->lock);
  if (d->running) {
    pthread_join(d->thread, NULL);
  }
  pthread_cond_destroy(&d->changed);
  lock_deinit(&d->lock);
  free(d);
}

void watchdog_add(struct watchdog *d, struct mailbox *m) {
  lock_acquire(&d->lock);
  if (d->count < WATCHDOG_THREADS) {
    struct watched_thread *w = &d->threads[d->count++];
    w->post.run = on_post;
    w->mailbox = m;
    atomic_store(&w->answered, true);
  }
  lock_release(&d->lock);
}

void watchdog_release(struct watchdog *d) {
  lock_acquire(&d->lock);
  d->count = 0;
  while (d->posting) {
    pthread_cond_wait(&d->changed, &d->lock.mutex);
  }
  lock_release(&d->lock);
}

void watchdog_deadline(struct watchdog *d, uint64_t ms, void (*fn)(void *), void *arg) {
  lock_acquire(&d->lock);
  d->fn = fn;
  d->arg = arg;
  d->left_ms = ms ? ms + 1 : 0; /* the clock of the looks rounds down */
  d->fresh = true;
  pthread_cond_broadcast(&d->changed);
  lock_release(&d->lock);
}
