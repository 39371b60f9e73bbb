/* In: operations of the store. Out: the real SQLite backend's answers; or failures, or nothing yet, when a spec wants
 * that. Why: what a handler promises when the disk is slow or broken has to be seen, and no disk breaks on demand. The
 * real backend is compiled in under another name, so that this one can stand in its place. Thread: the store's threads;
 * the switches are set by the spec's. */
#pragma once
#define store_sqlite store_sqlite_real
#include "sqlite.c"
#undef store_sqlite

#include <pthread.h>
#include <stdbool.h>

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool fail_writes, fail_reads, hold_writes, hold_reads;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void faults_set(bool *which, bool on) {
  pthread_mutex_lock(&faults.lock);
  *which = on;
  pthread_cond_broadcast(&faults.changed);
  pthread_mutex_unlock(&faults.lock);
}

static void faulty_write(void *handle, struct store_op **ops, size_t count) {
  pthread_mutex_lock(&faults.lock);
  while (faults.hold_writes) {
    pthread_cond_wait(&faults.changed, &faults.lock);
  }
  bool fail = faults.fail_writes;
  pthread_mutex_unlock(&faults.lock);
  for (size_t i = 0; fail && i < count; i++) {
    ops[i]->code = E_STORE;
  }
  if (!fail) {
    store_sqlite_real.write(handle, ops, count);
  }
}

static void faulty_read(void *handle, struct store_op *op) {
  pthread_mutex_lock(&faults.lock);
  while (faults.hold_reads) {
    pthread_cond_wait(&faults.changed, &faults.lock);
  }
  bool fail = faults.fail_reads;
  pthread_mutex_unlock(&faults.lock);
  if (fail) {
    op->code = E_STORE;
  } else {
    store_sqlite_real.read(handle, op);
  }
}

const struct store_backend store_sqlite = {
  .scheme = "sqlite", .open = sqlite_open, .close = sqlite_close, .write = faulty_write, .read = faulty_read};
