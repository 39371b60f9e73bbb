/* In: pthread's locks. Out: the same, with the house rule checked: a thread holds at most one lock.
 * Why: with one lock at a time there is no lock order to get wrong. Debug builds (no NDEBUG) abort when a thread takes
 * a second one, or lets a lock go it does not hold. */
#pragma once
#include "attr.h"

#include <pthread.h>

struct CAPABILITY("mutex") lock {
  pthread_mutex_t mutex;
};

struct CAPABILITY("rwlock") rwlock {
  pthread_rwlock_t rw;
};

void lock_init(struct lock *l);
void lock_deinit(struct lock *l);
void lock_acquire(struct lock *l) ACQUIRE(*l);
void lock_release(struct lock *l) RELEASE(*l);

void rwlock_init(struct rwlock *l);
void rwlock_deinit(struct rwlock *l);
void rwlock_read(struct rwlock *l) ACQUIRE_SHARED(*l);
void rwlock_read_release(struct rwlock *l) RELEASE_SHARED(*l);
void rwlock_write(struct rwlock *l) ACQUIRE(*l);
void rwlock_write_release(struct rwlock *l) RELEASE(*l);

/* For assert(): whether this thread holds any lock. Always 0 in release builds. */
int lock_held(void);
