/* In: operations of the store. Out: the real SQLite backend's answers; or failures, or nothing yet, when a spec wants
 * that. Why: what a handler promises when the disk is slow or broken has to be seen, and no disk breaks on demand.
 * Thread: the store's threads; the switches are set by the spec's. */
#pragma once
#include "err.h"
#include "store_backends.h"

#include <pthread.h>
#include <stdbool.h>

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool fail_writes, fail_reads, hold_writes, hold_reads;
  bool lie; /* what is written is said to have failed */
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
  bool fail = faults.fail_writes, lie = faults.lie;
  pthread_mutex_unlock(&faults.lock);
  for (size_t i = 0; fail && i < count; i++) {
    ops[i]->code = E_STORE;
  }
  if (!fail) {
    store_sqlite.write(handle, ops, count);
  }
  for (size_t i = 0; lie && i < count; i++) {
    ops[i]->code = store_op_empty(ops[i]) ? ops[i]->code : E_STORE;
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
    store_sqlite.read(handle, op);
  }
}

static int faulty_erase(void *handle, struct store_op *op) {
  return store_sqlite.erase(handle, op);
}

static int faulty_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  return store_sqlite.open(o, location, writer, handle, why);
}

static void faulty_close(void *handle) {
  store_sqlite.close(handle);
}

static const struct store_backend faulty_store = {
  .scheme = "sqlite",
  .open = faulty_open,
  .close = faulty_close,
  .write = faulty_write,
  .read = faulty_read,
  .erase = faulty_erase,
};
static const struct store_backend *const faulty_backends[] = {&faulty_store, NULL};
