/* In: pthread's locks. Out: the same, with the house rule checked in debug builds.
 * Why: what a thread holds is one thread-local pointer, so the check costs nothing worth measuring and names neither
 * order nor owner. A pthread call that fails here is a broken program, never a state to go on from. */
#include "lock.h"

#include <stddef.h>
#include <stdlib.h>

static void must(int code) {
  if (code != 0)
    abort();
}

#ifdef NDEBUG
static void hold(const void *l) {
  (void)l;
}

static void let_go(const void *l) {
  (void)l;
}

int lock_held(void) {
  return 0;
}
#else
static _Thread_local const void *held;

static void hold(const void *l) {
  if (held)
    abort(); /* before waiting, because a deadlock would hide the mistake */
  held = l;
}

static void let_go(const void *l) {
  if (held != l)
    abort();
  held = NULL;
}

int lock_held(void) {
  return !!held;
}
#endif

void lock_init(struct lock *l) {
  must(pthread_mutex_init(&l->mutex, NULL));
}

void lock_deinit(struct lock *l) {
  must(pthread_mutex_destroy(&l->mutex));
}

void lock_acquire(struct lock *l) NO_THREAD_SAFETY_ANALYSIS {
  hold(l);
  must(pthread_mutex_lock(&l->mutex));
}

void lock_release(struct lock *l) NO_THREAD_SAFETY_ANALYSIS {
  let_go(l);
  must(pthread_mutex_unlock(&l->mutex));
}

/* By default glibc lets readers overtake a waiting writer for ever. A thread here holds one lock, so it never reads
 * recursively, and the kind that prefers writers is safe. */
void rwlock_init(struct rwlock *l) {
  pthread_rwlockattr_t attr;
  must(pthread_rwlockattr_init(&attr));
  must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
  must(pthread_rwlock_init(&l->rw, &attr));
  must(pthread_rwlockattr_destroy(&attr));
}

void rwlock_deinit(struct rwlock *l) {
  must(pthread_rwlock_destroy(&l->rw));
}

void rwlock_read(struct rwlock *l) NO_THREAD_SAFETY_ANALYSIS {
  hold(l);
  must(pthread_rwlock_rdlock(&l->rw));
}

void rwlock_read_release(struct rwlock *l) NO_THREAD_SAFETY_ANALYSIS {
  let_go(l);
  must(pthread_rwlock_unlock(&l->rw));
}

void rwlock_write(struct rwlock *l) NO_THREAD_SAFETY_ANALYSIS {
  hold(l);
  must(pthread_rwlock_wrlock(&l->rw));
}

void rwlock_write_release(struct rwlock *l) NO_THREAD_SAFETY_ANALYSIS {
  let_go(l);
  must(pthread_rwlock_unlock(&l->rw));
}
