/* history.c: what was done with the scripts, newest first, the last HISTORY_MAX of it. */
#include "history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void the_newest_comes_first_and_keeps_what_was_said(void **state) {
  struct history h = {0};
  (void)state;
  assert_null(history_at(&h, 0));
  unsigned first = history_add(&h, "start", NULL, NULL, 1000);
  unsigned second = history_add(&h, "reload", "admin boss", "Friday", 2000);
  history_version(&h, second, "0123456789ab");
  history_settle(&h, first, OUTCOME_RUNNING, NULL);
  history_settle(&h, second, OUTCOME_FAILED, "scripts/x.lua:3: no");
  const struct history_entry *e = history_at(&h, 0);
  assert_string_equal(e->verb, "reload");
  assert_string_equal(e->who, "admin boss");
  assert_string_equal(e->why, "Friday");
  assert_string_equal(e->version, "0123456789ab");
  assert_string_equal(e->detail, "scripts/x.lua:3: no");
  assert_int_equal(e->at_ms, 2000);
  assert_string_equal(history_outcome(e->outcome), "failed");
  assert_string_equal(history_at(&h, 1)->who, "");
  assert_string_equal(history_outcome(history_at(&h, 1)->outcome), "running");
  assert_null(history_at(&h, 2));
}

static void the_oldest_goes_and_what_comes_of_it_later_is_ignored(void **state) {
  struct history h = {0};
  (void)state;
  for (unsigned i = 1; i <= HISTORY_MAX + 5; i++) {
    assert_int_equal(history_add(&h, "reload", "x", "", i), i);
  }
  assert_int_equal(history_at(&h, 0)->number, HISTORY_MAX + 5);
  assert_int_equal(history_at(&h, HISTORY_MAX - 1)->number, 6);
  assert_null(history_at(&h, HISTORY_MAX));
  history_settle(&h, 5, OUTCOME_FAILED, "late");
  history_version(&h, 5, "late");
  history_settle(&h, 0, OUTCOME_FAILED, "never was");
  for (unsigned back = 0; back < HISTORY_MAX; back++) {
    assert_int_equal(history_at(&h, back)->outcome, OUTCOME_BEGUN);
    assert_string_equal(history_at(&h, back)->version, "");
  }
}

static void an_outcome_turns_wherever_it_stands(void **state) {
  struct history h = {0};
  (void)state;
  history_settle(&h, history_add(&h, "start", "", "", 1), OUTCOME_RUNNING, NULL);
  history_settle(&h, history_add(&h, "reload", "", "", 2), OUTCOME_FAILED, NULL);
  history_turn(&h, OUTCOME_RUNNING, OUTCOME_REPLACED);
  assert_int_equal(history_at(&h, 0)->outcome, OUTCOME_FAILED);
  assert_int_equal(history_at(&h, 1)->outcome, OUTCOME_REPLACED);
}

static void what_changed_nothing_is_dropped_and_its_number_used_again(void **state) {
  struct history h = {0};
  (void)state;
  history_add(&h, "start", "", "", 1);
  unsigned second = history_add(&h, "reload", "", "", 2);
  history_drop(&h, second - 1); /* not the newest: stays */
  assert_non_null(history_at(&h, 1));
  history_drop(&h, second);
  assert_string_equal(history_at(&h, 0)->verb, "start");
  assert_null(history_at(&h, 1));
  assert_int_equal(history_add(&h, "reload", "", "", 3), second);
}

static void a_text_that_is_too_long_or_would_break_a_line_is_cut_and_cleaned(void **state) {
  struct history h = {0};
  char why[2000];
  (void)state;
  memset(why, 'a', sizeof why);
  memcpy(why + HISTORY_WHY_MAX - 1, "\xc3\xa4", 2); /* only its first byte would fit */
  why[sizeof why - 1] = 0;
  history_add(&h, "reload", "two\nlines\x7f\xff.", why, 1);
  assert_string_equal(history_at(&h, 0)->who, "two lines  .");
  assert_int_equal(strlen(history_at(&h, 0)->why), HISTORY_WHY_MAX - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_newest_comes_first_and_keeps_what_was_said),
    cmocka_unit_test(the_oldest_goes_and_what_comes_of_it_later_is_ignored),
    cmocka_unit_test(an_outcome_turns_wherever_it_stands),
    cmocka_unit_test(what_changed_nothing_is_dropped_and_its_number_used_again),
    cmocka_unit_test(a_text_that_is_too_long_or_would_break_a_line_is_cut_and_cleaned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
