/* In: what one user or one address does, on whatever connection. Out: yes, or how long it has to wait.
 * Why: a bound of all is safe only when nobody can fill it alone, so each has one beside it that counts by person. An
 * account is what is known of one of them: found once per connection and then used without a look-up or a lock.
 * Bound: as many as accounts_new was told; at the bound the one that was let go longest ago is forgotten. One that is
 * let go stays until its buckets are full again, or coming back would be a way around them. Any thread; one lock. */
#pragma once
#include "attr.h"
#include "bucket.h"

#include <stddef.h>
#include <stdint.h>

struct account;
struct accounts;

/* What is held for a while and given back. */
enum account_hold {
  ACCOUNT_INBOX, /* bytes of texts that wait or are being worked on */
  ACCOUNT_TASKS, /* handlers that run or wait */
  ACCOUNT_HOLDS
};

struct account_limits {
  struct bucket_rate work, bytes; /* units of work; bytes received */
  size_t holds[ACCOUNT_HOLDS];
};

/* max ≥ 1 accounts. NULL when memory is out. */
struct accounts *accounts_new(const struct account_limits *limits, size_t max) NODISCARD;
/* All have been let go. */
void accounts_free(struct accounts *t);
/* The account of a key: a reference. NULL: memory is out, or all `max` are in use. */
struct account *accounts_open(struct accounts *t, const char *key, size_t len) NODISCARD;
struct account *account_ref(struct account *a);
void account_unref(struct account *a); /* NULL is allowed */
/* Forgets those that are not in use and owe nothing; how many. */
size_t accounts_sweep(struct accounts *t, uint64_t now_ms);
size_t accounts_count(struct accounts *t);

/* 0, or E_LIMITED: more than its limit would be held. An account that holds nothing gets any amount. NULL: 0. */
int account_hold(struct account *a, enum account_hold what, size_t amount) NODISCARD;
void account_let_go(struct account *a, enum account_hold what, size_t amount);
size_t account_held(const struct account *a, enum account_hold what);

/* The buckets something has to pass: its own, and those of its user and its address. All zero: no bounds. */
struct meter {
  struct bucket work, bytes;
  const struct account_limits *own; /* borrowed; NULL: no bounds of its own */
  struct account *user, *address;   /* references, or NULL: nobody's bound */
};
void meter_deinit(struct meter *m);
/* 0: done; else nothing is taken, and ms ≥ 1 until it may be. */
uint64_t meter_spend(struct meter *m, uint64_t work, uint64_t bytes, uint64_t now_ms);
