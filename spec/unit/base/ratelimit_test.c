/* In: events at times the test chooses. Out: the promises of core/base/ratelimit.h.
 * Why: the answer decides who may speak, retry_after is shown to people, and the keys come from strangers. */
#include "ratelimit.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static uint64_t retry;

static int take(struct ratelimit *r, const char *key, uint64_t now_ms) {
  return ratelimit_take(r, key, strlen(key), now_ms, &retry);
}

static void the_limit_holds_inside_the_window(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(3, 1000, 10);
  assert_int_equal(take(r, "ann", 100), 0);
  assert_int_equal(take(r, "ann", 200), 0);
  assert_int_equal(take(r, "ann", 300), 0);
  assert_int_equal(take(r, "ann", 400), E_LIMITED);
  assert_int_equal(take(r, "bob", 400), 0);
  ratelimit_free(r);
}

static void the_window_slides(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(2, 1000, 10);
  assert_int_equal(take(r, "ann", 0), 0);
  assert_int_equal(take(r, "ann", 600), 0);
  assert_int_equal(take(r, "ann", 999), E_LIMITED);
  assert_int_equal(take(r, "ann", 1000), 0); /* the first has left, the second has not */
  assert_int_equal(take(r, "ann", 1599), E_LIMITED);
  assert_int_equal(take(r, "ann", 1600), 0);
  ratelimit_free(r);
}

static void retry_after_is_exact(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(2, 1000, 10);
  assert_int_equal(take(r, "ann", 10), 0);
  assert_int_equal(take(r, "ann", 500), 0);
  assert_int_equal(take(r, "ann", 500), E_LIMITED);
  assert_int_equal(retry, 510);
  assert_int_equal(take(r, "ann", 1009), E_LIMITED);
  assert_int_equal(retry, 1);
  assert_int_equal(take(r, "ann", 1009 + retry), 0);
  ratelimit_free(r);
}

static void a_blocked_attempt_does_not_count(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(1, 1000, 10);
  assert_int_equal(take(r, "ann", 0), 0);
  for (uint64_t now = 1; now < 1000; now++)
    assert_int_equal(take(r, "ann", now), E_LIMITED);
  assert_int_equal(take(r, "ann", 1000), 0);
  ratelimit_free(r);
}

/* Against a list that is searched from end to end, over enough events for the ring to turn and grow many times. */
static void it_agrees_with_a_plain_list(void **state) {
  (void)state;
  enum { LIMIT = 37, WINDOW = 500, EVENTS = 20000 };
  static uint64_t taken[EVENTS];
  struct ratelimit *r = ratelimit_new(LIMIT, WINDOW, 1);
  uint64_t now = 0, chance = 1;
  for (size_t i = 0, count = 0; i < EVENTS; i++) {
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    now += chance >> 60 == 0 ? (chance >> 50) % WINDOW : (chance >> 40) % 20;
    size_t inside = 0;
    uint64_t oldest = now;
    for (size_t k = count; k > 0 && taken[k - 1] + WINDOW > now; k--) {
      inside++;
      oldest = taken[k - 1];
    }
    int code = take(r, "ann", now);
    assert_int_equal(code, inside < LIMIT ? 0 : E_LIMITED);
    if (code == 0)
      taken[count++] = now;
    else
      assert_int_equal(retry, oldest + WINDOW - now);
  }
  ratelimit_free(r);
}

static void a_clock_that_lags_behind_does_not_break_the_order(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(2, 1000, 10);
  assert_int_equal(take(r, "ann", 500), 0);
  assert_int_equal(take(r, "ann", 490), 0); /* another worker's clock; counts as 500 */
  assert_int_equal(take(r, "ann", 490), E_LIMITED);
  assert_int_equal(retry, 1010);
  assert_int_equal(take(r, "ann", 1495), E_LIMITED);
  assert_int_equal(retry, 5);
  assert_int_equal(ratelimit_sweep(r, 1495), 0);
  assert_int_equal(take(r, "ann", 1500), 0);
  ratelimit_free(r);
}

static void a_full_table_refuses_a_new_key_and_serves_the_old(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(5, 1000, 3);
  assert_int_equal(take(r, "a", 0), 0);
  assert_int_equal(take(r, "b", 0), 0);
  assert_int_equal(take(r, "c", 0), 0);
  assert_int_equal(take(r, "d", 999), E_LIMITED);
  assert_int_equal(retry, 1000);
  assert_int_equal(take(r, "a", 999), 0);
  assert_int_equal(ratelimit_keys(r), 3);
  ratelimit_free(r);
}

static void a_full_table_evicts_keys_whose_window_is_empty(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(2, 1000, 3);
  assert_int_equal(take(r, "a", 0), 0);
  assert_int_equal(take(r, "b", 0), 0);
  assert_int_equal(take(r, "c", 0), 0);
  assert_int_equal(take(r, "b", 500), 0);
  assert_int_equal(take(r, "d", 1000), 0); /* in place of a or c */
  assert_int_equal(take(r, "e", 1000), 0); /* and of the other */
  assert_int_equal(take(r, "f", 1000), E_LIMITED);
  assert_int_equal(ratelimit_keys(r), 3);
  assert_int_equal(take(r, "b", 1000), 0); /* b was not forgotten: this is its second in the window */
  assert_int_equal(take(r, "b", 1000), E_LIMITED);
  ratelimit_free(r);
}

static void a_sweep_drops_what_is_quiet_and_keeps_the_rest(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(1, 1000, 1000);
  char key[16];
  for (int i = 0; i < 500; i++) {
    snprintf(key, sizeof key, "quiet%d", i);
    assert_int_equal(take(r, key, 0), 0);
  }
  for (int i = 0; i < 500; i++) {
    snprintf(key, sizeof key, "loud%d", i);
    assert_int_equal(take(r, key, 1), 0);
  }
  assert_int_equal(ratelimit_sweep(r, 999), 0);
  assert_int_equal(ratelimit_sweep(r, 1000), 500);
  assert_int_equal(ratelimit_keys(r), 500);
  for (int i = 0; i < 500; i++) {
    snprintf(key, sizeof key, "loud%d", i);
    assert_int_equal(take(r, key, 1000), E_LIMITED);
  }
  assert_int_equal(ratelimit_sweep(r, 1001), 500);
  assert_int_equal(ratelimit_keys(r), 0);
  ratelimit_free(r);
}

static void a_key_that_speaks_again_does_not_hide_the_quiet_ones_behind_it(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(2, 1000, 1000);
  char key[16];
  for (int i = 0; i < 500; i++) { /* enough for every shard to have both kinds, the loud one first */
    snprintf(key, sizeof key, "%s%d", i < 250 ? "loud" : "quiet", i);
    assert_int_equal(take(r, key, 0), 0);
  }
  for (int i = 0; i < 250; i++) {
    snprintf(key, sizeof key, "loud%d", i);
    assert_int_equal(take(r, key, 500), 0);
  }
  assert_int_equal(ratelimit_sweep(r, 1000), 250);
  ratelimit_free(r);
}

static void keys_are_bytes_with_a_length(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(1, 1000, 10);
  assert_int_equal(ratelimit_take(r, "a\0b", 3, 0, &retry), 0);
  assert_int_equal(ratelimit_take(r, "a\0c", 3, 0, &retry), 0);
  assert_int_equal(ratelimit_take(r, "", 0, 0, &retry), 0);
  assert_int_equal(ratelimit_take(r, "a\0b", 3, 0, &retry), E_LIMITED);
  ratelimit_free(r);
}

/* Memory is asked from the allocator itself; a sanitizer's allocator does not answer. */
static void a_key_costs_what_it_uses_and_never_more_than_the_limit(void **state) {
  (void)state;
#ifdef CHATBOX_SANITIZE
  skip();
#else
  enum { LIMIT = 1000, KEYS = 100, EACH = 5, OVERHEAD = 256 };
  struct ratelimit *r = ratelimit_new(LIMIT, 1000000, KEYS);
  char key[16];
  size_t before = mallinfo2().uordblks;
  for (int i = 0; i < KEYS; i++) {
    snprintf(key, sizeof key, "k%d", i);
    for (int k = 0; k < EACH; k++)
      assert_int_equal(take(r, key, 0), 0);
  }
  size_t idle = mallinfo2().uordblks - before;
  assert_in_range(idle, 1, KEYS * OVERHEAD);
  for (int i = 0; i < LIMIT * 2; i++)
    assert_int_equal(take(r, "k0", 1), i < LIMIT - EACH ? 0 : E_LIMITED);
  size_t busy = mallinfo2().uordblks - before;
  assert_in_range(busy, idle + LIMIT * 8 - OVERHEAD, idle + 2 * LIMIT * 8); /* outgrown rings stay in malloc's cache */
  ratelimit_free(r);
#endif
}

enum { THREADS = 4, ATTEMPTS = 4000, SHARED_LIMIT = 100, FEW_KEYS = 50 };
static atomic_int granted, most_keys;

static void *attempt(void *arg) {
  struct ratelimit *r = arg;
  for (int i = 0; i < ATTEMPTS; i++) {
    uint64_t ignored;
    char key[16];
    if (ratelimit_take(r, "shared", 6, 5000, &ignored) == 0)
      atomic_fetch_add(&granted, 1);
    snprintf(key, sizeof key, "k%d", i % (2 * FEW_KEYS));
    if (ratelimit_take(r, key, strlen(key), 5000 + (uint64_t)i % 2 * 2000, &ignored) == 0 && i % 64 == 0)
      ratelimit_sweep(r, 5000);
    int keys = (int)ratelimit_keys(r), seen = atomic_load(&most_keys);
    while (seen < keys && !atomic_compare_exchange_weak(&most_keys, &seen, keys))
      ;
  }
  return NULL;
}

static void limit_and_bound_hold_for_many_threads(void **state) {
  (void)state;
  struct ratelimit *r = ratelimit_new(SHARED_LIMIT, 10000, FEW_KEYS);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, attempt, r), 0);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(atomic_load(&granted), SHARED_LIMIT);
  assert_in_range(atomic_load(&most_keys), 1, FEW_KEYS);
  size_t keys = ratelimit_keys(r); /* the count and what is really there agree */
  assert_int_equal(ratelimit_sweep(r, 1000000), keys);
  assert_int_equal(ratelimit_keys(r), 0);
  ratelimit_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_limit_holds_inside_the_window),
    cmocka_unit_test(the_window_slides),
    cmocka_unit_test(retry_after_is_exact),
    cmocka_unit_test(a_blocked_attempt_does_not_count),
    cmocka_unit_test(it_agrees_with_a_plain_list),
    cmocka_unit_test(a_clock_that_lags_behind_does_not_break_the_order),
    cmocka_unit_test(a_full_table_refuses_a_new_key_and_serves_the_old),
    cmocka_unit_test(a_full_table_evicts_keys_whose_window_is_empty),
    cmocka_unit_test(a_sweep_drops_what_is_quiet_and_keeps_the_rest),
    cmocka_unit_test(a_key_that_speaks_again_does_not_hide_the_quiet_ones_behind_it),
    cmocka_unit_test(keys_are_bytes_with_a_length),
    cmocka_unit_test(a_key_costs_what_it_uses_and_never_more_than_the_limit),
    cmocka_unit_test(limit_and_bound_hold_for_many_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
