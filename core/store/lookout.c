/* In: a backend that can look at its database. Out: its last verdict, for whoever asks. Why: see lookout.h. */
#include "lookout.h"

#include "lock.h"
#include "log.h"
#include "store.h"
#include "thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#define LOOK_PAUSE_S 1

struct lookout {
  const struct store_backend *backend;
  void *handle;
  _Atomic(const char *) reason;
  atomic_bool ending;
  struct lock lock; /* for the pause: ending is set under it */
  pthread_cond_t ended;
  pthread_t thread;
};

static void look(struct lookout *l) {
  const char *before = atomic_load(&l->reason), *reason = l->backend->look(l->handle, &l->ending);
  if (atomic_load(&l->ending)) {
    return; /* broken off */
  }
  atomic_store(&l->reason, reason);
  if (reason && reason != before) {
    LOG(LOG_ERROR, "store", "the database is not as it should be: not ready", LSTR("reason", reason));
  } else if (!reason && before) {
    LOG(LOG_INFO, "store", "the database is as it should be again");
  }
}

static void *run(void *arg) {
  struct lookout *l = arg;
  while (!atomic_load(&l->ending)) {
    look(l);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_PAUSE_S;
    lock_acquire(&l->lock);
    if (!atomic_load(&l->ending)) { /* one look too many does no harm */
      pthread_cond_timedwait(&l->ended, &l->lock.mutex, &until);
    }
    lock_release(&l->lock);
  }
  return NULL;
}

static void lookout_discard(struct lookout *l) {
  if (l->handle) {
    l->backend->close(l->handle);
  }
  pthread_cond_destroy(&l->ended);
  lock_deinit(&l->lock);
  free(l);
}

int lookout_new(const struct store_options *o, const struct store_backend *b, const char *location,
                struct lookout **out, char why[256]) {
  *out = NULL;
  if (!b->look) {
    return 0;
  }
  struct lookout *l = calloc(1, sizeof *l);
  if (!l) {
    snprintf(why, 256, "out of memory");
    return UV_ENOMEM;
  }
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&l->ended, &attr);
  pthread_condattr_destroy(&attr);
  lock_init(&l->lock);
  l->backend = b;
  int code = b->open(o, location, false, &l->handle, why);
  if (!code && (code = thread_start(&l->thread, run, l))) {
    snprintf(why, 256, "no thread to look at the database: %s", uv_strerror(code));
  }
  if (code) {
    lookout_discard(l);
    return code;
  }
  *out = l;
  return 0;
}

const char *lookout_reason(struct lookout *l) {
  return l ? atomic_load(&l->reason) : NULL;
}

void lookout_free(struct lookout *l) {
  if (!l) {
    return;
  }
  lock_acquire(&l->lock);
  atomic_store(&l->ending, true);
  pthread_cond_signal(&l->ended);
  lock_release(&l->lock);
  pthread_join(l->thread, NULL);
  lookout_discard(l);
}
