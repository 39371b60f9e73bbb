/* In: costs, and a clock that is turned by hand. Out: the promise that what flows out of a bucket is its rate, and at
 * once no more than its burst. */
#include "bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

static const struct bucket_rate rate = {.per_s = 10, .burst_ms = 2000}; /* 20 at once */

static void a_full_bucket_holds_its_burst_and_says_when_more_may_come(void **state) {
  (void)state;
  struct bucket b = {0};
  for (int i = 0; i < 20; i++) {
    assert_int_equal(bucket_wait(&b, &rate, 1, 5000), 0);
    bucket_take(&b, &rate, 1, 5000);
  }
  assert_int_equal(bucket_wait(&b, &rate, 1, 5000), 100);
  assert_int_equal(bucket_wait(&b, &rate, 5, 5000), 500);
  assert_int_equal(bucket_wait(&b, &rate, 1, 5099), 1);
  assert_int_equal(bucket_wait(&b, &rate, 1, 5100), 0);
}

static void it_fills_while_nobody_looks_but_not_over_its_rim(void **state) {
  (void)state;
  struct bucket b = {0};
  bucket_take(&b, &rate, 20, 0);
  assert_false(bucket_full(&b, 1999));
  assert_true(bucket_full(&b, 2000));
  assert_int_equal(bucket_wait(&b, &rate, 20, 1000000), 0);
  bucket_take(&b, &rate, 20, 1000000);
  assert_int_equal(bucket_wait(&b, &rate, 1, 1000000), 100);
}

static void what_is_larger_than_the_bucket_waits_until_it_is_full_and_passes(void **state) {
  (void)state;
  struct bucket b = {0};
  assert_int_equal(bucket_wait(&b, &rate, 1000, 0), 0);
  bucket_take(&b, &rate, 1, 0);
  assert_int_equal(bucket_wait(&b, &rate, 1000, 0), 100);
  assert_int_equal(bucket_wait(&b, &rate, 1000, 100), 0);
  bucket_take(&b, &rate, 1000, 100);
  assert_int_equal(bucket_wait(&b, &rate, 1, 100), 98100); /* and is paid for */
}

static void over_a_long_time_it_lets_through_its_rate(void **state) {
  (void)state;
  struct bucket b = {0};
  int passed = 0;
  for (uint64_t now = 0; now < 100000; now += 7)
    if (bucket_wait(&b, &rate, 1, now) == 0) {
      bucket_take(&b, &rate, 1, now);
      passed++;
    }
  assert_in_range(passed, 1000, 1021);
}

static struct bucket shared;

static void *take_many(void *arg) {
  (void)arg;
  for (int i = 0; i < 10000; i++)
    bucket_take(&shared, &rate, 1, 0);
  return NULL;
}

static void nothing_is_lost_when_many_threads_take(void **state) {
  (void)state;
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, take_many, NULL), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  assert_false(bucket_full(&shared, 3999999));
  assert_true(bucket_full(&shared, 4000000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_full_bucket_holds_its_burst_and_says_when_more_may_come),
    cmocka_unit_test(it_fills_while_nobody_looks_but_not_over_its_rim),
    cmocka_unit_test(what_is_larger_than_the_bucket_waits_until_it_is_full_and_passes),
    cmocka_unit_test(over_a_long_time_it_lets_through_its_rate),
    cmocka_unit_test(nothing_is_lost_when_many_threads_take),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
