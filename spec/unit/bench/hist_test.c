/* In: known durations. Out: the percentiles that arithmetic says they have. Why: every number of the benchmark goes
 * through this histogram, so its error has to be known. */
#include "hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct hist h;

static int fresh(void **state) {
  (void)state;
  hist_init(&h);
  return 0;
}

static void an_empty_histogram_has_no_latency(void **state) {
  (void)state;
  assert_int_equal(hist_percentile(&h, 99), 0);
  assert_int_equal(h.count, 0);
  assert_true(hist_mean(&h) == 0);
}

static void small_values_are_exact(void **state) {
  (void)state;
  for (uint64_t ns = 1; ns <= 200; ns++)
    hist_add(&h, ns);
  assert_int_equal(hist_percentile(&h, 0.5), 1);
  assert_int_equal(hist_percentile(&h, 50), 100);
  assert_int_equal(hist_percentile(&h, 99), 198);
  assert_int_equal(hist_percentile(&h, 100), 200);
  assert_true(hist_mean(&h) == 100.5);
}

static void a_percentile_is_never_too_low_and_at_most_one_step_too_high(void **state) {
  (void)state;
  for (uint64_t ns = 3; ns < HIST_LONGEST / 3; ns = ns * 2 + ns / 7) {
    hist_init(&h);
    hist_add(&h, ns);
    hist_add(&h, HIST_LONGEST); /* so that the maximum does not hide the step */
    uint64_t shown = hist_percentile(&h, 50);
    assert_in_range(shown, ns, ns + ns / HIST_STEPS);
  }
}

static void neighbouring_powers_of_two_leave_no_gap(void **state) {
  (void)state;
  for (unsigned bit = 1; bit < 40; bit++)
    for (int around = -1; around <= 1; around++) {
      uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)around;
      hist_init(&h);
      hist_add(&h, ns);
      hist_add(&h, HIST_LONGEST);
      assert_in_range(hist_percentile(&h, 50), ns, ns + ns / HIST_STEPS);
    }
}

static void one_slow_answer_in_a_thousand_shows_only_above_the_999th(void **state) {
  (void)state;
  for (int i = 0; i < 1999; i++)
    hist_add(&h, 1000);
  hist_add(&h, 5000000);
  assert_in_range(hist_percentile(&h, 99.9), 1000, 1008);
  assert_int_equal(hist_percentile(&h, 99.99), 5000000);
}

static void what_is_longer_than_the_longest_keeps_its_maximum(void **state) {
  (void)state;
  hist_add(&h, UINT64_MAX);
  assert_int_equal(h.max, UINT64_MAX);
  assert_int_equal(hist_percentile(&h, 50), UINT64_MAX);
  assert_int_equal(h.bucket[HIST_BUCKETS - 1], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(an_empty_histogram_has_no_latency, fresh),
    cmocka_unit_test_setup(small_values_are_exact, fresh),
    cmocka_unit_test_setup(a_percentile_is_never_too_low_and_at_most_one_step_too_high, fresh),
    cmocka_unit_test_setup(neighbouring_powers_of_two_leave_no_gap, fresh),
    cmocka_unit_test_setup(one_slow_answer_in_a_thousand_shows_only_above_the_999th, fresh),
    cmocka_unit_test_setup(what_is_longer_than_the_longest_keeps_its_maximum, fresh),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
