/* In: threads that promise to come round, a deadline by which something has to be over. Out: one call when a promise is
 * broken, from a thread of its own, which is meant to end the process.
 * Why: a thread that hangs in C cannot be ended, and what it holds is never let go. A process that ends is started
 * again by whatever looks after it; one that hangs is not. Each thread is sent a post and has to run it.
 * The watchdog's clock counts only while the watchdog itself runs: the time the whole process or machine was stopped
 * (SIGSTOP, a suspended virtual machine) is held against nobody.
 * Thread: any but for what says otherwise. Bound: WATCHDOG_THREADS. */
#pragma once
#include "attr.h"
#include "mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WATCHDOG_THREADS 257 /* 256 workers, and the main thread */

struct watchdog;

struct watchdog_options {
  uint64_t stall_ms; /* a thread that has not run its post for so long has stalled */
  /* On the watchdog's thread, once. index: as watchdog_add; silent_ms: since when, by the watchdog's clock. */
  void (*stalled)(void *arg, size_t index, uint64_t silent_ms);
  void *arg;
};

/* No thread of its own yet: watchdog_start. NULL: out of memory. */
struct watchdog *watchdog_new(const struct watchdog_options *o) NODISCARD;
/* 0 or libuv's code. */
int watchdog_start(struct watchdog *d) NODISCARD;
/* Ends its thread. The mailboxes of the threads it watched are drained or freed before. */
void watchdog_free(struct watchdog *d); /* NULL is allowed */

/* From now on the owner of this mailbox has to come round. */
void watchdog_add(struct watchdog *d, struct mailbox *m);
/* No thread is watched any more, and no post is on its way to one. */
void watchdog_release(struct watchdog *d);
/* fn(arg) on the watchdog's thread in so many ms of its clock, instead of an earlier such call; NULL: none. */
void watchdog_deadline(struct watchdog *d, uint64_t ms, void (*fn)(void *arg), void *arg);

/* One look, for tests; the watchdog's thread does the same. now_ms: any monotonic clock. */
void watchdog_look(struct watchdog *d, uint64_t now_ms);
/* How often it looks. */
uint64_t watchdog_every_ms(const struct watchdog *d);
